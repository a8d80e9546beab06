package jinja

import (
	"math/bits"
	"strings"
	"unicode/utf8"
)

// strip removes the characters of chars, or white space where chars is nil, from the ends of s.
func (r *run) strip(s string, chars value, left, right bool) string {
	in := isSpace
	if chars != nil {
		set := r.str(chars)
		r.step(len(set))
		in = func(c rune) bool { return strings.ContainsRune(set, c) }
	}
	n := len(s)
	if left {
		s = strings.TrimLeftFunc(s, in)
	}
	if right {
		s = strings.TrimRightFunc(s, in)
	}
	r.scan(n - len(s))
	return s
}

// split is s.split(sep, limit), or rsplit; a nil sep splits at runs of white space.
func (r *run) split(s string, sep value, limit int64, fromRight bool) value {
	r.scan(len(s))
	var parts []string
	switch {
	case sep == nil:
		parts = splitSpace(s, limit, fromRight)
	default:
		by := r.str(sep)
		if by == "" {
			failf("empty separator")
		}
		n := strings.Count(s, by)
		if limit >= 0 && limit < int64(n) {
			n = int(limit)
		}
		r.items(n + 1)
		if !fromRight {
			parts = strings.SplitN(s, by, n+1)
			break
		}
		parts = make([]string, n+1)
		for i := n; i > 0; i-- {
			at := strings.LastIndex(s, by)
			parts[i] = s[at+len(by):]
			s = s[:at]
		}
		parts[0] = s
	}
	r.items(len(parts))
	return texts(parts)
}

// splitSpace parts s at white space, at most limit times where that is not negative.
func splitSpace(s string, limit int64, fromRight bool) []string {
	var parts []string
	if !fromRight {
		for s = strings.TrimLeftFunc(s, isSpace); s != ""; limit-- {
			at := strings.IndexFunc(s, isSpace)
			if limit == 0 || at < 0 {
				return append(parts, s)
			}
			parts = append(parts, s[:at])
			s = strings.TrimLeftFunc(s[at:], isSpace)
		}
		return parts
	}
	for s = strings.TrimRightFunc(s, isSpace); s != ""; limit-- {
		at := strings.LastIndexFunc(s, isSpace)
		if limit == 0 || at < 0 {
			parts = append(parts, s)
			break
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		parts = append(parts, s[at+n:])
		s = strings.TrimRightFunc(s[:at], isSpace)
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return parts
}

// splitLines parts s at the line boundaries of str.splitlines.
func splitLines(s string, keepEnds bool) []string {
	var lines []string
	start := 0
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		if !isLineEnd(c) {
			i += n
			continue
		}
		end := i + n
		if c == '\r' && end < len(s) && s[end] == '\n' {
			end++
		}
		if keepEnds {
			lines = append(lines, s[start:end])
		} else {
			lines = append(lines, s[start:i])
		}
		start, i = end, end
	}
	if start < len(s) {
		lines = append(lines, s[start:])
	}
	return lines
}

func isLineEnd(c rune) bool {
	switch c {
	case '\n', '\v', '\f', '\r', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}

// replace is s.replace(old, new, limit).
func (r *run) replace(s, old, with string, limit int64) string {
	r.scan(len(s))
	n := int64(strings.Count(s, old))
	if limit >= 0 {
		n = min(n, limit)
	}
	if n == 0 {
		return s
	}
	hi, more := bits.Mul64(uint64(n), uint64(len(with)))
	if hi != 0 || more > uint64(r.lim.Output)+uint64(len(s)) {
		r.grow(r.lim.Output + 1)
	}
	r.grow(len(s) + int(more) - int(n)*len(old))
	r.step(int(n))
	return strings.Replace(s, old, with, int(n))
}

// center is s.center(width, fill): where the padding is odd, its larger half is on the left if width is odd.
func (r *run) center(s string, width int64, fill string) string {
	pad := width - int64(r.length(s))
	if pad <= 0 {
		return s
	}
	left := pad/2 + pad&width&1
	return r.pad(fill, left) + s + r.pad(fill, pad-left)
}

func (r *run) pad(fill string, n int64) string {
	if n <= 0 {
		return ""
	}
	if n > int64(r.lim.Output) {
		r.grow(r.lim.Output + 1)
	}
	r.grow(int(n) * len(fill))
	return strings.Repeat(fill, int(n))
}

func (r *run) justify(how, s string, width int64, fill string) string {
	if utf8.RuneCountInString(fill) != 1 {
		failf("the fill character must be exactly one character long")
	}
	switch how {
	case "center":
		return r.center(s, width, fill)
	case "ljust":
		return s + r.pad(fill, width-int64(r.length(s)))
	}
	return r.pad(fill, width-int64(r.length(s))) + s
}
