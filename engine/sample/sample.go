// Package sample chooses the next token from a row of logits.
//
// The choice is a function of the logits, the sampling parameters and the token's position: the random number of a position is derived
// from (seed, position), so a stream that is replayed on another machine goes on exactly as it would have.
package sample

import (
	"errors"
	"fmt"
	"math"

	"github.com/skein-project/skein/model"
)

// ErrLogits says that there is nothing to choose from: no logits, NaN, +infinity, or all −infinity.
var ErrLogits = errors.New("sample: logits unfit to choose from")

// TokenLogprob is a token and the natural logarithm of its probability under the model, before temperature and truncation.
type TokenLogprob struct {
	Token   int32
	Logprob float32
}

// Unlikely is the log-probability of a token that a constraint has chosen and the model never would (the OpenAI API's number for that).
const Unlikely = -9999

// Choice is a chosen token.
type Choice struct {
	Token   int32
	Logprob float32        // as in TokenLogprob, at least Unlikely; 0 unless asked for
	Top     []TokenLogprob // the most likely tokens, falling, those of probability 0 left out; nil unless asked for

	Failed    string `json:"Failed,omitempty"`    // why nothing could be chosen for this sequence; Token says nothing then
	Elsewhere bool   `json:"Elsewhere,omitempty"` // with Failed: the fault is not the sequence's, so another machine may choose
}

// Choose picks the token that follows. position is its index in the sequence (prompt and answer together).
//
// Temperature 0 takes the token of the largest logit. Otherwise logits are divided by the temperature, cut to the TopK largest, and of
// those to the fewest whose probabilities add up to TopP; the rest is drawn from. Equal logits are ordered by token id. A logit of
// −infinity is never chosen. Errors wrap ErrLogits, or model.Invalid where a parameter is out of range.
func Choose(logits []float32, s model.Sampling, position int) (Choice, error) {
	if err := s.Validate(); err != nil {
		return Choice{}, fmt.Errorf("sample: %w", err)
	}
	top, err := largest(logits)
	if err != nil {
		return Choice{}, err
	}
	choice := pick(logits, top, s, position)
	choice.report(logits, top, s)
	return choice, nil
}

// pick chooses; top is the largest.
func pick(logits []float32, top int32, s model.Sampling, position int) Choice {
	if s.Temperature > 0 {
		return Choice{Token: draw(logits, top, s, Random(s.Seed, position))}
	}
	return Choice{Token: top}
}

// report adds the log-probabilities that were asked for. logits are the model's; top is the largest.
func (c *Choice) report(logits []float32, top int32, s model.Sampling) {
	if !s.Logprobs && s.TopLogprobs == 0 {
		return
	}
	norm := logSumExp(logits, top)
	c.Logprob = float32(max(float64(logits[c.Token])-norm, Unlikely))
	for h := newHeap(logits); len(c.Top) < s.TopLogprobs && h.len() > 0; {
		id := h.pop()
		logprob := float32(float64(logits[id]) - norm)
		if math.IsInf(float64(logprob), -1) {
			return // and so are all behind it
		}
		c.Top = append(c.Top, TokenLogprob{id, logprob})
	}
}

// largest is the token of the largest logit, the smallest id of equals.
func largest(logits []float32) (int32, error) {
	if len(logits) == 0 {
		return 0, fmt.Errorf("%w: none", ErrLogits)
	}
	top := 0
	for i, v := range logits {
		if v != v || v > math.MaxFloat32 {
			return 0, fmt.Errorf("%w: token %d has %g", ErrLogits, i, v)
		}
		if v > logits[top] {
			top = i
		}
	}
	if math.IsInf(float64(logits[top]), -1) {
		return 0, fmt.Errorf("%w: all are -infinity", ErrLogits)
	}
	return int32(top), nil
}

// logSumExp is log Σ exp(logit); top is the largest.
func logSumExp(logits []float32, top int32) float64 {
	high := float64(logits[top])
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - high)
	}
	return high + math.Log(sum)
}

// draw chooses by u, which is uniform in [0, 1).
func draw(logits []float32, top int32, s model.Sampling, u float64) int32 {
	high := float64(logits[top])
	weight := func(id int32) float64 { return math.Exp((float64(logits[id]) - high) / s.Temperature) }
	if s.TopK == 0 && (s.TopP == 0 || s.TopP == 1) {
		var sum float64
		for i := range logits {
			sum += weight(int32(i))
		}
		left := u * sum
		for i := range logits {
			if left -= weight(int32(i)); left < 0 {
				return int32(i)
			}
		}
		return top // rounding used up the sum
	}
	kept, sum := truncate(logits, s, weight)
	left := u * sum
	for _, id := range kept {
		if left -= weight(id); left < 0 {
			return id
		}
	}
	return top
}

// truncate gives the tokens that top-k and top-p leave, most likely first, and the sum of their weights.
func truncate(logits []float32, s model.Sampling, weight func(int32) float64) (kept []int32, sum float64) {
	k := len(logits)
	if s.TopK > 0 {
		k = min(k, s.TopK)
	}
	var enough float64 // weight at which top-p has what it wants
	switch {
	case s.TopP == 0 || s.TopP == 1:
		enough = math.Inf(1)
	case k == len(logits):
		for i := range logits {
			enough += weight(int32(i))
		}
		enough *= s.TopP
	default: // top-p is of what top-k left
		for h := newHeap(logits); len(kept) < k; {
			id := h.pop()
			kept = append(kept, id)
			enough += weight(id)
		}
		enough *= s.TopP
		kept = kept[:0]
	}
	for h := newHeap(logits); len(kept) < k && sum < enough; {
		id := h.pop()
		kept = append(kept, id)
		sum += weight(id)
	}
	return kept, sum
}

// heap gives token ids by falling logit, rising id; building it is linear, so taking a few of many is cheap.
type heap struct {
	logits []float32
	ids    []int32
}

func newHeap(logits []float32) *heap {
	h := &heap{logits: logits, ids: make([]int32, len(logits))}
	for i := range h.ids {
		h.ids[i] = int32(i)
	}
	for i := len(h.ids)/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
	return h
}

func (h *heap) len() int { return len(h.ids) }

func (h *heap) before(a, b int32) bool {
	if h.logits[a] != h.logits[b] {
		return h.logits[a] > h.logits[b]
	}
	return a < b
}

func (h *heap) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.ids) {
			return
		}
		if child+1 < len(h.ids) && h.before(h.ids[child+1], h.ids[child]) {
			child++
		}
		if !h.before(h.ids[child], h.ids[i]) {
			return
		}
		h.ids[i], h.ids[child] = h.ids[child], h.ids[i]
		i = child
	}
}

// pop takes the first id; the heap must not be empty.
func (h *heap) pop() int32 {
	id := h.ids[0]
	last := len(h.ids) - 1
	h.ids[0] = h.ids[last]
	h.ids = h.ids[:last]
	h.sink(0)
	return id
}

// Random is the random number of a position, uniform in [0, 1): the SplitMix64 output function (Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", 2014) over a state made of the seed and the position.
func Random(seed uint64, position int) float64 {
	const golden = 0x9e3779b97f4a7c15
	return float64(mix(mix(seed+golden)+golden*(uint64(position)+1))>>11) / (1 << 53)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
