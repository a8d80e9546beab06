package jinja

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	tokEOF kind = iota
	tokText
	tokBlockBegin
	tokBlockEnd
	tokPrintBegin
	tokPrintEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
)

// token is one lexical element. text holds the operator, the name, the decoded string or the template text.
type token struct {
	kind kind
	text string
	num  value
	line int
	pos  int // bytes into the source
}

// lexer follows jinja2's lexer state by state; its source has "\n" line ends only and lost one trailing newline.
type lexer struct {
	src   string
	pos   int
	line  int
	fresh bool   // the last element ended with a newline, or there was none
	open  []byte // closing brackets awaited inside a tag
	toks  []token
}

// sourceText is a template text as the lexer reads it.
func sourceText(src string) string {
	if !utf8.ValidString(src) {
		fail(&SyntaxError{Line: 1, Col: 1, Msg: "template is not valid UTF-8"})
	}
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	return strings.TrimSuffix(src, "\n")
}

func lex(src string) []token {
	lx := &lexer{src: src, line: 1, fresh: true}
	for lx.pos < len(lx.src) {
		lx.root()
	}
	lx.emit(tokEOF, "")
	return lx.toks
}

func (lx *lexer) fail(msg string) { failSyntax(lx.src, lx.pos, msg) }

func (lx *lexer) emit(k kind, text string) {
	lx.toks = append(lx.toks, token{kind: k, text: text, line: lx.line, pos: lx.pos})
}

// advance moves to offset to, counting lines.
func (lx *lexer) advance(to int) {
	lx.line += strings.Count(lx.src[lx.pos:to], "\n")
	if to > lx.pos {
		lx.fresh = lx.src[to-1] == '\n'
	}
	lx.pos = to
}

// root reads template text up to the next tag, and that tag.
func (lx *lexer) root() {
	rest := lx.src[lx.pos:]
	at := nextTag(rest)
	if at < 0 {
		lx.emit(tokText, rest)
		lx.advance(len(lx.src))
		return
	}
	open := lx.pos + at
	body := open + 2
	var sign byte
	if body < len(lx.src) && (lx.src[body] == '-' || lx.src[body] == '+') {
		sign = lx.src[body]
		body++
	}
	raw, isRaw := 0, false
	if lx.src[open+1] == '%' {
		raw, isRaw = rawBegin(lx.src, body)
	}
	lx.textBefore(rest[:at], sign, lx.src[open+1] != '{')
	lx.advance(open)
	switch {
	case isRaw:
		lx.advance(raw)
		lx.raw()
	case lx.src[open+1] == '#':
		lx.advance(body)
		lx.comment()
	case lx.src[open+1] == '%':
		lx.emit(tokBlockBegin, "{%")
		lx.advance(body)
		lx.tag('%')
	default:
		lx.emit(tokPrintBegin, "{{")
		lx.advance(body)
		lx.tag('}')
	}
}

// nextTag finds the first "{%", "{{" or "{#", or returns -1.
func nextTag(s string) int {
	for i := 0; ; {
		j := strings.IndexByte(s[i:], '{')
		if j < 0 || i+j+1 >= len(s) {
			return -1
		}
		i += j
		switch s[i+1] {
		case '%', '{', '#':
			return i
		}
		i++
	}
}

// textBefore emits the text before a tag, without the white space the tag strips.
func (lx *lexer) textBefore(text string, sign byte, lstrip bool) {
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, isSpace)
	case sign != '+' && lstrip:
		lineAt := strings.LastIndexByte(text, '\n') + 1
		if (lineAt > 0 || lx.fresh) && strings.TrimLeftFunc(text[lineAt:], isSpace) == "" {
			text = text[:lineAt]
		}
	}
	if text != "" {
		lx.emit(tokText, text)
	}
}

