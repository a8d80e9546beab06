package gateway_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/notify"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/wire"
)

// started waits until files are kept and submits a batch of n completions.
func started(t testing.TB, g *fleettest.Gateway, key string, n int, more string) batch {
	t.Helper()
	fleettest.Within(t, "files are kept", func() bool { return call(t, g, key, http.MethodGet, "/v1/files", "", nil).status == http.StatusOK })
	in := upload(t, g, key, completionsOf(n, 2))
	if !strings.Contains(more, "completion_window") {
		more += `, "completion_window": "24h"`
	}
	return submit(t, g, key, fmt.Sprintf(`{"input_file_id": %q, "endpoint": "/v1/completions"%s}`, in, more))
}

// under waits until some of a batch's lines are answered, and not all.
func under(t testing.TB, g *fleettest.Gateway, key, id string) {
	t.Helper()
	fleettest.Within(t, "some lines are answered", func() bool {
		b := batchIn(t, call(t, g, key, http.MethodGet, "/v1/batches/"+id, "", nil))
		if b.Counts.Total > 0 && b.Counts.Completed == b.Counts.Total {
			t.Fatal("all lines are answered already")
		}
		return b.Counts.Completed > 0
	})
}

// once checks that every line of a batch of n is in one of its files, once.
func once(t testing.TB, g *fleettest.Gateway, key string, b batch, n int) (out, bad map[string]string) {
	t.Helper()
	out, bad = content(t, g, key, b.Output), content(t, g, key, b.Error)
	if len(out) != b.Counts.Completed || len(bad) != b.Counts.Failed || b.Counts.Total != n {
		t.Errorf("%d and %d lines, counted as %+v", len(out), len(bad), b.Counts)
	}
	for i := range n {
		id := fmt.Sprint("r", i)
		if _, answered := out[id]; answered == (bad[id] != "") {
			t.Errorf("%s: in the output %v, in the errors %v", id, answered, !answered)
		}
	}
	return out, bad
}

// owner is the gateway that works a batch.
func owner(t testing.TB, f *fleettest.Fleet, tenant, id string, of ...*fleettest.Gateway) (at int) {
	fleettest.Within(t, "somebody works the batch", func() bool {
		d, _ := f.Running()[0].Live().Now().Document(cluster.DocumentID{Kind: cluster.Batch, ID: tenant + "/" + id})
		b, err := job.DecodeBatch(d)
		for i, g := range of {
			if at = i; err == nil && strings.HasPrefix(b.Owner, string(g.ID)+"/") {
				return true
			}
		}
		return false
	})
	return at
}

// halfway makes a model answer 20 requests and hold the others until open is called. asked counts them all.
func halfway(t testing.TB, m *fleettest.Machine) (asked *atomic.Int64, open func()) {
	asked = &atomic.Int64{}
	gate := make(chan struct{})
	m.Work(fleettest.Work{Seen: func(*wire.GenerateRequest) func() {
		if asked.Add(1) > 20 {
			<-gate
		}
		return func() {}
	}})
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	return asked, open
}

// While a batch runs, the leader stops and the gateway that works it dies without a word: another goes on, and every line is answered once.
func TestBatchSurvives(t *testing.T) {
	t.Parallel()
	f, m, _ := served(t, 3)
	asked, open := halfway(t, m)
	key := tenant(f, "acme", 1, "*")
	gateways := []*fleettest.Gateway{f.Gateway("g0", fast), f.Gateway("g1", fast)}
	const lines = 300
	b := started(t, gateways[0], key, lines, "")
	worker := owner(t, f, "acme", b.ID, gateways...)
	other := gateways[1-worker]
	under(t, other, key, b.ID)
	f.Stop(f.Leader())
	f.Leader()
	under(t, other, key, b.ID)
	gateways[worker].Crash()
	open()
	b = over(t, other, key, b.ID)
	if b.Status != "completed" {
		t.Errorf("%+v", b)
	}
	out, _ := once(t, other, key, b, lines)
	if len(out) != lines {
		t.Errorf("%d lines in the output", len(out))
	}
	if n := asked.Load(); n > lines+100 {
		t.Errorf("%d lines were computed %d times", lines, n)
	}
}

