package cluster

import (
	"cmp"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/skein-project/skein/gpu"
)

// Amounts are what was used. Device time is in milliseconds of one whole device: half of a device's memory for two seconds is 1000.
type Amounts struct {
	Calls    int64 `json:"calls,omitempty"`
	Failed   int64 `json:"failed,omitempty"` // of the calls
	Prompt   int64 `json:"prompt,omitempty"` // tokens
	Answer   int64 `json:"answer,omitempty"` // tokens
	DeviceMs int64 `json:"device_ms,omitempty"`
	Reserved int64 `json:"reserved_ms,omitempty"` // device time that replicas were placed for, used or not
}

// Plus adds.
func (a Amounts) Plus(b Amounts) Amounts {
	return Amounts{a.Calls + b.Calls, a.Failed + b.Failed, a.Prompt + b.Prompt, a.Answer + b.Answer, a.DeviceMs + b.DeviceMs, a.Reserved + b.Reserved}
}

// UsageID says who used what, and when: one UTC day, or one month where Month is set.
type UsageID struct {
	Start   Millis    `json:"start"` // of the day or month
	Month   bool      `json:"month,omitempty"`
	Tenant  string    `json:"tenant"`
	App     string    `json:"app,omitempty"`
	Key     string    `json:"key,omitempty"` // "" = the replicas' reservations
	Version VersionID `json:"version"`
}

// Compare orders usage by time, then by who and what.
func (u UsageID) Compare(o UsageID) int {
	month := func(m bool) int {
		if m {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(u.Start, o.Start), cmp.Compare(month(u.Month), month(o.Month)), strings.Compare(u.Tenant, o.Tenant),
		strings.Compare(u.App, o.App), strings.Compare(u.Key, o.Key), u.Version.Compare(o.Version))
}

// Usage is a row of the bill.
type Usage struct {
	UsageID
	Amounts
}

// Used is what a gateway counted.
type Used struct {
	At      Millis    `json:"at"` // about when, by the gateway's clock; the row's day is that of the entry where they differ by more than a day
	Tenant  string    `json:"tenant"`
	App     string    `json:"app,omitempty"`
	Key     string    `json:"key,omitempty"`
	Version VersionID `json:"version"`
	Amounts
}

const (
	dayMs      Millis = 24 * 60 * 60 * 1000
	UsageDays         = 62  // days that have rows of their own; older ones are kept by month
	UsageKept         = 800 // days that a month stays
	usageSweep        = 256 // rows that one settlement moves or drops at most
)

func dayOf(at Millis) Millis { return at - at%dayMs }

func monthOf(at Millis) Millis {
	t := time.UnixMilli(int64(at)).UTC()
	return Millis(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).UnixMilli())
}

// use adds what was used to its row.
func (s *State) use(u Used) error {
	a := u.Amounts
	if min(a.Calls, a.Failed, a.Prompt, a.Answer, a.DeviceMs, a.Reserved) < 0 || max(a.Calls, a.Failed, a.Prompt, a.Answer, a.DeviceMs, a.Reserved) > MaxAmount {
		return errors.New("an amount is out of range")
	}
	if !validID(u.Tenant) || u.App != "" && !validID(u.App) || u.Key != "" && !validID(u.Key) || !ValidName(u.Version.Model) {
		return errors.New("malformed tenant, application, key or version")
	}
	at := u.At
	if at < s.at-dayMs || at > s.at+dayMs {
		at = s.at
	}
	s.account(UsageID{Start: dayOf(at), Tenant: u.Tenant, App: u.App, Key: u.Key, Version: u.Version}, a)
	s.sweepUsage()
	return nil
}

// account adds to a row. The row of a day whose days are over is its month's.
func (s *State) account(id UsageID, a Amounts) {
	if !id.Month && id.Start < dayOf(s.at)-UsageDays*dayMs {
		id.Start, id.Month = monthOf(id.Start), true
	}
	old, _ := s.usage.Get(id)
	s.usage = s.usage.Set(id, Usage{id, old.Amounts.Plus(a)})
}

// sweepUsage moves old days into their months and drops old months, a few rows at a time.
func (s *State) sweepUsage() {
	oldest, moved := dayOf(s.at)-UsageDays*dayMs, 0
	var old []Usage
	for _, u := range s.usage.All() {
		if u.Start >= oldest || moved == usageSweep {
			break
		}
		if !u.Month || u.Start < s.at-UsageKept*dayMs {
			old = append(old, u)
			moved++
		}
	}
	for _, u := range old {
		s.usage = s.usage.Delete(u.UsageID)
		if !u.Month {
			s.account(u.UsageID, u.Amounts)
		}
	}
}

// shareOf is the part of whole devices that a placement reserves, in millionths: 500000 = half of one device's memory.
func (s *State) shareOf(r Replica) int64 {
	var parts int64
	for _, at := range r.Stages {
		if memory := s.ledger.Account(at.Device).Capacity; memory > 0 {
			parts += int64(at.Reserve/gpu.MiB) * million / max(1, int64(memory/gpu.MiB))
		}
	}
	return parts
}

const million = 1_000_000

// reserved yields what a placement has reserved until a time, day by day.
func reserved(r Replica, until Millis) iter.Seq[Usage] {
	return func(yield func(Usage) bool) {
		for from := r.Since; r.Since > 0 && from < until; {
			to := min(until, dayOf(from)+dayMs)
			id := UsageID{Start: dayOf(from), Tenant: cmp.Or(r.Owner, DefaultTenant), Version: r.Version}
			if !yield(Usage{id, Amounts{Reserved: int64(to-from) * r.Share / million}}) {
				return
			}
			from = to
		}
	}
}

// accrue puts what a placement reserved on the bill when it ends.
func (s *State) accrue(r Replica) {
	for u := range reserved(r, s.at) {
		s.account(u.UsageID, u.Amounts)
	}
}

// Usage yields the bill's rows in order of time, with what the present placements have reserved until now.
func (s State) Usage(now Millis) iter.Seq[Usage] {
	for r := range s.Replicas() { // s is a copy: what is added here is seen by nobody else
		for u := range reserved(r, now) {
			s.account(u.UsageID, u.Amounts)
		}
	}
	return s.usage.Values()
}
