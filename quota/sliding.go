package quota

import "time"

// bins is into how many parts a sliding window is cut. What is taken counts for the length of the window, and up to a bin longer.
const bins = 50

// sliding is what was taken in the last length: any two takes that are at most length apart are counted together, so no interval of
// that length holds more than was allowed at its end.
type sliding struct {
	width time.Duration // of a bin
	head  int64         // the newest bin, counted in widths since the clock's zero
	sum   int64
	taken [bins + 1]int64
}

func newSliding(length time.Duration) *sliding { return &sliding{width: length / bins} }

// advance forgets what is older than the window. A clock that stands still or goes back forgets nothing.
func (s *sliding) advance(now time.Duration) {
	to := int64(now / s.width)
	for n := min(to-s.head, bins+1); n > 0; n-- {
		i := (to - n + 1) % (bins + 1)
		s.sum -= s.taken[i]
		s.taken[i] = 0
	}
	s.head = max(s.head, to)
}

// add counts n in the newest bin.
func (s *sliding) add(n int64) {
	s.taken[s.head%(bins+1)] += n
	s.sum += n
}

// remove uncounts up to n of what was taken at a time.
func (s *sliding) remove(at time.Duration, n int64) {
	bin := int64(at / s.width)
	if bin > s.head || bin < s.head-bins {
		return
	}
	i := bin % (bins + 1)
	n = min(n, s.taken[i])
	s.taken[i] -= n
	s.sum -= n
}

// below is how long from now until the sum is at most n if nothing more is taken.
func (s *sliding) below(now time.Duration, n int64) time.Duration {
	sum := s.sum
	for bin := s.head - bins; bin <= s.head; bin++ {
		if sum <= n {
			break
		}
		if bin >= 0 {
			sum -= s.taken[bin%(bins+1)]
		}
		if sum <= n {
			return max(0, time.Duration(bin+bins+1)*s.width-now)
		}
	}
	return 0
}
