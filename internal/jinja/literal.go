package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// str reads a quoted string and decodes its escapes.
func (lx *lexer) str(quote byte) {
	i := lx.pos + 1
	for i < len(lx.src) && lx.src[i] != quote {
		if lx.src[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(lx.src) {
		lx.fail("unterminated string")
	}
	text := lx.src[lx.pos+1 : i]
	if strings.IndexByte(text, '\\') >= 0 {
		text = lx.unescape(text)
	}
	lx.emit(tokString, text)
	lx.advance(i + 1)
}

// unescape decodes the escapes of a Python string literal as the codec "unicode-escape" does after
// "backslashreplace", which is how jinja2 reads them: a backslash before a character outside ASCII stays, and the
// character after it becomes the text of its own escape.
func (lx *lexer) unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		i++
		if i >= len(s) {
			lx.fail("\\ at end of string")
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			b.WriteString(`\` + escapeText(r)[1:])
			i += n
			continue
		}
		i++
		if k := strings.IndexByte(`\'"abfnrtv`, c); k >= 0 {
			b.WriteByte("\\'\"\a\b\f\n\r\t\v"[k])
			continue
		}
		switch {
		case c == '\n':
		case c >= '0' && c <= '7':
			n := 1
			for n < 3 && i+n-1 < len(s) && s[i+n-1] >= '0' && s[i+n-1] <= '7' {
				n++
			}
			code, _ := strconv.ParseUint(s[i-1:i-1+n], 8, 32)
			b.WriteRune(rune(code))
			i += n - 1
		case c == 'x' || c == 'u' || c == 'U':
			i = lx.hexEscape(&b, s, i, c)
		case c == 'N':
			lx.fail(`character names (\N{...}) are not supported`)
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (lx *lexer) hexEscape(b *strings.Builder, s string, i int, c byte) int {
	n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if i+n > len(s) {
		lx.fail(`truncated \` + string(c) + ` escape`)
	}
	code, err := strconv.ParseUint(s[i:i+n], 16, 32)
	if err != nil {
		lx.fail(`malformed \` + string(c) + ` escape`)
	}
	if !utf8.ValidRune(rune(code)) {
		lx.fail("escape is not a Unicode scalar value")
	}
	b.WriteRune(rune(code))
	return i + n
}

// escapeText is the shortest escape of r that Python prints.
func escapeText(r rune) string {
	switch {
	case r < 0x100:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}
