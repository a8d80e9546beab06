package jinja

import (
	"math"
	"strconv"
	"strings"
)

// formatter fills a template of str.format.
type formatter struct {
	r      *run
	a      args
	auto   int  // the next automatic field number
	manual bool // a field was numbered by hand
}

// format is s.format(*a.pos, **a.kw). Fields reach into values by the rules of the sandbox.
func (r *run) format(s string, a args) string {
	f := &formatter{r: r, a: a}
	return f.fill(s, 3)
}

func (f *formatter) fill(s string, levels int) string {
	if levels == 0 {
		failf("Max string recursion exceeded")
	}
	p := &printer{r: f.r}
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			p.str(s)
			break
		}
		p.str(s[:i])
		if i+1 < len(s) && s[i+1] == s[i] {
			p.str(s[i : i+1])
			s = s[i+2:]
			continue
		}
		if s[i] == '}' {
			failf("Single '}' encountered in format string")
		}
		field, rest := cutField(s[i+1:])
		p.str(f.field(field, levels))
		s = rest
	}
	return string(p.b)
}

// cutField parts a replacement field from what follows its closing brace.
func cutField(s string) (field, rest string) {
	depth, inItem := 1, false
	for i := range len(s) {
		switch s[i] {
		case '[':
			inItem = inItem || depth == 1
		case ']':
			inItem = false
		case '{':
			depth++
		case '}':
			depth--
			if depth == 0 && !inItem {
				return s[:i], s[i+1:]
			}
			depth = max(depth, 1)
		}
	}
	failf("expected '}' before end of string")
	return "", ""
}

func (f *formatter) field(field string, levels int) string {
	name, spec := field, ""
	end := fieldNameEnd(field)
	conv := byte(0)
	if end < len(field) {
		name = field[:end]
		rest := field[end:]
		if rest[0] == '!' {
			if len(rest) < 2 || (len(rest) > 2 && rest[2] != ':') {
				failf("expected ':' after conversion specifier")
			}
			conv = rest[1]
			rest = rest[2:]
		}
		spec = strings.TrimPrefix(rest, ":")
	}
	v := f.value(name)
	switch conv {
	case 0:
	case 's':
		v = f.r.text(v)
	case 'r':
		v = f.r.repr(v)
	case 'a':
		v = asciiOnly(f.r, f.r.repr(v))
	default:
		failf("Unknown conversion specifier '%c'", conv)
	}
	return f.r.formatValue(v, f.fill(spec, levels-1))
}

func fieldNameEnd(s string) int {
	inItem := false
	for i := range len(s) {
		switch {
		case s[i] == '[':
			inItem = true
		case s[i] == ']':
			inItem = false
		case !inItem && (s[i] == '!' || s[i] == ':'):
			return i
		}
	}
	return len(s)
}

// value resolves a field name: an argument, then attributes and items.
func (f *formatter) value(name string) value {
	n := strings.IndexAny(name, ".[")
	if n < 0 {
		n = len(name)
	}
	v := f.argument(name[:n])
	for rest := name[n:]; rest != ""; {
		if rest[0] == '.' {
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			if end == 1 {
				failf("Empty attribute in format string")
			}
			v = f.r.attribute(v, rest[1:end])
			rest = rest[end:]
			continue
		}
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 2 {
			failf("malformed item in format string")
		}
		var key value = rest[1:end]
		if k, err := strconv.ParseInt(rest[1:end], 10, 64); err == nil && isInteger(rest[1:end]) && rest[1] != '-' {
			key = k
		}
		v = f.r.item(v, key)
		rest = rest[end+1:]
	}
	return v
}

func (f *formatter) argument(name string) value {
	if name == "" || isInteger(name) && name[0] != '-' {
		n, _ := strconv.Atoi(name)
		if name == "" {
			if f.manual {
				failf("cannot switch from manual field specification to automatic field numbering")
			}
			n = f.auto
			f.auto++
		} else {
			if f.auto > 0 {
				failf("cannot switch from automatic field numbering to manual field specification")
			}
			f.manual = true
		}
		if n >= len(f.a.pos) {
			failf("Replacement index %d out of range for positional args tuple", n)
		}
		return f.a.pos[n]
	}
	v, ok := f.a.keyword(name)
	if !ok {
		failf("'%s'", name)
	}
	return v
}

// spec is a parsed format specification (Python's format specification mini-language).
type spec struct {
	fill  string
	align byte // 0: by type
	sign  byte
	alt   bool
	zero  bool
	width int64
	group byte
	prec  int64 // -1: not given
	verb  byte
}

func parseSpec(s string) spec {
	sp := spec{fill: " ", sign: '-', prec: -1}
	if s != "" {
		if n := offset(s, 1); n < len(s) && strings.IndexByte("<>=^", s[n]) >= 0 {
			sp.fill, sp.align, s = s[:n], s[n], s[n+1:]
		} else if strings.IndexByte("<>=^", s[0]) >= 0 {
			sp.align, s = s[0], s[1:]
		}
	}
	take := func(set string) byte {
		if s != "" && strings.IndexByte(set, s[0]) >= 0 {
			c := s[0]
			s = s[1:]
			return c
		}
		return 0
	}
	number := func() int64 {
		n := int64(0)
		for s != "" && isDigit(s[0]) {
			n = min(n*10+int64(s[0]-'0'), math.MaxInt32)
			s = s[1:]
		}
		return n
	}
	if c := take("+- "); c != 0 {
		sp.sign = c
	}
	sp.alt = take("#") != 0
	if take("0") != 0 {
		sp.zero = true
		if sp.align == 0 {
			sp.fill, sp.align = "0", '='
		}
	}
	sp.width = number()
	sp.group = take(",_")
	if take(".") != 0 {
		if s == "" || !isDigit(s[0]) {
			failf("Format specifier missing precision")
		}
		sp.prec = number()
	}
	if s != "" {
		sp.verb, s = s[0], s[1:]
	}
	if s != "" {
		failf("Invalid format specifier")
	}
	return sp
}

