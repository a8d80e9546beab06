// Package batch chooses what runs in the next forward step of a replica.
package batch

import (
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/model"
)

// Limits.
const (
	DefaultChunk = 128              // tokens of a prefill forward
	MaxQueue     = 512              // sequences that wait for a row
	MaxWait      = 60 * time.Second // in the queue
	MaxTokens    = 1 << 20          // tokens that one sequence may ask for
)

// ID names a sequence within one replica.
type ID uint64

// Config of a loop.
type Config struct {
	Stages  int // stages of the replica
	Slots   int // rows of the KV slab
	Context int // tokens per row
	Chunk   int // tokens of a prefill forward; 0 = DefaultChunk
}

// Arrival asks for a continuation.
type Arrival struct {
	ID        ID
	Tokens    []int32
	Sampling  model.Sampling
	MaxTokens int
	EOS       []int32
	Begin     *sample.Begin // what the last stage must know of it beside logits and Sampling; nil = nothing
	Hidden    bool          // wants the hidden states of its tokens instead of a continuation; MaxTokens and EOS do not count
}

// Result is what came back from a forward: one choice for each Want of it, the hidden states of its tokens if it says so, or why it failed.
// After a failure the cache of the rows is not to be trusted, so their sequences end.
type Result struct {
	Group   int
	Number  uint64
	Choices []sample.Choice
	Hidden  []float32
	Failed  string
}

// Input is what happened since the last Step.
type Input struct {
	Arrivals []Arrival
	Cancels  []ID
	Results  []Result
}

// Want is a token of a forward whose successor is to be chosen.
type Want struct {
	Token    int // index into Forward.Tokens
	Position int // of the token to be chosen, in its sequence: the counter of its random numbers
	Sampling model.Sampling

	// The last stage keeps a state for some sequences, with the life of their KV rows: it begins with the first token that is wanted of such a
	// sequence, and goes on with each one after that.
	Begin *sample.Begin `json:",omitempty"`
	Goes  bool          `json:",omitempty"`
}

// Forward is one step through all stages.
type Forward struct {
	Group   int
	Number  uint64  // grows by one per group
	Prefill bool    // Tokens are consecutive tokens of Row; else one token for each row from Row on
	Row     int     // slab row (prefill), or the first of the rows (decode)
	Past    []int32 // tokens already in the cache: one number for a prefill, one per row for a decode
	Tokens  []int32 // a decode row that is not decoding has token 0, written behind what its cache keeps and never wanted
	Wants   []Want
	Hidden  bool // the hidden states of all its tokens are wanted
	IDs     []ID // the sequences that move on by it, in order of their rows
}

// Finish says why a sequence ended.
type Finish int

// Reasons.
const (
	Running Finish = iota
	Stop           // an EOS token was chosen, which is not emitted; or all hidden states are given
	Length         // MaxTokens, or the context
)

// Emit is a token for a sequence, or hidden states of its next tokens, or its end, or both.
type Emit struct {
	ID     ID
	Choice *sample.Choice
	Hidden []float32
	Finish Finish
}

// Reason says why a sequence was refused or failed.
type Reason string

// Reasons of refusals.
const (
	TooLong     Reason = "too long"    // the prompt leaves no room in the context
	Malformed   Reason = "malformed"   // empty prompt, max_tokens out of range
	QueueFull   Reason = "queue full"  // try another replica, or later
	WaitedLong  Reason = "waited long" // no row became free within MaxWait
	StageFailed Reason = "stage failed"
	NoneFollows Reason = "none follows" // no token can follow the last one
)

// Refuse ends a sequence without an answer.
type Refuse struct {
	ID     ID
	Reason Reason
	Why    string
}

// Output is what is to be done now.
type Output struct {
	Forwards []Forward
	Emits    []Emit
	Refusals []Refuse
	Wake     time.Time // when to call again if nothing happens; zero = no need
}

// sequence is one that waits or runs.
type sequence struct {
	Arrival
	since  time.Time
	row    int
	past   int // tokens in the cache
	given  int // tokens emitted
	gone   bool
	tokens []int32
}

// group is a range of rows that step together; at most one forward of it is in flight.
type group struct {
	first    int
	rows     []*sequence // by row − first; nil = free
	number   uint64
	flight   *Forward
	prefills bool // the last forward was a prefill: a decode has its turn
}

// Loop is the scheduler of one replica. It is owned by one goroutine.
type Loop struct {
	cfg    Config
	groups []group
	queue  []*sequence
	index  map[ID]*sequence
}

// New makes a loop. Rows are dealt out to groups evenly; no group is empty.
func New(cfg Config) (*Loop, error) {
	if cfg.Stages < 1 || cfg.Slots < 1 || cfg.Context < 2 || cfg.Chunk < 0 {
		return nil, fmt.Errorf("batch: stages %d, slots %d, context %d, chunk %d: want ≥ 1, ≥ 1, ≥ 2, ≥ 0", cfg.Stages, cfg.Slots, cfg.Context, cfg.Chunk)
	}
	if cfg.Chunk == 0 {
		cfg.Chunk = DefaultChunk
	}
	n := min(groups(cfg.Stages, cfg.Slots), cfg.Slots)
	l := &Loop{cfg: cfg, index: map[ID]*sequence{}}
	for i := range n {
		first, end := i*cfg.Slots/n, (i+1)*cfg.Slots/n
		l.groups = append(l.groups, group{first: first, rows: make([]*sequence, end-first)})
	}
	return l, nil
}

