package series

import (
	"slices"
	"time"
)

// Longest is the longest window.
const Longest = 30 * 24 * time.Hour

// least is how many points a window should have at least: a finer tier is read if one has fewer.
const least = 20

// span is the steps of a tier that a window (at-w, at] touches, by the start of the step.
type span struct {
	tier     int
	from, to int64 // steps
	seconds  int64 // from the start of the first step to the end of what the last one holds
}

// spanOf chooses the coarsest tier with enough points, and a coarser one if that alone reaches back far enough.
func (ln *line) spanOf(at, w int64) span {
	i := 0
	for i+1 < len(Tiers) && Tiers[i+1].Step*least <= w {
		i++
	}
	i = ln.reach(i, at-w)
	step := Tiers[i].Step
	from := floor(at-w, step) + 1
	to := floor(at, step)
	end := max(at+1, min((to+1)*step, ln.newest+1)) // a step in the past is over
	return span{tier: i, from: from, to: to, seconds: end - from*step}
}

// reach is the tier i, or the first coarser one that still has what is older than the oldest point of i.
func (ln *line) reach(i int, from int64) int {
	for ; i+1 < len(Tiers); i++ {
		fine, ok := ln.tracks[i].first()
		if ok && fine*Tiers[i].Step <= from+Tiers[i].Step {
			return i
		}
		coarse, more := ln.tracks[i+1].first()
		if !more || ok && (coarse+1)*Tiers[i+1].Step > fine*Tiers[i].Step {
			return i
		}
	}
	return i
}

func floor(a, b int64) int64 {
	if a < 0 {
		return (a - b + 1) / b
	}
	return a / b
}

// Window is a stretch of time that ends at a moment, for the series of a family that match.
type Window struct {
	Family string
	Match  Match
	At     time.Time
	Length time.Duration // at most Longest
}

// each shows every series that matches and began before the window's end, and says whether there is one.
func (s *Store) each(w Window, see func(*line, span)) bool {
	at, length := w.At.Unix(), int64(min(w.Length, Longest)/time.Second)
	found := false
	for _, ln := range s.find(w.Family, w.Match) {
		if ln.oldest <= at {
			found = true
			see(ln, ln.spanOf(at, length))
		}
	}
	return found
}

func (ln *line) walk(sp span, see func(*point)) {
	ln.tracks[sp.tier].walk(ln.family.Kind, sp.from, sp.to, see)
}

// events counts what a counter or a histogram saw.
func (ln *line) events(sp span) int64 {
	var sum int64
	ln.walk(sp, func(p *point) {
		sum += p.sum
		if p.hist != nil {
			sum += p.hist.Count()
		}
	})
	return sum
}

// Increase is the number of events of a counter, or of durations of a histogram, in a window, of all series that match together. It is
// false where no series matches; a series that counted nothing counts 0.
func (s *Store) Increase(w Window) (int64, bool) {
	var sum int64
	ok := s.each(w, func(ln *line, sp span) { sum += ln.events(sp) })
	return sum, ok
}

// Rate is Increase per second.
func (s *Store) Rate(w Window) (float64, bool) {
	var rate float64
	ok := s.each(w, func(ln *line, sp span) { rate += float64(ln.events(sp)) / float64(max(sp.seconds, 1)) })
	return rate, ok
}

// Over is how the points of a gauge become one number.
type Over uint8

// The ways to sum up a gauge.
const (
	Mean    Over = iota + 1 // the mean of the means over time of the series
	Highest                 // the highest value of all series
	Lowest                  // the lowest value of all series
	Newest                  // the highest of the newest values of the series
	Total                   // the means over time of the series, added up
)

// Gauge sums up the values of a gauge in a window. It is false where no series has a point.
func (s *Store) Gauge(w Window, over Over) (float64, bool) {
	var total, high, low, newest float64
	lines := 0
	s.each(w, func(ln *line, sp span) {
		var sum, last float64
		n := 0
		ln.walk(sp, func(p *point) {
			if n == 0 && lines == 0 {
				high, low = float64(p.max), float64(p.min)
			}
			high, low = max(high, float64(p.max)), min(low, float64(p.min))
			sum += float64(p.avg)
			last = float64(p.avg)
			n++
		})
		if n == 0 {
			return
		}
		if lines == 0 || last > newest {
			newest = last
		}
		total += sum / float64(n)
		lines++
	})
	if lines == 0 {
		return 0, false
	}
	switch over {
	case Highest:
		return high, true
	case Lowest:
		return low, true
	case Newest:
		return newest, true
	case Total:
		return total, true
	}
	return total / float64(lines), true
}

// Merged is the histogram of everything that was seen in a window. It is false where no series has any.
func (s *Store) Merged(w Window) (Histogram, bool) {
	var h Histogram
	s.each(w, func(ln *line, sp span) { ln.walk(sp, func(p *point) { h.Merge(p.hist) }) })
	return h, h.Count() > 0
}

// Absent says that a series that matches has had points, and none has one in a window.
func (s *Store) Absent(w Window) bool {
	any := false
	return s.each(w, func(ln *line, sp span) { ln.walk(sp, func(*point) { any = true }) }) && !any
}

// Around is how much of a day counts as the usual of its middle.
const Around = time.Hour

