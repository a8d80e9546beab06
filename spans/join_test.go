package spans

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/token"
)

// schemes are label sets of each kind. The types of the last have no marks.
var schemes = map[string][]string{
	"IOB2":  {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"},
	"BIOES": {"O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC"},
	"BMES":  {"B", "M", "E", "S"},
	"BILOU": {"O", "B-PER", "I-PER", "L-PER", "U-PER"},
	"plain": {"NOUN", "O", "VERB"},
}

// hot gives one label nearly all of the score.
func hot(label, labels int, score float32) []float32 {
	out := make([]float32, labels)
	for i := range out {
		out[i] = (1 - score) / float32(labels)
	}
	out[label] = score
	return out
}

// row makes a token of each label, one byte each, all in words of their own.
func row(labels []string, names ...string) (out []Token) {
	for i, name := range names {
		out = append(out, Token{token.Span{From: int32(2 * i), To: int32(2*i + 1)}, int32(i), hot(slices.Index(labels, name), len(labels), 0.9)})
	}
	return out
}

func text(list []Span) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, fmt.Sprintf("%s %d-%d", s.Label, s.At.From, s.At.To))
	}
	return strings.Join(parts, ", ")
}

func TestJoin(t *testing.T) {
	for _, c := range []struct{ scheme, names, want string }{
		{"IOB2", "B-PER I-PER O B-LOC", "PER 0-3, LOC 6-7"},
		{"IOB2", "B-PER B-PER I-PER", "PER 0-1, PER 2-5"},
		{"IOB2", "I-PER I-LOC I-LOC O I-LOC", "PER 0-1, LOC 2-5, LOC 8-9"},
		{"BIOES", "B-PER I-PER E-PER S-PER S-LOC", "PER 0-5, PER 6-7, LOC 8-9"},
		{"BIOES", "E-PER E-PER I-PER B-LOC", "PER 0-1, PER 2-3, PER 4-5, LOC 6-7"},
		{"BMES", "S B E B M M E S", " 0-1,  2-5,  6-13,  14-15"},
		{"BMES", "M M E E", " 0-5,  6-7"},
		{"BILOU", "B-PER L-PER U-PER O", "PER 0-3, PER 4-5"},
		{"plain", "NOUN NOUN VERB O NOUN", "NOUN 0-3, VERB 4-5, NOUN 8-9"},
		{"plain", "", ""},
	} {
		labels := schemes[c.scheme]
		got, err := Join(row(labels, strings.Fields(c.names)...), labels, Simple, false)
		if err != nil || text(got) != c.want {
			t.Errorf("%s %s: %q, %v, want %q", c.scheme, c.names, text(got), err, c.want)
		}
	}
	labels := schemes["IOB2"]
	got, err := Join(row(labels, "O", "O", "B-PER", "O"), labels, Simple, true)
	if err != nil || text(got) != "O 0-3, PER 4-5, O 6-7" {
		t.Errorf("with what is outside: %q, %v", text(got), err)
	}
	if got, err = Join(row(labels, "O", "B-PER"), labels, None, true); err != nil || text(got) != "O 0-1, B-PER 2-3" {
		t.Errorf("tokens with what is outside: %q, %v", text(got), err)
	}
	if _, err = Join([]Token{{Scores: []float32{1}}}, labels, Simple, false); err == nil {
		t.Error("a token with too few scores is taken")
	}
	if _, err = Join([]Token{{}}, nil, Simple, false); err == nil {
		t.Error("a token of a model without labels is taken")
	}
}

// Words take the label of their first token, of the highest mean, or of the highest score.
func TestAggregations(t *testing.T) {
	labels := []string{"O", "B-PER", "I-PER"}
	tokens := []Token{
		{token.Span{From: 0, To: 2}, 0, []float32{0.5, 0.4, 0.1}}, {token.Span{From: 2, To: 4}, 0, []float32{0, 0.9, 0.1}}, {token.Span{From: 4, To: 5}, 0, []float32{0.95, 0, 0.05}},
		{token.Span{From: 6, To: 8}, 1, []float32{0.2, 0.2, 0.6}},
	}
	for how, want := range map[Aggregation]string{Simple: "PER 2-4, PER 6-8", None: "B-PER 2-4, I-PER 6-8", First: "PER 6-8", Average: "PER 6-8", Max: "PER 6-8"} {
		if got, err := Join(tokens, labels, how, false); err != nil || text(got) != want {
			t.Errorf("%d: %q, %v, want %q", how, text(got), err, want)
		}
	}
	tokens[2].Scores = []float32{0.3, 0.2, 0.5}
	for how, want := range map[Aggregation]Span{
		Average: {token.Span{From: 0, To: 8}, "PER", (0.5 + 0.6) / 2}, Max: {token.Span{From: 0, To: 8}, "PER", (0.9 + 0.6) / 2},
	} {
		got, err := Join(tokens, labels, how, false)
		if err != nil || len(got) != 1 || got[0].At != want.At || got[0].Label != want.Label || math.Abs(float64(got[0].Score-want.Score)) > 1e-6 {
			t.Errorf("%d: %v, %v, want %v", how, got, err, want)
		}
	}
}

