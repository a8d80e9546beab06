package jinja

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// parseInt reads an integer as Python's int(s, base) does: white space around, a sign, underscores between digits,
// and the prefix of the base. ok is false where s is none; an integer beyond 64 bits is a limit.
func parseInt(s string, base int64) (n int64, ok bool) {
	s = decimalDigits(strings.TrimFunc(s, isSpace))
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	if base != 0 && (base < 2 || base > 36) {
		return 0, false
	}
	prefixed := false
	if len(s) > 1 && s[0] == '0' {
		k := strings.IndexByte("box", s[1]|0x20)
		if k >= 0 {
			b := []int64{2, 8, 16}[k]
			if base == 0 || base == b {
				base, s, prefixed = b, s[2:], true
			}
		}
	}
	if base == 0 {
		base = 10
		if s != "" && s[0] == '0' && strings.Trim(s, "0_") != "" {
			return 0, false
		}
	}
	s, ok = withoutUnderscores(s, prefixed)
	if !ok || s == "" {
		return 0, false
	}
	if neg {
		s = "-" + s
	}
	n, err := strconv.ParseInt(s, int(base), 64)
	if err == nil {
		return n, true
	}
	if errors.Is(err, strconv.ErrRange) {
		overflow()
	}
	return 0, false
}

// decimalDigits turns decimal digits of every script into ASCII.
func decimalDigits(s string) string {
	if isASCII(s) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < 0x80 || !unicode.Is(unicode.Nd, c) {
			return c
		}
		zero := c // the digits of a script are ten code points in a row
		for c-zero < 9 && unicode.Is(unicode.Nd, zero-1) {
			zero--
		}
		if c-zero > 9 {
			return c
		}
		return '0' + c - zero
	}, s)
}

// withoutUnderscores removes single underscores between digits, and after a prefix where lead is set.
func withoutUnderscores(s string, lead bool) (string, bool) {
	if !strings.Contains(s, "_") {
		return s, true
	}
	if strings.Contains(s, "__") || strings.HasSuffix(s, "_") || (!lead && strings.HasPrefix(s, "_")) {
		return "", false
	}
	return strings.ReplaceAll(s, "_", ""), true
}

// parseFloat reads a float as Python's float(s) does.
func parseFloat(s string) (float64, bool) {
	s = decimalDigits(strings.TrimFunc(s, isSpace))
	if strings.Contains(s, "_") {
		for i := range len(s) {
			if s[i] == '_' && (i == 0 || i+1 == len(s) || !isDigit(s[i-1]) || !isDigit(s[i+1])) {
				return 0, false
			}
		}
		s = strings.ReplaceAll(s, "_", "")
	}
	if strings.ContainsAny(s, "xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return f, true
}

// truncated is int(f), or false for what has no integer.
func truncated(f float64) (int64, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	n, ok := exactInt(math.Trunc(f))
	if !ok {
		overflow()
	}
	return n, true
}

func filterInt(r *run, v value, a args) value {
	b := a.bind("int", 0, "default", "base")
	r.defined(v)
	otherwise := or(b[0], int64(0))
	if s, ok := asString(v); ok {
		r.step(len(s))
		if n, ok := parseInt(s, r.integer(b[1], 10)); ok {
			return n
		}
		if f, ok := parseFloat(s); ok {
			if n, ok := truncated(f); ok {
				return n
			}
		}
		return otherwise
	}
	switch x := v.(type) {
	case wideInt:
		return x
	case float64:
		if math.IsInf(x, 0) {
			failf("cannot convert float infinity to integer")
		}
		if n, ok := truncated(x); ok {
			return n
		}
		return otherwise
	}
	if n, ok := asInt(v); ok {
		return n
	}
	return otherwise
}

func filterFloat(r *run, v value, a args) value {
	b := a.bind("float", 0, "default")
	r.defined(v)
	if s, ok := asString(v); ok {
		r.step(len(s))
		if f, ok := parseFloat(s); ok {
			return f
		}
	} else if f, ok := asFloat(v); ok {
		return f
	}
	return or(b[0], float64(0))
}

func filterRound(r *run, v value, a args) value {
	b := a.bind("round", 0, "precision", "method")
	r.defined(v)
	method := or(b[1], "common")
	if method != "common" && method != "ceil" && method != "floor" {
		failf("method must be common, ceil or floor")
	}
	if method == "common" {
		return r.round(v, or(b[0], int64(0)))
	}
	scale := r.binary("**", int64(10), or(b[0], int64(0)))
	scaled, ok := asFloat(r.binary("*", v, scale))
	if !ok {
		failf("must be a real number, not %s", typeName(v))
	}
	if method == "ceil" {
		scaled = math.Ceil(scaled)
	} else {
		scaled = math.Floor(scaled)
	}
	n, ok := truncated(scaled)
	if !ok {
		failf("cannot convert float %s to integer", formatFloat(scaled))
	}
	return r.binary("/", n, scale)
}

// round is round(v, precision): to the nearest, ties to even.
func (r *run) round(v, precision value) value {
	p := int64(0)
	if precision != nil {
		p = r.integer(precision, 0)
	}
	f, isFloat := v.(float64)
	if !isFloat {
		n, ok := asInt(v)
		if !ok {
			failf("type %s doesn't define __round__ method", typeName(v))
		}
		return roundInt(n, p)
	}
	if precision == nil {
		n, ok := truncated(math.RoundToEven(f))
		if !ok {
			failf("cannot convert float %s to integer", formatFloat(f))
		}
		return n
	}
	if math.IsNaN(f) || math.IsInf(f, 0) || p > 323 {
		return f
	}
	if p < -308 {
		return math.Copysign(0, f)
	}
	if p >= 0 {
		out, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(p), 64), 64)
		return out
	}
	scale := math.Pow(10, float64(-p))
	return math.RoundToEven(f/scale) * scale
}

func roundInt(n, p int64) value {
	if p >= 0 {
		return n
	}
	if p < -18 {
		return int64(0)
	}
	scale := int64(1)
	for ; p < 0; p++ {
		scale *= 10
	}
	q, m := n/scale, n%scale
	if m < 0 {
		q, m = q-1, m+scale
	}
	if m > scale/2 || (m == scale/2 && q%2 != 0) {
		q++
	}
	return mulInt(q, scale)
}
