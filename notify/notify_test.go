package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/internal/golden"
	"github.com/skein-project/skein/series"
)

var opened = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func incident(version string, phase alert.Phase) alert.Incident {
	l := series.Of("version", version, "team", "search")
	i := alert.Incident{
		ID: alert.Fingerprint("few", l) + "-x", Rule: "few", Severity: alert.Critical, Labels: l, Over: alert.OverVersion, Phase: phase,
		Opened: alert.Millis(opened.UnixMilli()), Value: "0", Summary: version + " has 0",
		Links: alert.Links{Requests: []string{"r-1", "r-2"}, Why: "skein why " + version, Runbook: "docs/runbooks/few.md"},
	}
	if phase == alert.Resolved {
		i.Ended = alert.Millis(opened.Add(time.Minute).UnixMilli())
	}
	return i
}

func notification(url string) alert.Notification {
	return alert.Notification{
		ID: "n1", Attempt: 1, Receiver: alert.Receiver{ID: "hook", Protocol: alert.Webhook, URL: url},
		Incidents: []alert.Incident{incident("m@1", alert.Open), incident("m@2", alert.Resolved)},
	}
}

func sender(t *testing.T, c Config) *Sender {
	t.Helper()
	if c.Client == nil {
		c.Client = egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	}
	c.Log = slog.New(slog.DiscardHandler)
	return New(c)
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/hook?token=canary"
}

func TestWebhook(t *testing.T) {
	var body []byte
	var header http.Header
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	})
	secret := []byte("0123456789")
	s := sender(t, Config{Secret: func(id string) []byte {
		if id == "hook" {
			return secret
		}
		return nil
	}, External: "https://skein.example.com"})
	if sent := s.Send(t.Context(), notification(url)); sent != (alert.Sent{ID: "n1"}) {
		t.Fatalf("%+v", sent)
	}
	if header.Get(idHeader) != "n1" || header.Get("Content-Type") != "application/json" {
		t.Errorf("%v", header)
	}
	now := time.Now()
	if err := Verify(header, body, secret, now, time.Minute); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another secret":   Verify(header, body, []byte("x"), now, time.Minute),
		"no secret":        Verify(header, body, nil, now, time.Minute),
		"another body":     Verify(header, append(body, ' '), secret, now, time.Minute),
		"an hour later":    Verify(header, body, secret, now.Add(time.Hour), time.Minute),
		"an hour before":   Verify(header, body, secret, now.Add(-time.Hour), time.Minute),
		"no signature":     Verify(http.Header{}, body, secret, now, time.Minute),
		"another time":     Verify(http.Header{signatureHeader: {"t=1,v1=" + strings.Repeat("0", 64)}}, body, secret, time.Unix(1, 0), time.Minute),
		"a torn signature": Verify(http.Header{signatureHeader: {"t=,v1=zz"}}, body, secret, now, time.Minute),
	} {
		if !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var shown bytes.Buffer
	if err := json.Indent(&shown, body, "", "  "); err != nil {
		t.Fatal(err)
	}
	// The end of an open alert is unknown, so nothing in the body depends on the time.
	golden.Equal(t, filepath.Join("testdata", "webhook.json"), shown.String()+"\n")
}

func FuzzVerify(f *testing.F) {
	f.Add("t=1700000000,v1=00")
	f.Fuzz(func(t *testing.T, h string) {
		if Verify(http.Header{signatureHeader: {h}}, []byte("x"), []byte("secret"), time.Unix(1700000000, 0), time.Hour) == nil {
			t.Error("forged")
		}
	})
}

// What a receiver answers, and what that means.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name      string
		status    int
		after     string
		failed    string
		permanent bool
		wait      time.Duration
	}{
		{"taken", 200, "", "", false, 0},
		{"accepted", 202, "", "", false, 0},
		{"moved", 302, "", "redirects", true, 0},
		{"bad", 400, "", "status 400", true, 0},
		{"gone", 410, "", "status 410", true, 0},
		{"slow", 408, "", "status 408", false, 0},
		{"busy", 429, "7", "status 429", false, 7 * time.Second},
		{"busy for ever", 429, "99999999", "status 429", false, MaxAfter},
		{"busy until", 503, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), "status 503", false, 0},
		{"broken", 500, "soon", "status 500", false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if c.after != "" {
					w.Header().Set("Retry-After", c.after)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				io.WriteString(w, "no\x1b[31m\nway")
			})
			got := sender(t, Config{}).Send(t.Context(), notification(url))
			if (got.Failed == "") != (c.failed == "") || !strings.Contains(got.Failed, c.failed) || got.Permanent != c.permanent || got.After != c.wait {
				t.Errorf("%+v", got)
			}
			if strings.ContainsAny(got.Failed, "\x1b\n") || strings.Contains(got.Failed, "canary") {
				t.Errorf("%q is not fit for a log", got.Failed)
			}
		})
	}
}

// A receiver that does not answer costs the timeout and no more.
func TestHangs(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	s := sender(t, Config{Timeout: 50 * time.Millisecond})
	began := time.Now()
	got := s.Send(t.Context(), notification(url))
	if got.Permanent || !strings.Contains(got.Failed, "no answer within 50ms") || time.Since(began) > 10*time.Second {
		t.Errorf("%+v after %s", got, time.Since(began))
	}
	// One that sends a refusal a byte at a time, for ever, too.
	url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		w.(http.Flusher).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	if got = s.Send(t.Context(), notification(url)); got.Permanent || got.Failed != "status 500" || time.Since(began) > 20*time.Second {
		t.Errorf("%+v after %s", got, time.Since(began))
	}
}

