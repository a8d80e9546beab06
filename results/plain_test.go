package results_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/results"
)

// spelled writes a text as JSON with escapes that nobody needs.
func spelled(t *rapid.T, text string) string {
	var b strings.Builder
	for _, r := range text {
		switch plain, _ := json.Marshal(string(r)); {
		case r == '/' && rapid.Bool().Draw(t, "slash"):
			b.WriteString(`\/`)
		case rapid.Bool().Draw(t, "escape"):
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, rapid.SampledFrom([]string{`\u%04x`, `\u%04X`}).Draw(t, "case"), u)
			}
		default:
			b.Write(plain[1 : len(plain)-1])
		}
	}
	return b.String()
}

// However a client escapes a text, it is kept in one form, in which it is found.
func TestPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("<>&/\\\"\n\b\u2028\u007f漢😀")))).Draw(t, "text")
		body := json.RawMessage(`[{"` + spelled(t, text) + `": 1.50}, "` + spelled(t, text) + `"]`)
		plain := results.Plain(body)
		want := `[{"` + results.Quoted(text) + `": 1.50}, "` + results.Quoted(text) + `"]`
		if string(plain) != want || string(results.Plain(plain)) != want || len(plain) > len(body) {
			t.Fatalf("%s\ngives %s\nwant  %s", body, plain, want)
		}
		var got []any
		if err := json.Unmarshal(plain, &got); err != nil || got[1] != text {
			t.Fatalf("%q, %v", got, err)
		}
	})
	for _, half := range []string{`"\ud83d"`, `"\ud83d\ud83d\ude00"`, `"\ude00x"`} {
		if got := results.Plain(json.RawMessage(half)); !json.Valid(got) || !strings.HasPrefix(string(got), half[:7]) {
			t.Errorf("%s gives %s", half, got)
		}
	}
}

// A body that grew on its way is left out, and its record stays; one that would be too large as a whole loses what makes it so.
func TestTooLarge(t *testing.T) {
	large := json.RawMessage(`"` + strings.Repeat("<", results.MaxBody-2) + `"`)
	r := results.Rule{Policy: results.Policy{Keep: results.All, Days: 1}}.Apply(results.Record{ID: "1", At: 1, Request: large, Answer: large})
	b, err := r.Written()
	if err != nil || len(b) > results.MaxRecord || r.Cut {
		t.Fatalf("%d bytes, %v, cut %v", len(b), err, r.Cut)
	}
	if got, err := results.Decode(b); err != nil || got.Cut || string(got.Request) != string(large) {
		t.Errorf("%v, cut %v", err, got.Cut)
	}
	r.Request = json.RawMessage(`"` + strings.Repeat("y", results.MaxBody) + `"`)
	if b, err = json.Marshal(results.Record{ID: "1", At: 1, Days: 1, Request: r.Request}); err != nil {
		t.Fatal(err)
	}
	if got, err := results.Decode(b); err != nil || !got.Cut || got.Request != nil {
		t.Errorf("a body of %d bytes: %v, cut %v", len(r.Request), err, got.Cut)
	}
	for range results.MaxLabels {
		r.Labels = append(r.Labels, results.Label{Name: strings.Repeat("\x01", results.MaxText)})
	}
	r.Request, r.Answer = nil, large
	if b, err = r.Written(); err != nil || len(b) > results.MaxRecord {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if got, err := results.Decode(b); errors.Is(err, results.ErrRecord) || !got.Cut {
		t.Errorf("%v, cut %v", err, got.Cut)
	}
}
