package grammar

import "math/big"

// maxMultiple bounds the multiples that are counted: multipleOf, without its point.
const maxMultiple = 4096

// numbers is which numbers are meant.
type numbers struct {
	integer  bool
	lo, hi   *bound
	multiple *big.Rat // nil: any
}

func (n numbers) plain() bool { return n.lo == nil && n.hi == nil && n.multiple == nil }

// meet is the numbers that are in both.
func (n numbers) meet(m numbers) numbers {
	out := numbers{n.integer || m.integer, tighter(n.lo, m.lo, false), tighter(n.hi, m.hi, true), n.multiple}
	switch {
	case n.multiple == nil:
		out.multiple = m.multiple
	case m.multiple != nil: // the least common multiple of a/b and c/d is lcm(ad, cb)/bd
		a := new(big.Int).Mul(n.multiple.Num(), m.multiple.Denom())
		c := new(big.Int).Mul(m.multiple.Num(), n.multiple.Denom())
		gcd := new(big.Int).GCD(nil, nil, a, c)
		lcm := new(big.Int).Mul(new(big.Int).Div(a, gcd), c)
		out.multiple = new(big.Rat).SetFrac(lcm, new(big.Int).Mul(n.multiple.Denom(), m.multiple.Denom()))
	}
	return out
}

// has says whether a number is among them.
func (n numbers) has(d decimal) bool {
	if n.integer && d.part != "" {
		return false
	}
	if n.lo != nil {
		if c := d.compare(n.lo.decimal); c < 0 || c == 0 && n.lo.open {
			return false
		}
	}
	if n.hi != nil {
		if c := d.compare(n.hi.decimal); c > 0 || c == 0 && n.hi.open {
			return false
		}
	}
	return n.multiple == nil || new(big.Rat).Quo(d.rat(), n.multiple).IsInt()
}

// digits makes the part of numbers of one sign: with as many digits as the limits say, without exponent.
type digits struct {
	b        *builder
	lo, hi   *bound // without sign; hi may be nil
	fraction int    // digits behind the point, at most
	multiple int    // what the number without its point and with fraction digits behind it is a multiple of
	known    map[digitsAt]int32
}

// digitsAt is a place within a number: how many digits are missing before the point, or (written) stand behind it; whether the digits so far are
// those of a bound; and the remainder of the digits so far.
type digitsAt struct {
	behind        bool
	n             int
	low, high     bool
	rest          int
	pointExpected bool
}

// number is the part of numbers; false if their multiples are too many to count. Zero has no sign.
func (b *builder) number(n numbers) (int32, bool) {
	if n.plain() && !n.integer {
		return b.anyNumber(), true
	}
	fraction, multiple := maxFraction, 1
	if n.integer {
		fraction = 0
	}
	if n.multiple != nil {
		if n.integer {
			n = n.meet(numbers{multiple: big.NewRat(1, 1)})
		}
		scaled := new(big.Rat).Set(n.multiple)
		fraction = 0
		for ; !scaled.IsInt() && fraction < maxFraction; fraction++ {
			scaled.Mul(scaled, big.NewRat(10, 1))
		}
		if !scaled.IsInt() || scaled.Num().Cmp(big.NewInt(maxMultiple)) > 0 {
			return end, false
		}
		multiple = int(scaled.Num().Int64())
	}
	zero := decimal{whole: "0"}
	side := func(lo, hi *bound) int32 {
		if hi != nil && hi.minus {
			return b.nothing()
		}
		if lo == nil || lo.minus {
			lo = &bound{decimal: zero}
		}
		d := &digits{b: b, lo: lo, hi: hi, fraction: fraction, multiple: multiple, known: map[digitsAt]int32{}}
		return d.start()
	}
	flip := func(x *bound) *bound {
		if x == nil {
			return nil
		}
		y := *x
		y.minus = !y.minus && (y.whole != "0" || y.part != "")
		return &y
	}
	lo, hi := flip(n.hi), flip(n.lo)
	below := tighter(lo, &bound{decimal: zero, open: true}, false)
	return b.split(side(n.lo, n.hi), b.literal("-", side(below, hi))), true
}

// nothing is the part that no text fits.
func (b *builder) nothing() int32 {
	return b.rule("nothing", func() int32 { return b.add(node{op: opSplit}) })
}

// start is the part of all numbers between lo and hi, of every length.
func (d *digits) start() int32 {
	var starts []int32
	for n := 1; n <= maxDigits; n++ {
		if n < len(d.lo.whole) || d.hi != nil && n > len(d.hi.whole) {
			continue
		}
		low := n == len(d.lo.whole)
		high := d.hi != nil && n == len(d.hi.whole)
		first := byte('1')
		if n == 1 {
			first = '0'
		}
		starts = append(starts, d.take(first, digitsAt{n: n, low: low, high: high}))
	}
	return d.b.add(node{op: opSplit, to: starts})
}

// take takes a digit at a place, at least first.
func (d *digits) take(first byte, at digitsAt) int32 {
	lo, hi := first, byte('9')
	if at.low {
		lo = max(lo, d.digit(d.lo, at))
	}
	if at.high {
		hi = d.digit(d.hi, at)
	}
	var edges []edge
	for c := lo; c <= hi; c++ {
		to := at
		to.low = at.low && c == d.digit(d.lo, at)
		to.high = at.high && c == d.digit(d.hi, at)
		to.rest = (at.rest*10 + int(c-'0')) % d.multiple
		to.pointExpected = false
		if at.behind {
			to.n++
		} else {
			to.n--
		}
		next := d.node(to)
		if n := len(edges); n > 0 && edges[n-1].to == next {
			edges[n-1].hi = c
			continue
		}
		edges = append(edges, edge{c, c, next})
	}
	return d.b.bytes(edges...)
}

// digit is the digit of a bound at a place.
func (d *digits) digit(x *bound, at digitsAt) byte {
	switch {
	case !at.behind:
		return x.whole[len(x.whole)-at.n]
	case at.n < len(x.part):
		return x.part[at.n]
	}
	return '0'
}

// node is the node of a place.
func (d *digits) node(at digitsAt) int32 {
	if !at.behind && at.n == 0 {
		at.behind, at.pointExpected = true, true
	}
	if known, ok := d.known[at]; ok || d.b.err != nil {
		return known
	}
	var to int32
	switch {
	case !at.behind:
		to = d.take('0', at)
	default:
		var ways []int32
		if d.mayEnd(at) {
			ways = append(ways, end)
		}
		if at.n < d.fraction {
			more := d.take('0', at)
			if at.pointExpected {
				more = d.b.literal(".", more)
			}
			ways = append(ways, more)
		}
		if len(ways) == 0 {
			ways = append(ways, d.b.nothing())
		}
		to = d.b.split(ways...)
	}
	d.known[at] = to
	return to
}

// mayEnd says whether the number may end behind at.n digits behind the point.
func (d *digits) mayEnd(at digitsAt) bool {
	if at.low && (len(d.lo.part) > at.n || d.lo.open) {
		return false
	}
	if at.high && len(d.hi.part) <= at.n && d.hi.open {
		return false
	}
	rest := at.rest
	for range d.fraction - at.n {
		rest = rest * 10 % d.multiple
	}
	return rest == 0
}
