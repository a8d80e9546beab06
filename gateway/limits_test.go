package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/wire"
)

// served is a fleet with a model "calc" on one machine.
func served(t testing.TB, coordinators int) (*fleettest.Fleet, *fleettest.Machine, cluster.VersionID) {
	t.Helper()
	f := fleettest.New(t, coordinators, "")
	m := f.Machine("m1", 8*gpu.GiB)
	return f, m, f.Publish("calc", 1)
}

// tenant makes a tenant with a key.
func tenant(f *fleettest.Fleet, id string, weight int, models ...string) (secret string) {
	secret = "sk-" + id + "-" + string(wire.NewID())
	f.Do(f.Leader(), cluster.PutTenant{Tenant: cluster.Tenant{ID: id, Weight: weight, Models: models}})
	f.Do(f.Leader(), cluster.PutKey{Key: cluster.Key{ID: "sk-" + id, Tenant: id, Hash: wire.SecretHash(secret)}})
	return secret
}

// limit sets the limits of a subject.
func limit(f *fleettest.Fleet, subject string, limits ...quota.Limit) {
	set := cluster.LimitSet{Subject: subject}
	for _, l := range limits {
		set.Limits = append(set.Limits, cluster.Limited{Limit: l})
	}
	leader := f.Leader()
	old, _ := leader.Live().Now().Limits(subject)
	f.Do(leader, cluster.PutLimits{Set: set, Was: old.Rev})
}

// reply is what a gateway answered.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) code() string {
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal([]byte(r.body), &e)
	return e.Error.Code
}

func post(ctx context.Context, url, key, body string) (reply, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(b)}, err
}

// complete asks for an answer of some tokens to a prompt of three.
func complete(t testing.TB, g *fleettest.Gateway, key string, tokens int) reply {
	t.Helper()
	r, err := post(t.Context(), g.URL+"/v1/completions", key, fmt.Sprintf(`{"model": "calc", "prompt": [1, 2, 3], "max_tokens": %d}`, tokens))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Attack case 10: with one request left of a limit, of a hundred at once over three gateways exactly one passes.
func TestOneOfAHundredPasses(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	key := tenant(f, "acme", 100, "*")
	const most = 5
	limit(f, cluster.TenantSubject("acme"), quota.Limit{Meter: quota.Requests, Window: quota.Life, Amount: most})
	var gateways []*fleettest.Gateway
	for i := range 3 {
		gateways = append(gateways, f.Gateway(fmt.Sprint("g", i), gateway.Config{}))
	}
	for i := range most - 1 {
		fleettest.Within(t, "a request passes", func() bool { return complete(t, gateways[i%3], key, 2).status == http.StatusOK })
	}
	var passed, other atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			switch r := complete(t, gateways[i%3], key, 2); {
			case r.status == http.StatusOK:
				passed.Add(1)
			case r.status != http.StatusTooManyRequests || r.code() != "insufficient_quota" && r.code() != "rate_limit_exceeded":
				other.Add(1)
				t.Errorf("%+v", r)
			}
		})
	}
	wg.Wait()
	// On a machine that is slow enough every one of them may give up waiting for what another gateway has not given back yet.
	fleettest.Within(t, "one passes", func() bool {
		for _, g := range gateways {
			if passed.Load() == 0 && complete(t, g, key, 2).status == http.StatusOK {
				passed.Add(1)
			}
		}
		return passed.Load() > 0
	})
	for i := range 9 {
		if r := complete(t, gateways[i%3], key, 2); r.status == http.StatusOK {
			passed.Add(1)
		}
	}
	if passed.Load() != 1 {
		t.Errorf("%d passed", passed.Load())
	}
	fleettest.Within(t, "the bill has every call", func() bool {
		calls := int64(0)
		for u := range f.Leader().Live().Now().Usage(cluster.Millis(time.Now().UnixMilli())) {
			calls += u.Calls
		}
		return calls == most
	})
}

