package view

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write what comes out into testdata/views.txt")

// decode reads JSON as Input wants it.
func decode(t testing.TB, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// shown is what a view makes of an input, or its error.
func shown(t testing.TB, view, input string) string {
	var v View
	d := json.NewDecoder(strings.NewReader(view))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", view, err)
	}
	c, err := v.Compile()
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	in := decode(t, input).(map[string]any)
	out, err := c.Apply(Input{Answer: in["answer"], Request: in["request"], Call: in["call"]})
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return strings.TrimSuffix(strings.ReplaceAll(string(out), "\r\n", "␍\n"), "\n") + "\n"
}

func TestViews(t *testing.T) {
	b, err := os.ReadFile("testdata/views.txt")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(b), "\n== ")
	for i, part := range parts[1:] {
		head, want, _ := strings.Cut(part, "\n--\n")
		lines := strings.Split(head, "\n")
		got := shown(t, lines[1], lines[2])
		if strings.TrimRight(got, "\n") != strings.TrimRight(want, "\n") {
			t.Errorf("%s:\n%swant\n%s", lines[0], got, want)
		}
		parts[i+1] = head + "\n--\n" + got
	}
	if *rewrite {
		if err := os.WriteFile("testdata/views.txt", []byte(strings.Join(parts, "\n== ")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// texts draws what answers may hold, with much that is equal but for white space and case.
var texts = rapid.StringMatching(`[ \t]{0,2}[aAbB=é"',\n]{0,3}[ \t]{0,2}`)

// Rows that stay are those that a slow obvious loop keeps.
func TestDistinct(t *testing.T) {
	v := View{Format: CSV, Rows: "/rows", Fields: []Field{{Name: "w", Clean: []Rule{{Do: "trim"}, {Do: "nfc"}}}}, Distinct: []string{"w"}, NonEmpty: []string{"w"}}
	c, err := v.Compile()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var rows []any
		var want []string
		for range rapid.IntRange(0, 20).Draw(t, "rows") {
			s := texts.Draw(t, "text")
			rows = append(rows, s)
			if w := norm.NFC.String(strings.TrimSpace(s)); w != "" && !slices.Contains(want, w) {
				want = append(want, w)
			}
		}
		out, err := c.Apply(Input{Answer: map[string]any{"rows": rows}})
		if err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range lines[1:] {
			got = append(got, l[0])
		}
		for i, w := range want {
			want[i] = guarded(w)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

// What is written can be read again, row by row and in the same order, and is the same in each format.
func TestFormatsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := []any{}
		for range rapid.IntRange(0, 10).Draw(t, "rows") {
			rows = append(rows, map[string]any{"a": texts.Draw(t, "a"), "b": json.Number(rapid.StringMatching(`-?[1-9][0-9]{0,20}`).Draw(t, "b"))})
		}
		out := map[Format][]byte{}
		for _, f := range []Format{JSON, NDJSON, CSV} {
			c, err := View{Format: f, Rows: "/rows", Fields: []Field{{Name: "b", Pointer: "/b"}, {Name: "a", Pointer: "/a"}}}.Compile()
			if err != nil {
				t.Fatal(err)
			}
			if out[f], err = c.Apply(Input{Answer: map[string]any{"rows": rows}}); err != nil {
				t.Fatal(err)
			}
		}
		var list []json.RawMessage
		if err := json.Unmarshal(out[JSON], &list); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(out[NDJSON]), "\n"), "\n")
		table, err := csv.NewReader(bytes.NewReader(out[CSV])).ReadAll()
		if err != nil || len(list) != len(rows) || len(table) != len(rows)+1 || len(rows) > 0 && len(lines) != len(rows) {
			t.Fatalf("%d rows: %d, %d, %d, %v", len(rows), len(list), len(lines), len(table)-1, err)
		}
		for i, r := range rows {
			in := r.(map[string]any)
			if string(list[i]) != lines[i] || table[i+1][0] != string(in["b"].(json.Number)) || table[i+1][1] != guarded(in["a"].(string)) {
				t.Fatalf("row %d: %s, %s, %q", i, list[i], lines[i], table[i+1])
			}
		}
	})
}

// A view is used by many requests at once and changes nothing of what it is given.
func TestApplyChangesNothing(t *testing.T) {
	v := View{Format: JSON, Fields: []Field{{Name: "all", Clean: []Rule{{Do: "upper"}}}}}
	c, err := v.Compile()
	if err != nil {
		t.Fatal(err)
	}
	in := decode(t, `{"a":["x",{"b":"y"}]}`)
	for range 2 {
		if out, err := c.Apply(Input{Answer: in}); err != nil || string(out) != `{"all":{"a":["X",{"b":"Y"}]}}` {
			t.Fatal(string(out), err)
		}
	}
	if b, _ := json.Marshal(in); string(b) != `{"a":["x",{"b":"y"}]}` {
		t.Fatalf("%s", b)
	}
}

// Rules cannot make a text grow without bound.
func TestRulesCannotGrow(t *testing.T) {
	grow := Rule{Do: "replace", Pattern: ".", With: strings.Repeat("x", MaxWith)}
	c, err := View{Format: JSON, Fields: []Field{{Name: "a", Clean: slices.Repeat([]Rule{grow}, MaxRules)}}}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(Input{Answer: "xx"}); !errors.As(err, new(Unfit)) {
		t.Fatal(err)
	}
}

func FuzzView(f *testing.F) {
	b, err := os.ReadFile("testdata/views.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, part := range strings.Split(string(b), "\n== ")[1:] {
		lines := strings.Split(part, "\n")
		f.Add(lines[1], lines[2])
	}
	f.Fuzz(func(t *testing.T, view, answer string) {
		var v View
		if json.Unmarshal([]byte(view), &v) != nil {
			return
		}
		c, err := v.Compile()
		if err != nil {
			return
		}
		var in any
		d := json.NewDecoder(strings.NewReader(answer))
		d.UseNumber()
		if d.Decode(&in) != nil {
			return
		}
		out, err := c.Apply(Input{Answer: in, Request: in, Call: in})
		if err != nil {
			return
		}
		switch v.Format {
		case JSON:
			if !json.Valid(out) {
				t.Fatalf("%q", out)
			}
		case NDJSON:
			for line := range strings.Lines(string(out)) {
				if !json.Valid([]byte(line)) {
					t.Fatalf("%q", line)
				}
			}
		case CSV:
			if _, err := csv.NewReader(bytes.NewReader(out)).ReadAll(); err != nil {
				t.Fatalf("%q: %v", out, err)
			}
		}
	})
}
