package npy

import (
	"strconv"
	"strings"

	"github.com/skein-project/skein/model"
)

// header is what the dictionary before the elements says.
type header struct {
	descr   string
	fortran bool
	shape   []int64
}

// reader reads a dictionary as Python writes it: three keys, each once, in any order.
type reader struct{ rest string }

// parse reads a header.
func parse(text string) (h header, err error) {
	r := &reader{text}
	if !r.take("{") {
		return h, invalid("the header is no dictionary")
	}
	seen := map[string]bool{}
	for !r.take("}") {
		key, ok := r.quoted()
		if !ok || seen[key] || !r.take(":") {
			return h, invalid("the header has no key, or one twice, before %.40q", r.rest)
		}
		seen[key] = true
		switch key {
		case "descr":
			h.descr, ok = r.quoted()
		case "fortran_order":
			h.fortran = r.take("True")
			ok = h.fortran || r.take("False")
		case "shape":
			h.shape, ok = r.tuple()
		default:
			ok = false
		}
		if !ok {
			return h, invalid("the header's %.40q is not understood", key)
		}
		if !r.take(",") && !r.peek("}") {
			return h, invalid("the header goes on with %.40q", r.rest)
		}
	}
	if r.space(); r.rest != "" || len(seen) != 3 {
		return h, invalid("the header has %d keys, want descr, fortran_order and shape, and nothing behind them", len(seen))
	}
	return h, nil
}

func (r *reader) space() { r.rest = strings.TrimLeft(r.rest, " \t\r\n") }

func (r *reader) peek(s string) bool {
	r.space()
	return strings.HasPrefix(r.rest, s)
}

func (r *reader) take(s string) bool {
	if !r.peek(s) {
		return false
	}
	r.rest = r.rest[len(s):]
	return true
}

// quoted reads a text without escapes.
func (r *reader) quoted() (string, bool) {
	for _, q := range []string{"'", `"`} {
		if r.take(q) {
			text, rest, ok := strings.Cut(r.rest, q)
			r.rest = rest
			return text, ok && !strings.Contains(text, `\`)
		}
	}
	return "", false
}

// tuple reads dimensions.
func (r *reader) tuple() (shape []int64, ok bool) {
	if !r.take("(") {
		return nil, false
	}
	shape = []int64{}
	for !r.take(")") {
		r.space()
		n := 0
		for n < len(r.rest) && r.rest[n] >= '0' && r.rest[n] <= '9' {
			n++
		}
		d, err := strconv.ParseInt(r.rest[:n], 10, 64)
		if r.rest = strings.TrimPrefix(r.rest[n:], "L"); err != nil || len(shape) == model.MaxRank { // Python 2 wrote long numbers as 3L
			return nil, false
		}
		shape = append(shape, d)
		if !r.take(",") && !r.peek(")") {
			return nil, false
		}
	}
	return shape, true
}
