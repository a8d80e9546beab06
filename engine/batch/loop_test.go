package batch

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/skein-project/skein/engine/sample"
)

const (
	vocab = 50
	eos   = int32(0)
)

// oracle is a model as a function: the next token is a hash of every token before it. A wrong position, a row mixed up with another, a
// dummy that hits a kept token: each changes all that follows.
func oracle(tokens []int32) int32 {
	h := fnv.New32a()
	for _, t := range tokens {
		h.Write([]byte{byte(t), byte(t >> 8)})
	}
	return int32(h.Sum32() % vocab)
}

// slab is a KV cache that remembers tokens instead of keys and values.
type slab [][]int32

func (s slab) run(f Forward) (out []sample.Choice, hidden []float32, err error) {
	write := func(row, at int, token int32) error {
		if at >= len(s[row]) {
			return fmt.Errorf("row %d: position %d is outside the context", row, at)
		}
		s[row][at] = token
		return nil
	}
	for i, t := range f.Tokens {
		row, at := f.Row, int(f.Past[0])+i
		if !f.Prefill {
			row, at = f.Row+i, int(f.Past[i])
		}
		if err := write(row, at, t); err != nil {
			return nil, nil, err
		}
	}
	for i := range f.Tokens {
		if f.Hidden {
			hidden = append(hidden, float32(oracle(s[f.Row][:int(f.Past[0])+i+1])))
		}
	}
	for _, w := range f.Wants {
		row, n := f.Row, int(f.Past[0])+w.Token+1
		if !f.Prefill {
			row, n = f.Row+w.Token, int(f.Past[w.Token])+1
		}
		if n != w.Position {
			return nil, nil, fmt.Errorf("row %d: a token is wanted at position %d, the cache holds %d", row, w.Position, n)
		}
		out = append(out, sample.Choice{Token: oracle(s[row][:n])})
	}
	return out, hidden, nil
}

func alone(a Arrival, context int) (tokens []int32, finish Finish) {
	seq := slices.Clone(a.Tokens)
	for i := range seq {
		if a.Hidden {
			tokens = append(tokens, oracle(seq[:i+1]))
		}
	}
	if a.Hidden {
		return tokens, Stop
	}
	for {
		next := oracle(seq)
		if slices.Contains(a.EOS, next) {
			return tokens, Stop
		}
		seq, tokens = append(seq, next), append(tokens, next)
		if len(tokens) >= a.MaxTokens || len(seq) >= context {
			return tokens, Length
		}
	}
}

// begun are the sequences of which the last stage was told what they begin with.
type begun map[ID]bool

// take checks a forward: what a sequence begins with goes once, alone, and before the sequence goes on.
func (b begun) take(t *testing.T, f Forward, asked map[ID]Arrival) {
	t.Helper()
	for i, w := range f.Wants {
		id := f.IDs[i]
		if w.Goes != b[id] || (w.Begin != nil) != (asked[id].Begin != nil && !b[id]) {
			t.Fatalf("sequence %d, begun %t, is wanted as %+v", id, b[id], w)
		}
		if w.Begin == nil {
			continue
		}
		if b[id] = true; len(f.Wants) > 1 || !f.Prefill {
			t.Fatalf("sequence %d begins in a step with others: %+v", id, f.Wants)
		}
	}
}

