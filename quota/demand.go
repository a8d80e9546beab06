package quota

import "time"

// slot is for how long demand is remembered, twice.
const slot = time.Second

// demand is what was asked of a purse in the present second and the one before it.
type demand struct {
	at        int64 // the present second
	now, then tally
}

// tally is the demand of one second, admitted or not.
type tally struct {
	asked    int64 // sum
	refused  int64 // sum of what was not admitted
	peak     int64 // the most in use at once, with what was not admitted
	smallest int64 // of the requests, 0 = none
}

func (d *demand) advance(now time.Duration) {
	switch at := int64(now / slot); {
	case at <= d.at:
	case at == d.at+1:
		d.at, d.then, d.now = at, d.now, tally{}
	default:
		d.at, d.then, d.now = at, tally{}, tally{}
	}
}

// note counts a request for n while used was in use.
func (d *demand) note(n, used int64, admitted bool) {
	t := &d.now
	t.asked = min(t.asked+n, MaxAmount)
	t.peak = max(t.peak, min(used+n, MaxAmount))
	if t.smallest == 0 || n < t.smallest {
		t.smallest = n
	}
	if !admitted {
		t.refused = min(t.refused+n, MaxAmount)
	}
}

func (d *demand) asked() int64   { return max(d.now.asked, d.then.asked) }
func (d *demand) refused() int64 { return max(d.now.refused, d.then.refused) }
func (d *demand) peak() int64    { return max(d.now.peak, d.then.peak) }

func (d *demand) smallest() int64 {
	if d.now.smallest == 0 || d.then.smallest == 0 {
		return d.now.smallest + d.then.smallest
	}
	return min(d.now.smallest, d.then.smallest)
}
