package token

import "unicode"

// class of a character in the split patterns.
type charClass uint8

const (
	other charClass = iota
	letter
	number
	space
	newline // \r or \n, which are white space too
)

// asciiClass are the classes of the ASCII characters.
var asciiClass = func() (t [128]charClass) {
	for r := range rune(128) {
		switch {
		case r == '\r' || r == '\n':
			t[r] = newline
		case unicode.IsSpace(r):
			t[r] = space
		case unicode.IsLetter(r):
			t[r] = letter
		case unicode.IsNumber(r):
			t[r] = number
		}
	}
	return t
}()

// classOf returns the class of a character: \p{L}, \p{N}, \s or none of them.
func classOf(r rune) charClass {
	if r < 128 {
		return asciiClass[r]
	}
	switch {
	case isLetter(r):
		return letter
	case unicode.IsSpace(r):
		return space
	case unicode.IsNumber(r) || unicode.Is(newNumbers, r):
		return number
	}
	return other
}

func isLetter(r rune) bool {
	return unicode.IsLetter(r) || unicode.In(r, newLu, newLl, newLm, newLo)
}

// isNumeric reports whether the Digits pre-tokenizer takes a character for a digit: it follows Unicode 17.
func isNumeric(r rune) bool {
	return classOf(r) == number || 0x11de0 <= r && r <= 0x11de9
}

func isSpaceClass(c charClass) bool { return c == space || c == newline }

// headLetter reports whether a character is in [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}].
func headLetter(r rune) bool {
	if r < 128 {
		return 'A' <= r && r <= 'Z'
	}
	return caseless(r) || unicode.In(r, unicode.Lu, unicode.Lt, newLu)
}

// tailLetter reports whether a character is in [\p{Ll}\p{Lm}\p{Lo}\p{M}].
func tailLetter(r rune) bool {
	if r < 128 {
		return 'a' <= r && r <= 'z'
	}
	return caseless(r) || unicode.In(r, unicode.Ll, newLl)
}

// caseless reports whether a character is in [\p{Lm}\p{Lo}\p{M}].
func caseless(r rune) bool {
	return unicode.In(r, unicode.Lo, unicode.M, unicode.Lm, newLo, newLm, newMarks)
}

// isWordChar reports whether a character is in \w as Unicode defines it (UTS #18).
func isWordChar(r rune) bool {
	return isLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, newMarks, newNumbers) ||
		r == 0x200c || r == 0x200d
}

// isBertControl reports whether BERT's cleaning removes a character. Unassigned ones stay.
func isBertControl(r rune) bool {
	if r == 0x890 || r == 0x891 || r == 0x8e2 || r == 0x110cd || 0x13430 <= r && r <= 0x1343f {
		return false // format characters newer than the reference's tables
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co)
}

// isBertMark reports whether BERT's removal of accents removes a character.
func isBertMark(r rune) bool {
	return unicode.Is(unicode.Mn, r) && !unicode.Is(bertNotMarks, r) || r == 0x1734
}

// isBertPunctuation reports whether a character is a word of its own for BERT.
func isBertPunctuation(r rune) bool {
	if r < 128 {
		return r > ' ' && r < 0x7f && asciiClass[r] == other
	}
	return unicode.IsPunct(r) && !unicode.Is(bertNotPunctuation, r) || r == 0x166d || r == 0x111c9
}

// isIdeograph reports whether BERT puts spaces around a character.
func isIdeograph(r rune) bool {
	switch {
	case 0x4E00 <= r && r <= 0x9FFF, 0x3400 <= r && r <= 0x4DBF, 0x20000 <= r && r <= 0x2A6DF,
		0x2A700 <= r && r <= 0x2B73F, 0x2B740 <= r && r <= 0x2B81F, 0x2B920 <= r && r <= 0x2CEAF,
		0xF900 <= r && r <= 0xFAFF, 0x2F800 <= r && r <= 0x2FA1F:
		return true
	}
	return false
}

// lower maps a character to lower case, with the pairs that Go's tables do not have yet.
func lower(r rune) rune {
	switch {
	case r == 0x1c89, r == 0xa7cc, r == 0xa7ce, r == 0xa7d2, r == 0xa7d4, r == 0xa7da:
		return r + 1
	case r == 0xa7cb:
		return 0x264
	case r == 0xa7dc:
		return 0x19b
	case 0x10d50 <= r && r <= 0x10d65:
		return r + 0x20
	case 0x16ea0 <= r && r <= 0x16eb8:
		return r + 0x1b
	}
	return unicode.ToLower(r)
}
