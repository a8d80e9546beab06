package cluster

import (
	"iter"
	"slices"
	"strings"

	"github.com/skein-project/skein/quota"
)

// Limited is a limit of a subject, for one model or for all together.
type Limited struct {
	Model string `json:"model,omitempty"` // the model's name; "" = all models together
	quota.Limit
}

// LimitSet is every limit of one subject.
type LimitSet struct {
	Subject string    `json:"subject"` // see TotalSubject and its siblings
	Limits  []Limited `json:"limits"`
	Rev     Index     `json:"rev"`
}

// TotalSubject is everybody together.
const TotalSubject = "total"

// TenantSubject is a tenant with all its applications and keys.
func TenantSubject(id string) string { return "tenant/" + id }

// AppSubject is an application with all its keys.
func AppSubject(id AppID) string { return "app/" + id.String() }

// KeySubject is one key.
func KeySubject(id string) string { return "key/" + id }

// ID names the balance of a limit.
func (l Limited) ID(subject string) quota.ID {
	return quota.ID{Subject: subject, Model: l.Model, Meter: l.Meter, Window: l.Window}
}

// Limits finds the limits of a subject.
func (s State) Limits(subject string) (LimitSet, bool) { return s.limits.Get(text(subject)) }

// LimitSets yields all limits by subject.
func (s State) LimitSets() iter.Seq[LimitSet] { return s.limits.Values() }

// Balance finds what is spent and leased of a limit; the zero Balance with its ID if nothing is.
func (s State) Balance(id quota.ID) quota.Balance {
	b, ok := s.balances.Get(id)
	if !ok {
		b.ID = id
	}
	return b
}

// Limit finds the limit that a balance is held against.
func (s State) Limit(id quota.ID) (quota.Limit, bool) {
	set, _ := s.limits.Get(text(id.Subject))
	for _, l := range set.Limits {
		if l.ID(set.Subject) == id {
			return l.Limit, true
		}
	}
	return quota.Limit{}, false
}

// SameLimits says that the limits of two states are the same; the converse need not hold. Comparing costs nothing.
func (s State) SameLimits(o State) bool { return s.limits == o.limits }

// PutLimits sets all limits of a subject; none removes the record. A balance stays as long as its limit does.
type PutLimits struct {
	Set LimitSet `json:"set"`
	Was Index    `json:"was"`
}

// Settle is what a gateway used since its last settlement, and what it wishes to hold of the limits. It is applied once: Session grows
// with each start of the gateway, Seq with each settlement of a session, and what is not newer than the last one is rejected as stale,
// which its sender takes for done. Asks about limits that do not exist any more are dropped.
type Settle struct {
	Gateway NodeID      `json:"gateway"`
	Session uint64      `json:"session"`
	Seq     uint64      `json:"seq"`
	Usage   []Used      `json:"usage,omitempty"`
	Asks    []quota.Ask `json:"asks,omitempty"`
}

// Settled is the newest settlement of a gateway.
type Settled struct {
	Gateway NodeID `json:"gateway"`
	Session uint64 `json:"session"`
	Seq     uint64 `json:"seq"`
	At      Millis `json:"at"`
	Rev     Index  `json:"rev"`
}

// Mark is the settlement's place in the gateway's order of settlements.
func (x Settled) Mark() quota.Mark { return quota.Mark{Session: x.Session, Seq: x.Seq} }

// LastSettled finds the newest settlement of a gateway.
func (s State) LastSettled(gateway NodeID) (Settled, bool) { return s.settled.Get(gateway) }

func (PutLimits) tag() string { return "put_limits" }
func (Settle) tag() string    { return "settle" }

func (s *State) putLimits(c PutLimits) error {
	set, subject := c.Set, "limits of "+c.Set.Subject
	old, found, err := before(s.limits, text(set.Subject), c.Was, subject, MaxLimitSets)
	switch {
	case err != nil:
		return err
	case !s.limitable(set.Subject):
		return reject(ReasonNotFound, "limits", "there is no subject %.128q: want total, tenant/ID, app/TENANT/ID or key/ID", set.Subject)
	case len(set.Limits) > MaxLimits:
		return reject(ReasonLimit, subject, "%d limits, at most %d are allowed", len(set.Limits), MaxLimits)
	}
	for i, l := range set.Limits {
		if err := l.Validate(); err != nil {
			return reject(ReasonInvalid, subject, "limit %d: %v", i, err)
		}
		if l.Model != "" && !ValidName(l.Model) {
			return reject(ReasonInvalid, subject, "limit %d: malformed model %.128q", i, l.Model)
		}
		if slices.ContainsFunc(set.Limits[:i], func(o Limited) bool { return o.ID("") == l.ID("") }) {
			return reject(ReasonInvalid, subject, "limit %d: the same meter, window and model twice", i)
		}
	}
	for _, l := range old.Limits {
		id := l.ID(set.Subject)
		if !slices.ContainsFunc(set.Limits, func(n Limited) bool { return n.ID(set.Subject) == id }) {
			s.balances = s.balances.Delete(id)
		}
	}
	if len(set.Limits) == 0 {
		if !found {
			return reject(ReasonInvalid, subject, "it names no limit")
		}
		s.limits = s.limits.Delete(text(set.Subject))
		return nil
	}
	set.Limits, set.Rev = slices.Clone(set.Limits), s.index
	s.limits = s.limits.Set(text(set.Subject), set)
	return nil
}

