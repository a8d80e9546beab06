package spans

import (
	"slices"
	"testing"
)

func TestTags(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels []string
		want   []Tag
	}{
		{"IOB2", []string{"O", "B-PER", "I-PER", "B-LOC"}, []Tag{{}, {Begin, "PER"}, {Inside, "PER"}, {Begin, "LOC"}}},
		{"BIOES", []string{"B-X", "I-X", "E-X", "S-X", "O"}, []Tag{{Begin, "X"}, {Inside, "X"}, {End, "X"}, {Single, "X"}, {}}},
		{"BMES", []string{"B-X", "M-X", "E-X", "S-X"}, []Tag{{Begin, "X"}, {Inside, "X"}, {End, "X"}, {Single, "X"}}},
		{"BILOU", []string{"B-X", "I-X", "L-X", "U-X"}, []Tag{{Begin, "X"}, {Inside, "X"}, {End, "X"}, {Single, "X"}}},
		{"words", []string{"B", "M", "E", "S"}, []Tag{{Mark: Begin}, {Mark: Inside}, {Mark: End}, {Mark: Single}}},
		{"words of two", []string{"B", "I"}, []Tag{{Mark: Begin}, {Mark: Inside}}},
		{"words and outside", []string{"O", "B", "I"}, []Tag{{}, {Mark: Begin}, {Mark: Inside}}},
		{"no scheme", []string{"NOUN", "VERB", "O", "LABEL_3"}, []Tag{{Inside, "NOUN"}, {Inside, "VERB"}, {}, {Inside, "LABEL_3"}}},
		{"letters that are types", []string{"E-mail", "S-Bahn", "B-day", "I-beam", "U-boat"},
			[]Tag{{Inside, "E-mail"}, {Inside, "S-Bahn"}, {Begin, "day"}, {Inside, "beam"}, {Inside, "U-boat"}}},
		{"a type with the letter of a mark", []string{"B-mail", "E-mail", "S-Bahn"}, []Tag{{Begin, "mail"}, {End, "mail"}, {Inside, "S-Bahn"}}},
		{"dashes", []string{"B-a-b", "I-a-b", "-", "B-", "I-"}, []Tag{{Begin, "a-b"}, {Inside, "a-b"}, {Inside, "-"}, {Begin, ""}, {Inside, ""}}},
		{"one letter among types", []string{"B", "NOUN"}, []Tag{{Inside, "B"}, {Inside, "NOUN"}}},
		{"none", nil, []Tag{}},
	} {
		if got := Tags(c.labels); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
