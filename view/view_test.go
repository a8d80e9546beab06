package view

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
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

// What a view would make too large is refused before it is made: by one rule, by many fields, by many rows, and while it is written.
func TestTooLarge(t *testing.T) {
	text := strings.Repeat("z", MaxText)
	long := Rule{Do: "replace", Pattern: "x*", With: strings.Repeat("y", MaxWith)}
	twice := Rule{Do: "replace", Pattern: "(z+)", With: "$1$1$1$1$1"}
	fields := func(n int, rules ...Rule) (out []Field) {
		for i := range n {
			out = append(out, Field{Name: fmt.Sprint("f", i), Pointer: "/t", Clean: rules})
		}
		return out
	}
	for what, v := range map[string]View{
		"a rule":        {Format: JSON, Fields: fields(1, long)},
		"a group":       {Format: JSON, Fields: fields(1, twice)},
		"fields":        {Format: CSV, Fields: fields(80, Rule{Do: "trim"})},
		"uncleaned":     {Format: NDJSON, Fields: fields(80)},
		"rows":          {Format: JSON, Rows: "/list", Fields: fields(256)},
		"quoted":        {Format: JSON, Fields: []Field{{Name: "a", Pointer: "/quotes"}}},
		"names of rows": {Format: JSON, Rows: "/many", Fields: []Field{{Name: strings.Repeat("n", 256), Pointer: "/t"}}},
	} {
		c, err := v.Compile()
		if err != nil {
			t.Fatal(err)
		}
		in := Input{Answer: map[string]any{"t": text, "quotes": strings.Repeat("\x01", 12<<20), "list": make([]any, 20_000), "many": make([]any, 300_000)}}
		if out, err := c.Apply(in); !errors.As(err, new(Unfit)) {
			t.Errorf("%s: %d bytes, %v", what, len(out), err)
		}
	}
	c, err := (View{Format: JSON, Fields: fields(4, Rule{Do: "mask", Pattern: "z{100}"})}).Compile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(Input{Answer: map[string]any{"t": text}}); err != nil {
		t.Errorf("what gets shorter: %v", err)
	}
}

// Integers stay what they are, however large they are, and nothing is rounded to minus zero.
func TestDigits(t *testing.T) {
	two := 2
	c, err := (View{Format: JSON, Fields: []Field{{Name: "n", Pointer: "", Digits: &two}}}).Compile()
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{"12345678901234567890": "12345678901234567890.00", "-0": "0.00", "-0.004": "0.00", "-0.006": "-0.01", "1.005e2": "100.50", "7": "7.00"} {
		if out, err := c.Apply(Input{Answer: json.Number(in)}); err != nil || string(out) != `{"n":`+want+`}` {
			t.Errorf("%s: %s, %v", in, out, err)
		}
	}
}

// A view says whether it reads the request, which then has to be JSON.
func TestReader(t *testing.T) {
	c, err := (View{Format: JSON, Fields: []Field{{Name: "a", Pointer: "/a"}, {Name: "b", From: Request, Pointer: "/b"}}}).Compile()
	if err != nil || c.Reader(Request) != "b" || c.Reader(Call) != "" {
		t.Errorf("%q reads the request, %q the call, %v", c.Reader(Request), c.Reader(Call), err)
	}
}
