package results

import (
	"maps"
	"math"
	"slices"
)

// Distribution counts labels: how often each was an input's.
type Distribution map[string]int64

// Total is the number of labels.
func (d Distribution) Total() (n int64) {
	for _, v := range d {
		n += v
	}
	return n
}

// Count adds the labels of records.
func (d Distribution) Count(list ...Record) {
	for _, r := range list {
		for _, l := range r.Labels {
			d[l.Name]++
		}
	}
}

// Share is how often a label occurs in two sets of records.
type Share struct {
	Label       string
	Base, Now   int64   // inputs
	BaseP, NowP float64 // of all inputs of the set
}

// Drift compares the labels of two sets of records.
type Drift struct {
	Base, Now int64   // inputs
	PSI       float64 // population stability index, in nats: the sum of (q-p)·ln(q/p); above 0.1 is worth a look, above 0.25 is another population (Siddiqi, Credit Risk Scorecards, 2006)
	TV        float64 // total variation distance: half of the sum of |q-p|, 0 to 1
	Shares    []Share // the most moved first
}

// Comparable says that there is anything to compare: both sets have labels. Else the measures say nothing.
func (d Drift) Comparable() bool { return d.Base > 0 && d.Now > 0 }

// DriftOf compares two distributions. Where a label does not occur in one, half an occurrence is counted for each label of both, since the index is infinite
// otherwise. Where one has no label the measures are 0: see Comparable.
func DriftOf(base, now Distribution) Drift {
	d := Drift{Base: base.Total(), Now: now.Total()}
	names := maps.Clone(base)
	if names == nil {
		names = Distribution{}
	}
	maps.Copy(names, now)
	k := float64(len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s := Share{Label: name, Base: base[name], Now: now[name]}
		if d.Base > 0 {
			s.BaseP = float64(s.Base) / float64(d.Base)
		}
		if d.Now > 0 {
			s.NowP = float64(s.Now) / float64(d.Now)
		}
		d.Shares = append(d.Shares, s)
	}
	if !d.Comparable() {
		return d
	}
	smooth := slices.ContainsFunc(d.Shares, func(s Share) bool { return s.Base == 0 || s.Now == 0 })
	for _, s := range d.Shares {
		d.TV += math.Abs(s.NowP-s.BaseP) / 2
		p, q := s.BaseP, s.NowP
		if smooth {
			p, q = (float64(s.Base)+0.5)/(float64(d.Base)+k/2), (float64(s.Now)+0.5)/(float64(d.Now)+k/2)
		}
		d.PSI += (q - p) * math.Log(q/p)
	}
	slices.SortStableFunc(d.Shares, func(a, b Share) int {
		switch x, y := math.Abs(a.NowP-a.BaseP), math.Abs(b.NowP-b.BaseP); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return d
}
