// Package quota is the arithmetic of limits that many gateways spend together: a replicated balance cuts leases, each gateway spends
// its own, and the total never exceeds the limit.
//
// Nobody asks anybody before a request: a gateway spends what it was lent, and settles about once a second. Two kinds of limits differ
// in what is lent.
//
//	counter  per day, month or life: an amount cut out of Amount − Spent − Σ leases. A lease that is not given back stays spent.
//	share    per second or minute, or at once: a part of Amount that ends by itself unless renewed.
//
// One rule makes both safe against delay, loss and repetition: a lease is lowered only by its own gateway. Its Ask says what it will
// hold from now on, and it keeps to that from the moment it says so; Settle may add to it, and only a settlement that the gateway has
// seen makes it spend more. So at any moment, whatever settlements are under way, the leases of the state cover what the gateways
// may still spend.
package quota

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Meter is what is counted.
type Meter string

// The meters. Concurrent is how many requests are under way at once; GPUMillis is time of one whole device in milliseconds.
const (
	Requests   Meter = "requests"
	Tokens     Meter = "tokens"
	GPUMillis  Meter = "gpu_ms"
	Concurrent Meter = "concurrent"
)

// Window is how long a limit counts.
type Window string

// The windows. Second and Minute slide: the limit holds for any interval of that length. Day and Month are those of UTC. Life never
// ends. Concurrent limits have the window None.
const (
	None   Window = ""
	Second Window = "second"
	Minute Window = "minute"
	Day    Window = "day"
	Month  Window = "month"
	Life   Window = "life"
)

// Counter says that leases of this window are amounts, not shares.
func (w Window) Counter() bool { return w == Day || w == Month || w == Life }

// Start is when the day or month of a time began, both in Unix milliseconds of UTC; 0 for the other windows.
func (w Window) Start(now int64) int64 {
	switch w {
	case Day:
		return now - (now%dayMillis+dayMillis)%dayMillis
	case Month:
		t := time.UnixMilli(now).UTC()
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	}
	return 0
}

// End is when the day or month that began at start ends, in Unix milliseconds of UTC; Never for the other windows.
func (w Window) End(start int64) int64 {
	switch w {
	case Day:
		return start + dayMillis
	case Month:
		return time.UnixMilli(start).UTC().AddDate(0, 1, 0).UnixMilli()
	}
	return Never
}

// Length is how long what was taken from a share counts after it was taken, 0 for windows that are no shares of a rate.
func (w Window) Length() time.Duration {
	switch w {
	case Second:
		return time.Second
	case Minute:
		return time.Minute
	}
	return 0
}

const (
	dayMillis       = 24 * 60 * 60 * 1000
	Never     int64 = 1<<63 - 1 // Unix milliseconds: the end of what has no end
	MaxAmount int64 = 1 << 50   // of a limit, and of each amount of an ask
)

// Limit is how much of a meter may be used in a window.
type Limit struct {
	Meter  Meter  `json:"meter"`
	Window Window `json:"window,omitempty"`
	Amount int64  `json:"amount"` // 0 = nothing
}

// Validate refuses an amount that is out of range, and a window that does not fit the meter: requests and tokens have every window
// but None, gpu_ms those of counters, concurrent only None.
func (l Limit) Validate() error {
	if err := fits(l.Meter, l.Window); err != nil {
		return err
	}
	if l.Amount < 0 || l.Amount > MaxAmount {
		return fmt.Errorf("quota: %s per %s: amount %d, want 0 to %d", l.Meter, l.Window, l.Amount, MaxAmount)
	}
	return nil
}

// String is like "1000 requests per day".
func (l Limit) String() string {
	if l.Window == None {
		return fmt.Sprintf("%d %s", l.Amount, l.Meter)
	}
	return fmt.Sprintf("%d %s per %s", l.Amount, l.Meter, l.Window)
}

func fits(m Meter, w Window) error {
	var ok bool
	switch m {
	case Requests, Tokens:
		ok = w == Second || w == Minute || w.Counter()
	case GPUMillis:
		ok = w.Counter()
	case Concurrent:
		ok = w == None
	default:
		return fmt.Errorf("quota: there is no meter %.32q", m)
	}
	if !ok {
		return fmt.Errorf("quota: %s has no window %.32q", m, w)
	}
	return nil
}

// ID names a limit and its balance. Subject is who is limited ("total", "tenant/acme", "app/acme/portal", "key/sk-ab12"); Model is
// for which model, "" = all together.
type ID struct {
	Subject string `json:"subject"`
	Model   string `json:"model,omitempty"`
	Meter   Meter  `json:"meter"`
	Window  Window `json:"window,omitempty"`
}

// Compare orders ids by subject, model, meter and window.
func (a ID) Compare(b ID) int {
	return cmp.Or(strings.Compare(a.Subject, b.Subject), strings.Compare(a.Model, b.Model),
		cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Window, b.Window))
}

// String is like "tokens per day of tenant/acme for llama".
func (a ID) String() string {
	var b strings.Builder
	b.WriteString(string(a.Meter))
	if a.Window != None {
		b.WriteString(" per " + string(a.Window))
	}
	b.WriteString(" of " + a.Subject)
	if a.Model != "" {
		b.WriteString(" for " + a.Model)
	}
	return b.String()
}
