package token

// Words returns the normalized form of a whole text, and the places in it of the words it is split into.
func Words(t *Tokenizer, text string) (normalized string, words []Span) {
	a := aligned{text: text}
	for _, n := range t.normalizers {
		var err error
		if a, err = n.apply(a); err != nil {
			return "", nil
		}
	}
	var split func(i int, a aligned)
	split = func(i int, a aligned) {
		switch {
		case a.text == "":
		case i == len(t.splitters):
			words = append(words, a.origin(0, len(a.text)))
		default:
			t.splitters[i].split(a, func(b aligned) { split(i+1, b) })
		}
	}
	split(0, aligned{text: a.text})
	return a.text, words
}
