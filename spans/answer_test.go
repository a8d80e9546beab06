package spans

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/token"
)

func TestWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, size := rapid.IntRange(0, 40).Draw(t, "tokens"), rapid.IntRange(1, 12).Draw(t, "size")
		overlap := rapid.IntRange(0, size-1).Draw(t, "overlap")
		list := Windows(n, size, overlap)
		if list[0][0] != 0 || list[len(list)-1][1] != n {
			t.Fatalf("%v does not cover %d", list, n)
		}
		for i, w := range list {
			if w[1]-w[0] > size || n > 0 && w[0] >= w[1] || i > 0 && (w[0] != list[i-1][1]-overlap || list[i-1][1]-list[i-1][0] != size) {
				t.Fatalf("%v of %d by %d with %d", list, n, size, overlap)
			}
		}
		// What is no longer than an overlap is whole in a window.
		for from := range max(n-overlap, 0) {
			if !slices.ContainsFunc(list, func(w [2]int) bool { return w[0] <= from && from+overlap <= w[1] }) {
				t.Fatalf("%d tokens from %d are in none of %v", overlap, from, list)
			}
		}
	})
}

// context draws a text of short words; some tokens are parts of words.
func context(t *rapid.T) (s string, tokens []token.Span, words []int32) {
	word := int32(-1)
	for range rapid.IntRange(1, 9).Draw(t, "tokens") {
		if word < 0 || rapid.Bool().Draw(t, "space") {
			word++
			s += " "
		}
		piece := rapid.SampledFrom([]string{"a", "b", "A", "ab", "é", "机"}).Draw(t, "piece")
		tokens, words = append(tokens, token.Span{From: int32(len(s)), To: int32(len(s) + len(piece))}), append(words, word)
		s += piece
	}
	return s, tokens, words
}

// obvious looks at every range of every window.
func obvious(s string, windows []Window, search Search) (out []Answer, none float32) {
	least := 1.0
	type found struct {
		at    token.Span
		score float64
	}
	var all []found
	for _, w := range windows {
		soft := func(logits []float32) []float64 {
			p := []float64{math.Exp(float64(logits[0]))}
			for i := range w.Tokens {
				p = append(p, math.Exp(float64(logits[w.From+i])))
			}
			sum := 0.0
			for _, x := range p {
				sum += x
			}
			for i := range p {
				p[i] /= sum
			}
			return p
		}
		first, last := soft(w.First), soft(w.Last)
		least = min(least, first[0]*last[0])
		var ranges []found
		for i := range w.Tokens {
			for j := range w.Tokens {
				if j < i || j-i >= search.Tokens {
					continue
				}
				from, to := i, j
				if search.Whole {
					from, to = slices.Index(w.Words, w.Words[i]), len(w.Words)-1
					for w.Words[to] != w.Words[j] {
						to--
					}
				}
				ranges = append(ranges, found{token.Span{From: w.Tokens[from].From, To: w.Tokens[to].To}, first[i+1] * last[j+1]})
			}
		}
		slices.SortStableFunc(ranges, func(a, b found) int { return cmp.Compare(b.score, a.score) })
		most := search.Best
		if search.Whole {
			most = 2*most + 10
		}
		all = append(all, ranges[:min(len(ranges), most)]...)
	}
	for _, f := range all {
		same := func(a Answer) bool { return strings.EqualFold(s[a.At.From:a.At.To], s[f.at.From:f.at.To]) }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i].Score += float32(f.score)
			continue
		}
		out = append(out, Answer{f.at, float32(f.score)})
	}
	slices.SortStableFunc(out, func(a, b Answer) int { return cmp.Compare(b.Score, a.Score) })
	return out[:min(len(out), search.Best)], float32(least)
}

func TestAnswersAgainstObvious(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, tokens, words := context(t)
		size := rapid.IntRange(1, len(tokens)).Draw(t, "size")
		search := Search{Best: rapid.IntRange(1, 4).Draw(t, "best"), Tokens: rapid.IntRange(1, 5).Draw(t, "longest"), Whole: rapid.Bool().Draw(t, "whole")}
		var windows []Window
		distinct := float32(0) // equal scores have no order
		for _, w := range Windows(len(tokens), size, rapid.IntRange(0, size-1).Draw(t, "overlap")) {
			win := Window{From: 2, Tokens: tokens[w[0]:w[1]], Words: words[w[0]:w[1]]}
			for range 2 + w[1] - w[0] + 1 {
				distinct += 1e-3
				win.First = append(win.First, rapid.Float32Range(-3, 3).Draw(t, "first")+distinct)
				win.Last = append(win.Last, rapid.Float32Range(-3, 3).Draw(t, "last")-distinct*0.7)
			}
			windows = append(windows, win)
		}
		got, none, err := Answers(s, windows, search)
		want, least := obvious(s, windows, search)
		if err != nil || len(got) != len(want) || math.Abs(float64(none-least)) > 1e-6 {
			t.Fatalf("%v and %v, %v, want %v and %v", got, none, err, want, least)
		}
		for i := range want {
			// Scores that are nearly equal may stand in either order.
			if math.Abs(float64(got[i].Score-want[i].Score)) > 1e-5 {
				t.Fatalf("answer %d is %v, want %v", i, got, want)
			}
		}
	})
}

func TestAnswersOfNothing(t *testing.T) {
	got, none, err := Answers("", []Window{{First: []float32{1, 2}, Last: []float32{3, 4}, From: 2}}, Search{Best: 3, Tokens: 5})
	if err != nil || len(got) != 0 || none != 1 {
		t.Errorf("%v, %v, %v", got, none, err)
	}
	one := []token.Span{{From: 0, To: 1}}
	for name, w := range map[string]Window{
		"no place for none": {First: []float32{1}, Last: []float32{1}, Tokens: one, Words: []int32{0}}, "too few scores": {First: []float32{1}, Last: []float32{1, 2}, From: 1, Tokens: one, Words: []int32{0}},
		"too few lasts": {First: []float32{1, 2}, Last: []float32{1}, From: 1, Tokens: one, Words: []int32{0}}, "no words": {First: []float32{1, 2}, Last: []float32{1, 2}, From: 1, Tokens: one},
	} {
		if _, _, err := Answers("a", []Window{w}, Search{Best: 1, Tokens: 1}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