// An answer of 10 GB is not read.
func TestHugeAnswer(t *testing.T) {
	for _, status := range []int{200, 500} {
		var written atomic.Int64
		ended := make(chan struct{})
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			w.WriteHeader(status)
			for block := make([]byte, 1<<20); written.Load() < 10<<30; {
				n, err := w.Write(block)
				if written.Add(int64(n)); err != nil {
					return
				}
			}
		})
		got := sender(t, Config{}).Send(t.Context(), notification(url))
		if (got.Failed == "") != (status == 200) || len(got.Failed) > 2*maxWords {
			t.Errorf("%+v", got)
		}
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("it still sends")
		}
		if n := written.Load(); n > 64<<20 {
			t.Errorf("%d bytes were taken", n)
		}
	}
}

// A webhook cannot lead inside: neither by its own address nor by a redirect.
func TestInside(t *testing.T) {
	var hits atomic.Int64
	inside := serve(t, func(w http.ResponseWriter, r *http.Request) { hits.Add(1) })
	refused := func(err error) bool {
		var r *egress.Refused
		return errors.As(err, &r)
	}
	closed := sender(t, Config{Client: egress.New(egress.Config{}), Refused: refused})
	for _, url := range []string{inside, strings.Replace(inside, "http:", "https:", 1), "http://localhost/", "https://169.254.169.254/latest/", "https://[::ffff:127.0.0.1]/", "https://0x7f000001/", "https://2130706433/"} {
		if got := closed.Send(t.Context(), notification(url)); got.Failed == "" || !strings.Contains(url, "0x") && !strings.Contains(url, "2130") && !got.Permanent {
			t.Errorf("%s: %+v", url, got)
		}
	}
	for _, url := range []string{"file:///etc/passwd", "gopher://x/", "http://", "::", ""} {
		if got := closed.Send(t.Context(), notification(url)); got.Failed == "" || !got.Permanent {
			t.Errorf("%s: %+v", url, got)
		}
	}
	// A receiver that may be called sends on to one that also may: not even then.
	for _, code := range []int{301, 302, 303, 307, 308} {
		outside := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside, code) })
		if got := sender(t, Config{}).Send(t.Context(), notification(outside)); !got.Permanent || !strings.Contains(got.Failed, "redirects") {
			t.Errorf("%d: %+v", code, got)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("the inside was called %d times", hits.Load())
	}
}

// One receiver that hangs does not stop another, and there are never more than the limits.
func TestParallel(t *testing.T) {
	stop := make(chan struct{})
	var under, most atomic.Int64
	hanging := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-stop
		under.Add(-1)
	})
	quick := serve(t, func(http.ResponseWriter, *http.Request) {})
	s := sender(t, Config{})
	var mu sync.Mutex
	outcomes := map[string]alert.Sent{}
	took := make(chan string, 100)
	done := func(x alert.Sent) {
		mu.Lock()
		outcomes[x.ID] = x
		mu.Unlock()
		took <- x.ID
	}
	var list []alert.Notification
	for i := range 20 {
		n := notification(hanging)
		n.ID = fmt.Sprintf("h%d", i)
		list = append(list, n)
	}
	n := notification(quick)
	n.ID, n.Receiver.ID = "q", "quick"
	s.Go(t.Context(), append(list, n), done)
	var got []string
	for range 20 - MaxPerReceiver + 1 {
		got = append(got, <-took)
	}
	if !slices.Contains(got, "q") {
		t.Errorf("the other receiver waits: %v", got)
	}
	close(stop)
	s.Wait()
	if most.Load() > MaxPerReceiver || len(outcomes) != 21 || outcomes["h19"].Failed == "" || outcomes["h19"].Permanent || outcomes["h0"].Failed != "" || outcomes["q"].Failed != "" {
		t.Errorf("%d at once; %+v", most.Load(), outcomes)
	}
}

// The loop and the sender together: what a receiver refuses with 500 comes again under the same name, and then no more.
func TestLoop(t *testing.T) {
	var ids []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if ids = append(ids, r.Header.Get(idHeader)); len(ids) < 3 {
			w.WriteHeader(500)
		}
	})
	loop, err := alert.NewLoop(alert.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := sender(t, Config{})
	store, now := series.New(0, 0), opened
	committed := map[string]alert.Incident{}
	rev := uint64(0)
	var sent []alert.Sent
	for range 600 {
		now = now.Add(time.Second)
		store.Put(now, "skein_replicas_ready", series.Of("version", "m@1"), 0)
		in := alert.Input{Term: 1, Series: store, Sent: sent, Receivers: []alert.Receiver{{ID: "hook", Protocol: alert.Webhook, URL: url}},
			Rules: []alert.Rule{{ID: "few", Expr: `max("skein_replicas_ready", "1m") < 1.0`, Over: alert.OverVersion, Severity: alert.Info, Annotations: alert.Annotations{Summary: "few"}}}}
		for _, i := range committed {
			in.Incidents = append(in.Incidents, i)
		}
		sent = nil
		out := loop.Step(now, in)
		for _, x := range out.Transitions {
			rev++
			x.Incident.Rev = rev
			committed[x.Incident.ID] = x.Incident
		}
		for _, n := range out.Notifications {
			sent = append(sent, s.Send(context.Background(), n))
		}
	}
	if len(ids) != 3 || ids[0] != ids[1] || ids[1] != ids[2] || ids[0] == "" {
		t.Errorf("told %v", ids)
	}
}