// rawBegin says whether a tag whose content starts at i is {% raw %}, and where its text starts.
func rawBegin(src string, i int) (int, bool) {
	i = skipSpace(src, i)
	if !strings.HasPrefix(src[i:], "raw") {
		return 0, false
	}
	i = skipSpace(src, i+len("raw"))
	if strings.HasPrefix(src[i:], "-%}") {
		return skipSpace(src, i+3), true
	}
	return i + 2, strings.HasPrefix(src[i:], "%}")
}

// raw reads the text up to {% endraw %}.
func (lx *lexer) raw() {
	for at := lx.pos; ; {
		j := strings.Index(lx.src[at:], "{%")
		if j < 0 {
			lx.fail("missing end of raw directive")
		}
		open := at + j
		body := open + 2
		var sign byte
		if body < len(lx.src) && (lx.src[body] == '-' || lx.src[body] == '+') {
			sign = lx.src[body]
			body++
		}
		i := skipSpace(lx.src, body)
		if strings.HasPrefix(lx.src[i:], "endraw") {
			if end, ok := closing(lx.src, skipSpace(lx.src, i+len("endraw")), "%}"); ok {
				lx.textBefore(lx.src[lx.pos:open], sign, true)
				lx.advance(end)
				return
			}
		}
		at = open + 2
	}
}

// closing matches the end of a block tag or comment at i, with its white space control and the one newline that
// trim_blocks removes.
func closing(src string, i int, mark string) (end int, ok bool) {
	rest := src[i:]
	switch {
	case strings.HasPrefix(rest, "-"+mark):
		return skipSpace(src, i+3), true
	case strings.HasPrefix(rest, "+"+mark):
		return i + 3, true
	case strings.HasPrefix(rest, mark+"\n"):
		return i + 3, true
	case strings.HasPrefix(rest, mark):
		return i + 2, true
	}
	return 0, false
}

func (lx *lexer) comment() {
	j := strings.Index(lx.src[lx.pos:], "#}")
	if j < 0 {
		lx.fail("missing end of comment tag")
	}
	at := lx.pos + j
	if j > 0 && (lx.src[at-1] == '-' || lx.src[at-1] == '+') {
		at--
	}
	end, _ := closing(lx.src, at, "#}")
	lx.advance(end)
}

// tag reads the tokens of a block tag (mark '%') or a print tag (mark '}') and its end.
func (lx *lexer) tag(mark byte) {
	lx.open = lx.open[:0]
	for {
		lx.advance(skipSpace(lx.src, lx.pos))
		if lx.pos >= len(lx.src) {
			return // the parser says what is missing
		}
		if len(lx.open) == 0 && lx.tagEnd(mark) {
			return
		}
		c := lx.src[lx.pos]
		r, _ := utf8.DecodeRuneInString(lx.src[lx.pos:])
		switch {
		case c >= '0' && c <= '9':
			lx.number()
		case c == '\'' || c == '"':
			lx.str(c)
		case c == '_' || unicode.IsLetter(r):
			lx.name()
		default:
			lx.operator()
		}
	}
}

func (lx *lexer) tagEnd(mark byte) bool {
	if mark == '%' {
		end, ok := closing(lx.src, lx.pos, "%}")
		if ok {
			lx.emit(tokBlockEnd, "%}")
			lx.advance(end)
		}
		return ok
	}
	rest := lx.src[lx.pos:]
	switch {
	case strings.HasPrefix(rest, "-}}"):
		lx.emit(tokPrintEnd, "}}")
		lx.advance(skipSpace(lx.src, lx.pos+3))
	case strings.HasPrefix(rest, "}}"):
		lx.emit(tokPrintEnd, "}}")
		lx.advance(lx.pos + 2)
	default:
		return false
	}
	return true
}

func (lx *lexer) name() {
	end := lx.pos
	for end < len(lx.src) {
		r, n := utf8.DecodeRuneInString(lx.src[end:])
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.In(r, unicode.Mn, unicode.Mc) {
			break
		}
		end += n
	}
	lx.emit(tokName, lx.src[lx.pos:end])
	lx.advance(end)
}

