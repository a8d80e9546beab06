package grammar

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// broad is a vocabulary of 150,000 tokens with what those of large models have: every byte, runs of white space, punctuation in all combinations
// that code has, numbers of up to three digits, words and pieces of words with and without a space or a capital letter, and words of other alphabets.
var broad = sync.OnceValue(func() *Vocabulary {
	const size = 150_000
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	var tokens [][]byte
	add := func(s string) {
		if !seen[s] && len(tokens) < size {
			seen[s] = true
			tokens = append(tokens, []byte(s))
		}
	}
	for i := range 256 {
		add(string([]byte{byte(i)}))
	}
	for n := 1; n <= 128; n++ {
		for _, c := range []string{" ", "\n", "\t", "-", "=", "*"} {
			add(strings.Repeat(c, n))
			add("\n" + strings.Repeat(c, n))
		}
	}
	for n := range 1000 {
		add(fmt.Sprint(n))
	}
	marks := []string{`"`, `{`, `}`, `[`, `]`, `:`, `,`, ` `, `\`, "\n", `'`, `.`, `/`, `(`, `)`, `<`, `>`, `=`, `_`, `;`, `!`}
	for _, a := range marks {
		for _, b := range marks {
			add(a + b)
			for _, c := range marks[:12] {
				add(a + b + c)
				add(a + b + c + a)
			}
		}
	}
	scripts := [][2]rune{{'a', 'z'}, {'a', 'z'}, {'a', 'z'}, {'a', 'z'}, {'а', 'я'}, {'一', '鿿'}, {'가', '힣'}, {'ぁ', 'ん'}, {'α', 'ω'}, {'😀', '🙏'}}
	for len(tokens) < size {
		script := scripts[rng.IntN(len(scripts))]
		n := 1 + rng.IntN(8)
		if script[0] > 0x3000 {
			n = 1 + rng.IntN(3)
		}
		var w []rune
		for range n {
			w = append(w, script[0]+rune(rng.IntN(int(script[1]-script[0])+1)))
		}
		switch s := string(w); rng.IntN(8) {
		case 0, 1, 2:
			add(" " + s)
		case 3:
			add(strings.ToUpper(s[:1]) + s[1:])
		case 4:
			add(marks[rng.IntN(len(marks))] + s)
		case 5:
			add(s + marks[rng.IntN(len(marks))])
		default:
			add(s)
		}
	}
	return NewVocabulary(tokens)
})

var benchmarks = map[string]struct {
	source Source
	answer string
}{
	"object": {Source{Object: true}, `{"name": "Ada Lovelace", "born": 1815, "works": ["Notes on the engine", "Letters"], "alive": false, "x": {"y": [1.5, null, {"z": "ok"}]}}`},
	"person": {Source{Schema: []byte(`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
		"mail":{"anyOf":[{"type":"string","format":"email"},{"type":"null"}]},"tags":{"type":"array","items":{"type":"string"}},
		"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}},"required":["street","city"],"additionalProperties":false}},
		"required":["name","age","mail","tags","address"],"additionalProperties":false}`)},
		"{\n  \"name\": \"Grace Hopper\",\n  \"age\": 45,\n  \"mail\": \"grace@navy.example.org\",\n  \"tags\": [\"compilers\", \"navy\", \"cobol\"],\n  \"address\": {\"street\": \"12 Long Road\", \"city\": \"Arlington\"}\n}"},
	"lengths": {Source{Schema: []byte(`{"type":"object","properties":{"title":{"type":"string","minLength":1,"maxLength":60},"body":{"type":"string","maxLength":2000},
		"code":{"type":"string","pattern":"^[A-Z]{2}-[0-9]{4}$"}},"required":["title","body","code"],"additionalProperties":false}`)},
		`{"title": "A short title of some words", "body": "And a body that is a good deal longer, \"quoted\" here and there, with ümläuts and 漢字 too, so that every kind of character comes.", "code": "AB-1234"}`},
	"recursive": {Source{Schema: []byte(`{"$defs":{"node":{"type":"object","properties":{"label":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/$defs/node"}}},
		"required":["label","children"],"additionalProperties":false}},"$ref":"#/$defs/node"}`)},
		`{"label":"root","children":[{"label":"left side","children":[{"label":"leaf of the left","children":[]}]},{"label":"right side","children":[{"label":"another leaf","children":[]},{"label":"last one","children":[]}]}]}`},
	"regex": {Source{Regex: `[A-Z][a-z]+ [A-Z][a-z]+, (19|20)[0-9]{2}: .{10,200}`}, "Alan Turing, 1950: Computing machinery and intelligence, in Mind, volume 59."},
	"times": {Source{Free: &Free{Marker: "<<", Then: Source{Regex: "[a-z ]*"}, Times: 2}}, "Some text <<and more of it here <<with two of them."},
	"short": {Source{Regex: `[a-z ]{1,12}`}, "and so it is"},
	"ascii": {Source{Seq: []Source{{Literal: "> "}, {Regex: `[ -~\n]*`}}}, "> Plain text only, and nothing else: 100 % of it."},
	"but":   {Source{Regex: `[^é一-豈!]*`}, "Any text but for some characters: ünd 100 % of it."},
	"free": {Source{Free: &Free{Marker: "<tool_call>", Then: Source{Seq: []Source{{Literal: "\n{\"name\": \"add\", \"arguments\": "}, {Object: true}, {Literal: "}\n</tool_call>"}}}}},
		"Let me think about that for a moment.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": [2, 3]}}\n</tool_call>\nDone."},
}

