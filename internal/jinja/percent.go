package jinja

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// conversion is one parsed conversion of a printf-style format.
type conversion struct {
	left, plus, space, zero, alt bool
	width, prec                  int64 // prec is -1 where it is not given
	verb                         byte
}

// percentReader walks a printf-style format and its operand.
type percentReader struct {
	r    *run
	s    string
	at   int
	args []value
	next int
	dict *dict
	used bool // a mapping key was used
	show func(value) string
}

// percent is s % operand; show is str().
func (r *run) percent(s string, operand value, show func(value) string) string {
	pr := &percentReader{r: r, s: s, args: []value{operand}, show: show}
	switch o := operand.(type) {
	case *tuple:
		pr.args = o.items
	case *dict:
		pr.dict = o
	}
	p := &printer{r: r}
	for pr.at < len(s) {
		i := strings.IndexByte(s[pr.at:], '%')
		if i < 0 {
			p.str(s[pr.at:])
			break
		}
		p.str(s[pr.at : pr.at+i])
		pr.at += i + 1
		p.str(pr.conversion())
	}
	if pr.next < len(pr.args) && !pr.used && !subscripted(operand) {
		failf("not all arguments converted during string formatting")
	}
	return string(p.b)
}

// subscripted says that CPython takes the operand of a format for a mapping, which may go unused.
func subscripted(operand value) bool {
	switch operand.(type) {
	case *dict, *list, *span, *undefined:
		return true
	}
	return false
}

func (pr *percentReader) byte() byte {
	if pr.at >= len(pr.s) {
		failf("incomplete format")
	}
	return pr.s[pr.at]
}

func (pr *percentReader) arg() value {
	if pr.next >= len(pr.args) {
		failf("not enough arguments for format string")
	}
	pr.next++
	return pr.args[pr.next-1]
}

func (pr *percentReader) conversion() string {
	c := conversion{prec: -1}
	var keyed value = absent{}
	if pr.byte() == '(' {
		end := pr.at + 1
		for depth := 1; depth > 0; end++ {
			if end >= len(pr.s) {
				failf("incomplete format key")
			}
			switch pr.s[end] {
			case '(':
				depth++
			case ')':
				depth--
			}
		}
		if pr.dict == nil {
			failf("format requires a mapping")
		}
		v, ok := pr.dict.get(pr.r, pr.s[pr.at+1:end-1])
		if !ok {
			failf("'%s'", pr.s[pr.at+1:end-1])
		}
		keyed, pr.used, pr.at = v, true, end
	}
	pr.flags(&c)
	c.width = max(pr.number(&c.left), 0)
	if pr.byte() == '.' {
		pr.at++
		c.prec = max(pr.number(nil), 0)
	}
	for strings.IndexByte("hlL", pr.byte()) >= 0 {
		pr.at++
	}
	c.verb = pr.byte()
	pr.at++
	if c.verb == '%' {
		return "%"
	}
	if isAbsent(keyed) {
		keyed = pr.arg()
	}
	return pr.convert(c, keyed)
}

func (pr *percentReader) flags(c *conversion) {
	for ; ; pr.at++ {
		switch pr.byte() {
		case '-':
			c.left = true
		case '+':
			c.plus = true
		case ' ':
			c.space = true
		case '0':
			c.zero = true
		case '#':
			c.alt = true
		default:
			return
		}
	}
}

// number reads a width or precision: digits, or * for an argument, whose sign may say left.
func (pr *percentReader) number(left *bool) int64 {
	if pr.byte() == '*' {
		pr.at++
		n := pr.r.integer(pr.arg(), 0)
		if n < 0 && left != nil {
			*left = true
			n = -max(n, -math.MaxInt32)
		}
		return n
	}
	n := int64(0)
	for pr.at < len(pr.s) && isDigit(pr.s[pr.at]) {
		n = min(n*10+int64(pr.s[pr.at]-'0'), math.MaxInt32)
		pr.at++
	}
	return n
}

func (pr *percentReader) convert(c conversion, v value) string {
	r := pr.r
	text := ""
	switch c.verb {
	case 's', 'r', 'a':
		switch c.verb {
		case 's':
			text = pr.show(v)
		case 'r':
			text = r.repr(v)
		default:
			text = asciiOnly(r, r.repr(v))
		}
		if c.prec >= 0 && c.prec < int64(r.length(text)) {
			text = text[:offset(text, int(c.prec))]
		}
		c.zero = false
	case 'c':
		text = r.charOf(v)
		c.zero = false
	case 'd', 'i', 'u', 'o', 'x', 'X':
		text = r.percentInt(c, v)
	case 'e', 'E', 'f', 'F', 'g', 'G':
		f, ok := asFloat(v)
		if !ok {
			r.defined(v)
			failf("must be real number, not %s", typeName(v))
		}
		text = r.floatText(f, c.verb, c.prec, c.alt)
		text = signed(text, c.plus, c.space)
	default:
		failf("unsupported format character '%c'", c.verb)
	}
	pad := c.width - int64(utf8.RuneCountInString(text))
	switch {
	case pad <= 0:
		return text
	case c.left:
		return text + r.pad(" ", pad)
	case c.zero:
		n := signLength(text)
		return text[:n] + r.pad("0", pad) + text[n:]
	}
	return r.pad(" ", pad) + text
}

