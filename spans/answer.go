package spans

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/skein-project/skein/token"
)

// Windows cuts n tokens into ranges of at most size, each of which begins overlap tokens before the end of the one before: so that what lies
// across an end is whole in one of them. overlap < size.
func Windows(n, size, overlap int) (out [][2]int) {
	for from := 0; ; from += size - overlap {
		to := min(from+size, n)
		out = append(out, [2]int{from, to})
		if to == n {
			return out
		}
	}
}

// Window is a part of a context in a row that a model has scored: a token that stands for no answer comes first, the context's somewhere behind.
type Window struct {
	First, Last []float32    // logits of each token of the row to be the first or the last of the answer
	From        int          // where in the row the tokens of the context begin
	Tokens      []token.Span // of the context, in bytes of it
	Words       []int32      // which word each of them is of
}

// Answer is a part of a context that may answer.
type Answer struct {
	At    token.Span // bytes
	Score float32    // the probability that it begins there and ends there, of all windows that give the same text together
}

// Search says which answers are looked for.
type Search struct {
	Best   int  // so many
	Tokens int  // an answer has at most so many
	Whole  bool // answers begin and end with whole words
}

// Answers finds the best answers, best first, and how likely it is that the context holds none: the least probability of a window for that.
// Probabilities are those of the tokens of the context and of the first of the row alone. Several candidates of a window that are the same
// text but for case count together. This is what the reference implementation does (Hugging Face transformers 4, QuestionAnsweringPipeline).
func Answers(context string, windows []Window, s Search) (out []Answer, none float32, err error) {
	none = 1
	at := map[string]int{}
	for i, w := range windows {
		n := len(w.Tokens)
		if w.From < 1 || len(w.First) < w.From+n || len(w.Last) < w.From+n || len(w.Words) != n {
			return nil, 0, fmt.Errorf("spans: window %d of %d tokens at %d has %d and %d scores and %d words", i, n, w.From, len(w.First), len(w.Last), len(w.Words))
		}
		first, noFirst := w.chances(w.First)
		last, noLast := w.chances(w.Last)
		none = min(none, noFirst*noLast)
		for _, c := range w.candidates(first, last, s) {
			span := w.span(c, s.Whole)
			text := strings.ToLower(context[span.From:span.To])
			if j, ok := at[text]; ok {
				out[j].Score += c.score
				continue
			}
			at[text] = len(out)
			out = append(out, Answer{span, c.score})
		}
	}
	slices.SortStableFunc(out, func(a, b Answer) int { return cmp.Compare(b.Score, a.Score) })
	return out[:min(len(out), s.Best)], none, nil
}

// chances is the softmax over the context's tokens and the row's first.
func (w Window) chances(logits []float32) (tokens []float32, none float32) {
	all := append(slices.Clone(logits[w.From:w.From+len(w.Tokens)]), logits[0])
	top := slices.Max(all)
	var sum float64
	for i, x := range all {
		e := math.Exp(float64(x) - float64(top))
		all[i] = float32(e)
		sum += e
	}
	for i := range all {
		all[i] = float32(float64(all[i]) / sum)
	}
	return all[:len(w.Tokens)], all[len(w.Tokens)]
}

// candidate is a range of tokens of a window, both ends in it.
type candidate struct {
	first, last int
	score       float32
}

// candidates are the best ranges of a window, best first: some more than are asked for where several may become the same words.
func (w Window) candidates(first, last []float32, s Search) []candidate {
	most := s.Best
	if s.Whole {
		most = 2*s.Best + 10
	}
	var best []candidate // sorted, at most most
	for i := range first {
		for j := i; j < min(len(last), i+s.Tokens); j++ {
			c := candidate{i, j, first[i] * last[j]}
			if len(best) == most && c.score <= best[most-1].score {
				continue
			}
			// Behind those that are as good: what comes first in the text goes first.
			to, _ := slices.BinarySearchFunc(best, c, func(a, b candidate) int {
				if a.score >= b.score {
					return -1
				}
				return 1
			})
			if len(best) == most {
				best = best[:most-1]
			}
			best = slices.Insert(best, to, c)
		}
	}
	return best
}

// span is a candidate's place in the context.
func (w Window) span(c candidate, whole bool) token.Span {
	for whole && c.first > 0 && w.Words[c.first-1] == w.Words[c.first] {
		c.first--
	}
	for whole && c.last+1 < len(w.Words) && w.Words[c.last+1] == w.Words[c.last] {
		c.last++
	}
	return token.Span{From: w.Tokens[c.first].From, To: w.Tokens[c.last].To}
}
