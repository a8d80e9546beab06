package benchfile

import (
	"math"
	"slices"
)

// Series holds a figure's values, one per round, and its peer's of the same rounds. Rounds are interleaved, so that what disturbs the
// machine disturbs both.
type Series struct {
	Values []float64
	Peers  []float64 // empty, or as long as Values
}

// Add takes a round without a peer.
func (s *Series) Add(value float64) { s.Values = append(s.Values, value) }

// AddPair takes a round with a peer.
func (s *Series) AddPair(value, peer float64) {
	s.Values, s.Peers = append(s.Values, value), append(s.Peers, peer)
}

// Record makes the figure of a series. peer names what Peers are of. Machine, commit and goal are still to be set.
func (s Series) Record(name, unit string, better Better, peer string) Record {
	r := Record{Name: name, Value: round(Median(s.Values)), Unit: unit, Better: better, rounds: len(s.Values)}
	if len(s.Values) > 0 {
		r.low, r.high = round(slices.Min(s.Values)), round(slices.Max(s.Values))
	}
	if len(s.Peers) > 0 {
		var ratios []float64
		for i, p := range s.Peers {
			ratios = append(ratios, s.Values[i]/p)
		}
		value, ratio := round(Median(s.Peers)), round(Median(ratios))
		r.Peer, r.PeerValue, r.Ratio = peer, &value, &ratio
	}
	return r
}

// WithGoal sets what the value should reach.
func (r Record) WithGoal(goal float64) Record {
	r.Goal = &goal
	return r
}

// Median is the middle value, or the mean of the two in the middle; NaN of nothing.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}

// Quantile is the smallest value that at least the share q of the values, in (0, 1], does not exceed (nearest rank); NaN of nothing.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	return v[min(max(int(math.Ceil(q*float64(len(v))))-1, 0), len(v)-1)]
}

// round keeps four significant digits: more would claim what no run repeats.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	// A power of ten ≥ 1 is exact, so 1234.5 does not become 1234.0000000001.
	if e := 3 - int(math.Floor(math.Log10(math.Abs(v)))); e >= 0 {
		return math.Round(v*math.Pow10(e)) / math.Pow10(e)
	} else {
		return math.Round(v/math.Pow10(-e)) * math.Pow10(-e)
	}
}