// However seldom a gateway notes how far a batch is, its lease is renewed, and what was answered goes with that.
func TestBatchNotedSeldom(t *testing.T) {
	t.Parallel()
	f, m, _ := served(t, 1)
	asked, open := halfway(t, m)
	key := tenant(f, "acme", 1, "*")
	g := f.Gateway("g", gateway.Config{BatchEvery: time.Hour})
	b := started(t, g, key, 40, "")
	under(t, g, key, b.ID)
	open()
	if b = over(t, g, key, b.ID); b.Counts.Completed != 40 || asked.Load() != 40 {
		t.Errorf("%+v, computed %d times", b, asked.Load())
	}
}

// A gateway that stops gives its batches back: nobody waits for the end of a lease.
func TestBatchIsGivenBack(t *testing.T) {
	t.Parallel()
	f, m, _ := served(t, 1)
	_, open := halfway(t, m)
	key := tenant(f, "acme", 1, "*")
	gateways := []*fleettest.Gateway{f.Gateway("g0", fast), f.Gateway("g1", fast)}
	b := started(t, gateways[0], key, 200, "")
	worker := owner(t, f, "acme", b.ID, gateways...)
	other := gateways[1-worker]
	under(t, other, key, b.ID)
	began := time.Now()
	gateways[worker].Stop()
	owner(t, f, "acme", b.ID, other)
	if took := time.Since(began); took > job.LeaseFor*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	open()
	b = over(t, other, key, b.ID)
	if out, _ := once(t, other, key, b, 200); len(out) != 200 {
		t.Errorf("%d lines in the output", len(out))
	}
}

// Whatever a batch comes to, every line of it is in one of its files, once, with the reason why it was not answered.
func TestBatchEnds(t *testing.T) {
	t.Parallel()
	f, m, _ := served(t, 1)
	m.Work(fleettest.Work{Pace: 20 * time.Millisecond})
	g := f.Gateway("g", fast)
	for _, c := range []struct {
		name, more, status, code string
		end                      func(key, id string)
	}{
		{"cancelled", "", "cancelled", "batch_cancelled", func(key, id string) {
			r := call(t, g, key, http.MethodPost, "/v1/batches/"+id+"/cancel", "", nil)
			if b := batchIn(t, r); b.Status != "cancelling" {
				t.Errorf("cancel: %s", r.body)
			}
		}},
		{"late", `, "completion_window": "2s"`, "expired", "batch_expired", func(string, string) {}},
		{"revoked", "", "failed", "invalid_api_key", func(key, _ string) {
			k, _ := f.Leader().Live().Now().KeyByHash(wire.SecretHash(key))
			k.Revoked = true
			f.Do(f.Leader(), cluster.PutKey{Key: k, Was: k.Rev})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := tenant(f, c.name, 1, "*")
			second := "second-" + key
			f.Do(f.Leader(), cluster.PutKey{Key: cluster.Key{ID: "sk2-" + c.name, Tenant: c.name, Hash: wire.SecretHash(second)}})
			b := started(t, g, key, 600, c.more)
			under(t, g, second, b.ID)
			c.end(key, b.ID)
			b = over(t, g, second, b.ID)
			if b.Status != c.status {
				t.Errorf("it is %s: %+v", b.Status, b)
			}
			out, bad := once(t, g, second, b, 600)
			if len(out) == 0 || len(bad) == 0 {
				t.Errorf("%d lines answered, %d not", len(out), len(bad))
			}
			for _, line := range bad {
				if !strings.Contains(line, `"code":"`+c.code+`"`) || !strings.Contains(line, `"response":null`) {
					t.Errorf("a line that was not answered: %s", line)
					break
				}
			}
		})
	}
}

// Limits hold for batches as for everybody: the lines wait, and all are answered.
func TestBatchWaitsForLimits(t *testing.T) {
	t.Parallel()
	f, m, _ := served(t, 1)
	m.Work(fleettest.Work{Pace: 5 * time.Millisecond})
	key := tenant(f, "acme", 1, "*")
	limit(f, cluster.TenantSubject("acme"), quota.Limit{Meter: quota.Concurrent, Amount: 1})
	g := f.Gateway("g", fast)
	b := over(t, g, key, started(t, g, key, 30, "").ID)
	if out, _ := once(t, g, key, b, 30); b.Status != "completed" || len(out) != 30 {
		t.Errorf("%d lines answered: %+v", len(out), b)
	}
}

