package jinja

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// text is str(v).
func (r *run) text(v value) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case *undefined:
		return ""
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return r.repr(v)
}

// printer builds a string piece by piece within the limit on strings.
type printer struct {
	r *run
	b []byte
}

func (p *printer) str(s string) {
	if len(p.b)+len(s) > p.r.lim.Output {
		p.r.grow(p.r.lim.Output + 1)
	}
	p.r.scan(len(s))
	p.b = append(p.b, s...)
}

// repr is repr(v).
func (r *run) repr(v value) string {
	p := &printer{r: r}
	p.repr(v)
	return string(p.b)
}

func (p *printer) repr(v value) {
	p.r.enter()
	defer p.r.leave()
	p.r.step(1)
	switch v := v.(type) {
	case nil:
		p.str("None")
	case bool:
		if v {
			p.str("True")
		} else {
			p.str("False")
		}
	case int64:
		p.str(strconv.FormatInt(v, 10))
	case wideInt:
		p.str(string(v))
	case float64:
		p.str(formatFloat(v))
	case string:
		p.quoted(v)
	case markup:
		p.str("Markup(")
		p.quoted(string(v))
		p.str(")")
	case *undefined:
		p.str("Undefined")
	case *list:
		p.sequence("[", v.items, "]")
	case *tuple:
		if len(v.items) == 1 {
			p.sequence("(", v.items, ",)")
		} else {
			p.sequence("(", v.items, ")")
		}
	case *dict:
		p.mapping(v)
	default:
		p.object(v)
	}
}

func (p *printer) object(v value) {
	switch v := v.(type) {
	case *dictView:
		p.str("dict_" + v.part + "(")
		p.sequence("[", v.all(p.r), "]")
		p.str(")")
	case *span:
		p.str("range(" + strconv.FormatInt(v.start, 10) + ", " + strconv.FormatInt(v.stop, 10))
		if v.step != 1 {
			p.str(", " + strconv.FormatInt(v.step, 10))
		}
		p.str(")")
	case *namespace:
		p.str("<Namespace ")
		p.mapping(v.attrs)
		p.str(">")
	case *macro:
		if v.def.name == "" {
			p.str("<Macro anonymous>")
			return
		}
		p.str("<Macro ")
		p.quoted(v.def.name)
		p.str(">")
	case *loopState:
		p.str("<LoopContext " + strconv.FormatInt(v.index0+1, 10) + "/" + strconv.FormatInt(v.length(p.r), 10) + ">")
	case *generator:
		p.str("<generator object " + v.name + ">")
	case *builtin:
		p.str("<built-in function " + v.name + ">")
	}
}

func (p *printer) sequence(open string, items []value, end string) {
	p.str(open)
	for i, it := range items {
		if i > 0 {
			p.str(", ")
		}
		p.repr(it)
	}
	p.str(end)
}

func (p *printer) mapping(d *dict) {
	p.str("{")
	for i := range d.keys {
		if i > 0 {
			p.str(", ")
		}
		p.repr(d.keys[i])
		p.str(": ")
		p.repr(d.vals[i])
	}
	p.str("}")
}

// quoted is the repr of a string.
func (p *printer) quoted(s string) {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	p.str(quote)
	plain := 0 // start of the run that needs no escape
	for i, c := range s {
		var esc string
		switch {
		case c == '\\' || string(c) == quote:
			esc = `\` + string(c)
		case c == '\n':
			esc = `\n`
		case c == '\r':
			esc = `\r`
		case c == '\t':
			esc = `\t`
		case !isPrintable(c):
			esc = escapeText(c)
		default:
			continue
		}
		p.str(s[plain:i])
		p.str(esc)
		plain = i + utf8.RuneLen(c)
	}
	p.str(s[plain:])
	p.str(quote)
}

func isPrintable(c rune) bool { return c == ' ' || unicode.IsPrint(c) }

// formatFloat is the repr of a float: the shortest digits that read back, with an exponent outside [1e-4, 1e16).
func formatFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	e := strings.IndexByte(s, 'e')
	exp, _ := strconv.Atoi(s[e+1:])
	if exp < -4 || exp >= 16 {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// isSpace says whether Python's str methods take c for white space.
func isSpace(c rune) bool {
	if c < 0x80 {
		return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f)
	}
	return unicode.IsSpace(c)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// length is len(s): code points.
func (r *run) length(s string) int {
	r.scan(len(s))
	return utf8.RuneCountInString(s)
}

// offset is the byte offset of code point i of s, len(s) at the end.
func offset(s string, i int) int {
	if i <= 0 {
		return 0
	}
	for at := range s {
		if i == 0 {
			return at
		}
		i--
	}
	return len(s)
}

// htmlEscape replaces the five characters markupsafe does.
func (r *run) htmlEscape(s string) string {
	if !strings.ContainsAny(s, `&<>'"`) {
		return s
	}
	r.grow(5 * len(s))
	return strings.NewReplacer("&", "&amp;", ">", "&gt;", "<", "&lt;", "'", "&#39;", `"`, "&#34;").Replace(s)
}

// escaped is what markup takes in when v is added to it.
func (r *run) escaped(v value) string {
	if m, ok := v.(markup); ok {
		return string(m)
	}
	return r.htmlEscape(r.text(v))
}
