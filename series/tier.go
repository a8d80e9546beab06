package series

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// Tier is how long points of a length are kept.
type Tier struct {
	Step int64 // seconds of a point
	Keep int64 // seconds that points are kept at least while newer ones come
}

// Tiers are where every value goes, finest first.
var Tiers = [...]Tier{
	{Step: 1, Keep: 15 * 60},
	{Step: 15, Keep: 24 * 60 * 60},
	{Step: 5 * 60, Keep: 30 * 24 * 60 * 60},
}

const chunkPoints = 60 // points of a chunk

// point is what one step of a tier holds.
type point struct {
	step          int64 // its start ÷ the tier's step
	avg, min, max float32
	sum           int64      // of a counter
	hist          *Histogram // of durations, else nil
}

// chunk is some points of a tier, coded one after another.
type chunk struct {
	first, last int64 // steps
	n           int
	code        []byte
}

// track is a tier of one series.
type track struct {
	chunks []chunk
	coded  point // the newest coded one, which the next is coded against
	open   point // the step that still grows
	n      int64 // values in open; 0 = there is none
	total  float64
	full   bool // the newest chunk takes no more points
	bytes  int  // that the chunks take
}

// put adds a value to the step of the time sec. It says how many bytes more are taken.
func (t *track) put(kind Kind, tier Tier, sec int64, value float64, n int64, h *Histogram) int {
	was, step := t.bytes, sec/tier.Step
	if t.n > 0 && step != t.open.step {
		t.seal(kind, tier)
	}
	if t.n == 0 {
		t.open = point{step: step, min: float32(value), max: float32(value), hist: t.open.hist}
		t.total = 0
		if kind == Durations {
			if t.open.hist == nil {
				t.open.hist = &Histogram{}
			}
			*t.open.hist = Histogram{}
		}
	}
	t.n++
	switch kind {
	case Gauge:
		t.total += value
		t.open.avg = float32(t.total / float64(t.n))
		t.open.min = min(t.open.min, float32(value))
		t.open.max = max(t.open.max, float32(value))
	case Counter:
		t.open.sum += n
	case Durations:
		t.open.hist.Merge(h)
	}
	return t.bytes - was
}

const chunkCost = 48 // bytes of a chunk beside its code

// seal codes the open point.
func (t *track) seal(kind Kind, tier Tier) {
	last := len(t.chunks) - 1
	if last < 0 || t.full || t.chunks[last].n == chunkPoints {
		t.full = false
		if last >= 0 {
			c := &t.chunks[last]
			t.bytes -= cap(c.code)
			c.code = slices.Clip(slices.Clone(c.code))
			t.bytes += cap(c.code)
		}
		if most := int(tier.Keep/tier.Step)/chunkPoints + 1; len(t.chunks) == most {
			t.bytes -= cap(t.chunks[0].code) + chunkCost
			t.chunks = slices.Delete(t.chunks, 0, 1)
		}
		t.chunks = append(t.chunks, chunk{first: t.open.step})
		t.coded = point{step: t.open.step, hist: t.coded.hist}
		if t.coded.hist != nil {
			*t.coded.hist = Histogram{}
		} else if kind == Durations {
			t.coded.hist = &Histogram{}
		}
		t.bytes += chunkCost
		last = len(t.chunks) - 1
	}
	c := &t.chunks[last]
	t.bytes -= cap(c.code)
	c.code = t.encode(kind, c.code)
	t.bytes += cap(c.code)
	c.last, t.n = t.open.step, 0
	c.n++
	t.coded, t.open = t.open, t.coded // each keeps a histogram of its own
}

// How the values of a point follow its head, in the lowest two bits of it; the rest of the head is the number of steps since the
// point before.
const (
	same  = iota + 1 // as before
	one              // the three values of a gauge are equal; the value of another kind
	three            // avg, min, max
)

