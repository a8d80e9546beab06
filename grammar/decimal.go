package grammar

import (
	"math/big"
	"strconv"
	"strings"
)

// decimal is a number as JSON writes it. Its digits say exactly what it is: 12.5 is whole "12" and part "5", zero is whole "0".
type decimal struct {
	minus bool
	whole string // without leading zeros, at least one digit
	part  string // behind the point, without trailing zeros
}

// maxExponent bounds the exponent of a number of a schema, and so its digits.
const maxExponent = 400

// parseDecimal reads a JSON number; false if its exponent is too large.
func parseDecimal(text string) (decimal, bool) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		e, err := strconv.Atoi(text[i+1:])
		if err != nil || e > maxExponent || e < -maxExponent {
			return decimal{}, false
		}
		mantissa, exponent = text[:i], e
	}
	if len(mantissa) > 2*maxExponent {
		return decimal{}, false
	}
	mantissa, minus := strings.CutPrefix(mantissa, "-")
	whole, part, _ := strings.Cut(mantissa, ".")
	for ; exponent > 0; exponent-- {
		if part == "" {
			part = "0"
		}
		whole, part = whole+part[:1], part[1:]
	}
	for ; exponent < 0; exponent++ {
		if whole == "" {
			whole = "0"
		}
		whole, part = whole[:len(whole)-1], whole[len(whole)-1:]+part
	}
	d := decimal{minus, strings.TrimLeft(whole, "0"), strings.TrimRight(part, "0")}
	if d.whole == "" {
		d.whole = "0"
	}
	if d.whole == "0" && d.part == "" {
		d.minus = false
	}
	return d, true
}

// size compares two numbers without their signs.
func (d decimal) size(e decimal) int {
	if len(d.whole) != len(e.whole) {
		return len(d.whole) - len(e.whole)
	}
	if c := strings.Compare(d.whole, e.whole); c != 0 {
		return c
	}
	return strings.Compare(d.part, e.part)
}

func (d decimal) compare(e decimal) int {
	switch {
	case d.minus && e.minus:
		return e.size(d)
	case d.minus:
		return -1
	case e.minus:
		return 1
	}
	return d.size(e)
}

// rat is the number.
func (d decimal) rat() *big.Rat {
	r, _ := new(big.Rat).SetString(d.whole + "." + d.part + "0")
	if d.minus {
		r.Neg(r)
	}
	return r
}

// bound is an end of a range of numbers.
type bound struct {
	decimal
	open bool // the number itself is not in the range
}

// tighter is the lower bound of two (upper: the upper) that leaves less. Nil is no bound.
func tighter(a, b *bound, upper bool) *bound {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	c := a.compare(b.decimal)
	if upper {
		c = -c
	}
	if c > 0 || c == 0 && a.open {
		return a
	}
	return b
}