// An input with a line that is wrong is refused whole, and no request of it is made.
func TestBatchOfBadLines(t *testing.T) {
	t.Parallel()
	f, m, _ := served(t, 1)
	m.Work(fleettest.Work{Seen: func(*wire.GenerateRequest) func() { t.Error("a request was made"); return func() {} }})
	key := tenant(f, "acme", 1, "*")
	g := f.Gateway("g", fast)
	fleettest.Within(t, "files are kept", func() bool { return call(t, g, key, http.MethodGet, "/v1/files", "", nil).status == http.StatusOK })
	in := upload(t, g, key, completionsOf(5000, 2)+"not JSON\n"+completionsOf(1, 2))
	b := over(t, g, key, submit(t, g, key, fmt.Sprintf(`{"input_file_id": %q, "endpoint": "/v1/completions", "completion_window": "24h"}`, in)).ID)
	if b.Status != "failed" || b.Output != "" || b.Error != "" || len(b.Errors.Data) != 2 || b.Errors.Data[0].Line != 5001 || b.Errors.Data[0].Code != "invalid_json_line" ||
		b.Errors.Data[1].Line != 5002 || b.Errors.Data[1].Code != "duplicate_custom_id" {
		t.Errorf("%+v", b)
	}
}

// Who wants to know is told: signed, again after a failure, never by a redirect and never inside.
func TestBatchCallback(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	key := tenant(f, "acme", 1, "*")
	g := f.Gateway("g", fast)
	type told struct {
		header http.Header
		body   []byte
	}
	heard := make(chan told, 8)
	var calls atomic.Int64
	taker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		heard <- told{r.Header, body}
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer taker.Close()
	inside := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/admin", http.StatusTemporaryRedirect))
	defer inside.Close()
	batches := map[string]batch{}
	for name, url := range map[string]string{"told": taker.URL, "redirect": inside.URL, "inside": "http://10.255.255.1/hook"} {
		batches[name] = started(t, g, key, 1, fmt.Sprintf(`, "callback": {"url": %q}`, url))
		if secret := batches[name].Callback.Secret; len(secret) < 32 {
			t.Errorf("%s: secret %q", name, secret)
		}
	}
	ids := map[string]bool{}
	for range 2 {
		x := <-heard
		if err := notify.Verify(x.header, x.body, []byte(batches["told"].Callback.Secret), time.Now(), time.Minute); err != nil {
			t.Errorf("%v: %s", err, x.body)
		}
		if err := notify.Verify(x.header, x.body, []byte(batches["redirect"].Callback.Secret), time.Now(), time.Minute); err == nil {
			t.Error("another batch's secret fits")
		}
		if !strings.Contains(string(x.body), `"type":"batch.completed"`) || !strings.Contains(string(x.body), batches["told"].ID) {
			t.Errorf("it says %s", x.body)
		}
		ids[x.header.Get("Skein-Notification")] = true
	}
	if len(ids) != 1 {
		t.Errorf("the same is told under %v", maps.Keys(ids))
	}
	for name, want := range map[string]struct{ status, why string }{"told": {"delivered", ""}, "redirect": {"given_up", "redirect"}, "inside": {"given_up", "not called"}} {
		var b batch
		fleettest.Within(t, name+" is settled", func() bool {
			b = batchIn(t, call(t, g, key, http.MethodGet, "/v1/batches/"+batches[name].ID, "", nil))
			return b.Callback.Status != "" && b.Callback.Status != "pending"
		})
		if b.Callback.Status != want.status || !strings.Contains(b.Callback.LastError, want.why) || b.Callback.Secret != "" {
			t.Errorf("%s: %+v", name, b.Callback)
		}
	}
}

// Receivers of one tenant that do not answer delay nobody else's callback.
func TestSlowCallbacks(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	slow, quick := tenant(f, "acme", 1, "*"), tenant(f, "umbrella", 1, "*")
	g := f.Gateway("g", fast)
	release := make(chan struct{})
	var hanging atomic.Int64
	hang := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hanging.Add(1)
		<-release
	}))
	defer hang.Close()
	defer close(release)
	told := make(chan struct{}, 1)
	taker := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told <- struct{}{} }))
	defer taker.Close()
	for range 6 {
		started(t, g, slow, 1, fmt.Sprintf(`, "callback": {"url": %q}`, hang.URL))
	}
	fleettest.Within(t, "the slow receivers are called", func() bool { return hanging.Load() >= 2 })
	began := time.Now()
	started(t, g, quick, 1, fmt.Sprintf(`, "callback": {"url": %q}`, taker.URL))
	<-told
	if took := time.Since(began); took > notify.DefaultTimeout {
		t.Errorf("it took %s", took)
	}
	if n := hanging.Load(); n > 4 {
		t.Errorf("%d calls of one tenant at once", n)
	}
}