func (lx *lexer) operator() {
	rest := lx.src[lx.pos:]
	op := rest[:1]
	if len(rest) > 1 {
		switch rest[:2] {
		case "//", "**", "==", "!=", ">=", "<=":
			op = rest[:2]
		}
	}
	if len(op) == 1 && !strings.Contains("+-/*%~[](){}><=.:|,;", op) {
		r, _ := utf8.DecodeRuneInString(rest)
		lx.fail("unexpected character " + strconv.QuoteRune(r))
	}
	switch op {
	case "(":
		lx.open = append(lx.open, ')')
	case "[":
		lx.open = append(lx.open, ']')
	case "{":
		lx.open = append(lx.open, '}')
	case ")", "]", "}":
		if len(lx.open) == 0 || lx.open[len(lx.open)-1] != op[0] {
			lx.fail("unexpected '" + op + "'")
		}
		lx.open = lx.open[:len(lx.open)-1]
	}
	lx.emit(tokOp, op)
	lx.advance(lx.pos + len(op))
}

// number reads an integer or, where a fraction or an exponent follows and no dot precedes, a float.
func (lx *lexer) number() {
	s := lx.src
	end := digits(s, lx.pos, "0123456789")
	isFloat := false
	if lx.pos == 0 || s[lx.pos-1] != '.' {
		if end+1 < len(s) && s[end] == '.' && isDigit(s[end+1]) {
			end, isFloat = digits(s, end+1, "0123456789"), true
		}
		if e := exponent(s, end); e > end {
			end, isFloat = e, true
		}
	}
	if isFloat {
		f, _ := strconv.ParseFloat(strings.ReplaceAll(s[lx.pos:end], "_", ""), 64)
		lx.emitNumber(tokFloat, f, end)
		return
	}
	base := 10
	if s[lx.pos] == '0' {
		end, base = prefixed(s, lx.pos)
	}
	text := strings.ReplaceAll(s[lx.pos:end], "_", "")
	if base != 10 {
		text = text[2:]
	}
	n, err := strconv.ParseUint(text, base, 64)
	if err != nil || n > math.MaxInt64 {
		overflow()
	}
	lx.emitNumber(tokInt, int64(n), end)
}

func (lx *lexer) emitNumber(k kind, v value, end int) {
	lx.emit(k, lx.src[lx.pos:end])
	lx.toks[len(lx.toks)-1].num = v
	lx.advance(end)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// digits reads a run of digits from set with single underscores between them.
func digits(s string, i int, set string) int {
	for i < len(s) {
		if s[i] == '_' && i+1 < len(s) && strings.IndexByte(set, s[i+1]) >= 0 {
			i++
		}
		if strings.IndexByte(set, s[i]) < 0 {
			break
		}
		i++
	}
	return i
}

func exponent(s string, i int) int {
	if i >= len(s) || (s[i] != 'e' && s[i] != 'E') {
		return i
	}
	j := i + 1
	if j < len(s) && (s[j] == '+' || s[j] == '-') {
		j++
	}
	if j >= len(s) || !isDigit(s[j]) {
		return i
	}
	return digits(s, j, "0123456789")
}

// prefixed reads an integer that starts with 0: binary, octal, hexadecimal, or zeros alone.
func prefixed(s string, i int) (end, base int) {
	if i+1 < len(s) {
		set := ""
		switch s[i+1] | 0x20 {
		case 'b':
			set, base = "01", 2
		case 'o':
			set, base = "01234567", 8
		case 'x':
			set, base = "0123456789abcdefABCDEF", 16
		}
		if set != "" {
			if e := digits(s, i+2, set); e > i+2 {
				return e, base
			}
		}
	}
	return digits(s, i, "0"), 10
}

func skipSpace(s string, i int) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !isSpace(r) {
			break
		}
		i += n
	}
	return i
}