// Whatever arrives, joins, leaves and is cancelled, in whatever order results come back: every sequence gets the tokens that it would
// get alone, and every row is free at the end.
func TestEverySequenceAsAlone(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		cfg := Config{Stages: 1 + r.IntN(4), Slots: 1 + r.IntN(9), Context: 8 + r.IntN(60), Chunk: 1 + r.IntN(16)}
		l, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		cache := make(slab, cfg.Slots)
		for i := range cache {
			cache[i] = make([]int32, cfg.Context)
		}
		asked, got, ended, cancelled := map[ID]Arrival{}, map[ID][]int32{}, map[ID]Finish{}, map[ID]bool{}
		told := begun{}
		var flying []Forward
		now := time.Unix(0, 0)
		for round := 0; round < 40 || l.Active() > 0 || len(flying) > 0; round++ {
			if round > 100000 {
				t.Fatalf("seed %d: does not come to an end", seed)
			}
			var in Input
			now = now.Add(time.Millisecond)
			for round < 40 && r.IntN(3) == 0 {
				a := Arrival{ID: ID(len(asked) + 1), MaxTokens: 1 + r.IntN(30), EOS: []int32{eos}, Hidden: r.IntN(4) == 0}
				most := cfg.Context - 1
				if a.Hidden {
					a.MaxTokens, most = 0, cfg.Context
				} else if r.IntN(2) == 0 {
					a.Begin = &sample.Begin{}
				}
				for range 1 + r.IntN(most) {
					a.Tokens = append(a.Tokens, r.Int32N(vocab))
				}
				asked[a.ID] = a
				in.Arrivals = append(in.Arrivals, a)
			}
			if len(asked) > 0 && r.IntN(10) == 0 {
				id := ID(1 + r.IntN(len(asked)))
				in.Cancels = append(in.Cancels, id)
				cancelled[id] = true
			}
			for len(flying) > 0 && r.IntN(2) == 0 {
				i := r.IntN(len(flying))
				f := flying[i]
				flying = slices.Delete(flying, i, i+1)
				choices, hidden, err := cache.run(f)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				in.Results = append(in.Results, Result{Group: f.Group, Number: f.Number, Choices: choices, Hidden: hidden})
			}
			out := l.Step(now, in)
			flying = append(flying, out.Forwards...)
			for _, f := range out.Forwards {
				told.take(t, f, asked)
			}
			for _, e := range out.Emits {
				if ended[e.ID] != Running {
					t.Fatalf("seed %d: sequence %d goes on after its end", seed, e.ID)
				}
				if e.Choice != nil {
					got[e.ID] = append(got[e.ID], e.Choice.Token)
				}
				for _, state := range e.Hidden {
					got[e.ID] = append(got[e.ID], int32(state))
				}
				ended[e.ID] = e.Finish
			}
			for _, x := range out.Refusals {
				t.Fatalf("seed %d: refused: %+v", seed, x)
			}
		}
		for id, a := range asked {
			want, finish := alone(a, cfg.Context)
			if !cancelled[id] && told[id] != (a.Begin != nil) {
				t.Fatalf("seed %d: sequence %d ended, begun: %t", seed, id, told[id])
			}
			if cancelled[id] && len(got[id]) <= len(want) {
				want, finish = want[:len(got[id])], ended[id]
			}
			if !slices.Equal(got[id], want) || ended[id] != finish {
				t.Fatalf("seed %d: sequence %d of %d tokens gave %v (%d), want %v (%d)", seed, id, len(a.Tokens), got[id], ended[id], want, finish)
			}
		}
		for _, g := range l.groups {
			if slices.ContainsFunc(g.rows, func(s *sequence) bool { return s != nil }) {
				t.Fatalf("seed %d: a row is still taken", seed)
			}
		}
	}
}

// A prompt in many chunks does not stop the others: decodes take every second turn.
func TestPrefillDoesNotStarveDecode(t *testing.T) {
	l, err := New(Config{Stages: 1, Slots: 2, Context: 1000, Chunk: 4})
	if err != nil {
		t.Fatal(err)
	}
	out := l.Step(time.Time{}, Input{Arrivals: []Arrival{{ID: 1, Tokens: []int32{5}, MaxTokens: 100}}})
	out = l.Step(time.Time{}, Input{Results: []Result{{Number: out.Forwards[0].Number, Choices: []sample.Choice{{Token: 7}}}}, Arrivals: []Arrival{{ID: 2, Tokens: make([]int32, 400), MaxTokens: 1}}})
	prefills, decodes := 0, 0
	for range 20 {
		f := out.Forwards[0]
		if f.Prefill {
			prefills++
		} else {
			decodes++
		}
		out = l.Step(time.Time{}, Input{Results: []Result{{Number: f.Number, Choices: make([]sample.Choice, len(f.Wants))}}})
	}
	if prefills != 10 || decodes != 10 {
		t.Errorf("%d prefills and %d decodes of 20 forwards, want 10 and 10", prefills, decodes)
	}
}

func TestRefusals(t *testing.T) {
	l, err := New(Config{Stages: 2, Slots: 1, Context: 10})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		a    Arrival
		want Reason
	}{
		"empty prompt":        {Arrival{MaxTokens: 1}, Malformed},
		"prompt over context": {Arrival{Tokens: make([]int32, 10), MaxTokens: 1}, TooLong},
		"states over context": {Arrival{Tokens: make([]int32, 11), Hidden: true}, TooLong},
		"max_tokens 0":        {Arrival{Tokens: make([]int32, 1)}, Malformed},
		"max_tokens 10^9":     {Arrival{Tokens: make([]int32, 1), MaxTokens: 1_000_000_000}, Malformed},
	} {
		out := l.Step(time.Time{}, Input{Arrivals: []Arrival{c.a}})
		if len(out.Refusals) != 1 || out.Refusals[0].Reason != c.want || l.Active() != 0 {
			t.Errorf("%s: %+v", name, out.Refusals)
		}
	}
	var many []Arrival
	for i := range MaxQueue + 2 {
		many = append(many, Arrival{ID: ID(i + 1), Tokens: []int32{1}, MaxTokens: 2})
	}
	out := l.Step(time.Time{}, Input{Arrivals: many})
	if len(out.Refusals) != 2 || out.Refusals[0].Reason != QueueFull {
		t.Errorf("an overfull queue: %d refusals", len(out.Refusals))
	}
	late := l.Step(time.Time{}.Add(MaxWait), Input{})
	if len(late.Refusals) != MaxQueue-1 || late.Refusals[0].Reason != WaitedLong {
		t.Errorf("after MaxWait: %d refusals, want %d", len(late.Refusals), MaxQueue-1)
	}
}