func (r *run) charOf(v value) string {
	if s, ok := asString(v); ok {
		if utf8.RuneCountInString(s) != 1 {
			failf("%%c requires int or char")
		}
		return s
	}
	n := r.integer(v, 0)
	if n < 0 || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
		failf("%%c arg not in range")
	}
	return string(rune(n))
}

func (r *run) percentInt(c conversion, v value) string {
	n, ok := asInt(v)
	if f, isFloat := v.(float64); isFloat && strings.IndexByte("diu", c.verb) >= 0 {
		if n, ok = truncated(f); !ok {
			failf("cannot convert float %s to integer", formatFloat(f))
		}
	}
	if !ok {
		r.defined(v)
		failf("%%%c format: a number is required, not %s", c.verb, typeName(v))
	}
	base := map[byte]int{'o': 8, 'x': 16, 'X': 16}[c.verb]
	if base == 0 {
		base = 10
	}
	digits := strings.TrimPrefix(strconv.FormatInt(n, base), "-")
	if c.prec > int64(len(digits)) {
		digits = r.pad("0", c.prec-int64(len(digits))) + digits
	}
	if c.alt && base != 10 {
		digits = "0" + string(c.verb|0x20) + digits
	}
	if c.verb == 'X' {
		digits = strings.ToUpper(digits)
	}
	if n < 0 {
		digits = "-" + digits
	}
	return signed(digits, c.plus, c.space)
}

// signed adds what stands for the sign of a number that is not negative.
func signed(s string, plus, space bool) string {
	switch {
	case strings.HasPrefix(s, "-"):
		return s
	case plus:
		return "+" + s
	case space:
		return " " + s
	}
	return s
}

// signLength is the length of the sign and the prefix of a number, before which no zeros are put.
func signLength(s string) int {
	n := 0
	if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
		n = 1
	}
	if len(s) > n+1 && s[n] == '0' && strings.IndexByte("xXob", s[n+1]) >= 0 {
		n += 2
	}
	return n
}

// floatText formats a float by one of the verbs e, f, g and their capitals; prec -1 is 6.
func (r *run) floatText(f float64, verb byte, prec int64, alt bool) string {
	if prec < 0 {
		prec = 6
	}
	low := verb | 0x20
	var s string
	switch {
	case math.IsNaN(f):
		s = "nan"
	case math.IsInf(f, 0):
		s = strings.TrimPrefix(formatFloat(f), "+")
	default:
		r.grow(int(min(prec, math.MaxInt32)) + 350)
		if low == 'g' {
			s = generalFloat(f, int(prec), alt)
		} else {
			s = strconv.FormatFloat(f, low, int(prec), 64)
			if alt && prec == 0 {
				if e := strings.IndexByte(s, 'e'); e >= 0 {
					s = s[:e] + "." + s[e:]
				} else {
					s += "."
				}
			}
		}
	}
	if verb != low {
		s = strings.ToUpper(s)
	}
	return s
}

// generalFloat is the format g: prec significant digits, without trailing zeros unless alt.
func generalFloat(f float64, prec int, alt bool) string {
	prec = max(prec, 1)
	s := strconv.FormatFloat(f, 'e', prec-1, 64)
	e := strings.IndexByte(s, 'e')
	exp, _ := strconv.Atoi(s[e+1:])
	mantissa, suffix := s[:e], s[e:]
	if exp >= -4 && exp < prec {
		mantissa, suffix = strconv.FormatFloat(f, 'f', prec-1-exp, 64), ""
	}
	if alt {
		if !strings.Contains(mantissa, ".") {
			mantissa += "."
		}
	} else if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return mantissa + suffix
}

// asciiOnly escapes what is outside ASCII in a repr.
func asciiOnly(r *run, s string) string {
	if isASCII(s) {
		return s
	}
	p := &printer{r: r}
	for _, c := range s {
		if c < 0x80 {
			p.str(string(c))
		} else {
			p.str(escapeText(c))
		}
	}
	return string(p.b)
}
