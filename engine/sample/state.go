package sample

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/model"
)

// End is chosen where a constraint is met, nothing may follow, and the model has no token that ends an answer.
const End int32 = -1

var (
	// ErrDeadEnd says that no token may follow: none that the constraint admits, or none of them with a probability above 0.
	ErrDeadEnd = errors.New("sample: no token may follow")
	// ErrPosition says that a token was asked for that does not follow the last one.
	ErrPosition = errors.New("sample: not the next position of the sequence")
)

// State is what choosing remembers of one sequence: how often each token is in its answer, and where in its constraint the answer is.
// It advances by the tokens that it chooses itself, and is a function of Begin and of what was chosen: an answer that is begun again
// with the tokens given so far goes on exactly.
type State struct {
	prompt  []byte
	bias    []Bias
	eos     []int32
	matcher *grammar.Matcher // nil = no constraint
	order   []int32          // tokens of the answer, each once
	counts  map[int32]int32
	next    int // position of the next token; 0 = none was chosen yet
}

// Scratch is memory that the states of one stage share.
type Scratch struct {
	logits []float32
	mask   []uint64
	ends   []float32 // logits of the tokens that end an answer
}

// NewState begins a sequence. m is its constraint at the start, nil if it has none; b must be valid. It fails with grammar.ErrRejected
// where the answer so far is none that the constraint admits.
func NewState(b *Begin, m *grammar.Matcher) (*State, error) {
	s := &State{prompt: b.Prompt, bias: b.Bias, eos: b.EOS, matcher: m, counts: map[int32]int32{}}
	for _, t := range b.Given {
		if err := s.take(t); err != nil {
			return nil, fmt.Errorf("go on from an answer: %w", err)
		}
	}
	return s, nil
}

// take advances by a token of the answer.
func (s *State) take(token int32) error {
	if s.matcher != nil {
		if err := s.matcher.Take(token); err != nil {
			return err
		}
	}
	if s.counts[token]++; s.counts[token] == 1 {
		s.order = append(s.order, token)
	}
	return nil
}

// Choose picks the token that follows, as the function Choose does, from logits that penalties and bias have changed and from which all
// tokens that the constraint does not admit are left out; tokens that end the answer are admitted where it may end. Log-probabilities are
// those of the model. It fails with ErrDeadEnd where nothing is left.
func (s *State) Choose(logits []float32, p model.Sampling, position int, scratch *Scratch) (Choice, error) {
	if err := p.Validate(); err != nil {
		return Choice{}, fmt.Errorf("sample: %w", err)
	}
	if s.next != 0 && position != s.next {
		return Choice{}, fmt.Errorf("%w: %d is asked for, %d is next", ErrPosition, position, s.next)
	}
	top, err := largest(logits)
	if err != nil {
		return Choice{}, err
	}
	scratch.logits = append(scratch.logits[:0], logits...)
	s.adjust(scratch.logits, p)
	if ends := s.admit(scratch); ends {
		return Choice{Token: End}, nil
	}
	best, err := largest(scratch.logits)
	if err != nil {
		return Choice{}, fmt.Errorf("%w: %w", ErrDeadEnd, err)
	}
	choice := pick(scratch.logits, best, p, position)
	choice.report(logits, top, p)
	s.next = position + 1
	if slices.Contains(s.eos, choice.Token) {
		return choice, nil
	}
	return choice, s.take(choice.Token)
}

// adjust applies penalties and bias.
func (s *State) adjust(logits []float32, p model.Sampling) {
	if p.Repetition() {
		for i, b := range s.prompt {
			for bit := range 8 {
				if id := 8*i + bit; b>>bit&1 == 1 && id < len(logits) {
					repeated(logits, id, p.RepetitionPenalty)
				}
			}
		}
		for _, id := range s.order {
			if int(id/8) >= len(s.prompt) || s.prompt[id/8]>>(id%8)&1 == 0 {
				repeated(logits, int(id), p.RepetitionPenalty)
			}
		}
	}
	if p.FrequencyPenalty != 0 || p.PresencePenalty != 0 {
		for _, id := range s.order {
			less(logits, int(id), p.FrequencyPenalty*float64(s.counts[id])+p.PresencePenalty)
		}
	}
	for _, b := range s.bias {
		less(logits, int(b.Token), -b.Add)
	}
}

func repeated(logits []float32, id int, penalty float64) {
	if v := float64(logits[id]); v > 0 {
		logits[id] = finite(v / penalty)
	} else {
		logits[id] = finite(v * penalty)
	}
}

func less(logits []float32, id int, by float64) { logits[id] = finite(float64(logits[id]) - by) }

// finite is v as a float32 that is not +infinity; −infinity stays.
func finite(v float64) float32 { return float32(min(v, math.MaxFloat32)) }

// admit leaves out what the constraint does not admit. ends says that the answer is complete, nothing may follow, and no token says so.
func (s *State) admit(scratch *Scratch) (ends bool) {
	if s.matcher == nil {
		return false
	}
	complete := s.matcher.Complete()
	scratch.mask = s.matcher.Mask(scratch.mask)
	scratch.ends = scratch.ends[:0]
	for _, id := range s.eos {
		scratch.ends = append(scratch.ends, scratch.logits[id])
	}
	none := true
	shut := float32(math.Inf(-1))
	for i := range scratch.logits {
		if i/64 < len(scratch.mask) && scratch.mask[i/64]>>(i%64)&1 == 1 {
			none = false
		} else {
			scratch.logits[i] = shut
		}
	}
	for i, id := range s.eos {
		if scratch.logits[id] = shut; complete {
			scratch.logits[id] = scratch.ends[i]
		}
	}
	return complete && none && len(s.eos) == 0
}
