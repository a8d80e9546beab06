package grammar

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// validator is a library's reading of a schema.
func validator(t interface{ Fatal(...any) }, schema string) *jsonschema.Schema {
	s, err := validatorOf(schema)
	if err != nil {
		t.Fatal(schema, err)
	}
	return s
}

func validatorOf(schema string) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem:schema", doc); err != nil {
		return nil, err
	}
	return c.Compile("mem:schema")
}

// judge says what encoding/json and the library think of a text.
func judge(s *jsonschema.Schema, text string) error {
	var plain any
	if err := json.Unmarshal([]byte(text), &plain); err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// spans is tokens that are cut through what JSON has.
var spans = []string{`":"`, `": "`, `"},{"`, `"}, {"`, `":[`, `],"`, `"]`, `}}`, `]]`, "{\n", "\n  ", ",\n  \"", `\"`, `\u00`, `\ud83d\u`, `de00`, "\xf0\x9f", "\x98\x80", "\xe6", "\xbc\xa2\"",
	"é", `é"`, "ab", `a"`, `"a":`, `"ab`, "true", "tr", "null}", "12", "0.", ".5", `-1`, "e+1", "00", "1,", "[[", "[]", "{}", `""`, `"",`, "aaaa", "    ", "-0", "2024-", `@`, "\\\\"}

// bytesVocabulary is every byte, and more.
func bytesVocabulary(more ...string) *Vocabulary {
	tokens := make([][]byte, 0, 256+len(more))
	for i := range 256 {
		tokens = append(tokens, []byte{byte(i)})
	}
	for _, m := range more {
		tokens = append(tokens, []byte(m))
	}
	return NewVocabulary(tokens)
}

// fits says whether the grammar takes a text, byte by byte.
func fits(g *Grammar, text string) bool {
	m := g.Start(bytesVocabulary())
	for i := range len(text) {
		if m.Take(int32(text[i])) != nil {
			return false
		}
	}
	return m.Complete()
}

func mustCompile(t interface{ Fatal(...any) }, src Source) *Grammar {
	g, err := Compile(src)
	if err != nil {
		t.Fatal(fmt.Sprintf("%+v", src), err)
	}
	return g
}

// admitted is the tokens of a mask.
func admitted(mask []uint64) (ids []int32) {
	for i, w := range mask {
		for b := range 64 {
			if w>>b&1 == 1 {
				ids = append(ids, int32(64*i+b))
			}
		}
	}
	return ids
}

// ended is the end of an answer that is in the state of m: bytes that lead to where it is complete, found greedily by the height of stacks.
func ended(t *rapid.T, m *Matcher) string {
	type at struct {
		s    *set
		text string
	}
	low := func(s *set) int32 {
		if s.accept {
			return -1
		}
		least := int32(1 << 30)
		for _, st := range s.stacks {
			least = min(least, st.on.height())
		}
		return least
	}
	seen := map[*set]bool{}
	queue := map[int32][]at{low(m.at): {{m.at, ""}}}
	for range 100000 {
		least := int32(1 << 30)
		for h, q := range queue {
			if len(q) > 0 {
				least = min(least, h)
			}
		}
		if least == 1<<30 {
			break
		}
		x := queue[least][0]
		queue[least] = queue[least][1:]
		if x.s.accept {
			return x.text
		}
		for b := range 256 {
			next := m.c.step(x.s, byte(b))
			if next.dead() || seen[next] {
				continue
			}
			seen[next] = true
			queue[low(next)] = append(queue[low(next)], at{next, x.text + string([]byte{byte(b)})})
		}
	}
	t.Fatal("no end found")
	return ""
}

// TestWalk goes random ways through masks, in random schemas: what comes out is JSON, and a library says that it fits the schema.
func TestWalk(t *testing.T) {
	v := bytesVocabulary(spans...)
	rapid.Check(t, func(t *rapid.T) {
		text, _ := json.Marshal(document(t).schema)
		schema := validator(t, string(text))
		m := mustCompile(t, Source{Schema: text}).Start(v)
		var out []byte
		for range rapid.IntRange(0, 60).Draw(t, "tokens") {
			ids := admitted(m.Mask(nil))
			if len(ids) == 0 {
				if !m.Complete() {
					t.Fatalf("stuck in %s behind %q", text, out)
				}
				break
			}
			id := pick(t, ids...)
			if err := m.Take(id); err != nil {
				t.Fatal(err)
			}
			out = append(out, v.tokens[id]...)
		}
		out = append(out, ended(t, m)...)
		if err := judge(schema, string(out)); err != nil {
			t.Fatalf("%s\n%q\n%v", text, out, err)
		}
	})
}

// TestSamples writes values that fit random schemas: they are taken byte by byte, and token by token in any cut.
func TestSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := document(t)
		text, _ := json.Marshal(s.schema)
		g := mustCompile(t, Source{Schema: text})
		want := s.sample(t)
		if err := judge(validator(t, string(text)), want); err != nil {
			t.Fatalf("the test is wrong about %s: %q: %v", text, want, err)
		}
		if !fits(g, want) {
			t.Fatalf("%s refuses %s", text, want)
		}
		var cut []string
		for rest := want; rest != ""; {
			n := rapid.IntRange(1, min(len(rest), 9)).Draw(t, "cut")
			cut, rest = append(cut, rest[:n]), rest[n:]
		}
		v := bytesVocabulary(cut...)
		m := g.Start(v)
		for i := range cut {
			id := int32(256 + i)
			if mask := m.Mask(nil); mask[id>>6]>>(id&63)&1 == 0 {
				t.Fatalf("%s: %q of %s is not admitted", text, cut[i], want)
			}
			if err := m.Take(id); err != nil {
				t.Fatal(err)
			}
		}
		if !m.Complete() {
			t.Fatal("not complete")
		}
	})
}