// draw makes tokens of random labels; words are of one token or more.
func draw(t *rapid.T, labels []string) (out []Token) {
	word, at := int32(0), int32(0)
	for range rapid.IntRange(0, 14).Draw(t, "tokens") {
		if rapid.Bool().Draw(t, "space") {
			word, at = word+1, at+1
		}
		n := rapid.Int32Range(1, 3).Draw(t, "length")
		label := rapid.IntRange(0, len(labels)-1).Draw(t, "label")
		out = append(out, Token{token.Span{From: at, To: at + n}, word, hot(label, len(labels), rapid.Float32Range(0.55, 0.99).Draw(t, "score"))})
		at += n
	}
	return out
}

// slow is Join as one says it: two neighbours are of one span if nothing says that they are not; a span is a run of such neighbours.
func slow(units []unit, labels []string) (out []Span) {
	tags := Tags(labels)
	together := func(i int) bool { // units i and i+1
		a, b := tags[units[i].label], tags[units[i+1].label]
		begins := b.Mark == Begin || b.Mark == Single
		ended := a.Mark == End || a.Mark == Single
		return a.Mark != Outside && b.Mark != Outside && a.Type == b.Type && !begins && !ended
	}
	for i := range units {
		if tags[units[i].label].Mark == Outside || i > 0 && together(i-1) {
			continue
		}
		j := i
		for j+1 < len(units) && together(j) {
			j++
		}
		var sum float64
		for _, u := range units[i : j+1] {
			sum += float64(u.score)
		}
		out = append(out, Span{token.Span{From: units[i].at.From, To: units[j].at.To}, tags[units[i].label].Type, float32(sum / float64(j+1-i))})
	}
	return out
}

func same(a, b []Span) bool {
	return slices.EqualFunc(a, b, func(x, y Span) bool {
		return x.At == y.At && x.Label == y.Label && math.Abs(float64(x.Score-y.Score)) < 1e-5
	})
}

func TestJoinAgainstSlow(t *testing.T) {
	for name, labels := range schemes {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				tokens := draw(t, labels)
				for _, how := range []Aggregation{Simple, First, Average, Max} {
					got, err := Join(tokens, labels, how, false)
					if want := slow(units(tokens, how), labels); err != nil || !same(got, want) {
						t.Fatalf("%d: %v, %v, want %v", how, got, err, want)
					}
				}
			})
		})
	}
}

// Words that are marked as a scheme marks them are found again.
func TestWordsAreFoundAgain(t *testing.T) {
	mark := map[string]func(n, i int) string{
		"BMES": func(n, i int) string { return map[bool]string{true: "S"}[n == 1] + inner(n, i, "B", "M", "E") },
		"BI":   func(_, i int) string { return map[bool]string{true: "B", false: "I"}[i == 0] },
	}
	sets := map[string][]string{"BMES": {"B", "M", "E", "S"}, "BI": {"B", "I"}}
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.IntRange(1, 5), 0, 12).Draw(t, "words")
		for name, set := range sets {
			var tokens []Token
			var want []token.Span
			at := int32(0)
			for _, n := range lengths {
				want = append(want, token.Span{From: at, To: at + int32(n)})
				for i := range n {
					tokens = append(tokens, Token{token.Span{From: at, To: at + 1}, at, hot(slices.Index(set, mark[name](n, i)), len(set), 0.8)})
					at++
				}
			}
			got, err := Join(tokens, set, Simple, false)
			if err != nil || len(got) != len(want) {
				t.Fatalf("%s: %v, %v, want %v", name, got, err, want)
			}
			for i := range want {
				if got[i].At != want[i] || got[i].Label != "" {
					t.Fatalf("%s: %v, want %v", name, got, want)
				}
			}
		}
	})
}

// inner is the mark of character i of a word of n > 1.
func inner(n, i int, first, middle, last string) string {
	switch {
	case n == 1:
		return ""
	case i == 0:
		return first
	case i == n-1:
		return last
	}
	return middle
}

func TestRuler(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.RuneFrom([]rune("aé机😀\u0301 👋🏽"))).Draw(t, "text")
		starts := []int32{int32(len(s))}
		for i := range s {
			starts = append(starts, int32(i))
		}
		rulers := map[Unit]*Ruler{}
		for _, u := range []Unit{Characters, Bytes, UTF16} {
			rulers[u] = NewRuler(s, u)
		}
		for range 8 {
			at := rapid.SampledFrom(starts).Draw(t, "byte")
			for u, want := range map[Unit]int{Characters: utf8.RuneCountInString(s[:at]), Bytes: int(at), UTF16: len(utf16.Encode([]rune(s[:at])))} {
				if got := rulers[u].At(at); int(got) != want {
					t.Fatalf("byte %d of %q is %d in unit %d, want %d", at, s, got, u, want)
				}
			}
		}
	})
}
