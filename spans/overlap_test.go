package spans

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/token"
)

// cut reads tokens in windows, as a model does that sees the same in each.
func cut(tokens []Token, size, overlap int) (out []Piece) {
	for _, w := range Windows(len(tokens), size, overlap) {
		out = append(out, Piece{w[0], tokens[w[0]:w[1]]})
	}
	return out
}

// Where windows overlap by more than the longest span has, and tokens are labelled the same in each, nothing is seen of the windows.
func TestPiecesOfAgreement(t *testing.T) {
	for name, labels := range schemes {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var names []string
				for range rapid.IntRange(0, 40).Draw(t, "tokens") {
					names = append(names, rapid.SampledFrom(labels).Draw(t, "label"))
				}
				tokens := row(labels, names...)
				outside := rapid.Bool().Draw(t, "outside")
				want, err := Join(tokens, labels, Simple, outside)
				if err != nil {
					t.Fatal(err)
				}
				longest := 1
				for _, s := range want {
					longest = max(longest, int(s.At.To-s.At.From+1)/2)
				}
				overlap := longest + rapid.IntRange(0, 3).Draw(t, "more")
				pieces := cut(tokens, overlap+rapid.IntRange(1, 9).Draw(t, "step"), overlap)
				got, err := JoinPieces(strings.Repeat("a", 2*len(tokens)), pieces, labels, Simple, outside)
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("%v, %v, want %v", got, err, want)
				}
			})
		})
	}
}

// Where tokens must all be there, each comes from the window in which it is farthest from an end.
func TestPiecesOfDisagreement(t *testing.T) {
	labels := []string{"O", "B-X", "I-X"}
	rapid.Check(t, func(t *rapid.T) {
		n, size := rapid.IntRange(1, 30).Draw(t, "tokens"), rapid.IntRange(1, 9).Draw(t, "size")
		windows := Windows(n, size, rapid.IntRange(0, size-1).Draw(t, "overlap"))
		var pieces []Piece
		for _, w := range windows {
			p := Piece{From: w[0]}
			for at := w[0]; at < w[1]; at++ {
				chosen, score := rapid.IntRange(0, 2).Draw(t, "label"), float32(len(pieces)+2)/100
				p.Tokens = append(p.Tokens, Token{token.Span{From: int32(2 * at), To: int32(2*at + 1)}, int32(at), hot(chosen, 3, 0.5+score)})
			}
			pieces = append(pieces, p)
		}
		text := strings.Repeat("a", 2*n)
		got, err := JoinPieces(text, pieces, labels, None, true)
		if err != nil || len(got) != n {
			t.Fatalf("%d of %d tokens, %v", len(got), n, err)
		}
		for at, s := range got {
			best, where := -1, 0
			for i, w := range windows {
				if room := min(at-w[0], w[1]-1-at); room > best {
					best, where = room, i
				}
			}
			want := pieces[where].Tokens[at-windows[where][0]]
			if s.At != want.At || s.Label != labels[slices.Index(want.Scores, slices.Max(want.Scores))] || s.Score != slices.Max(want.Scores) {
				t.Fatalf("token %d is %v, want %v of window %d", at, s, want, where)
			}
		}
		// Spans of types: apart, in order, each of a window.
		joined, err := JoinPieces(text, pieces, labels, Simple, false)
		if err != nil {
			t.Fatal(err)
		}
		var all []Span
		for _, p := range pieces {
			found, err := Join(p.Tokens, labels, Simple, false)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
		end := int32(0)
		for _, s := range joined {
			if s.At.From < end || !slices.Contains(all, s) {
				t.Fatalf("%v of %v", joined, all)
			}
			end = s.At.To
		}
		for _, s := range all {
			if !slices.ContainsFunc(joined, func(k Span) bool { return k.At.From < s.At.To && s.At.From < k.At.To }) && len(pieces) < 3 {
				t.Fatalf("nothing is kept of %v: %v", s, joined)
			}
		}
	})
}

func TestOverlaps(t *testing.T) {
	const text = "机器机器 abcdefgh" // 机 has three bytes
	span := func(from, to int32, label string, score float32) Span {
		return Span{token.Span{From: from, To: to}, label, score}
	}
	for what, c := range map[string]struct{ all, want []Span }{
		"longer":      {[]Span{span(13, 16, "A", 0.9), span(14, 18, "B", 0.1)}, []Span{span(14, 18, "B", 0.1)}},
		"characters":  {[]Span{span(6, 16, "B", 0.1), span(0, 12, "A", 0.9)}, []Span{span(6, 16, "B", 0.1)}}, // 6 characters in 10 bytes, 4 in 12
		"likelier":    {[]Span{span(13, 16, "A", 0.3), span(14, 17, "B", 0.4)}, []Span{span(14, 17, "B", 0.4)}},
		"equal":       {[]Span{span(13, 16, "A", 0.3), span(13, 16, "B", 0.3)}, []Span{span(13, 16, "A", 0.3)}},
		"neighbours":  {[]Span{span(13, 16, "A", 0.3), span(16, 17, "B", 0.3)}, []Span{span(13, 16, "A", 0.3), span(16, 17, "B", 0.3)}},
		"not ordered": {[]Span{span(16, 17, "B", 0.3), span(13, 16, "A", 0.3)}, []Span{span(13, 16, "A", 0.3), span(16, 17, "B", 0.3)}},
	} {
		if got := disjoint(text, c.all); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
	labels := []string{"B", "I"}
	for what, p := range map[string][]Piece{
		"a gap": {{0, row(labels, "B")}, {2, row(labels, "B")}}, "back": {{1, row(labels, "B", "I")}, {0, row(labels, "B")}},
		"scores": {{0, row(labels, "B")}, {1, []Token{{Scores: []float32{1}}}}},
	} {
		if _, err := JoinPieces("abcd", p, labels, Simple, false); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if got, err := JoinPieces("", nil, labels, Simple, false); err != nil || len(got) != 0 {
		t.Errorf("nothing: %v, %v", got, err)
	}
}
