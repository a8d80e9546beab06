package alert

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/series"
)

// op is what a part of a program does.
type op uint8

const (
	opNumber op = iota
	opQuery
	opAdd
	opSub
	opMul
	opDiv
	opGreater
	opGreaterEqual
	opLess
	opLessEqual
	opEqual
	opNotEqual
	opAnd
	opOr
)

var opNames = [...]string{opAdd: "+", opSub: "-", opMul: "*", opDiv: "/", opGreater: ">", opGreaterEqual: ">=", opLess: "<", opLessEqual: "<=",
	opEqual: "==", opNotEqual: "!=", opAnd: "and", opOr: "or"}

// part is a node of a program.
type part struct {
	op          op
	left, right *part
	query       *query
	value       float64 // of opNumber
	whole       bool    // it is an integer, which CEL does not mix with others in arithmetic
}

func (p *part) constant() bool {
	switch p.op {
	case opNumber:
		return true
	case opQuery:
		return false
	}
	return p.left.constant() && p.right.constant()
}

// query is a call of a function of series.
type query struct {
	function string
	family   series.Family
	permille int
	window   Duration
	match    series.Match
}

// String tells queries apart.
func (q *query) String() string {
	return fmt.Sprintf("%s(%s, %d, %s, %q)", q.function, q.family.Name, q.permille, q.window, q.match)
}

// Program is a compiled expression. It is only read.
type Program struct {
	expr    string
	over    Scope
	by      []string
	root    *part
	queries []*query

	families string // that queries ask, and the scope: programs with the same have the same subjects
}

// misses says which label of a rule's Where a family lacks that the program asks.
func (p *Program) misses(where series.Match) string {
	for _, m := range where {
		for _, q := range p.queries {
			if _, ok := q.family.Column(m.Name); !ok {
				return fmt.Sprintf("where: %s has no label %s", q.family.Name, m.Name)
			}
			if slices.ContainsFunc(q.match, func(x series.Matcher) bool { return x.Name == m.Name }) {
				return fmt.Sprintf("where: the expression already names %s", m.Name)
			}
		}
	}
	return ""
}

// Subjects lists what a rule is to be evaluated for: whatever the families that the program asks have series of.
func (p *Program) Subjects(s *series.Store, where series.Match) []series.Labels {
	if p.over == OverCluster {
		return []series.Labels{{}}
	}
	var out []series.Labels
	var seen []string
	for _, q := range p.queries {
		if slices.Contains(seen, q.family.Name) {
			continue
		}
		seen = append(seen, q.family.Name)
		out = append(out, s.Subjects(q.family.Name, p.by, where)...)
	}
	if len(seen) > 1 {
		slices.SortFunc(out, series.Labels.Compare)
		out = slices.CompactFunc(out, func(a, b series.Labels) bool { return a.Compare(b) == 0 })
	}
	return out
}

// Truth is the outcome of a condition.
type Truth int8

// Truths.
const (
	Unknown Truth = iota // a series has no values
	False
	True
)

// Verdict is the outcome of a condition, and the value that it compared.
type Verdict struct {
	Truth Truth
	Value float64
}

// answer is a query's number; unknown if there are no values.
type answer struct {
	value float64
	known bool
}

// ask gets the answer of a query.
type ask func(*query) answer

// Eval decides the condition for a subject at a time.
func (p *Program) Eval(s *series.Store, at time.Time, subject series.Labels, where series.Match) Verdict {
	m := within(subject, where)
	return p.root.decide(func(q *query) answer { return q.ask(s, at, m) })
}

// within is what series of a subject match. A matcher of where for a label of the subject has done its work.
func within(subject series.Labels, where series.Match) series.Match {
	m := series.Is(subject)
	for _, x := range where {
		if subject.Get(x.Name) == "" {
			m = append(m, x)
		}
	}
	return m
}

func (q *query) ask(s *series.Store, at time.Time, m series.Match) answer {
	if len(q.match) > 0 {
		m = append(slices.Clip(m), q.match...)
	}
	w := series.Window{Family: q.family.Name, Match: m, At: at, Length: time.Duration(q.window)}
	var a answer
	switch q.function {
	case "rate":
		a.value, a.known = s.Rate(w)
	case "increase":
		var n int64
		n, a.known = s.Increase(w)
		a.value = float64(n)
	case "p":
		var h series.Histogram
		if h, a.known = s.Merged(w); a.known {
			a.value = float64(h.Quantile(q.permille)) / 1000
		}
	case "absent":
		a.known = s.Absent(w)
	case "baseline":
		a.value, a.known = s.Usual(w)
	default:
		a.value, a.known = s.Gauge(w, map[string]series.Over{"avg": series.Mean, "max": series.Highest, "min": series.Lowest, "last": series.Newest, "sum": series.Total}[q.function])
	}
	return a
}

// decide is the truth of a condition.
func (p *part) decide(ask ask) Verdict {
	switch p.op {
	case opQuery: // absent: a vector that is there or is not
		if ask(p.query).known {
			return Verdict{Truth: True, Value: 1}
		}
		return Verdict{Truth: False}
	case opAnd:
		l := p.left.decide(ask)
		if l.Truth == False {
			return l
		}
		r := p.right.decide(ask)
		return Verdict{Truth: min2(l.Truth, r.Truth), Value: l.Value}
	case opOr:
		l := p.left.decide(ask)
		if l.Truth == True {
			return l
		}
		r := p.right.decide(ask)
		if r.Truth == True {
			return r
		}
		if l.Truth == Unknown || r.Truth == Unknown {
			return Verdict{Truth: Unknown}
		}
		return l
	}
	l, r := p.left.number(ask), p.right.number(ask)
	if !l.known || !r.known {
		return Verdict{Truth: Unknown}
	}
	v := Verdict{Truth: False, Value: l.value}
	if p.left.constant() {
		v.Value = r.value
	}
	if compare(p.op, l.value, r.value) {
		v.Truth = True
	}
	return v
}

// min2 is the truth of both: false if one is, else unknown if one is.
func min2(l, r Truth) Truth {
	switch {
	case l == False || r == False:
		return False
	case l == Unknown || r == Unknown:
		return Unknown
	}
	return True
}

func compare(o op, l, r float64) bool {
	switch o {
	case opGreater:
		return l > r
	case opGreaterEqual:
		return l >= r
	case opLess:
		return l < r
	case opLessEqual:
		return l <= r
	case opEqual:
		return l == r
	}
	return l != r
}

func (p *part) number(ask ask) answer {
	switch p.op {
	case opNumber:
		return answer{p.value, true}
	case opQuery:
		return ask(p.query)
	}
	l := p.left.number(ask)
	if !l.known {
		return answer{}
	}
	r := p.right.number(ask)
	if !r.known {
		return answer{}
	}
	switch p.op {
	case opAdd:
		return answer{l.value + r.value, true}
	case opSub:
		return answer{l.value - r.value, true}
	case opMul:
		return answer{l.value * r.value, true}
	}
	return answer{l.value / r.value, true}
}

// show writes a value for people: four digits.
func show(v float64) string {
	if math.Abs(v) >= 1e4 && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	return strings.Replace(strconv.FormatFloat(v, 'g', 4, 64), "e+", "e", 1)
}