// A failed forward ends the sequences of its group only; a late or repeated result changes nothing.
func TestFailure(t *testing.T) {
	l, err := New(Config{Stages: 2, Slots: 3, Context: 10})
	if err != nil {
		t.Fatal(err)
	}
	out := l.Step(time.Time{}, Input{Arrivals: []Arrival{{ID: 1, Tokens: []int32{1}, MaxTokens: 3}, {ID: 2, Tokens: []int32{2}, MaxTokens: 3}}})
	if len(out.Forwards) != 2 {
		t.Fatalf("%d forwards, want one per group with work", len(out.Forwards))
	}
	bad := Result{Group: out.Forwards[0].Group, Number: out.Forwards[0].Number, Failed: errors.New("peer went away").Error()}
	out2 := l.Step(time.Time{}, Input{Results: []Result{bad, bad, {Group: 1, Number: 99}, {Group: 77}}})
	if len(out2.Refusals) != 1 || out2.Refusals[0].ID != 1 || out2.Refusals[0].Reason != StageFailed || l.Active() != 1 {
		t.Errorf("after a failure: %+v, %d active", out2.Refusals, l.Active())
	}
}

// A sequence for which nothing can be chosen ends alone; the reason says whether another replica may.
func TestNothingChosen(t *testing.T) {
	l, err := New(Config{Stages: 1, Slots: 3, Context: 10})
	if err != nil {
		t.Fatal(err)
	}
	var in Input
	for id := range ID(3) {
		in.Arrivals = append(in.Arrivals, Arrival{ID: id + 1, Tokens: []int32{1}, MaxTokens: 3})
	}
	f := l.Step(time.Time{}, in).Forwards[0]
	out := l.Step(time.Time{}, Input{Results: []Result{{Number: f.Number, Choices: []sample.Choice{{Failed: "x"}, {Failed: "y", Elsewhere: true}, {Token: 7}}}}})
	if want := []Refuse{{1, NoneFollows, "x"}, {2, StageFailed, "y"}}; !slices.Equal(out.Refusals, want) || l.Active() != 1 {
		t.Errorf("%+v, %d active", out.Refusals, l.Active())
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []Config{{}, {Stages: 1, Slots: 1, Context: 1}, {Stages: 1, Slots: -1, Context: 9}, {Stages: 1, Slots: 1, Context: 9, Chunk: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v: accepted", c)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	l, _ := New(Config{Stages: 1, Slots: 8, Context: 1 << 20})
	in := Input{}
	for i := range 8 {
		in.Arrivals = append(in.Arrivals, Arrival{ID: ID(i + 1), Tokens: []int32{1}, MaxTokens: MaxTokens})
	}
	for b.Loop() {
		out := l.Step(time.Time{}, in)
		in = Input{}
		for _, f := range out.Forwards {
			in.Results = append(in.Results, Result{Group: f.Group, Number: f.Number, Choices: make([]sample.Choice, len(f.Wants))})
		}
	}
}

// A row is its sequence's from the step that admits it until that sequence ends.
func TestAt(t *testing.T) {
	l, err := New(Config{Stages: 2, Slots: 4, Context: 16})
	if err != nil {
		t.Fatal(err)
	}
	rows := func() (ids []ID) {
		for row := -1; row <= 4; row++ {
			if id, ok := l.At(row); ok {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		return ids
	}
	if got := rows(); len(got) != 0 {
		t.Errorf("at the start: %v", got)
	}
	var in Input
	for id := range ID(5) {
		in.Arrivals = append(in.Arrivals, Arrival{ID: id + 1, Tokens: []int32{1}, MaxTokens: 1})
	}
	o := l.Step(time.Unix(0, 0), in)
	if got := rows(); !slices.Equal(got, []ID{1, 2, 3, 4}) {
		t.Errorf("of five, four have rows: %v", got)
	}
	for _, f := range o.Forwards {
		if id, ok := l.At(f.Row); !ok || id == 0 {
			t.Errorf("nobody has row %d of a forward", f.Row)
		}
	}
}