// formatValue is format(v, text).
func (r *run) formatValue(v value, text string) string {
	if text == "" {
		return r.text(v)
	}
	if s, ok := asString(v); ok {
		return r.formatText(s, parseSpec(text))
	}
	switch v.(type) {
	case bool, int64, float64:
		return r.formatNumber(v, parseSpec(text))
	}
	failf("unsupported format string passed to %s.__format__", typeName(v))
	return ""
}

func (r *run) formatText(s string, sp spec) string {
	if (sp.verb != 0 && sp.verb != 's') || sp.sign != '-' || sp.alt || sp.group != 0 ||
		(sp.align == '=' && !sp.zero) {
		failf("invalid format specification for 'str'")
	}
	if sp.prec >= 0 && sp.prec < int64(r.length(s)) {
		s = s[:offset(s, int(sp.prec))]
	}
	if sp.align == 0 || (sp.zero && sp.align == '=') {
		sp.align = '<'
	}
	return r.aligned(s, sp)
}

func (r *run) aligned(s string, sp spec) string {
	pad := sp.width - int64(r.length(s))
	if pad <= 0 {
		return s
	}
	switch sp.align {
	case '<':
		return s + r.pad(sp.fill, pad)
	case '^':
		return r.pad(sp.fill, pad/2) + s + r.pad(sp.fill, pad-pad/2)
	case '=':
		n := signLength(s)
		return s[:n] + r.pad(sp.fill, pad) + s[n:]
	}
	return r.pad(sp.fill, pad) + s
}

func (r *run) formatNumber(v value, sp spec) string {
	n, isInt := asInt(v)
	if _, isBool := v.(bool); isBool && sp.verb == 0 && sp.sign == '-' && !sp.alt && sp.group == 0 && sp.prec < 0 && !sp.zero {
		isInt = true
	}
	var s string
	if isInt && strings.IndexByte("bcdnoxX\x00", sp.verb) >= 0 {
		s = r.intText(n, sp)
	} else {
		s = r.realText(v, sp)
	}
	s = signed(s, sp.sign == '+', sp.sign == ' ')
	if sp.align == 0 {
		sp.align = '>'
	}
	if sp.group != 0 && sp.align == '=' && sp.fill == "0" {
		return r.groupedPad(s, sp)
	}
	return r.aligned(s, sp)
}

func (r *run) intText(n int64, sp spec) string {
	if sp.prec >= 0 {
		failf("Precision not allowed in integer format specifier")
	}
	if sp.verb == 'c' {
		return r.charOf(n)
	}
	base := map[byte]int{'b': 2, 'o': 8, 'x': 16, 'X': 16}[sp.verb]
	size := 4
	if base == 0 {
		base, size = 10, 3
	}
	digits := strings.TrimPrefix(strconv.FormatInt(n, base), "-")
	if sp.group == ',' && base != 10 {
		failf("Cannot specify ',' with '%c'.", sp.verb)
	}
	digits = grouped(digits, sp.group, size)
	if sp.alt && base != 10 {
		digits = "0" + string(sp.verb) + digits
	}
	if sp.verb == 'X' {
		digits = strings.ToUpper(digits)
	}
	if n < 0 {
		return "-" + digits
	}
	return digits
}

func (r *run) realText(v value, sp spec) string {
	f, _ := asFloat(v)
	percent := ""
	var s string
	switch sp.verb {
	case 'e', 'E', 'f', 'F', 'g', 'G', 'n':
		verb := sp.verb
		if verb == 'n' {
			verb = 'g'
		}
		s = r.floatText(f, verb, sp.prec, sp.alt)
	case '%':
		s, percent = r.floatText(f*100, 'f', sp.prec, sp.alt), "%"
	case 0:
		if sp.prec < 0 {
			s = formatFloat(f)
			break
		}
		s = r.floatText(f, 'g', sp.prec, sp.alt)
		if !strings.ContainsAny(s, ".enai") {
			s += ".0"
		}
	default:
		failf("Unknown format code '%c' for object of type '%s'", sp.verb, typeName(v))
	}
	if sp.group != 0 {
		n := signLength(s)
		end := n
		for end < len(s) && isDigit(s[end]) {
			end++
		}
		s = s[:n] + grouped(s[n:end], sp.group, 3) + s[end:]
	}
	return s + percent
}

// grouped puts sep between groups of size digits.
func grouped(digits string, sep byte, size int) string {
	if sep == 0 {
		return digits
	}
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%size == 0 {
			b.WriteByte(sep)
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}

// groupedPad fills a grouped number with zeros, which are grouped too.
func (r *run) groupedPad(s string, sp spec) string {
	n := signLength(s)
	end := n
	for end < len(s) && (isDigit(s[end]) || s[end] == sp.group) {
		end++
	}
	size := 3
	if strings.IndexByte("boxX", sp.verb) >= 0 && sp.verb != 0 {
		size = 4
	}
	digits := strings.ReplaceAll(s[n:end], string(sp.group), "")
	room := sp.width - int64(n+len(s)-end)                         // for digits and separators
	more := max(0, room-(room-1)/int64(size+1)-int64(len(digits))) // a separator never comes first
	digits = r.pad("0", more) + digits
	r.step(len(digits))
	return s[:n] + grouped(digits, sp.group, size) + s[end:]
}
