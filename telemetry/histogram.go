package telemetry

import (
	"math"
	"slices"
	"sync/atomic"
)

// Histogram counts values in buckets. It may be used by several goroutines, and takes no memory per value.
type Histogram struct {
	bounds []float64
	counts []atomic.Uint64 // one more than bounds: the last one is for what is above them
	sum    atomic.Uint64   // bits of a float64
}

// NewHistogram makes a histogram with the buckets of a metric.
func NewHistogram(n Name) *Histogram {
	b := lookup(n).Bounds
	return &Histogram{bounds: b, counts: make([]atomic.Uint64, len(b)+1)}
}

// Observe counts a value.
func (h *Histogram) Observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Tally is what a histogram has counted: the values of each bucket, and their sum.
type Tally struct {
	Counts []uint64 `json:"counts"`
	Sum    float64  `json:"sum"`
}

// Tally gives what was counted so far. Values that come meanwhile may be in the counts and not in the sum.
func (h *Histogram) Tally() Tally {
	t := Tally{Counts: make([]uint64, len(h.counts)), Sum: math.Float64frombits(h.sum.Load())}
	for i := range h.counts {
		t.Counts[i] = h.counts[i].Load()
	}
	return t
}

// Total is the number of values.
func (t Tally) Total() (n uint64) {
	for _, c := range t.Counts {
		n += c
	}
	return n
}

// Plus adds what another histogram with the same buckets counted.
func (t Tally) Plus(o Tally) Tally {
	if len(t.Counts) == 0 {
		return o
	}
	sum := Tally{Counts: slices.Clone(t.Counts), Sum: t.Sum + o.Sum}
	for i := range min(len(sum.Counts), len(o.Counts)) {
		sum.Counts[i] += o.Counts[i]
	}
	return sum
}
