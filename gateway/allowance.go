package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
)

// allowance is what the limits of whoever asks leave after a request. Limits of everybody together are not theirs to know.
type allowance struct{ requests, tokens left }

// left is what the tightest limit of a meter leaves.
type left struct {
	known            bool
	limit, remaining int64
	reset            time.Duration // until remaining is limit again, 0 = not by itself
}

// allowanceOf reads the purses of a wallet.
func allowanceOf(w *quota.Wallet, now quota.Moment) (a allowance) {
	for _, p := range w.Purses() {
		var to *left
		switch p.ID().Meter {
		case quota.Requests:
			to = &a.requests
		case quota.Tokens:
			to = &a.tokens
		}
		if to == nil || p.ID().Subject == cluster.TotalSubject {
			continue
		}
		l := left{true, p.Limit().Amount, p.Remaining(now), p.Reset(now)}
		if !to.known || float64(l.remaining)*float64(max(1, to.limit)) < float64(to.remaining)*float64(max(1, l.limit)) {
			*to = l
		}
	}
	return a
}

// limitHeaders are those of the OpenAI API, as net/http keeps them: of requests, then of tokens.
var limitHeaders = [6]string{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests",
	"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"}

// write adds the headers. Every request has them, so their values share one allocation.
func (a allowance) write(h http.Header) {
	if !a.requests.known && !a.tokens.known {
		return
	}
	var ends [6]int
	text, values := make([]byte, 0, 96), make([]string, 6)
	for i, l := range [2]left{a.requests, a.tokens} {
		if !l.known {
			continue
		}
		text = strconv.AppendInt(text, l.limit, 10)
		ends[3*i] = len(text)
		text = strconv.AppendInt(text, l.remaining, 10)
		ends[3*i+1] = len(text)
		text = append(text, max(0, l.reset).Round(time.Millisecond).String()...)
		ends[3*i+2] = len(text)
	}
	whole, from := string(text), 0
	for i, name := range limitHeaders {
		if ends[i] > 0 {
			values[i], from = whole[from:ends[i]], ends[i]
			h[name] = values[i : i+1 : i+1]
		}
	}
}

// refused is what a client is told about a limit.
func (l *ledger) refused(r *quota.Refusal) error {
	l.mu.Lock()
	cutOff := l.cutOff || l.till == nil
	l.mu.Unlock()
	if r.Reason == quota.Stale || r.Reason == quota.Short && cutOff {
		return &Error{Fault: FaultUnavailable, Retry: max(r.RetryAfter, time.Second), Why: "the limits cannot be asked for: no coordinator answers"}
	}
	e := &Error{Fault: FaultLimit, Meter: string(r.ID.Meter), Retry: r.RetryAfter, Why: explainLimit(r)}
	if r.ID.Window.Counter() && (r.RetryAfter == 0 || r.RetryAfter > elsewhere) {
		e.Fault = FaultQuota
	}
	return e
}

// elsewhere is after what time, at most, that comes back which other gateways hold of a limit and do not use.
const elsewhere = 10 * time.Second

// explainLimit says which limit was reached. The limit of everybody together is told without its figures.
func explainLimit(r *quota.Refusal) string {
	var b strings.Builder
	if r.ID.Subject == cluster.TotalSubject {
		b.WriteString("the limit of all callers together")
	} else {
		kind, id, _ := strings.Cut(r.ID.Subject, "/")
		if kind == "app" {
			kind = "application"
		}
		fmt.Fprintf(&b, "the limit of %s for %s %s", r.Limit, kind, id)
	}
	if r.ID.Model != "" {
		b.WriteString(" with " + r.ID.Model)
	}
	if r.Reason == quota.Large {
		b.WriteString(" is smaller than this request")
		return b.String()
	}
	b.WriteString(" is reached")
	if r.RetryAfter > 0 {
		fmt.Fprintf(&b, ": try again in %s", retryAfter(r.RetryAfter))
	}
	return b.String()
}

// retryAfter is a time in whole seconds, at least one.
func retryAfter(d time.Duration) time.Duration {
	return max(time.Second, (d + time.Second - 1).Truncate(time.Second))
}
