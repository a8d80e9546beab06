package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var limits = Limits{Bytes: 1 << 20, Depth: 8, Values: 1000}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ text, why string }{
		{`{"a":1,"b":{"a":[{"a":1},{"a":"a"}]},"c":"b"}`, ""},
		{` [1, "a", null] `, ""},
		{`"x"`, ""},
		{`{"a":"]}","b":"\"{[[[[[[[[[["}`, ""},
		{`{"a":1,"a":2}`, `key "a" twice`},
		{`{"a":{"b":1,"c":[],"b":2}}`, `key "b" twice`},
		{`[{"a":1},{"a":[{"k":0,"\u006b":1}]}]`, `key "k" twice`},
		{"\xef\xbb\xbf{}", "byte order mark"},
		{"{\"a\":\"\xff\"}", "not UTF-8"},
		{`{} {}`, "after top-level value"},
		{`{"a":NaN}`, "invalid character"},
		{`{"a":1,}`, "invalid character"},
		{``, "unexpected end"},
		{`{"a":`, "unexpected end"},
		{strings.Repeat("[", 9) + strings.Repeat("]", 9), "deeper than 8"},
		{strings.Repeat("[", 1e5), "deeper than 8"},
		{strings.Repeat(`{"a":`, 1e5), "deeper than 8"},
		{"[" + strings.Repeat("1,", 1000) + "1]", "more than 1000 values"},
		{`"` + strings.Repeat("a", 1<<20) + `"`, "more than 1048576"},
	} {
		err := Check([]byte(c.text), limits)
		if c.why == "" {
			if err != nil {
				t.Errorf("%.60q: %v", c.text, err)
			}
			continue
		}
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.why)
		}
	}
}

// slowly walks the tokens of encoding/json, which is slow and obvious.
func slowly(data []byte, limit int) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	type level struct {
		keys map[string]bool // nil in an array
		key  bool
	}
	var open []*level
	for n := 0; ; {
		token, err := dec.Token()
		if err != nil {
			return ""
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if n++; n > limit {
			return "more than"
		}
		if len(open) > 0 && open[len(open)-1].keys != nil {
			l := open[len(open)-1]
			if l.key {
				if l.keys[token.(string)] {
					return "twice"
				}
				l.keys[token.(string)] = true
			}
			l.key = !l.key
		}
		switch token {
		case json.Delim('{'):
			open = append(open, &level{map[string]bool{}, true})
		case json.Delim('['):
			open = append(open, &level{})
		}
	}
}

// value draws a JSON text, with keys of which some are the same in other words.
func value(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", " ", "\n\t"})
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return "null"
	case 1:
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "bool")
	case 2:
		return rapid.SampledFrom([]string{"0", "-1.5e+7", "12"}).Draw(t, "number")
	case 3:
		return rapid.SampledFrom([]string{`""`, `"{\"a\":[,:}"`, `"\\"`, `"é\u0061"`}).Draw(t, "text")
	case 4:
		return "[]"
	case 5:
		return "{ }"
	}
	var list []string
	object := rapid.Bool().Draw(t, "object")
	for range rapid.IntRange(0, 20).Draw(t, "members") {
		v := space.Draw(t, "space") + value(t, depth-1) + space.Draw(t, "space")
		if object {
			key := rapid.SampledFrom([]string{`"a"`, `"\u0061"`, `""`, `"\ud800"`, `"\ud801"`, `"\""`, `","`}).Draw(t, "key")
			if rapid.IntRange(0, 9).Draw(t, "new") > 0 {
				key = fmt.Sprintf(`"k%d"`, len(list))
			}
			v = key + space.Draw(t, "space") + ":" + v
		}
		list = append(list, v)
	}
	if object {
		return "{" + strings.Join(list, ",") + "}"
	}
	return "[" + strings.Join(list, ",") + "]"
}

func TestCheckKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := value(t, 3)
		limit := rapid.IntRange(0, 200).Draw(t, "limit")
		want := slowly([]byte(text), limit)
		err := checkKeys([]byte(text), limit)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: %v, want %q", text, err, want)
		}
	})
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":1,"a":2}`, `[{"a":{}}]`, "\xef\xbb\xbf{}", `"\ud800"`, `[[[[[[[[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Check(b, limits)
		if err != nil && !errors.Is(err, ErrRefused) {
			t.Fatalf("untyped error %v", err)
		}
		if err == nil && !json.Valid(b) {
			t.Fatal("accepted what is no JSON")
		}
		if json.Valid(b) && utf8.Valid(b) {
			want, err := slowly(b, limits.Values), checkKeys(b, limits.Values)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, want %q", err, want)
			}
		}
	})
}
