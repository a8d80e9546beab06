package jinja

import (
	"math"
	"math/big"
	"strings"
)

// equal is a == b.
func (r *run) equal(a, b value) bool {
	r.enter()
	defer r.leave()
	r.step(1)
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := asString(b)
		return ok && r.same(x, y)
	case markup:
		y, ok := asString(b)
		return ok && r.same(string(x), y)
	case bool, int64, float64, wideInt:
		return isNumber(b) && !isNaN(a) && !isNaN(b) && numberOrder(a, b) == 0
	case *list:
		y, ok := b.(*list)
		return ok && r.equalItems(x.items, y.items)
	case *tuple:
		y, ok := b.(*tuple)
		return ok && r.equalItems(x.items, y.items)
	case *dict:
		y, ok := b.(*dict)
		return ok && r.equalDicts(x, y)
	case *span:
		y, ok := b.(*span)
		return ok && x.n == y.n && (x.n == 0 || x.start == y.start && (x.n == 1 || x.step == y.step))
	case *undefined:
		_, ok := b.(*undefined)
		return ok
	case *dictView:
		return r.equalViews(x, b)
	case *builtin:
		y, ok := b.(*builtin)
		return ok && (x == y)
	}
	return a == b
}

func (r *run) same(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	r.scan(len(a))
	return a == b
}

func (r *run) equalItems(a, b []value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !r.identicalOrEqual(a[i], b[i]) {
			return false
		}
	}
	return true
}

// identicalOrEqual is how containers compare their elements: a NaN equals itself there.
func (r *run) identicalOrEqual(a, b value) bool {
	if x, ok := a.(float64); ok {
		if y, ok := b.(float64); ok && math.IsNaN(x) && math.IsNaN(y) {
			return true
		}
	}
	return r.equal(a, b)
}

func (r *run) equalDicts(a, b *dict) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	for i, k := range a.keys {
		v, ok := b.get(r, k)
		if !ok || !r.identicalOrEqual(a.vals[i], v) {
			return false
		}
	}
	return true
}

// equalViews compares dict.keys() and dict.items() as sets; dict.values() equals only itself.
func (r *run) equalViews(a *dictView, b value) bool {
	y, ok := b.(*dictView)
	if !ok {
		return false
	}
	if a.part == "values" || y.part == "values" {
		return a == y
	}
	if len(a.d.keys) != len(y.d.keys) {
		return false
	}
	for _, it := range a.all(r) {
		if !r.contains(y, it) {
			return false
		}
	}
	return true
}

func isNumber(v value) bool {
	switch v.(type) {
	case bool, int64, float64, wideInt:
		return true
	}
	return false
}

func isNaN(v value) bool {
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}

// numberOrder compares two numbers, neither of them NaN, exactly.
func numberOrder(a, b value) int {
	x, xf := a.(float64)
	y, yf := b.(float64)
	_, xw := a.(wideInt)
	_, yw := b.(wideInt)
	if !xf && !yf && !xw && !yw {
		m, _ := asInt(a)
		n, _ := asInt(b)
		switch {
		case m < n:
			return -1
		case m > n:
			return 1
		}
		return 0
	}
	if xf && yf {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if xf && math.IsInf(x, 0) {
		return int(math.Copysign(1, x))
	}
	if yf && math.IsInf(y, 0) {
		return -int(math.Copysign(1, y))
	}
	return exact(a).Cmp(exact(b))
}

func exact(v value) *big.Float {
	switch v := v.(type) {
	case float64:
		return big.NewFloat(v)
	case wideInt:
		if len(v) > 400 {
			overflow()
		}
		f, _, err := big.ParseFloat(string(v), 10, 2048, big.ToNearestEven)
		if err != nil {
			overflow()
		}
		return f
	}
	n, _ := asInt(v)
	return new(big.Float).SetInt64(n)
}

// order evaluates a < b, a <= b, a > b or a >= b.
func (r *run) order(op string, a, b value) bool {
	r.defined(a)
	r.defined(b)
	c, ok := r.threeWay(op, a, b)
	if !ok {
		return false // a NaN is in no order
	}
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func (r *run) threeWay(op string, a, b value) (c int, ordered bool) {
	r.enter()
	defer r.leave()
	r.step(1)
	if isNumber(a) && isNumber(b) {
		if isNaN(a) || isNaN(b) {
			return 0, false
		}
		return numberOrder(a, b), true
	}
	if x, ok := asString(a); ok {
		if y, ok := asString(b); ok {
			r.scan(min(len(x), len(y)))
			return strings.Compare(x, y), true
		}
	}
	switch x := a.(type) {
	case *list:
		if y, ok := b.(*list); ok {
			return r.orderItems(op, x.items, y.items)
		}
	case *tuple:
		if y, ok := b.(*tuple); ok {
			return r.orderItems(op, x.items, y.items)
		}
	}
	failf("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	return 0, false
}

func (r *run) orderItems(op string, a, b []value) (int, bool) {
	for i := range min(len(a), len(b)) {
		if !r.identicalOrEqual(a[i], b[i]) {
			r.defined(a[i])
			r.defined(b[i])
			return r.threeWay(op, a[i], b[i])
		}
	}
	return len(a) - len(b), true
}

// contains is item in in.
func (r *run) contains(in, item value) bool {
	switch in := in.(type) {
	case string:
		return r.substring(in, item)
	case markup:
		return r.substring(string(in), item)
	case *dict:
		return in.find(r, item) >= 0
	case *dictView:
		if in.part == "keys" {
			return in.d.find(r, item) >= 0
		}
		if t, ok := item.(*tuple); ok && in.part == "items" {
			if len(t.items) != 2 {
				return false
			}
			v, ok := in.d.get(r, t.items[0])
			return ok && r.identicalOrEqual(v, t.items[1])
		}
	case *span:
		if n, ok := spanIndex(in, item); ok {
			return n
		}
	case *namespace, nil, bool, int64, float64, wideInt, *macro, *builtin:
		failf("argument of type '%s' is not iterable", typeName(in))
	}
	it := r.iterate(in)
	for {
		v, ok := it.next(r)
		if !ok {
			return false
		}
		if r.identicalOrEqual(v, item) {
			return true
		}
	}
}

// spanIndex says whether a range holds an integral number without walking it.
func spanIndex(s *span, item value) (holds, decided bool) {
	n, ok := asInt(item)
	if !ok {
		return false, false
	}
	off := n - s.start
	return off%s.step == 0 && off/s.step >= 0 && off/s.step < s.n, true
}

func (r *run) substring(s string, item value) bool {
	sub, ok := asString(item)
	if !ok {
		failf("'in <string>' requires string as left operand, not %s", typeName(item))
	}
	r.scan(len(s))
	return strings.Contains(s, sub)
}
