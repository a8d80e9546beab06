package gateway

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/quota"
)

const (
	maxWallets = 65536 // of principals and models; beyond it, all are made anew
	maxUsage   = 16384 // rows of usage in memory; beyond it they go to the disk
	minuteMs   = 60_000
)

// ledger is what this gateway may spend and what was spent.
type ledger struct {
	wall func() int64 // the wall clock, in Unix milliseconds

	mu      sync.Mutex
	born    time.Time
	till    *quota.Till // nil until it is known which settlements of this gateway were applied
	wallets map[walletKey]*wallet
	rates   map[cluster.VersionID]float64 // device time of a token, in microseconds: a moving average
	usage   map[usageKey]*spending        // not settled yet, and in no settlement
	full    bool                          // usage finds no room in memory, nor on the disk
	cutOff  bool                          // the last settlement found no leader
	news    chan struct{}                 // closed when the till has followed a state
	hurry   chan struct{}                 // capacity 1: a purse ran dry
}

func newLedger() *ledger {
	return &ledger{wall: func() int64 { return time.Now().UnixMilli() }, born: time.Now(), wallets: map[walletKey]*wallet{}, rates: map[cluster.VersionID]float64{}, usage: map[usageKey]*spending{},
		news: make(chan struct{}), hurry: make(chan struct{}, 1)}
}

// walletKey is who calls which model.
type walletKey struct{ tenant, app, key, model string }

// wallet is the limits of a principal for a model.
type wallet struct {
	*quota.Wallet // nil = there are none
	subjects      [4]string
	revs          [4]cluster.Index // of the subjects' limits that the wallet was made of
}

// usageKey is a row of the bill.
type usageKey struct {
	minute           cluster.Millis // its begin
	tenant, app, key string
	version          cluster.VersionID
}

// spending is what a row counts.
type spending struct {
	calls, failed, prompt, answer int64
	device                        time.Duration
}

// moment reads both clocks.
func (l *ledger) moment() quota.Moment {
	return quota.Moment{Mono: time.Since(l.born), Wall: l.wall()}
}

// wallet finds the wallet of a principal for a model, with the limits of a state. ok is false while there are limits of which nothing
// can be held yet. The caller holds the lock.
func (l *ledger) wallet(state cluster.State, who cluster.Principal, model string) (w *wallet, ok bool) {
	k := walletKey{who.Tenant, who.App, who.Key, model}
	if w = l.wallets[k]; w == nil {
		if len(l.wallets) >= maxWallets {
			clear(l.wallets)
		}
		w = &wallet{subjects: [4]string{cluster.TotalSubject, cluster.TenantSubject(who.Tenant)}}
		if who.App != "" {
			w.subjects[2] = cluster.AppSubject(cluster.AppID{Tenant: who.Tenant, ID: who.App})
		}
		if who.Key != "" {
			w.subjects[3] = cluster.KeySubject(who.Key)
		}
		l.wallets[k] = w
	}
	for i, subject := range w.subjects {
		if subject == "" {
			continue
		}
		if set, _ := state.Limits(subject); set.Rev != w.revs[i] {
			return w, l.refill(state, w, model)
		}
	}
	return w, true
}

// refill makes a wallet anew.
func (l *ledger) refill(state cluster.State, w *wallet, model string) bool {
	var ids []quota.ID
	var revs [4]cluster.Index
	for i, subject := range w.subjects {
		set, _ := state.Limits(subject)
		revs[i] = set.Rev
		for _, limit := range set.Limits {
			if limit.Model == "" || limit.Model == model {
				ids = append(ids, limit.ID(subject))
			}
		}
	}
	switch {
	case len(ids) == 0:
		w.Wallet = nil
	case l.till == nil:
		return false
	default:
		w.Wallet = l.till.Wallet(ids, booksOf(state))
	}
	w.revs = revs
	return true
}

// booksOf reads limits and balances in a state.
func booksOf(state cluster.State) quota.Books {
	return func(id quota.ID) (quota.Balance, quota.Limit, bool) {
		limit, ok := state.Limit(id)
		return state.Balance(id), limit, ok
	}
}

// follow takes over a state.
func (l *ledger) follow(state cluster.State, gateway cluster.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.till == nil {
		return
	}
	l.till.Follow(markOf(state, gateway), booksOf(state))
	close(l.news)
	l.news = make(chan struct{})
}

// markOf is the newest settlement of a gateway in a state.
func markOf(state cluster.State, gateway cluster.NodeID) quota.Mark {
	last, _ := state.LastSettled(gateway)
	return quota.Mark{Session: last.Session, Seq: last.Seq}
}

// hasten lets a settlement begin at once.
func (l *ledger) hasten() {
	select {
	case l.hurry <- struct{}{}:
	default:
	}
}

// hold is what a request has reserved.
type hold struct {
	version cluster.VersionID
	wallet  *quota.Wallet // nil = nothing limits it
	receipt quota.Receipt
}

