package jinja

import (
	"math"
	"math/bits"
	"strings"
)

// truth is bool(v).
func (r *run) truth(v value) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case *list:
		return len(v.items) > 0
	case *tuple:
		return len(v.items) > 0
	case *dict:
		return len(v.keys) > 0
	case *dictView:
		return len(v.d.keys) > 0
	case *span:
		return v.n > 0
	case *loopState:
		return v.length(r) > 0
	}
	return true
}

// asInt is v as an integer operand: an int or a bool.
func asInt(v value) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case wideInt:
		overflow()
	}
	return 0, false
}

// asFloat is v as a float operand.
func asFloat(v value) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	n, ok := asInt(v)
	return float64(n), ok
}

func asString(v value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

func (r *run) binary(op string, a, b value) value {
	if _, isStr := asString(a); !isStr || op != "%" {
		r.defined(a)
		r.defined(b)
	}
	if x, ok := asInt(a); ok {
		if y, ok := asInt(b); ok {
			return intOp(op, x, y)
		}
	}
	if x, ok := asFloat(a); ok {
		if y, ok := asFloat(b); ok {
			return floatOp(op, x, y)
		}
	}
	switch op {
	case "+":
		if v, ok := r.join(a, b); ok {
			return v
		}
	case "*":
		if n, ok := asInt(b); ok {
			if v, ok := r.repeat(a, n); ok {
				return v
			}
		}
		if n, ok := asInt(a); ok {
			if v, ok := r.repeat(b, n); ok {
				return v
			}
		}
	case "%":
		if s, ok := a.(string); ok {
			return r.percent(s, b, r.text)
		}
		if s, ok := a.(markup); ok {
			return markup(r.percent(string(s), b, r.escaped))
		}
	}
	failf("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	return nil
}

// defined fails where v is undefined.
func (r *run) defined(v value) {
	if u, ok := v.(*undefined); ok {
		failf("%s", u.msg())
	}
}

// join is a + b for strings, lists and tuples.
func (r *run) join(a, b value) (value, bool) {
	switch x := a.(type) {
	case string:
		switch y := b.(type) {
		case string:
			r.grow(len(x) + len(y))
			return x + y, true
		case markup:
			x = r.htmlEscape(x)
			r.grow(len(x) + len(y))
			return markup(x) + y, true
		}
	case markup:
		if _, ok := asString(b); ok {
			y := r.escaped(b)
			r.grow(len(x) + len(y))
			return x + markup(y), true
		}
	case *list:
		if y, ok := b.(*list); ok {
			return &list{r.concat(x.items, y.items)}, true
		}
	case *tuple:
		if y, ok := b.(*tuple); ok {
			return &tuple{items: r.concat(x.items, y.items)}, true
		}
	}
	return nil, false
}

func (r *run) concat(a, b []value) []value {
	r.items(len(a) + len(b))
	out := make([]value, 0, len(a)+len(b))
	return append(append(out, a...), b...)
}

// repeat is v * n for strings, lists and tuples.
func (r *run) repeat(v value, n int64) (value, bool) {
	n = max(n, 0)
	size := func(each int) int {
		hi, lo := bits.Mul64(uint64(each), uint64(n))
		if hi != 0 || lo > math.MaxInt32 {
			return math.MaxInt32
		}
		return int(lo)
	}
	many := func(items []value) []value {
		r.items(size(len(items)))
		var out []value
		for range size(len(items)) / max(len(items), 1) {
			out = append(out, items...)
		}
		return out
	}
	str := func(s string) string {
		r.grow(size(len(s)))
		return strings.Repeat(s, size(len(s))/max(len(s), 1))
	}
	switch v := v.(type) {
	case string:
		return str(v), true
	case markup:
		return markup(str(string(v))), true
	case *list:
		return &list{many(v.items)}, true
	case *tuple:
		return &tuple{items: many(v.items)}, true
	}
	return nil, false
}

func intOp(op string, x, y int64) value {
	switch op {
	case "+":
		s := x + y
		if (x > 0 && y > 0 && s < 0) || (x < 0 && y < 0 && s >= 0) {
			overflow()
		}
		return s
	case "-":
		d := x - y
		if (x >= 0 && y < 0 && d < 0) || (x < 0 && y > 0 && d >= 0) {
			overflow()
		}
		return d
	case "*":
		return mulInt(x, y)
	case "/":
		if y == 0 {
			failf("division by zero")
		}
		return float64(x) / float64(y)
	case "//", "%":
		if y == 0 {
			failf("integer division or modulo by zero")
		}
		if y == -1 {
			if op == "%" {
				return int64(0)
			}
			return mulInt(x, -1)
		}
		q, m := x/y, x%y
		if m != 0 && (m < 0) != (y < 0) {
			q, m = q-1, m+y
		}
		if op == "%" {
			return m
		}
		return q
	}
	return powInt(x, y)
}

func mulInt(x, y int64) int64 {
	if x == 0 || y == 0 {
		return 0
	}
	p := x * y
	if p/y != x || (x == -1 && y == math.MinInt64) || (y == -1 && x == math.MinInt64) {
		overflow()
	}
	return p
}

func powInt(x, y int64) value {
	if y < 0 {
		return floatOp("**", float64(x), float64(y))
	}
	if x >= -1 && x <= 1 {
		if y == 0 || x == 1 {
			return int64(1)
		}
		if x == -1 && y%2 == 0 {
			return int64(1)
		}
		return x
	}
	out := int64(1)
	for ; y > 0; y-- { // leaves by overflow after at most 64 rounds
		out = mulInt(out, x)
	}
	return out
}

func floatOp(op string, x, y float64) value {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		if y == 0 {
			failf("float division by zero")
		}
		return x / y
	case "//", "%":
		if y == 0 {
			failf("float modulo or floor division by zero")
		}
		q, m := floatDivmod(x, y)
		if op == "%" {
			return m
		}
		return q
	}
	if x == 0 && y < 0 {
		failf("0.0 cannot be raised to a negative power")
	}
	if x < 0 && !math.IsInf(x, 0) && y != math.Trunc(y) {
		failf("the result of a power is a complex number")
	}
	p := math.Pow(x, y)
	if math.IsInf(p, 0) && !math.IsInf(x, 0) && !math.IsInf(y, 0) {
		failf("float power is out of range")
	}
	return p
}

// floatDivmod divides as CPython does: the remainder has the sign of y.
func floatDivmod(x, y float64) (q, m float64) {
	m = math.Mod(x, y)
	q = (x - m) / y
	if m != 0 {
		if (y < 0) != (m < 0) {
			m += y
			q--
		}
	} else {
		m = math.Copysign(0, y)
	}
	if q == 0 {
		return math.Copysign(0, x/y), m
	}
	f := math.Floor(q)
	if q-f > 0.5 {
		f++
	}
	return f, m
}

func (r *run) unary(op string, v value) value {
	r.defined(v)
	if f, ok := v.(float64); ok {
		if op == "-" {
			return -f
		}
		return f
	}
	n, ok := asInt(v)
	if !ok {
		failf("bad operand type for unary %s: '%s'", op, typeName(v))
	}
	if op == "+" {
		return n
	}
	if n == math.MinInt64 {
		overflow()
	}
	return -n
}
