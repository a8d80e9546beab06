package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/wire"
)

// everywhere is three coordinators with their gateways and ten gateways alone, and two versions of a model that answer.
type everywhere struct {
	*fleettest.Fleet
	b        *testing.B
	gateways []*fleettest.Gateway
	callers  []*caller
	one, two cluster.VersionID
}

func newEverywhere(b *testing.B) *everywhere {
	b.Helper()
	f := &everywhere{Fleet: fleettest.New(b, 3, ""), b: b}
	f.Machine("m1", 8*gpu.GiB)
	f.one = f.Publish("calc", 1)
	v, _ := f.Leader().Live().Now().Version(f.one)
	f.two = cluster.VersionID{Model: "calc", Number: 2}
	f.Do(f.Leader(), cluster.PutVersion{Version: cluster.Version{VersionID: f.two, Manifest: v.Manifest, Profile: v.Profile, Holders: v.Holders, Tasks: v.Tasks}},
		cluster.PutDeployment{Deployment: cluster.Deployment{Version: f.two, Replicas: 1, Serving: shard.Serving{Slots: 8, Context: 32}}})
	for _, c := range f.Coordinators {
		f.gateways = append(f.gateways, f.GatewayOn(c, gateway.Config{}))
	}
	for i := range 10 {
		f.gateways = append(f.gateways, f.Gateway(fmt.Sprintf("g%d", i), gateway.Config{}))
	}
	for _, g := range f.gateways {
		c := dial(b, g)
		c.to(f.Key, 1)
		fleettest.Within(b, "every gateway answers, and both versions do", func() bool {
			_, err := router.TableOf(g.State()).Pick(f.two, nil, nil, 0)
			return err == nil && c.ask() == nil
		})
		f.callers = append(f.callers, c)
	}
	return f
}