// Ten gateways and a leader that is lost twice, under load: no limit is ever exceeded, and what a limit allows is reached to the last.
func TestNeverAbove(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	f, machine, _ := served(t, 3)
	const most, slots = 150, 3
	day, life := tenant(f, "day", 100, "*"), tenant(f, "life", 100, "*")
	minute, few := tenant(f, "minute", 100, "*"), tenant(f, "few", 100, "*")
	limit(f, cluster.TenantSubject("day"), quota.Limit{Meter: quota.Requests, Window: quota.Day, Amount: most})
	limit(f, cluster.KeySubject("sk-life"), quota.Limit{Meter: quota.Tokens, Window: quota.Life, Amount: most * 5}) // three of the prompt and two more
	limit(f, cluster.TenantSubject("minute"), quota.Limit{Meter: quota.Requests, Window: quota.Minute, Amount: most})
	limit(f, cluster.TenantSubject("few"), quota.Limit{Meter: quota.Concurrent, Amount: slots})
	var active, peak atomic.Int64
	machine.Work(fleettest.Work{Pace: 20 * time.Millisecond, Seen: func(r *wire.GenerateRequest) func() {
		if r.MaxTokens != 7 {
			return func() {}
		}
		n := active.Add(1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		return func() { active.Add(-1) }
	}})
	var gateways []*fleettest.Gateway
	for i := range 10 {
		gateways = append(gateways, f.Gateway(fmt.Sprint("g", i), gateway.Config{}))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	passed := map[string]*atomic.Int64{}
	for key, tokens := range map[string]int{day: 1, life: 2, minute: 3, few: 7} {
		count := &atomic.Int64{}
		passed[key] = count
		for _, g := range gateways {
			load.Go(func() {
				for ctx.Err() == nil {
					r, err := post(ctx, g.URL+"/v1/completions", key, fmt.Sprintf(`{"model": "calc", "prompt": [1, 2, 3], "max_tokens": %d}`, tokens))
					switch {
					case err != nil:
					case r.status == http.StatusOK:
						count.Add(1)
					case r.status != http.StatusTooManyRequests && r.status != http.StatusServiceUnavailable:
						t.Errorf("%+v", r)
					}
					select {
					case <-ctx.Done():
					case <-time.After(100 * time.Millisecond):
					}
				}
			})
		}
	}
	for kill := range 2 {
		fleettest.Within(t, "some pass", func() bool { return passed[few].Load() > int64(4+15*kill) })
		leader := f.Leader()
		f.Stop(leader)
		f.Leader()
		f.Start(leader)
	}
	t.Logf("after two leaders: %d of a day, %d of a life, %d of a minute, %d in slots", passed[day].Load(), passed[life].Load(), passed[minute].Load(), passed[few].Load())
	fleettest.Within(t, "all that is allowed", func() bool {
		return passed[day].Load() >= most && passed[life].Load() >= most && passed[minute].Load() >= most
	})
	enough := passed[few].Load() + 20
	fleettest.Within(t, "slots come back", func() bool { return passed[few].Load() >= enough })
	stop()
	load.Wait()
	for name, key := range map[string]string{"day": day, "life": life, "minute": minute} {
		if n := passed[key].Load(); n != most {
			t.Errorf("%s: %d passed, want %d", name, n, most)
		}
	}
	if peak.Load() > slots {
		t.Errorf("%d at once, at most %d are allowed", peak.Load(), slots)
	}
	for _, g := range gateways {
		load.Go(g.Stop)
	}
	load.Wait()
	fleettest.Within(t, "the bill", func() bool {
		calls := map[string]int64{}
		for u := range f.Leader().Live().Now().Usage(cluster.Millis(time.Now().UnixMilli())) {
			calls[u.Tenant] += u.Calls - u.Failed
		}
		return calls["day"] == most && calls["life"] == most && calls["minute"] == most
	})
}

// BenchmarkRequest is a whole request of 16 tokens, in one process with its client and the machine that answers: what its admission
// (BenchmarkAdmission) is a part of.
func BenchmarkRequest(b *testing.B) {
	f, _, _ := served(b, 1)
	key := tenant(f, "acme", 100, "*")
	limit(f, cluster.TenantSubject("acme"), quota.Limit{Meter: quota.Requests, Window: quota.Minute, Amount: 1 << 40}, quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: 1 << 40})
	g := f.Gateway("g", gateway.Config{})
	fleettest.Within(b, "it is served", func() bool { return complete(b, g, key, 16).status == http.StatusOK })
	b.ReportAllocs()
	for b.Loop() {
		if r := complete(b, g, key, 16); r.status != http.StatusOK {
			b.Fatalf("%+v", r)
		}
	}
}