// greedy is the longest token that begins text.
func (v *Vocabulary) greedy(ids map[string]int32, text string) int32 {
	for n := min(len(text), v.longest); n > 0; n-- {
		if id, ok := ids[text[:n]]; ok {
			return id
		}
	}
	return -1
}

// threadTime is what the thread has computed: a busy machine does not change it.
func threadTime(t interface{ Fatal(...any) }) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// BenchmarkMask measures masks in answers, in time that was computed: of a grammar that no answer was made with before, and of one that an answer was just made with.
func BenchmarkMask(b *testing.B) {
	v := broad()
	ids := map[string]int32{}
	for i, t := range v.tokens {
		ids[string(t)] = int32(i)
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for k := range benchmarks {
			if !yield(k) {
				return
			}
		}
	}) {
		bench := benchmarks[name]
		for _, state := range []string{"cold", "warm"} {
			b.Run(name+"/"+state, func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				var took []time.Duration
				var mask []uint64
				g, err := Compile(bench.source)
				if err != nil {
					b.Fatal(err)
				}
				answer := func(measure bool) {
					m := g.Start(v)
					for text := bench.answer; text != ""; {
						start := threadTime(b)
						mask = m.Mask(mask)
						if measure {
							took = append(took, threadTime(b)-start)
						}
						id := v.greedy(ids, text)
						if mask[id>>6]&(1<<(id&63)) == 0 {
							b.Fatalf("%q is not admitted before %q", v.tokens[id], text)
						}
						if err := m.Take(id); err != nil {
							b.Fatal(err)
						}
						text = text[len(v.tokens[id]):]
					}
					if !m.Complete() {
						b.Fatal("not complete")
					}
				}
				for b.Loop() {
					if state == "cold" {
						g, _ = Compile(bench.source)
						answer(true)
					} else {
						answer(false)
						answer(true)
					}
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
				b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "worst-ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// TestBroad compares masks of a large vocabulary with trying every token.
func TestBroad(t *testing.T) {
	v := broad()
	ids := map[string]int32{}
	for i, token := range v.tokens {
		ids[string(token)] = int32(i)
	}
	for name, bench := range benchmarks {
		m := mustCompile(t, bench.source).Start(v)
		taken := 0
		for text := bench.answer; text != ""; taken++ {
			mask := m.Mask(nil)
			for id, token := range v.tokens {
				if taken%7 != 2 {
					break
				}
				state := m.at
				for i := 0; i < len(token) && !state.dead(); i++ {
					state = m.c.step(state, token[i])
				}
				if admits := mask[id>>6]>>(id&63)&1 == 1; admits == state.dead() {
					t.Fatalf("%s before %q: mask says %v of %q", name, text, admits, token)
				}
			}
			id := v.greedy(ids, text)
			if err := m.Take(id); err != nil {
				t.Fatal(err)
			}
			text = text[len(v.tokens[id]):]
		}
	}
}

// BenchmarkCompile measures making grammars, of the kind that clients send.
func BenchmarkCompile(b *testing.B) {
	for _, name := range []string{"object", "person", "lengths", "recursive", "regex", "free"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(benchmarks[name].source); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVocabulary measures making a trie of 150,000 tokens.
func BenchmarkVocabulary(b *testing.B) {
	tokens := broad().tokens
	b.ReportAllocs()
	for b.Loop() {
		NewVocabulary(tokens)
	}
}