// encode appends the open point. A gauge's value is the float32, bits reversed, of its exclusive or with the one before: numbers with
// few digits, and those near one another, give few bytes.
func (t *track) encode(kind Kind, b []byte) []byte {
	p, before := &t.open, &t.coded
	head := uint64(p.step-before.step) << 2
	switch kind {
	case Gauge:
		switch {
		case p.avg == before.avg && p.min == before.min && p.max == before.max:
			return binary.AppendUvarint(b, head|same)
		case p.avg == p.min && p.avg == p.max:
			return appendFloat(binary.AppendUvarint(b, head|one), p.avg, before.avg)
		}
		b = appendFloat(binary.AppendUvarint(b, head|three), p.avg, before.avg)
		b = appendFloat(b, p.min, before.min)
		return appendFloat(b, p.max, before.max)
	case Counter:
		if p.sum == before.sum {
			return binary.AppendUvarint(b, head|same)
		}
		return binary.AppendUvarint(binary.AppendUvarint(b, head|one), uint64(p.sum))
	}
	if *p.hist == *before.hist {
		return binary.AppendUvarint(b, head|same)
	}
	b = binary.AppendUvarint(b, head|one)
	n := 0
	for _, c := range p.hist.counts {
		if c > 0 {
			n++
		}
	}
	b = append(b, byte(n))
	for i, c := range p.hist.counts {
		if c > 0 {
			b = binary.AppendUvarint(append(b, byte(i)), uint64(c))
		}
	}
	return binary.AppendUvarint(b, uint64(p.hist.sum))
}

func appendFloat(b []byte, v, before float32) []byte {
	return binary.AppendUvarint(b, uint64(bits.Reverse32(math.Float32bits(v)^math.Float32bits(before))))
}

// walk shows the points of steps from … to, oldest first. The point is only valid during the call.
func (t *track) walk(kind Kind, from, to int64, see func(*point)) {
	at, _ := slices.BinarySearchFunc(t.chunks, from, func(c chunk, step int64) int {
		if c.last < step {
			return -1
		}
		return 1
	})
	for i := at; i < len(t.chunks) && t.chunks[i].first <= to; i++ {
		t.chunks[i].walk(kind, from, to, see)
	}
	if t.n > 0 && t.open.step >= from && t.open.step <= to {
		see(&t.open)
	}
}

func (c *chunk) walk(kind Kind, from, to int64, see func(*point)) {
	p := point{step: c.first}
	if kind == Durations {
		p.hist = &Histogram{}
	}
	for b := reader(c.code); len(b) > 0; {
		b = b.point(kind, &p)
		if p.step > to {
			return
		}
		if p.step >= from {
			see(&p)
		}
	}
}

// reader is code that track.encode wrote, so it is never cut short.
type reader []byte

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(*r)
	*r = (*r)[n:]
	return v
}

func (r *reader) float(before float32) float32 {
	return math.Float32frombits(bits.Reverse32(uint32(r.uvarint())) ^ math.Float32bits(before))
}

// point turns a point into the next one.
func (r reader) point(kind Kind, p *point) reader {
	head := r.uvarint()
	p.step += int64(head >> 2)
	switch form := head & 3; {
	case form == same:
	case kind == Counter:
		p.sum = int64(r.uvarint())
	case kind == Durations:
		*p.hist = Histogram{}
		n := r[0]
		r = r[1:]
		for range n {
			i := r[0]
			r = r[1:]
			p.hist.counts[i] = int64(r.uvarint())
		}
		p.hist.sum = int64(r.uvarint())
	case form == one:
		p.avg = r.float(p.avg)
		p.min, p.max = p.avg, p.avg
	default:
		p.avg = r.float(p.avg)
		p.min = r.float(p.min)
		p.max = r.float(p.max)
	}
	return r
}

// first is the oldest step that is kept.
func (t *track) first() (int64, bool) {
	if len(t.chunks) > 0 {
		return t.chunks[0].first, true
	}
	return t.open.step, t.n > 0
}

// cut forgets the points after the time sec, because the clock was set back before them.
func (t *track) cut(kind Kind, tier Tier, sec int64) {
	step := sec / tier.Step
	open, n := t.open, t.n
	if open.hist != nil {
		open.hist = new(*open.hist)
	}
	var keep []point
	if i := slices.IndexFunc(t.chunks, func(c chunk) bool { return c.last >= step }); i >= 0 {
		t.chunks[i].walk(kind, t.chunks[i].first, step, func(p *point) {
			k := *p
			if k.hist != nil {
				k.hist = new(*k.hist)
			}
			keep = append(keep, k)
		})
		for _, c := range t.chunks[i:] {
			t.bytes -= cap(c.code) + chunkCost
		}
		t.chunks = slices.Delete(t.chunks, i, len(t.chunks))
		t.full = true
	}
	t.n = 0
	for _, p := range keep {
		t.open, t.n = p, 1
		t.seal(kind, tier)
	}
	if n > 0 && open.step <= step {
		t.open, t.n = open, n
	}
}