// fullGroup is how many rows a group must have before it pays to have one more group than stages.
const fullGroup = 8

// groups is how many groups the rows are dealt out to. With one group per stage every stage has work, but waits while its answer is on the
// wire; one group more hides that. Yet every step reads all weights of a stage, however few rows it has, so more groups of fewer rows cost
// more than the wait as long as steps are bound by reading weights (docs/bench/core.txt: decode/cut).
func groups(stages, slots int) int {
	if stages > 1 && slots >= (stages+1)*fullGroup {
		return stages + 1
	}
	return stages
}

// Active is the number of sequences that wait or run.
func (l *Loop) Active() int { return len(l.index) }

// At is the sequence that has a row now; ok is false if the row is free.
func (l *Loop) At(row int) (id ID, ok bool) {
	for i := range l.groups {
		g := &l.groups[i]
		if at := row - g.first; at >= 0 && at < len(g.rows) && g.rows[at] != nil {
			return g.rows[at].ID, true
		}
	}
	return 0, false
}

// Step takes what happened and says what to do.
func (l *Loop) Step(now time.Time, in Input) Output {
	var out Output
	for _, r := range in.Results {
		l.result(r, &out)
	}
	for _, id := range in.Cancels {
		if s, ok := l.index[id]; ok {
			l.end(s)
		}
	}
	for _, a := range in.Arrivals {
		l.arrive(now, a, &out)
	}
	l.expire(now, &out)
	for l.admit() {
	}
	for i := range l.groups {
		if f := l.next(i); f != nil {
			out.Forwards = append(out.Forwards, *f)
		}
	}
	if len(l.queue) > 0 {
		out.Wake = l.queue[0].since.Add(MaxWait)
	}
	return out
}

func (l *Loop) arrive(now time.Time, a Arrival, out *Output) {
	refuse := func(r Reason, why string) { out.Refusals = append(out.Refusals, Refuse{a.ID, r, why}) }
	switch {
	case len(a.Tokens) == 0:
		refuse(Malformed, "the prompt has no tokens")
	case !a.Hidden && (a.MaxTokens < 1 || a.MaxTokens > MaxTokens):
		refuse(Malformed, fmt.Sprintf("max_tokens %d, want 1 to %d", a.MaxTokens, MaxTokens))
	case l.index[a.ID] != nil:
		refuse(Malformed, "the sequence is there already")
	case len(a.Tokens) > l.cfg.Context || !a.Hidden && len(a.Tokens) == l.cfg.Context:
		refuse(TooLong, fmt.Sprintf("%d tokens leave no room in a context of %d", len(a.Tokens), l.cfg.Context))
	case len(l.queue) >= MaxQueue:
		refuse(QueueFull, fmt.Sprintf("%d sequences wait already", len(l.queue)))
	default:
		s := &sequence{Arrival: a, since: now, row: -1, tokens: slices.Clone(a.Tokens)}
		l.index[a.ID] = s
		l.queue = append(l.queue, s)
	}
}

// expire refuses what waited too long. The queue is in order of arrival.
func (l *Loop) expire(now time.Time, out *Output) {
	for len(l.queue) > 0 && !l.queue[0].since.Add(MaxWait).After(now) {
		s := l.queue[0]
		l.end(s)
		out.Refusals = append(out.Refusals, Refuse{s.ID, WaitedLong, fmt.Sprintf("no row became free in %s", MaxWait)})
	}
}

// admit gives the first in the queue the lowest free row of the group with the fewest sequences.
func (l *Loop) admit() bool {
	if len(l.queue) == 0 {
		return false
	}
	best, least := -1, 0
	for i := range l.groups {
		used := 0
		for _, s := range l.groups[i].rows {
			if s != nil {
				used++
			}
		}
		if used < len(l.groups[i].rows) && (best < 0 || used < least) {
			best, least = i, used
		}
	}
	if best < 0 {
		return false
	}
	g, s := &l.groups[best], l.queue[0]
	l.queue = l.queue[1:]
	free := slices.Index(g.rows, nil)
	g.rows[free], s.row = s, g.first+free
	return true
}

// end takes a sequence out. Its row stays taken while a forward that contains it is in flight.
func (l *Loop) end(s *sequence) {
	s.gone = true
	delete(l.index, s.ID)
	if s.row < 0 {
		l.queue = slices.DeleteFunc(l.queue, func(q *sequence) bool { return q == s })
		return
	}
	for i := range l.groups {
		g := &l.groups[i]
		if at := s.row - g.first; at >= 0 && at < len(g.rows) && g.flight == nil {
			g.rows[at] = nil
		}
	}
}

// sweep frees the rows of sequences that ended while the group was in flight.
func (g *group) sweep() {
	for i, s := range g.rows {
		if s != nil && s.gone {
			g.rows[i] = nil
		}
	}
}
