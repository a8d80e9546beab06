package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/quota"
)

// billed sums what a tenant has on the bill.
func billed(state cluster.State, tenant string) (a cluster.Amounts) {
	for u := range state.Usage(cluster.Millis(time.Now().UnixMilli())) {
		if u.Tenant == tenant && u.Key != "" {
			a = a.Plus(u.Amounts)
		}
	}
	return a
}

// A key that is revoked is refused within two seconds by every gateway that has contact, and what it has under way there is ended.
func TestRevoked(t *testing.T) {
	f, machine, _ := served(t, 3)
	key := tenant(f, "acme", 100, "*")
	gateways := []*fleettest.Gateway{f.Gateway("alone", gateway.Config{})}
	for _, c := range f.Coordinators {
		gateways = append(gateways, f.GatewayOn(c, gateway.Config{}))
	}
	machine.Work(fleettest.Work{Pace: time.Minute})
	var load sync.WaitGroup
	ended := make([]time.Time, len(gateways))
	for i, g := range gateways {
		fleettest.Within(t, "the key is known", func() bool { _, ok := g.State().Tenant("acme"); return ok && g.Ready() == nil })
		load.Go(func() {
			r := complete(t, g, key, 2)
			if ended[i] = time.Now(); r.status != http.StatusUnauthorized || r.code() != "invalid_api_key" {
				t.Errorf("gateway %d: %+v", i, r)
			}
		})
	}
	fleettest.Within(t, "all are under way", func() bool { return machine.Active() == len(gateways) })
	leader := f.Leader()
	k, _ := leader.Live().Now().Key("sk-acme")
	was := k.Rev
	k.Revoked = true
	began := time.Now()
	f.Do(leader, cluster.PutKey{Key: k, Was: was})
	for i, g := range gateways {
		fleettest.Within(t, "a new call is refused", func() bool {
			r, err := post(t.Context(), g.URL+"/v1/models", key, "")
			return err == nil && r.status == http.StatusUnauthorized
		})
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("gateway %d refused new calls after %v", i, took)
		}
	}
	load.Wait()
	for i, at := range ended {
		if took := at.Sub(began); took > 2*time.Second {
			t.Errorf("gateway %d ended the call after %v", i, took)
		}
	}
}

// What was spent stays spent: a gateway that is started again takes up where it was, and the lease of one that crashed is lost. Both
// are billed for what they settled.
func TestRestarts(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	key := tenant(f, "acme", 100, "*")
	const most = 30
	limit(f, cluster.TenantSubject("acme"), quota.Limit{Meter: quota.Requests, Window: quota.Life, Amount: most})
	g := f.Gateway("g", gateway.Config{})
	passed := 0
	call := func() bool {
		r := complete(t, g, key, 2)
		if r.status == http.StatusOK {
			passed++
		}
		return r.status == http.StatusOK
	}
	for range 5 {
		fleettest.Within(t, "a request passes", call)
	}
	id := quota.ID{Subject: cluster.TenantSubject("acme"), Meter: quota.Requests, Window: quota.Life}
	g.Stop()
	if b := f.Leader().Live().Now().Balance(id); b.Spent != 5 || len(b.Leases) != 0 {
		t.Errorf("after a graceful stop: %+v", b)
	}
	if a := billed(f.Leader().Live().Now(), "acme"); a.Calls != 5 || a.Failed != 0 || a.Prompt != 15 || a.Answer != 10 {
		t.Errorf("after a graceful stop: %+v", a)
	}
	g.Start(gateway.Config{})
	for range 5 {
		fleettest.Within(t, "a request passes", call)
	}
	fleettest.Within(t, "it holds something", func() bool { return len(f.Leader().Live().Now().Balance(id).Leases) > 0 })
	g.Crash()
	g.Start(gateway.Config{})
	fleettest.Within(t, "nothing passes any more", func() bool {
		r := complete(t, g, key, 2)
		if r.status == http.StatusOK {
			passed++
			return false
		}
		return r.code() == "insufficient_quota" && r.header.Get("X-Should-Retry") == "false" && r.header.Get("Retry-After") == ""
	})
	g.Stop()
	b := f.Leader().Live().Now().Balance(id)
	if b.Spent != most || len(b.Leases) != 0 || passed > most {
		t.Errorf("%d passed: %+v", passed, b)
	}
	if a := billed(f.Leader().Live().Now(), "acme"); a.Calls > int64(passed) || a.Calls < int64(passed)-5 {
		t.Errorf("%d passed, %d are on the bill", passed, a.Calls)
	}
}

