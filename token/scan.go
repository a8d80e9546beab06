package token

import "unicode/utf8"

// scanner returns the length in bytes, at least 1, of the first match of a split pattern in a text that is not empty.
// Every pattern here matches at any character, so that repeated scanning covers the whole text.
type scanner func(s string) int

// The split patterns that are known, by their exact source.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternO200k  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scannerOf returns the scanner of a pattern.
func scannerOf(pattern string) (scanner, bool) {
	switch pattern {
	case patternGPT2:
		return scanGPT2, true
	case patternLlama3:
		return func(s string) int { return scanTiktoken(s, 3) }, true
	case patternQwen2:
		return func(s string) int { return scanTiktoken(s, 1) }, true
	case patternO200k:
		return func(s string) int { return scanCased(s, 3, true) }, true
	case patternTekken:
		return func(s string) int { return scanCased(s, 1, false) }, true
	}
	return nil, false
}

// scanGPT2 matches patternGPT2.
func scanGPT2(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	start := 0
	if s[0] == ' ' && len(s) > 1 {
		start = 1
	}
	c, n := classAt(s, start)
	if isSpaceClass(c) {
		return spaces(s, false)
	}
	return run(s, start+n, c)
}

// scanTiktoken matches patternLlama3, or patternQwen2 where digits is 1 rather than 3.
func scanTiktoken(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, n := classAt(s, 0)
	if c == letter {
		return run(s, n, letter)
	}
	if c != newline && c != number && n < len(s) {
		if d, m := classAt(s, n); d == letter {
			return run(s, n+m, letter)
		}
	}
	return scanRest(s, digits, false)
}

// scanCased matches patternO200k, or patternTekken where digits is 1 and suffix is false.
func scanCased(s string, digits int, suffix bool) int {
	c, n := classAt(s, 0)
	skip := 0 // length of the optional first character
	if c == other || c == space {
		skip = n
	}
	for _, body := range [...]func(string) int{capitalized, capitals} {
		for _, from := range [...]int{skip, 0} {
			if m := body(s[from:]); m > 0 {
				end := from + m
				if suffix {
					end += contraction(s[end:], true)
				}
				return end
			}
			if skip == 0 {
				break
			}
		}
	}
	return scanRest(s, digits, true)
}

// capitalized matches head* tail+ with head and tail as in headLetter and tailLetter, or returns 0.
func capitalized(s string) int {
	i, last := 0, 0 // last is the end of the last character that is both
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !headLetter(r) {
			break
		}
		i += n
		if tailLetter(r) {
			last = i
		}
	}
	if j := tails(s, i); j > i {
		return j
	}
	return last
}

// capitals matches head+ tail*, or returns 0.
func capitals(s string) int {
	i := 0
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !headLetter(r) {
			break
		}
		i += n
	}
	if i == 0 {
		return 0
	}
	return tails(s, i)
}

// tails returns the end of the run of tail letters that starts at i.
func tails(s string, i int) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !tailLetter(r) {
			break
		}
		i += n
	}
	return i
}

// scanRest matches what tiktoken's patterns have after their words: numbers, symbols with the line ends (and slashes)
// behind them, and white space.
func scanRest(s string, digits int, slash bool) int {
	c, n := classAt(s, 0)
	if c == number {
		for range digits - 1 {
			if n == len(s) {
				break
			}
			k, m := classAt(s, n)
			if k != number {
				break
			}
			n += m
		}
		return n
	}
	if s[0] == ' ' && len(s) > 1 {
		if d, m := classAt(s, 1); d == other {
			c, n = other, 1+m
		}
	}
	if c != other {
		return spaces(s, true)
	}
	n = run(s, n, other)
	for n < len(s) && (s[n] == '\r' || s[n] == '\n' || slash && s[n] == '/') {
		n++
	}
	return n
}

// spaces matches white space: \s*[\r\n]+ where lines is set and the run has a line end, else \s+(?!\S), else \s+.
func spaces(s string, lines bool) int {
	end, last, lineEnd := 0, 0, 0 // last is the length of the last character of the run
	for end < len(s) {
		c, n := classAt(s, end)
		if !isSpaceClass(c) {
			break
		}
		end, last = end+n, n
		if c == newline {
			lineEnd = end
		}
	}
	switch {
	case lines && lineEnd > 0:
		return lineEnd
	case end < len(s) && end > last:
		return end - last
	}
	return end
}

// run returns the end of the run of one class that starts at i.
func run(s string, i int, c charClass) int {
	for i < len(s) {
		d, n := classAt(s, i)
		if d != c {
			break
		}
		i += n
	}
	return i
}

func classAt(s string, i int) (charClass, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return classOf(r), n
}

// contraction matches 's, 't, 're, 've, 'm, 'll and 'd at the start, in any case if fold is set, or returns 0.
func contraction(s string, fold bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	lowerAt := func(i int) byte {
		if i >= len(s) {
			return 0
		}
		if b := s[i]; fold && 'A' <= b && b <= 'Z' {
			return b + 'a' - 'A'
		}
		return s[i]
	}
	switch lowerAt(1) {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if lowerAt(2) == 'e' {
			return 3
		}
	case 'l':
		if lowerAt(2) == 'l' {
			return 3
		}
	}
	const longS = "'ſ" // folds to 's
	if fold && len(s) >= len(longS) && s[:len(longS)] == longS {
		return len(longS)
	}
	return 0
}
