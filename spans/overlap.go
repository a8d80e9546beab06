package spans

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Piece is a window of a text's tokens that a model has labelled: the tokens from From on.
type Piece struct {
	From   int
	Tokens []Token
}

// JoinPieces is Join for a text s that was read in windows, in their order, of which each begins where the one before ends, or before that.
//
// Spans of types are found in each window by itself; of those that overlap, the longest is kept, and of equally long ones the more probable, as the
// reference implementation does (Hugging Face transformers, TokenClassificationPipeline with a stride). That can leave tokens without
// any span. Where every token needs one (how is None, outside is wanted, or labels mark words and nothing else), each token is taken from the
// window in which it is farthest from an end, and then all are joined.
func JoinPieces(s string, pieces []Piece, labels []string, how Aggregation, outside bool) ([]Span, error) {
	for i, p := range pieces[min(1, len(pieces)):] {
		if before := pieces[i]; p.From < before.From || p.From > before.From+len(before.Tokens) {
			return nil, fmt.Errorf("spans: window %d begins at token %d and the one before has %d from %d", i+1, p.From, len(before.Tokens), before.From)
		}
	}
	if len(pieces) == 1 {
		return Join(pieces[0].Tokens, labels, how, outside)
	}
	if how == None || outside || onlyWords(labels) {
		return Join(central(pieces), labels, how, outside)
	}
	var all []Span
	for _, p := range pieces {
		found, err := Join(p.Tokens, labels, how, outside)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return disjoint(s, all), nil
}

// onlyWords says whether no label has a type.
func onlyWords(labels []string) bool {
	return !slices.ContainsFunc(Tags(labels), func(t Tag) bool { return t.Type != "" })
}

// central takes each token of a text from the window in which it has the most tokens on its poorer side; of equals, the first.
func central(pieces []Piece) (out []Token) {
	var room []int
	for _, p := range pieces {
		for i, t := range p.Tokens {
			at, here := p.From+i, min(i, len(p.Tokens)-1-i)
			switch {
			case at == len(out):
				out, room = append(out, t), append(room, here)
			case here > room[at]:
				out[at], room[at] = t, here
			}
		}
	}
	return out
}

// disjoint keeps of spans that overlap the one of the most characters, then the more probable.
func disjoint(text string, all []Span) (out []Span) {
	long := func(s Span) int { return utf8.RuneCountInString(text[s.At.From:s.At.To]) }
	slices.SortStableFunc(all, func(a, b Span) int { return cmp.Compare(a.At.From, b.At.From) })
	for _, s := range all {
		if len(out) == 0 || s.At.From >= out[len(out)-1].At.To {
			out = append(out, s)
			continue
		}
		last := &out[len(out)-1]
		if d := long(s) - long(*last); d > 0 || d == 0 && s.Score > last.Score {
			*last = s
		}
	}
	return out
}
