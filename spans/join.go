package spans

import (
	"fmt"
	"slices"

	"github.com/skein-project/skein/token"
)

// Token is a token of a text with the scores of its labels.
type Token struct {
	At     token.Span
	Word   int32 // which word it is of; tokens of a word follow each other
	Scores []float32
}

// Span is a labelled part of a text.
type Span struct {
	At    token.Span // bytes
	Label string
	Score float32
}

// Aggregation says how labels of tokens become spans; the words are those of the reference implementation (Hugging Face transformers,
// TokenClassificationPipeline).
type Aggregation int

// Aggregations.
const (
	Simple  Aggregation = iota // neighbours join as their labels say
	None                       // each token by itself, under its whole label
	First                      // a word has the label of its first token, then words join
	Average                    // … the label with the highest mean score
	Max                        // … the label of the token with the highest score
)

// unit is a token or a word with its label.
type unit struct {
	at    token.Span
	label int
	score float32
}

// Join finds the spans that a model labels. labels are the model's, in the order of the scores; each token has a score for each. What is
// labelled "O" is left out unless outside says otherwise; then it joins like any other type.
//
// A span begins at a begin, at a single, behind an end or a single, and where the type changes; its score is the mean of its parts'.
func Join(tokens []Token, labels []string, how Aggregation, outside bool) ([]Span, error) {
	for i, t := range tokens {
		if len(t.Scores) != len(labels) || len(labels) == 0 {
			return nil, fmt.Errorf("spans: token %d has %d scores for %d labels", i, len(t.Scores), len(labels))
		}
	}
	tags := Tags(labels)
	var out []Span
	var last Tag
	parts := 0 // of the newest span
	for _, u := range units(tokens, how) {
		tag := tags[u.label]
		switch {
		case tag.Mark == Outside && !outside:
		case how == None:
			out = append(out, Span{u.at, labels[u.label], u.score})
		case parts > 0 && follows(last, tag):
			s := &out[len(out)-1]
			s.At.To = u.at.To
			s.Score += u.score
			parts++
		default:
			mean(out, parts)
			name := tag.Type
			if tag.Mark == Outside {
				name = "O"
			}
			out, parts = append(out, Span{u.at, name, u.score}), 1
		}
		if last = tag; tag.Mark == Outside && !outside {
			mean(out, parts)
			parts = 0
		}
	}
	mean(out, parts)
	return out, nil
}

// mean ends the newest span, whose score is a sum so far.
func mean(spans []Span, parts int) {
	if parts > 0 {
		spans[len(spans)-1].Score /= float32(parts)
	}
}

// follows says whether a tag goes on with the span of the one before.
func follows(last, tag Tag) bool {
	switch {
	case last.Mark == Outside || tag.Mark == Outside:
		return last.Mark == tag.Mark
	case tag.Mark == Begin || tag.Mark == Single || last.Mark == End || last.Mark == Single:
		return false
	}
	return last.Type == tag.Type
}

// units makes one of each token or word.
func units(tokens []Token, how Aggregation) (out []unit) {
	for len(tokens) > 0 {
		n := 1
		for how != Simple && how != None && n < len(tokens) && tokens[n].Word == tokens[0].Word {
			n++
		}
		out = append(out, word(tokens[:n], how))
		tokens = tokens[n:]
	}
	return out
}

// word gives the tokens of a word one label.
func word(tokens []Token, how Aggregation) unit {
	u := unit{at: token.Span{From: tokens[0].At.From, To: tokens[len(tokens)-1].At.To}}
	scores := tokens[0].Scores
	switch how {
	case Max:
		for _, t := range tokens[1:] {
			if slices.Max(t.Scores) > slices.Max(scores) {
				scores = t.Scores
			}
		}
	case Average:
		scores = make([]float32, len(scores))
		for i := range scores {
			var sum float64
			for _, t := range tokens {
				sum += float64(t.Scores[i])
			}
			scores[i] = float32(sum / float64(len(tokens)))
		}
	}
	for i, s := range scores {
		if s > scores[u.label] {
			u.label = i
		}
	}
	u.score = scores[u.label]
	return u
}
