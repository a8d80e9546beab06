package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSchemas is testdata/schemas.json: texts that a grammar takes and refuses, and schemas that are refused. What is taken fits for a library too.
func TestSchemas(t *testing.T) {
	text, err := os.ReadFile("testdata/schemas.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name           string
		Schema         json.RawMessage
		Takes, Refuses []string
		Unsupported    string
		Path           string
		Malformed      bool
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			g, err := Compile(Source{Schema: c.Schema})
			var unsupported *Unsupported
			switch {
			case c.Malformed:
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("%v instead of ErrMalformed", err)
				}
				return
			case c.Unsupported != "":
				if !errors.As(err, &unsupported) || unsupported.Keyword != c.Unsupported || unsupported.Path != c.Path {
					t.Fatalf("%v instead of unsupported %q at %q", err, c.Unsupported, c.Path)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			library := validator(t, string(c.Schema))
			for _, s := range c.Takes {
				if !fits(g, s) {
					t.Errorf("refuses %s", s)
				}
				if err := judge(library, s); err != nil {
					t.Errorf("the test is wrong about %s: %v", s, err)
				}
			}
			for _, s := range c.Refuses {
				if fits(g, s) {
					t.Errorf("takes %s", s)
				}
			}
		})
	}
}

// TestSources is the kinds of sources that are no schema.
func TestSources(t *testing.T) {
	call := Source{Seq: []Source{{Literal: "<"}, {Alt: []Source{{Regex: "[0-9]+"}, {Choice: []string{"x", "xy"}}}}, {Literal: ">"}}}
	for name, c := range map[string]struct {
		src            Source
		takes, refuses []string
	}{
		"object": {Source{Object: true}, []string{"{}", `{"a": [1, {"b": "ü"}]}`}, []string{"[]", "1", "{} ", "{\"a\":\"\xed\xa0\x80\"}",
			"{\"a\":\"\xf4\x90\x80\x80\"}", "{\"a\":\"\xe0\x80\x80\"}", "{\"a\":\"\xf0\x80\x80\x80\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xc3\"}"}},
		"choice":        {Source{Choice: []string{"yes", "yesterday", "no", ""}}, []string{"yes", "yesterday", "no", ""}, []string{"y", "yesterda", "nox"}},
		"literal":       {Source{Literal: "é\n"}, []string{"é\n"}, []string{"", "é"}},
		"regex":         {Source{Regex: `(?i:ab)|c.\pL{2}`}, []string{"aB", "cxéß", "c漢ab"}, []string{"ab ", "c\nab", "cx1a", "c\xffab"}},
		"seq and alt":   {call, []string{"<12>", "<x>", "<xy>"}, []string{"<>", "<1x>", "12"}},
		"free":          {Source{Free: &Free{}}, []string{"", "a\x00 é😀"}, []string{"\xff", "\xc3"}},
		"free, marked":  {Source{Free: &Free{Marker: "<<", Then: call}}, []string{"", "a<b", "<<<1>", "x<<<x>y<<<12>", "<"}, []string{"<<", "a<<x>", "<<<1>>x<<", "<<<1><<"}},
		"free, once":    {Source{Free: &Free{Marker: "é<é", Then: call, Times: 1}}, []string{"", "é<", "é<é<1>é<a", "é<é<é", "aé<é<1>"}[:2], []string{"é<é", "é<é<1>é<é<1>"}},
		"free, overlap": {Source{Free: &Free{Marker: "aab", Then: Source{Literal: "!"}, Times: 2}}, []string{"aaab!aab!", "aaaa", "aab!a"}, []string{"aab", "aaab!aab!aab!"}},
	} {
		g := mustCompile(t, c.src)
		for _, s := range c.takes {
			if !fits(g, s) {
				t.Errorf("%s refuses %q", name, s)
			}
		}
		for _, s := range c.refuses {
			if fits(g, s) {
				t.Errorf("%s takes %q", name, s)
			}
		}
		wire, err := json.Marshal(c.src)
		if err != nil {
			t.Fatal(err)
		}
		var again Source
		if err := json.Unmarshal(wire, &again); err != nil || fmt.Sprint(again.kinds()) != "1" {
			t.Errorf("%s: %s does not travel: %v", name, wire, err)
		}
	}
	for name, src := range map[string]Source{
		"nothing":              {},
		"two":                  {Object: true, Literal: "a"},
		"an empty alternative": {Alt: []Source{}},
		"no choice":            {Choice: []string{}},
		"no UTF-8":             {Literal: "\xff"},
		"no expression":        {Regex: "("},
		"then without marker":  {Free: &Free{Then: Source{Object: true}}},
		"marker without then":  {Free: &Free{Marker: "a"}},
	} {
		if _, err := Compile(src); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAttacks is sources that are made to cost much: each is refused with a limit, or compiled, soon.
func TestAttacks(t *testing.T) {
	nest := func(open, inner, close string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(close, n)
	}
	var enum, ring, props, any strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&enum, `%d,`, i)
	}
	for i := range 20000 {
		if i < 15000 {
			fmt.Fprintf(&ring, `"d%d":{"properties":{"x":{"$ref":"#/$defs/d%d"}}},`, i, (i+1)%15000)
		}
		fmt.Fprintf(&props, `"p%d":{"type":"object"},`, i)
		fmt.Fprintf(&any, `{"properties":{"p%d":{"type":"string"}}},`, i)
	}
	doubling := `"d0":{"type":"null"}`
	for i := range 40 {
		doubling += fmt.Sprintf(`,"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}],"anyOf":[{"type":["null","string"]},{"type":["null","array"]}]}`, i+1, i, i)
	}
	list := func(b *strings.Builder) string { return strings.TrimSuffix(b.String(), ",") }
	var choice []string
	for i := range 150_000 {
		choice = append(choice, fmt.Sprint(i))
	}
	deep := Source{Literal: "a"}
	for range 100 {
		deep = Source{Seq: []Source{deep}}
	}
	schema := func(s string) Source { return Source{Schema: []byte(s)} }
	for name, c := range map[string]struct {
		src  Source
		want string // of the error; "": none
	}{
		"nested repetitions":       {Source{Regex: nest("(", "a", "{1,30})", 6)}, "malformed"},
		"long repetitions":         {Source{Regex: strings.Repeat("[^x]{1000}", 1000)}, "instructions of a regular expression"},
		"exponential expression":   {Source{Regex: "(a|b)*a(a|b){30}"}, "states of a pattern"},
		"letters":                  {Source{Regex: `\pL{1,1000}`}, "steps of compiling"},
		"fewer letters":            {Source{Regex: `\pL{1,100}`}, ""},
		"nested stars":             {Source{Regex: nest("(?:", "a", ")*", 400)}, ""},
		"a long expression":        {Source{Regex: strings.Repeat("a", 1<<14+1)}, "bytes of a regular expression"},
		"a large enum":             {schema(`{"enum":[` + list(&enum) + `]}`), "bytes of a source"},
		"a wide enum":              {schema(`{"enum":[` + list(&enum)[:600_000] + `]}`), "alternatives of a schema"},
		"a wide choice":            {Source{Choice: choice}, ""},
		"a ring of references":     {schema(`{"$ref":"#/$defs/d0","$defs":{` + list(&ring) + `}}`), "nodes of the automaton"},
		"many properties":          {schema(`{"properties":{` + list(&props) + `}}`), "properties of an object"},
		"many alternatives":        {schema(`{"anyOf":[` + list(&any) + `]}`), "alternatives of a schema"},
		"doubling":                 {schema(`{"$ref":"#/$defs/d40","$defs":{` + doubling + `}}`), "steps of compiling"},
		"deep":                     {schema(nest(`{"items":`, "{}", "}", 200)), ""},
		"too deep":                 {schema(nest(`{"items":`, "{}", "}", 300)), "malformed"},
		"deep demands":             {schema(`{"$ref":"#/$defs/l","$defs":{"l":` + nest(`{"type":"array","minItems":1,"items":`, "{}", "}", 250) + `}}`), ""},
		"a long text":              {schema(`{"type":"string","minLength":1000000000000}`), "repetitions"},
		"a text with length":       {schema(`{"type":"string","pattern":"a","maxLength":1000000}`), ""},
		"a long text with pattern": {schema(`{"type":"string","pattern":"a","minLength":1000000}`), "characters of a text with a pattern"},
		"many items":               {schema(`{"type":"array","minItems":1000000,"maxItems":1e300}`), ""},
		"more items":               {schema(`{"type":"array","minItems":1e9}`), "repetitions"},
		"an exponent":              {schema(`{"minimum":1e999999999}`), "not enforced"},
		"a large multiple":         {schema(`{"type":"number","multipleOf":1e-300}`), "not enforced"},
		"multiples":                {schema(`{"type":"integer","multipleOf":4093,"minimum":17,"maximum":99999999999999999}`), ""},
		"deep sources":             {deep, "sources within each other"},
		"many sources":             {Source{Alt: make([]Source, 5000)}, "sources within a source"},
		"loop of what is empty":    {Source{Free: &Free{Marker: "a", Then: Source{Regex: "b*"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			g, err := Compile(c.src)
			took := time.Since(start)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v instead of %q", err, c.want)
			}
			if took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			nodes := 0
			if g != nil {
				nodes = len(g.nodes)
				m := g.Start(bytesVocabulary(spans...))
				for range 20 { // some tokens of an answer
					ids := admitted(m.Mask(nil))
					if len(ids) == 0 {
						break
					}
					if err := m.Take(ids[len(ids)/2]); err != nil {
						t.Error(err)
					}
				}
			}
			t.Logf("%v, %d nodes, all of it %v", took, nodes, time.Since(start))
		})
	}
}

// TestDepth opens arrays until no more may be opened: the answer can still be ended.
func TestDepth(t *testing.T) {
	v := bytesVocabulary("[[", "[[[[[[[[", "]]]]", "[{\"a\":", "[[[")
	for _, schema := range []string{`{}`, `{"$defs":{"e":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/e"},{"type":"array","minItems":1,"items":{"type":"array","minItems":1,"items":{"const":[[1]]}}}]}}},"$ref":"#/$defs/e"}`} {
		m := mustCompile(t, Source{Schema: []byte(schema)}).Start(v)
		text := 0
		for ; ; text++ {
			mask := m.Mask(nil)
			ids := admitted(mask)
			if len(ids) == 0 {
				t.Fatal("stuck")
			}
			for id, token := range v.tokens {
				state := m.at
				for i := 0; i < len(token) && !state.dead(); i++ {
					state = m.c.step(state, token[i])
				}
				if admits := mask[id>>6]>>(id&63)&1 == 1; admits == state.dead() {
					t.Fatalf("behind %d brackets the mask says %v of %q", text, admits, token)
				}
			}
			if m.Take('[') != nil {
				break
			}
		}
		if text < 100 || text > maxDepth+3 {
			t.Errorf("%d arrays within each other", text)
		}
		for !m.Complete() {
			took := false
			for _, b := range "]1[" {
				if !took {
					took = m.Take(b) == nil
				}
			}
			if !took {
				t.Fatal("stuck")
			}
		}
	}
}

// TestDeepDemand opens objects of which each must have a member that needs more depth than to open another: room for it is kept.
func TestDeepDemand(t *testing.T) {
	words := []string{"}", "]", "1", "[", `,"k":`, `{"k":`, `{"n":`}
	v := bytesVocabulary(words...)
	m := mustCompile(t, Source{Schema: []byte(`{"type":"object","properties":{"n":{"$ref":"#"},"k":{"type":"array","minItems":1,"items":{"type":"array","minItems":1,
		"items":{"type":"array","minItems":1,"items":{"type":"integer"}}}}},"required":["k"]}`)}).Start(v)
	opened := 0
	for m.Take(int32(255+len(words))) == nil {
		opened++
	}
	if opened < 100 || opened > maxDepth {
		t.Errorf("%d objects within each other", opened)
	}
	for !m.Complete() {
		took := false
		for i := 0; i < len(words)-1 && !took; i++ {
			took = m.Take(int32(256+i)) == nil
		}
		if !took {
			t.Fatal("stuck")
		}
	}
}

// TestManyStates has a vocabulary that leads to a very large number of states: the mask is bounded, the same whatever is cached, and right.
func TestManyStates(t *testing.T) {
	var alt []Source
	for i := range 40 {
		alt = append(alt, Source{Seq: []Source{{Regex: fmt.Sprintf("[ab]*a[ab]{%d}", i%12)}, {Literal: fmt.Sprint("!", i)}}})
	}
	var words []string
	for n := 2; n <= 12; n++ {
		for bits := range 1 << n {
			words = append(words, strings.NewReplacer("0", "a", "1", "b").Replace(fmt.Sprintf("%0*b", n, bits)))
		}
	}
	v := bytesVocabulary(words...)
	g := mustCompile(t, Source{Alt: alt})
	m := g.Start(v)
	start := time.Now()
	first := m.Mask(nil)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	ids := admitted(first)
	if len(ids) != 2 || ids[0] != 'a' || ids[1] != 'b' {
		t.Errorf("%d tokens are admitted", len(ids))
	}
	for _, w := range []int32{256, 5000, 8000} {
		other := g.Start(v)
		if err := other.Take(w); err != nil {
			t.Error(err)
		}
		other.Mask(nil)
	}
	if again := g.Start(v); !slices.Equal(again.Mask(nil), first) {
		t.Error("the mask depends on what is cached")
	}
}

// TestStuck is a vocabulary that lacks what a grammar needs.
func TestStuck(t *testing.T) {
	m := mustCompile(t, Source{Literal: "ab"}).Start(NewVocabulary([][]byte{[]byte("a"), nil, []byte("c"), {}, []byte("abc")}))
	if err := m.Err(); err != nil {
		t.Error(err)
	}
	for _, id := range []int32{-1, 1, 2, 3, 4, 5} {
		if err := m.Take(id); !errors.Is(err, ErrRejected) {
			t.Error(id, err)
		}
	}
	if got := admitted(m.Mask(make([]uint64, 7))); len(got) != 1 || got[0] != 0 {
		t.Error(got)
	}
	if err := m.Take(0); err != nil {
		t.Error(err)
	}
	if err := m.Err(); !errors.Is(err, ErrStuck) || m.Complete() {
		t.Error(err)
	}
}