// Without a leader usage is kept, over the end of the gateway too, and comes on the bill once.
func TestUsageIsKept(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	key := tenant(f, "acme", 100, "*")
	g := f.Gateway("g", gateway.Config{})
	fleettest.Within(t, "a request passes", func() bool { return complete(t, g, key, 2).status == http.StatusOK })
	c := f.Coordinators[0]
	fleettest.Within(t, "it is settled", func() bool { return billed(c.Live().Now(), "acme").Calls == 1 })
	f.Stop(c)
	for range 7 {
		if r := complete(t, g, key, 2); r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
	}
	g.Stop()
	f.Start(c)
	f.Leader()
	g.Start(gateway.Config{})
	fleettest.Within(t, "all is on the bill", func() bool { return billed(c.Live().Now(), "acme").Calls >= 8 })
	if r := complete(t, g, key, 2); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
	fleettest.Within(t, "the next is on the bill", func() bool { return billed(c.Live().Now(), "acme").Calls >= 9 })
	if a := billed(c.Live().Now(), "acme"); a.Calls != 9 || a.Answer != 18 {
		t.Errorf("%+v", a)
	}
}

// What a client is told about its limits, in both protocols.
func TestLimitsAreTold(t *testing.T) {
	t.Parallel()
	f, machine, _ := served(t, 1)
	key := tenant(f, "acme", 100, "*")
	limit(f, cluster.TotalSubject, quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: 777_777})
	limit(f, cluster.TenantSubject("acme"), quota.Limit{Meter: quota.Requests, Window: quota.Minute, Amount: 2}, quota.Limit{Meter: quota.Tokens, Window: quota.Minute, Amount: 10_000})
	g := f.Gateway("g", gateway.Config{})
	machine.Work(fleettest.Work{})
	for left := 1; left >= 0; left-- {
		r := complete(t, g, key, 2)
		h := r.header
		if r.status != http.StatusOK || h.Get("X-Ratelimit-Limit-Requests") != "2" || h.Get("X-Ratelimit-Remaining-Requests") != strconv.Itoa(left) || h.Get("X-Ratelimit-Limit-Tokens") != "10000" {
			t.Errorf("%d left: %+v", left, r)
		}
		if d, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-Requests")); err != nil || d <= 0 || d > 2*time.Minute {
			t.Errorf("reset %q", h.Get("X-Ratelimit-Reset-Requests"))
		}
	}
	r := complete(t, g, key, 2)
	after, err := strconv.Atoi(r.header.Get("Retry-After"))
	if r.status != http.StatusTooManyRequests || r.code() != "rate_limit_exceeded" || err != nil || after < 1 || after > 62 || r.header.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("%+v", r)
	}
	c := inferencev1connect.NewInferenceServiceClient(http.DefaultClient, g.URL)
	req := connect.NewRequest(&inferencev1.GenerateRequest{Model: "calc", Input: &inferencev1.GenerateRequest_Prompt{Prompt: "1+1="}})
	req.Header().Set("Authorization", "Bearer "+key)
	s, err := c.Generate(context.Background(), req)
	if err == nil {
		for s.Receive() {
		}
		err = s.Err()
	}
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != connect.CodeResourceExhausted || len(ce.Details()) != 1 {
		t.Fatalf("%v", err)
	}
	d, err := ce.Details()[0].Value()
	info, ok := d.(*errdetails.RetryInfo)
	if err != nil || !ok || info.RetryDelay.AsDuration() <= 0 || info.RetryDelay.AsDuration() > 62*time.Second {
		t.Errorf("%v %v", d, err)
	}
	if ce.Meta().Get("Retry-After") == "" || ce.Meta().Get("X-Ratelimit-Limit-Requests") != "2" {
		t.Errorf("%v", ce.Meta())
	}
	limit(f, cluster.TotalSubject, quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: 1})
	limit(f, cluster.TenantSubject("acme"))
	fleettest.Within(t, "everybody's limit is told without figures", func() bool {
		r := complete(t, g, key, 2)
		return r.status == http.StatusTooManyRequests && r.header.Get("X-Ratelimit-Limit-Tokens") == "" && !strings.Contains(r.body, "1 tokens") && strings.Contains(r.body, "all callers")
	})
}
