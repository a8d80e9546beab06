package notify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/skein-project/skein/alert"
)

// Limits of sending.
const (
	DefaultTimeout = 15 * time.Second // from the call to the header of the answer, and for what is read of a refusal
	MaxAnswer      = 4 << 10          // bytes read of a refusal; of an answer that is none, nothing is read
	MaxAfter       = time.Hour        // that a receiver may ask to wait
	MaxParallel    = 32               // notifications under way
	MaxPerReceiver = 4                // notifications under way to one receiver, so that one that hangs does not stop the others
)

// Config says how notifications are sent.
type Config struct {
	Client   *http.Client                 // of egress: it decides which addresses may be called; its timeout and redirects are not used
	Secret   func(receiver string) []byte // of a receiver, nil without one; nil = none has one
	Refused  func(error) bool             // whether an error of Client would come again; nil = none does
	Timeout  time.Duration                // 0 = DefaultTimeout
	External string                       // URL of this cluster for people, in notifications; "" = none
	Log      *slog.Logger
}

// Sender sends notifications. It may be used by several goroutines.
type Sender struct {
	Config
	mu   sync.Mutex
	busy map[string]int // by receiver
	all  int
	done sync.WaitGroup
}

// New makes a sender.
func New(c Config) *Sender {
	client := *c.Client
	client.Timeout = 0 // the context's
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &client
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	if c.Secret == nil {
		c.Secret = func(string) []byte { return nil }
	}
	if c.Refused == nil {
		c.Refused = func(error) bool { return false }
	}
	return &Sender{Config: c, busy: map[string]int{}}
}

// Go sends notifications, each in a goroutine of its own, and calls done with each outcome, from any of them. Those beyond MaxParallel or
// MaxPerReceiver fail at once, to be tried again.
func (s *Sender) Go(ctx context.Context, list []alert.Notification, done func(alert.Sent)) {
	for _, n := range list {
		if !s.enter(n.Receiver.ID) {
			done(alert.Sent{ID: n.ID, Failed: "too many notifications are under way"})
			continue
		}
		s.done.Go(func() {
			sent := s.Send(ctx, n)
			s.leave(n.Receiver.ID)
			done(sent)
		})
	}
}

// Wait returns when nothing that Go began is under way.
func (s *Sender) Wait() { s.done.Wait() }

func (s *Sender) enter(receiver string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= MaxParallel || s.busy[receiver] >= MaxPerReceiver {
		return false
	}
	s.all++
	s.busy[receiver]++
	return true
}

func (s *Sender) leave(receiver string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.busy[receiver]--; s.busy[receiver] == 0 {
		delete(s.busy, receiver)
	}
}

// Send sends a notification and waits for the outcome, for Timeout at most.
func (s *Sender) Send(ctx context.Context, n alert.Notification) alert.Sent {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	sent := s.send(ctx, n)
	sent.ID = n.ID
	log := s.Log.With("receiver", n.Receiver.ID, "notification", n.ID, "attempt", n.Attempt, "incidents", len(n.Incidents))
	if sent.Failed != "" {
		log.Warn("a notification was not taken", "why", sent.Failed, "permanent", sent.Permanent)
	} else {
		log.Info("a notification was taken")
	}
	return sent
}

func (s *Sender) send(ctx context.Context, n alert.Notification) alert.Sent {
	target, body, err := s.message(n, time.Now())
	if err != nil {
		return alert.Sent{Failed: err.Error(), Permanent: true}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return alert.Sent{Failed: "its URL is not valid", Permanent: true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Skein")
	req.Header.Set(idHeader, n.ID)
	s.sign(req, n.Receiver, body)
	res, err := s.Client.Do(req)
	if err != nil {
		return alert.Sent{Failed: s.words(ctx, err), Permanent: s.Refused(err)}
	}
	defer res.Body.Close()
	return judge(res)
}

// words says why there was no answer, without the URL: it may hold a token.
func (s *Sender) words(ctx context.Context, err error) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "no answer within " + s.Timeout.String()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return clean(err.Error())
}

// judge says what an answer means. Requests that were understood and refused (4xx) would be refused again, but for those that ask for
// patience; a redirect is not followed, because it could lead a signed body anywhere.
func judge(res *http.Response) alert.Sent {
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return alert.Sent{}
	case code >= 300 && code < 400:
		return alert.Sent{Failed: fmt.Sprintf("it redirects (%d): redirects are not followed, give the final URL", code), Permanent: true}
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests || code >= 500:
		return alert.Sent{Failed: refusal(res), After: after(res.Header.Get("Retry-After"), time.Now())}
	}
	return alert.Sent{Failed: refusal(res), Permanent: true}
}

func refusal(res *http.Response) string {
	text, _ := io.ReadAll(io.LimitReader(res.Body, MaxAnswer)) // what came before an error is worth showing
	if words := clean(string(text)); words != "" {
		return fmt.Sprintf("status %d: %s", res.StatusCode, words)
	}
	return fmt.Sprintf("status %d", res.StatusCode)
}

const maxWords = 256 // bytes of a reason

// clean makes one printable line of foreign text.
func clean(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}

// after reads Retry-After (RFC 9110, 10.2.3): seconds or a date.
func after(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, MaxAfter)
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, min(at.Sub(now), MaxAfter))
	}
	return 0
}
