package jinja

// testFunc applies a test to v; the result is taken for its truth.
type testFunc func(r *run, v value, a args) value

// findTest returns the test of a name, or nil.
func findTest(name string) testFunc {
	if op, ok := comparisonTests(name); ok {
		return func(r *run, v value, a args) value {
			return r.compare(op, v, a.positional(name, 1, 1)[0])
		}
	}
	if f := typeTest(name); f != nil {
		return func(r *run, v value, a args) value {
			a.bind(name, 0)
			return f(r, v)
		}
	}
	switch name {
	case "odd", "even":
		want := int64(0)
		if name == "odd" {
			want = 1
		}
		return func(r *run, v value, a args) value {
			a.bind(name, 0)
			return r.equal(r.binary("%", v, int64(2)), want)
		}
	case "divisibleby":
		return func(r *run, v value, a args) value {
			return r.equal(r.binary("%", v, a.bind(name, 1, "num")[0]), int64(0))
		}
	case "sameas":
		return func(_ *run, v value, a args) value {
			return identical(v, a.bind(name, 1, "other")[0])
		}
	case "in":
		return func(r *run, v value, a args) value {
			return r.contains(a.bind(name, 1, "seq")[0], v)
		}
	}
	return nil
}

func comparisonTests(name string) (op string, ok bool) {
	switch name {
	case "==", "eq", "equalto":
		return "==", true
	case "!=", "ne":
		return "!=", true
	case ">", "gt", "greaterthan":
		return ">", true
	case ">=", "ge":
		return ">=", true
	case "<", "lt", "lessthan":
		return "<", true
	case "<=", "le":
		return "<=", true
	}
	return "", false
}

// identical is v is w; strings and integers that are equal count as the same.
func identical(v, w value) bool { return v == w }

func typeTest(name string) func(r *run, v value) bool {
	switch name {
	case "defined", "undefined":
		want := name == "undefined"
		return func(_ *run, v value) bool {
			_, undef := v.(*undefined)
			return undef == want
		}
	case "none":
		return func(_ *run, v value) bool { return v == nil }
	case "boolean":
		return func(_ *run, v value) bool { _, ok := v.(bool); return ok }
	case "true", "false":
		want := name == "true"
		return func(_ *run, v value) bool { b, ok := v.(bool); return ok && b == want }
	case "integer":
		return func(_ *run, v value) bool {
			_, ok := v.(int64)
			_, wide := v.(wideInt)
			return ok || wide
		}
	case "float":
		return func(_ *run, v value) bool { _, ok := v.(float64); return ok }
	case "number":
		return func(_ *run, v value) bool { return isNumber(v) }
	case "string":
		return func(_ *run, v value) bool { _, ok := asString(v); return ok }
	case "mapping":
		return func(_ *run, v value) bool { _, ok := v.(*dict); return ok }
	case "iterable":
		return func(_ *run, v value) bool { _, ok := tryIterate(v); return ok }
	case "escaped":
		return func(_ *run, v value) bool { _, ok := v.(markup); return ok }
	case "lower":
		return func(r *run, v value) bool { return isLower(r.text(v)) }
	case "upper":
		return func(r *run, v value) bool { return isUpper(r.text(v)) }
	case "filter":
		return func(r *run, v value) bool { s, ok := asString(v); return ok && findFilter(s) != nil }
	case "test":
		return func(r *run, v value) bool { s, ok := asString(v); return ok && findTest(s) != nil }
	case "sequence":
		return func(_ *run, v value) bool {
			switch v.(type) {
			case string, markup, *list, *tuple, *dict, *span, *undefined:
				return true
			}
			return false
		}
	case "callable":
		return func(_ *run, v value) bool {
			switch v.(type) {
			case *builtin, *macro, *undefined, *loopState:
				return true
			}
			return false
		}
	}
	return nil
}
