package engine

import (
	"math"
	"slices"

	"github.com/skein-project/skein/model"
)

// Pool makes one vector of the vectors of a row's tokens, [tokens, width], at least one: the first, the last, or their mean, scaled to length
// 1 where normalize says so.
func Pool(hidden []float32, width int, how model.Pooling, normalize bool) []float32 {
	p := NewPooler(width, how)
	p.Add(hidden)
	return p.Vector(normalize)
}

// Pooler is Pool for a row whose tokens come in pieces.
type Pooler struct {
	how    model.Pooling
	kept   []float32 // the first or the last token's
	sum    []float64
	tokens int
}

// NewPooler begins a row.
func NewPooler(width int, how model.Pooling) *Pooler {
	return &Pooler{how: how, kept: make([]float32, width), sum: make([]float64, width)}
}

// Add takes the next tokens, [tokens, width].
func (p *Pooler) Add(hidden []float32) {
	for row := range slices.Chunk(hidden, len(p.kept)) {
		switch {
		case p.how == model.PoolLast, p.how == model.PoolCLS && p.tokens == 0:
			copy(p.kept, row)
		case p.how == model.PoolMean:
			for j, v := range row {
				p.sum[j] += float64(v)
			}
		}
		p.tokens++
	}
}

// Tokens is how many have come.
func (p *Pooler) Tokens() int { return p.tokens }

// Vector ends the row.
func (p *Pooler) Vector(normalize bool) []float32 {
	if p.how == model.PoolMean {
		for j := range p.kept {
			p.kept[j] = float32(p.sum[j] / float64(p.tokens))
		}
	}
	if normalize {
		unit(p.kept)
	}
	return p.kept
}

// unit scales v to length 1; a zero vector stays.
func unit(v []float32) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return
	}
	scale := 1 / math.Sqrt(sum)
	for i := range v {
		v[i] = float32(float64(v[i]) * scale)
	}
}