// TestMask compares masks with trying every token, byte by byte, in a grammar that is new; and a matcher that goes on with one that
// begins again and is given the same tokens.
func TestMask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := document(t)
		text, _ := json.Marshal(s.schema)
		want := s.sample(t)
		more := slices.Clone(spans)
		for range 20 {
			if at := rapid.IntRange(0, len(want)-1).Draw(t, "at"); at < len(want) {
				more = append(more, want[at:min(len(want), at+rapid.IntRange(1, 12).Draw(t, "length"))])
			}
		}
		v := bytesVocabulary(more...)
		m, slow := mustCompile(t, Source{Schema: text}).Start(v), mustCompile(t, Source{Schema: text}).Start(v)
		var taken []int32
		for at := 0; at < len(want); {
			if rapid.IntRange(0, 5).Draw(t, "forget") == 0 {
				m.c.empty()
			}
			mask := m.Mask(nil)
			var follow []int32
			for id, token := range v.tokens {
				state := slow.at
				for i := 0; i < len(token) && !state.dead(); i++ {
					state = slow.c.step(state, token[i])
				}
				if admits := mask[id>>6]>>(id&63)&1 == 1; admits == state.dead() {
					t.Fatalf("%s behind %q: mask says %v of %q", text, want[:at], admits, token)
				}
				if strings.HasPrefix(want[at:], string(token)) {
					follow = append(follow, int32(id))
				}
			}
			id := pick(t, follow...)
			if err := m.Take(id); err != nil {
				t.Fatal(err)
			}
			if err := slow.Take(id); err != nil {
				t.Fatal(err)
			}
			if m.Complete() != slow.Complete() {
				t.Fatal("one is complete")
			}
			taken = append(taken, id)
			at += len(v.tokens[id])
			if rapid.IntRange(0, 3).Draw(t, "replay") > 0 {
				continue
			}
			replay := mustCompile(t, Source{Schema: text}).Start(v)
			for _, id := range taken {
				if err := replay.Take(id); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(replay.Mask(nil), m.Mask(nil)) || replay.Complete() != m.Complete() {
				t.Fatalf("%s behind %q: a replay goes on otherwise", text, want[:at])
			}
		}
	})
}

// expressions makes regular expressions over few letters.
func expressions(t *rapid.T, depth int) string {
	if depth == 0 {
		return pick(t, "a", "b", "é", ".", "[ab]", "[^a]", `\d`, "(?i:a)", `\x{10400}`, "1", "")
	}
	sub := func() string { return expressions(t, depth-1) }
	switch rapid.IntRange(0, 7).Draw(t, "expression") {
	case 0:
		return sub() + "|" + sub()
	case 1:
		return "(" + sub() + ")*"
	case 2:
		return "(?:" + sub() + ")+"
	case 3:
		return "(?:" + sub() + ")?"
	case 4:
		return fmt.Sprintf("(?:%s){%d,%d}", sub(), rapid.IntRange(0, 2).Draw(t, "least"), rapid.IntRange(2, 4).Draw(t, "most"))
	case 5:
		return pick(t, "^", "$", "(?:^|a)", "(?:$|b)") + sub()
	}
	return sub() + sub()
}

// TestRegex compares with package regexp.
func TestRegex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := expressions(t, 3)
		whole, anywhere := regexp.MustCompile("^(?:"+x+")$"), regexp.MustCompile(x)
		b := newBuilder()
		d, err := b.pattern("(?:"+x+")", false)
		found, err2 := b.pattern(x, true)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		g, gErr := Compile(Source{Regex: "(?:" + x + ")"})
		quoted, qErr := Compile(Source{Schema: json.RawMessage(`{"type":"string","pattern":` + quote(x) + `}`)})
		for range 10 {
			s := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "é", "A", "1", "\U00010400", "\n", "c"}), 0, 6).Draw(t, "text"), "")
			want := whole.MatchString(s)
			if d.takes(s) != want || gErr == nil && fits(g, s) != want || gErr != nil && want {
				t.Fatalf("%q of %q: regexp says %v (%v)", s, x, want, gErr)
			}
			want = anywhere.MatchString(s)
			if found.takes(s) != want || qErr == nil && fits(quoted, quote(s)) != want || qErr != nil && want {
				t.Fatalf("%q within %q: regexp says %v (%v)", x, s, want, qErr)
			}
		}
	})
}