// known proposes a command at a coordinator that does not lead. It gives the time from the call until the last gateway's state shows it.
func (f *everywhere) known(c cluster.Command, shows func(cluster.State) bool) time.Duration {
	f.b.Helper()
	ctx, cancel := context.WithTimeout(f.b.Context(), fleettest.Patience)
	defer cancel()
	at, seen := f.Follower(), make([]time.Time, len(f.gateways))
	var wait sync.WaitGroup
	began := time.Now()
	for i, g := range f.gateways {
		wait.Go(func() {
			for {
				state, changed := g.Live().Load()
				if shows(state) {
					seen[i] = time.Now()
					return
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	rejected, err := at.Propose(ctx, cluster.Txn{Do: []cluster.Command{c}})
	wait.Wait()
	if err != nil || rejected[0] != nil || ctx.Err() != nil {
		f.b.Fatalf("%v, %v, %v", rejected, err, ctx.Err())
	}
	last := began
	for _, t := range seen {
		if t.After(last) {
			last = t
		}
	}
	return last.Sub(began)
}

// report tells the percentiles of times.
func report(b *testing.B, times []float64) {
	b.ReportMetric(benchfile.Quantile(times, 0.5), "p50-ms")
	b.ReportMetric(benchfile.Quantile(times, 0.99), "p99-ms")
}

// BenchmarkRollback points a name at the next version and back.
func BenchmarkRollback(b *testing.B) {
	f := newEverywhere(b)
	var times []float64
	for b.Loop() {
		a, _ := f.Leader().Live().Now().Alias("calc")
		f.known(cluster.PutAlias{Name: "calc", Target: f.two, Was: a.Rev}, f.routes(f.two))
		f.answers(f.two)
		a, _ = f.Leader().Live().Now().Alias("calc")
		times = append(times, f.known(cluster.RollbackAlias{Name: "calc", Was: a.Rev}, f.routes(f.one)).Seconds()*1e3)
		f.answers(f.one)
	}
	report(b, times)
}

func (f *everywhere) routes(v cluster.VersionID) func(cluster.State) bool {
	return func(s cluster.State) bool {
		to, _ := router.TableOf(s).Target("calc")
		return to == v
	}
}

// answers asks every gateway once, and wants all answers of one version.
func (f *everywhere) answers(v cluster.VersionID) {
	f.b.Helper()
	for _, c := range f.callers {
		if err := c.ask(); err != nil {
			f.b.Fatal(err)
		}
		if by := c.answeredBy(); by != v.String() {
			f.b.Fatalf("%s answers, want %s", by, v)
		}
	}
}

// answeredBy is the version that gave the newest answer.
func (c *caller) answeredBy() string {
	var answer struct {
		By string `json:"system_fingerprint"`
	}
	n, _ := length(c.answer)
	for at := range n {
		if c.answer[at] == '{' {
			_ = json.Unmarshal(c.answer[at:n], &answer) // what cannot be read is of no version
			break
		}
	}
	return answer.By
}

// BenchmarkRevoke makes a key, calls with it, and revokes it.
func BenchmarkRevoke(b *testing.B) {
	f := newEverywhere(b)
	var times []float64
	for n := 0; b.Loop(); n++ {
		secret := fmt.Sprintf("secret-%d", n)
		k := cluster.Key{ID: fmt.Sprintf("sk-%d", n), Hash: wire.SecretHash(secret)}
		admitted := func(s cluster.State) bool {
			_, refused := s.Admit(k.Hash, cluster.Millis(time.Now().UnixMilli()), netip.Addr{})
			return refused == ""
		}
		f.known(cluster.PutKey{Key: k}, admitted)
		f.asks(secret, true)
		k, _ = f.Leader().Live().Now().Key(k.ID)
		k.Revoked = true
		times = append(times, f.known(cluster.PutKey{Key: k, Was: k.Rev}, func(s cluster.State) bool { return !admitted(s) }).Seconds()*1e3)
		f.asks(secret, false)
	}
	report(b, times)
}

// asks calls every gateway with a key, and wants all to answer or all to refuse.
func (f *everywhere) asks(secret string, admitted bool) {
	f.b.Helper()
	for _, c := range f.callers {
		c.to(secret, 1)
		if err := c.ask(); (err == nil) != admitted {
			f.b.Fatalf("admitted %v, want %v: %v", err == nil, admitted, err)
		}
	}
}

// BenchmarkSettle is settlements of gateways that each make one after the other.
func BenchmarkSettle(b *testing.B) {
	f := fleettest.New(b, 3, "")
	tenants(b, f, 0, askedTenants)
	var all []*settler
	for i := range 50 {
		all = append(all, newSettler(b, f, i))
	}
	for _, n := range []int{10, 50} {
		b.Run(fmt.Sprintf("gateways=%d", n), func(b *testing.B) {
			leader, times := f.Leader().Config.Listen, make([][]float64, n)
			var wait sync.WaitGroup
			b.ResetTimer()
			for i, s := range all[:n] {
				wait.Go(func() {
					for range b.N {
						at := time.Now()
						if err := s.settle(b.Context(), leader); err != nil {
							b.Error(err)
							return
						}
						times[i] = append(times[i], time.Since(at).Seconds()*1e3)
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "settlements/s")
			report(b, slices.Concat(times...))
			b.ReportMetric(all[0].bytes(b), "log-B")
		})
	}
}

// settler is a gateway that does nothing but settle.
type settler struct {
	id     cluster.NodeID
	dialer *wire.Dialer
	seq    uint64
}

func newSettler(b *testing.B, f *fleettest.Fleet, i int) *settler {
	b.Helper()
	m := f.Enrol(cluster.RoleGateway, string(gatewayName(i)))
	f.Do(f.Leader(), cluster.PutMember{Member: cluster.Member{ID: m.ID, Name: m.Name, Role: cluster.RoleGateway, Addr: "127.0.0.1:1"}})
	return &settler{id: m.ID, dialer: f.Dialer(m)}
}

// next is what it settles.
func (s *settler) next() cluster.Settle {
	s.seq++
	c := cluster.Settle{Gateway: s.id, Session: 1, Seq: s.seq}
	for i := range askedTenants {
		c.Asks = append(c.Asks, asks(i)[i%2])
		u := size{askedTenants, 1}.used(i, 0)
		u.At = cluster.Millis(time.Now().UnixMilli())
		c.Usage = append(c.Usage, u)
	}
	return c
}

func (s *settler) settle(ctx context.Context, leader string) error {
	c := s.next()
	_, err := wire.Call[wire.SettleRequest, wire.SettleResponse](ctx, s.dialer, cluster.RoleCoordinator, leader, wire.Settle,
		&wire.SettleRequest{Session: c.Session, Seq: c.Seq, Usage: c.Usage, Asks: c.Asks})
	return err
}

// bytes is what a settlement adds to the log.
func (s *settler) bytes(b *testing.B) float64 {
	b.Helper()
	size := func(txns ...cluster.Txn) int {
		e, err := cluster.Encode(cluster.Envelope{V: cluster.EnvelopeFormat, At: start, Txns: txns})
		if err != nil {
			b.Fatal(err)
		}
		return len(e)
	}
	t := cluster.Txn{Do: []cluster.Command{s.next()}}
	s.seq--
	return float64(size(t, t) - size(t)) // several share an entry
}