// limitable says whether a subject exists.
func (s *State) limitable(subject string) bool {
	kind, id, _ := strings.Cut(subject, "/")
	switch kind {
	case "total":
		return subject == TotalSubject
	case "tenant":
		_, ok := s.Tenant(id)
		return ok
	case "app":
		tenant, app, _ := strings.Cut(id, "/")
		return s.apps.Has(AppID{tenant, app})
	case "key":
		return s.keys.Has(text(id))
	}
	return false
}

// TenantOf is the tenant that a subject of limits belongs to; "" = nobody alone.
func (s State) TenantOf(subject string) string {
	kind, id, _ := strings.Cut(subject, "/")
	switch kind {
	case "tenant":
		return id
	case "app":
		tenant, _, _ := strings.Cut(id, "/")
		return tenant
	case "key":
		k, _ := s.Key(id)
		return k.Owner()
	}
	return ""
}

// Used is the part of a limit that is spent in the window of a time, 0 to 1; ok is false for limits without an amount to use up.
func (s State) Used(subject string, l Limited, now Millis) (part float64, ok bool) {
	if !l.Window.Counter() || l.Amount == 0 {
		return 0, false
	}
	b := s.Balance(l.ID(subject))
	if b.Start != l.Window.Start(int64(now)) {
		return 0, true
	}
	return float64(b.Spent) / float64(l.Amount), true
}

// Quota is how far a limit with an amount is used.
type Quota struct {
	Subject string
	Limited
	Used  float64 // share, 0 to 1
	Spent int64   // millionths of the amount; it begins anew with the window
	Left  Millis  // until the window ends; 0 = never
}

// Quotas yields every limit that is an amount for a day, a month or for ever.
func (s State) Quotas(now Millis) iter.Seq[Quota] {
	return func(yield func(Quota) bool) {
		for set := range s.LimitSets() {
			for _, l := range set.Limits {
				used, ok := s.Used(set.Subject, l, now)
				if !ok {
					continue
				}
				q := Quota{Subject: set.Subject, Limited: l, Used: used, Spent: int64(used * 1e6)}
				if l.Window != quota.Life {
					q.Left = Millis(l.Window.End(l.Window.Start(int64(now)))) - now
				}
				if !yield(q) {
					return
				}
			}
		}
	}
}

// dropLimits forgets a subject's limits and balances.
func (s *State) dropLimits(subject string) {
	set, ok := s.limits.Get(text(subject))
	if !ok {
		return
	}
	for _, l := range set.Limits {
		s.balances = s.balances.Delete(l.ID(subject))
	}
	s.limits = s.limits.Delete(text(subject))
}

func (s *State) settle(c Settle) error {
	subject := "settlement of " + string(c.Gateway)
	m, ok := s.members.Get(c.Gateway)
	last, known := s.settled.Get(c.Gateway)
	switch {
	case !ok:
		return reject(ReasonNotFound, subject, "%.64s is no member", c.Gateway)
	case c.Session == 0 || c.Seq == 0:
		return reject(ReasonInvalid, subject, "no session or number")
	case known && !last.Mark().Before(c.Session, c.Seq):
		return reject(ReasonStale, subject, "settlement %d of session %d was applied", last.Seq, last.Session)
	case len(c.Asks) > MaxAsks || len(c.Usage) > MaxUsed:
		return reject(ReasonLimit, subject, "%d asks and %d rows of usage, at most %d and %d are allowed", len(c.Asks), len(c.Usage), MaxAsks, MaxUsed)
	}
	for i, a := range c.Asks {
		if err := a.Validate(); err != nil {
			return reject(ReasonInvalid, subject, "ask %d: %v", i, err)
		}
		limit, ok := s.Limit(a.ID)
		if !ok {
			continue
		}
		b := s.Balance(a.ID).Settle(int64(s.at), limit, string(m.ID), c.Session, c.Seq, a)
		s.balances = s.balances.Set(a.ID, b)
	}
	for i, u := range c.Usage {
		if err := s.use(u); err != nil {
			return reject(ReasonInvalid, subject, "usage %d: %v", i, err)
		}
	}
	s.settled = s.settled.Set(c.Gateway, Settled{Gateway: c.Gateway, Session: c.Session, Seq: c.Seq, At: s.at, Rev: s.index})
	return nil
}
