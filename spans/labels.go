// Package spans turns what a model says of the tokens of a text into words, labelled spans and answers.
package spans

import (
	"slices"
	"strings"
)

// Mark is where in a span a label says that a token stands.
type Mark int

// Marks.
const (
	Outside Mark = iota
	Begin
	Inside // or a label of no scheme: it goes on with a span of its type, or begins one
	End
	Single
)

// Tag is a label taken apart.
type Tag struct {
	Mark Mark
	Type string // "" in schemes that mark words and nothing else
}

// marks are the letters of the schemes IOB2 (Tjong Kim Sang and Veenstra, 1999), BIOES, BMES (Xue, 2003) and BILOU (Ratinov and Roth, 2009).
var marks = map[string]Mark{"B": Begin, "I": Inside, "M": Inside, "E": End, "L": End, "S": Single, "U": Single}

// Tags takes the labels of a model apart. "O" is outside. "B-" and "I-" are marks always, the other letters only where the model has the same
// type with "B-" too: "E-mail" is a type of its own unless there is a "B-mail". Labels that are letters of a scheme and nothing else mark words.
func Tags(labels []string) []Tag {
	bare := slices.Contains(labels, "B")
	for _, l := range labels {
		_, ok := marks[l]
		bare = bare && (ok || l == "O")
	}
	out := make([]Tag, len(labels))
	for i, l := range labels {
		letter, kind, found := strings.Cut(l, "-")
		mark, known := marks[letter]
		switch {
		case l == "O":
			out[i] = Tag{}
		case bare:
			out[i] = Tag{Mark: marks[l]}
		case found && known && (letter == "B" || letter == "I" || slices.Contains(labels, "B-"+kind)):
			out[i] = Tag{Mark: mark, Type: kind}
		default:
			out[i] = Tag{Mark: Inside, Type: l}
		}
	}
	return out
}
