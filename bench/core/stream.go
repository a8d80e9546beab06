package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/wire"
)

// pace is what came of some streams that ran together.
type pace struct {
	rate  float64 // tokens per second of all streams, while all were decoding
	first float64 // milliseconds to the first token, median of the streams
}

// arrivals are the times at which a stream's tokens came.
type arrivals []time.Time

// prompt makes tokens that are the same in every run: bytes of printable text.
func prompt(stream, tokens int) []int32 {
	r := rand.New(rand.NewPCG(uint64(stream), 1))
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = ' ' + r.Int32N(95)
	}
	return ids
}

// decode runs n greedy streams at once on a replica, straight to its head.
func (s *site) decode(ctx context.Context, route router.Route, n, prompted, tokens int) (pace, error) {
	began := time.Now()
	type outcome struct {
		at  arrivals
		err error
	}
	outcomes := make(chan outcome, n)
	for i := range n {
		go func() {
			at, err := s.stream(ctx, route, prompt(i, prompted), tokens)
			outcomes <- outcome{at, err}
		}()
	}
	var all []arrivals
	var errs []error
	for range n {
		o := <-outcomes
		all, errs = append(all, o.at), append(errs, o.err)
	}
	if err := errors.Join(errs...); err != nil {
		return pace{}, err
	}
	return paceOf(began, all)
}

// stream asks the head of a replica for exactly so many tokens: no token ends it early.
func (s *site) stream(ctx context.Context, route router.Route, ids []int32, tokens int) (at arrivals, err error) {
	req := &wire.GenerateRequest{Replica: route.Replica, Epoch: route.Epoch, Tokens: ids, MaxTokens: tokens}
	err = wire.Read(ctx, s.dialer, cluster.RoleNode, route.Head(), wire.Generate, req, func(r *wire.GenerateResponse) error {
		now := time.Now()
		for range r.Tokens {
			at = append(at, now)
		}
		return nil
	})
	if err == nil && len(at) != tokens {
		err = fmt.Errorf("%d tokens came, want %d", len(at), tokens)
	}
	return at, err
}

// paceOf counts the tokens between the first token of the last stream to begin and the last token of the first to end.
func paceOf(began time.Time, all []arrivals) (pace, error) {
	from, to := all[0][0], all[0][len(all[0])-1]
	var first []float64
	for _, at := range all {
		if at[0].After(from) {
			from = at[0]
		}
		if last := at[len(at)-1]; last.Before(to) {
			to = last
		}
		first = append(first, at[0].Sub(began).Seconds()*1e3)
	}
	if !to.After(from) {
		return pace{}, errors.New("the streams did not overlap: ask for more tokens")
	}
	tokens := 0
	for _, at := range all {
		for _, t := range at {
			if t.After(from) && !t.After(to) {
				tokens++
			}
		}
	}
	slices.Sort(first)
	return pace{rate: float64(tokens) / to.Sub(from).Seconds(), first: first[len(first)/2]}, nil
}
