package gateway

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/skein-project/skein/quota"
)

// admitAsks checks generations, and lets them in together if the limits of whoever asks allow it. prompt is the number of tokens of all
// prompts, each counted once.
func (s *Server) admitAsks(ctx context.Context, t *text, asks []Ask, prompt int) error {
	reseed(ctx, asks)
	if len(asks) > 0 {
		callOf(ctx).noteSeed(asks[0].Sampling.Seed)
	}
	answer := 0
	for i := range asks {
		if err := s.check(t, &asks[i]); err != nil {
			return err
		}
		answer += asks[i].MaxTokens
	}
	return s.admit(ctx, t, prompt, answer)
}

// admit lets a request in if the limits of whoever makes it allow so many tokens of prompt and answer, and reserves them until its end.
func (s *Server) admit(ctx context.Context, t *text, prompt, answer int) error {
	c := callOf(ctx)
	if c == nil {
		return nil
	}
	if c.copy { // nobody asked for it, so it counts against nobody's limits, but the model's owner pays
		c.asked(prompt)
		c.mu.Lock()
		c.held = &hold{version: t.version}
		c.mu.Unlock()
		return nil
	}
	h, left, err := s.ledger.reserve(ctx, s.live, c.who, t.version, int64(prompt+answer), s.cfg.LeaseWait)
	if c.header != nil {
		left.write(c.header)
	}
	if err != nil {
		return err
	}
	c.asked(prompt)
	c.mu.Lock()
	c.held = h
	c.mu.Unlock()
	return nil
}

// leave ends what the request had reserved, and says what it used. The caller holds the lock of the call.
func (c *call) leave(how string) {
	if c.held == nil {
		return
	}
	used := spending{calls: 1, prompt: int64(c.prompt), answer: int64(c.answer), device: c.device}
	switch how {
	case FaultInternal.String(), FaultUnavailable.String(), FaultTimeout.String(), FaultBusy.String():
		used.failed = 1
		if c.answer == 0 {
			used.prompt = 0
		}
	case FaultInvalid.String(), FaultTask.String(), FaultContext.String(), FaultUnsupported.String(): // no replica could do it
		used.prompt = 0
	}
	c.s.ledger.release(c.held, c.who, used, c.s.live.Now().Cluster().Feature >= 2)
	c.held = nil
}

// cutOverdue ends requests, the newest first, that hold slots of a limit which the coordinators may have given to others by now.
func (s *Server) cutOverdue() {
	type running struct {
		c      *call
		purses []*quota.Purse
	}
	var all []running
	overdue := map[*quota.Purse]int64{}
	calls := s.visitors.all()
	now := s.ledger.moment()
	for _, c := range calls {
		c.mu.Lock()
		h := c.held
		c.mu.Unlock()
		if h == nil || h.wallet == nil {
			continue
		}
		s.ledger.mu.Lock()
		r := running{c: c}
		for _, p := range h.wallet.Purses() {
			if p.ID().Meter == quota.Concurrent {
				r.purses = append(r.purses, p)
				if n := p.Overdue(now); n > 0 {
					overdue[p] = n
				}
			}
		}
		s.ledger.mu.Unlock()
		all = append(all, r)
	}
	if len(overdue) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b running) int { return cmp.Or(b.c.began.Compare(a.c.began), cmp.Compare(a.c.id, b.c.id)) })
	for _, r := range all {
		if !slices.ContainsFunc(r.purses, func(p *quota.Purse) bool { return overdue[p] > 0 }) {
			continue
		}
		for _, p := range r.purses {
			overdue[p]--
		}
		r.c.cancel(&Error{Fault: FaultUnavailable, Retry: time.Second, Why: "no coordinator answers, so the limit of concurrent requests cannot be kept"})
	}
}