// Usual is the mean rate of a counter, or mean of a gauge summed over series, in the hours around the same time of the last days. Days
// count from when the first of the series began; it is false if there is none.
func (s *Store) Usual(w Window) (float64, bool) {
	began, any := int64(0), false
	for _, ln := range s.find(w.Family, w.Match) {
		if !any || ln.oldest < began {
			began, any = ln.oldest, true
		}
	}
	if !any {
		return 0, false
	}
	var sum float64
	days := 0
	for back := 24 * time.Hour; back <= w.Length; back += 24 * time.Hour {
		day := Window{w.Family, w.Match, w.At.Add(Around/2 - back), Around}
		if day.At.Add(-Around).Unix() < began {
			break
		}
		v, ok := s.Rate(day)
		if f, _ := FamilyOf(w.Family); f.Kind == Gauge {
			v, ok = s.Gauge(day, Total)
		}
		if ok {
			sum += v
			days++
		}
	}
	if days == 0 {
		return 0, false
	}
	return sum / float64(days), true
}

// Point is a step of a curve. Of a counter, Sum is the number of events; of durations, their number, and Avg their mean in seconds.
type Point struct {
	At  int64   `json:"at"` // Unix seconds of its start
	Min float64 `json:"min"`
	Avg float64 `json:"avg"`
	Max float64 `json:"max"`
	Sum int64   `json:"sum,omitempty"`
}

// Curve is a series over time.
type Curve struct {
	Labels Labels  `json:"labels"`
	Points []Point `json:"points"` // of the steps that have values
}

// Range gives the series that match from one time until another, in steps. It fails with ErrRange beyond MaxPoints, and with
// ErrUnknown.
func (s *Store) Range(family string, m Match, from, to time.Time, step time.Duration) ([]Curve, error) {
	f, ok := FamilyOf(family)
	if !ok {
		return nil, ErrUnknown
	}
	list := s.find(family, m)
	long := int64(step / time.Second)
	if long < 1 || to.Before(from) || (to.Unix()-from.Unix())/long+1 > MaxPoints/int64(max(len(list), 1)) {
		return nil, ErrRange
	}
	curves := make([]Curve, 0, len(list))
	for _, ln := range list {
		c := Curve{Labels: ln.labels}
		var n, count float64 // points of the step, durations
		ln.scan(from.Unix(), to.Unix(), long, func(at int64, p *point) {
			last := len(c.Points) - 1
			if last < 0 || c.Points[last].At != at {
				c.Points = append(c.Points, Point{At: at, Min: float64(p.min), Max: float64(p.max)})
				last++
				n, count = 0, 0
			}
			o := &c.Points[last]
			n++
			switch f.Kind {
			case Gauge:
				o.Min, o.Max = min(o.Min, float64(p.min)), max(o.Max, float64(p.max))
				o.Avg += (float64(p.avg) - o.Avg) / n
			case Counter:
				o.Sum += p.sum
				o.Avg = float64(o.Sum) / float64(long)
				o.Min, o.Max = o.Avg, o.Avg
			case Durations:
				o.Sum += p.hist.Count()
				if count += float64(p.hist.Sum()) / 1000; o.Sum > 0 {
					o.Avg = count / float64(o.Sum)
				}
				o.Min, o.Max = o.Avg, o.Avg
			}
		})
		curves = append(curves, c)
	}
	return curves, nil
}

// scan shows the points from a second until another with the start of the step that they belong to.
func (ln *line) scan(from, to, step int64, see func(at int64, p *point)) {
	i := 0
	for i+1 < len(Tiers) && Tiers[i+1].Step <= step {
		i++
	}
	i = ln.reach(i, from)
	own := Tiers[i].Step
	ln.tracks[i].walk(ln.family.Kind, floor(from+own-1, own), floor(to, own), func(p *point) {
		see(from+floor(p.step*own-from, step)*step, p)
	})
}

// Spread is a step of a histogram over time.
type Spread struct {
	At     int64   `json:"at"` // Unix seconds of its start
	Count  int64   `json:"count"`
	Millis []int64 `json:"millis"` // the quantiles asked for
}

// Quantiles gives quantiles (in thousandths) of durations of all series that match together, in steps. Errors are those of Range.
func (s *Store) Quantiles(family string, m Match, permille []int, from, to time.Time, step time.Duration) ([]Spread, error) {
	if f, ok := FamilyOf(family); !ok || f.Kind != Durations {
		return nil, ErrUnknown
	}
	long := int64(step / time.Second)
	if long < 1 || to.Before(from) || (to.Unix()-from.Unix())/long+1 > MaxPoints/int64(max(len(permille), 1)) {
		return nil, ErrRange
	}
	steps := make([]Histogram, (to.Unix()-from.Unix())/long+1)
	for _, ln := range s.find(family, m) {
		ln.scan(from.Unix(), to.Unix(), long, func(at int64, p *point) {
			steps[(at-from.Unix())/long].Merge(p.hist)
		})
	}
	var out []Spread
	for i := range steps {
		if n := steps[i].Count(); n > 0 {
			x := Spread{At: from.Unix() + int64(i)*long, Count: n}
			for _, q := range permille {
				x.Millis = append(x.Millis, steps[i].Quantile(q))
			}
			out = append(out, x)
		}
	}
	return slices.Clip(out), nil
}