// reserve takes what a request costs from all limits of whoever makes it: one request, one slot, its tokens, and the device time that
// so many tokens took lately. Where a limit has room that this gateway does not hold yet, it asks for it and waits up to patience. left
// is what the limits leave, also of a request that is refused.
func (l *ledger) reserve(ctx context.Context, live *live.State, who cluster.Principal, v cluster.VersionID, tokens int64, patience time.Duration) (h *hold, left allowance, err error) {
	h = &hold{version: v}
	var over <-chan time.Time
	for {
		refusal, news := l.try(live.Now(), who, h, tokens, &left)
		if refusal == nil {
			return h, left, nil
		}
		if refusal.Reason != quota.Short {
			return nil, left, l.refused(refusal)
		}
		if over == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			over = timer.C
		}
		l.hasten()
		select {
		case <-news:
		case <-over:
			return nil, left, l.refused(refusal)
		case <-ctx.Done():
			return nil, left, ctx.Err()
		}
	}
}

// try is one attempt to reserve. news is closed when another may go better.
func (l *ledger) try(state cluster.State, who cluster.Principal, h *hold, tokens int64, left *allowance) (refusal *quota.Refusal, news <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.wallet(state, who, h.version.Model)
	switch {
	case l.full:
		return &quota.Refusal{Reason: quota.Stale, RetryAfter: time.Second}, nil
	case !ok:
		return &quota.Refusal{Reason: quota.Short, RetryAfter: time.Second}, l.news
	case w.Wallet == nil:
		return nil, nil
	}
	now := l.moment()
	h.wallet = w.Wallet
	h.receipt, refusal = w.Take(now, quota.Cost{Requests: 1, Concurrent: 1, Tokens: tokens, GPUMillis: l.estimate(h.version, tokens)})
	*left = allowanceOf(w.Wallet, now)
	return refusal, l.news
}

// estimate is the device time in milliseconds that so many tokens will take. The caller holds the lock.
func (l *ledger) estimate(v cluster.VersionID, tokens int64) int64 {
	return max(1, int64(l.rates[v]*float64(tokens)/1000))
}

// rateWeight is the weight of the newest request in the moving average of the device time of a token.
const rateWeight = 0.1

// release ends what a request had reserved, and puts what it used on the bill.
func (l *ledger) release(h *hold, who cluster.Principal, used spending, billed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tokens := used.prompt + used.answer
	if h.wallet != nil {
		h.receipt.Done(l.moment(), quota.Cost{Requests: used.calls - used.free(), Tokens: tokens, GPUMillis: (used.device + time.Millisecond - 1).Milliseconds()})
	}
	if tokens > 0 && used.device > 0 {
		rate := float64(used.device.Microseconds()) / float64(tokens)
		if old, ok := l.rates[h.version]; ok {
			rate = old + rateWeight*(rate-old)
		}
		if len(l.rates) >= maxRows {
			clear(l.rates)
		}
		l.rates[h.version] = rate
	}
	if !billed {
		return // before feature level 2 there is no bill
	}
	now := cluster.Millis(l.wall())
	l.bill(usageKey{now - now%minuteMs, who.Tenant, who.App, who.Key, h.version}, used)
}

// free is how many of the calls count against no limit: they failed for reasons of ours before they gave anything.
func (s spending) free() int64 {
	if s.prompt+s.answer == 0 {
		return s.failed
	}
	return 0
}

// bill adds to a row. The caller holds the lock.
func (l *ledger) bill(k usageKey, used spending) {
	row := l.usage[k]
	if row == nil {
		row = &spending{}
		l.usage[k] = row
	}
	row.calls += used.calls
	row.failed += used.failed
	row.prompt += used.prompt
	row.answer += used.answer
	row.device += used.device
}

// drain takes up to n rows of usage, the oldest first. The caller holds the lock.
func (l *ledger) drain(n int) []cluster.Used {
	keys := make([]usageKey, 0, len(l.usage))
	for k := range l.usage {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b usageKey) int {
		return cmp.Or(cmp.Compare(a.minute, b.minute), strings.Compare(a.tenant, b.tenant), strings.Compare(a.app, b.app), strings.Compare(a.key, b.key), a.version.Compare(b.version))
	})
	var out []cluster.Used
	for _, k := range keys[:min(n, len(keys))] {
		s := l.usage[k]
		out = append(out, cluster.Used{At: k.minute, Tenant: k.tenant, App: k.app, Key: k.key, Version: k.version, Amounts: cluster.Amounts{
			Calls: s.calls, Failed: s.failed, Prompt: s.prompt, Answer: s.answer, DeviceMs: s.device.Round(time.Millisecond).Milliseconds()}})
		delete(l.usage, k)
	}
	return out
}

// restore puts rows back that drain had taken. The caller holds the lock.
func (l *ledger) restore(rows []cluster.Used) {
	for _, u := range rows {
		l.bill(usageKey{u.At, u.Tenant, u.App, u.Key, u.Version}, spending{u.Calls, u.Failed, u.Prompt, u.Answer, time.Duration(u.DeviceMs) * time.Millisecond})
	}
}
