package scheduler

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// tryout is a cluster that serves three versions of m, and one loop over it. Its clock is a number; its versions answer as told.
type tryout struct {
	tb    failer
	loop  *Loop
	state cluster.State
	now   time.Time
	by    []string // who moved the alias, in order
	notes []string // that were ever given
	rows  map[int]cluster.Demand
	last  Output
}

func version(n int) cluster.VersionID { return cluster.VersionID{Model: "m", Number: n} }

func newTryout(tb failer) *tryout {
	r := &tryout{tb: tb, loop: New(Config{}), now: start, rows: map[int]cluster.Demand{}}
	r.must(cluster.Init{ID: "c", Feature: 2}, cluster.PutMember{Member: cluster.Member{ID: "c1", Role: cluster.RoleCoordinator, Addr: "c1:1"}},
		cluster.PutNode{Node: cluster.Node{ID: "n", Addr: "n:1", Devices: gpu.Inventory{host("d", gpu.TiB)}}})
	for n := 1; n <= 2; n++ {
		r.publish(n, &cluster.Traits{Inputs: []string{"generate"}, Context: 16})
		r.answer(n)
	}
	return r
}

func (r *tryout) publish(n int, traits *cluster.Traits) {
	r.tb.Helper()
	r.must(cluster.PutVersion{Version: cluster.Version{VersionID: version(n), Manifest: blob.Digest{byte(n)}, Holders: []cluster.NodeID{"c1"}, Traits: traits,
		Profile: shard.Profile{Decoder: true, Positions: 64, Blocks: []gpu.Bytes{gpu.MiB}}}})
}

// answer lets a version have a ready replica.
func (r *tryout) answer(n int) {
	r.tb.Helper()
	serving, id := shard.Serving{Slots: 1, Context: 16}, cluster.ReplicaID{Version: version(n)}
	r.must(cluster.PutDeployment{Deployment: cluster.Deployment{Version: version(n), Replicas: 1, Serving: serving}},
		cluster.PlaceReplica{Replica: cluster.Replica{ReplicaID: id, Epoch: 1, Status: cluster.Loading, Serving: serving,
			Stages: []cluster.StagePlace{{Span: shard.Span{To: 1}, Node: "n", Device: "d"}}}},
		cluster.MarkReplica{ID: id, Epoch: 1, Status: cluster.Ready, Endpoints: []string{"n:2"}})
}

func (r *tryout) apply(txns ...cluster.Txn) []error {
	next, errs := cluster.Apply(r.state, r.state.Index()+1, cluster.Envelope{V: cluster.EnvelopeFormat, At: cluster.Millis(r.now.UnixMilli()), Txns: txns})
	r.state = next
	return errs
}

func (r *tryout) must(list ...cluster.Command) {
	r.tb.Helper()
	for _, c := range list {
		if errs := r.apply(cluster.Txn{Do: []cluster.Command{c}}); errs[0] != nil {
			r.tb.Fatalf("%+v: %v", c, errs[0])
		}
	}
}

func (r *tryout) alias() cluster.Alias {
	a, _ := r.state.Alias("m")
	return a
}

func (r *tryout) rollout(o cluster.Rollout) {
	r.tb.Helper()
	r.must(cluster.SetRollout{Name: "m", Rollout: &o, Was: r.alias().Rev, Accept: true})
}

func (r *tryout) flip(n int) {
	r.tb.Helper()
	r.must(cluster.PutAlias{Name: "m", Target: version(n), Was: r.alias().Rev, Accept: true})
}

// serves says what a version does in each second from now on: requests that end, how many of them fail, and how long the others take.
func (r *tryout) serves(n, ended, failed int, took int64) {
	d := cluster.Demand{Gateway: "g", Version: version(n), Tenant: "default", Arrived: ended, Ended: ended, Failed: failed}
	for range ended - failed {
		d.Total.Add(took)
	}
	r.rows[n] = d
}

// run lets the loop step once a second. Only what moves aliases and ends deployments is applied: the fleet is not what this is about.
func (r *tryout) run(seconds int) {
	r.tb.Helper()
	var commits []Commit
	for range seconds {
		var rows []cluster.Demand
		for _, n := range sortedKeys(r.rows) {
			rows = append(rows, r.rows[n])
		}
		out := r.loop.Step(r.now, Input{State: r.state, Term: 1, Demand: rows, Commits: commits})
		commits, r.last = nil, out
		var kept []cluster.Txn
		for _, txn := range out.Txns {
			if txn.By != "" {
				kept = append(kept, txn)
				r.by = append(r.by, txn.By)
			}
		}
		for _, note := range out.Notes {
			if text := note.Subject + ": " + note.Why; !slices.Contains(r.notes, text) {
				r.notes = append(r.notes, text)
			}
		}
		if len(out.Txns) > 0 {
			for _, err := range r.apply(kept...) {
				if err != nil {
					r.tb.Fatalf("rejected: %v", err)
				}
			}
			commits = []Commit{{Proposal: out.Proposal, Index: r.state.Index()}}
		}
		r.now = r.now.Add(time.Second)
	}
}

func (r *tryout) noted(words ...string) bool {
	return slices.ContainsFunc(r.notes, func(n string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(n, w) })
	})
}

var limits = cluster.Guard{Requests: 50, WindowSeconds: 60, ErrorPercent: 5, P95Millis: 500, ParityPercent: 90}

// TestGuard: what is worse than it may be, and than what was before, is taken back by itself; everything else is left alone.
func TestGuard(t *testing.T) {
	for _, c := range []struct {
		what  string
		set   func(*tryout)
		back  bool
		words []string
	}{
		{"a canary that fails", func(r *tryout) { r.serves(1, 90, 0, 10); r.serves(2, 10, 2, 10) }, true, []string{"alias m", "m@2", "of its", "failed", "5 %", "m@1"}},
		{"a canary that is slow", func(r *tryout) { r.serves(1, 90, 0, 10); r.serves(2, 10, 0, 900) }, true, []string{"m@2", "ms", "500 ms are allowed", "m@1"}},
		{"a canary that is well", func(r *tryout) { r.serves(1, 90, 0, 10); r.serves(2, 10, 0, 12) }, false, nil},
		{"a canary with a failure now and then", func(r *tryout) { r.serves(1, 900, 0, 10); r.serves(2, 100, 5, 10) }, false, nil},
		{"both fail alike", func(r *tryout) { r.serves(1, 90, 18, 10); r.serves(2, 10, 2, 10) }, false, nil},
		{"both fail, the canary more", func(r *tryout) { r.serves(1, 90, 9, 10); r.serves(2, 10, 2, 10) }, true, nil},
		{"both are slow alike", func(r *tryout) { r.serves(1, 90, 0, 900); r.serves(2, 10, 0, 900) }, false, nil},
		{"too few to judge", func(r *tryout) { r.serves(2, 1, 1, 0) }, true, nil}, // after 50 s, not before
		{"only the canary is called", func(r *tryout) { r.serves(2, 10, 1, 0) }, true, nil},
		{"only the target fails", func(r *tryout) { r.serves(1, 90, 90, 0); r.serves(2, 10, 0, 10) }, false, nil},
		{"the shadow is the canary, and answers otherwise", func(r *tryout) {
			r.rollout(cluster.Rollout{Canary: r.alias().Rollout.Canary, Guard: &limits, Shadow: &cluster.Shadow{Version: version(2), Percent: 10}})
			r.rows[2] = cluster.Demand{Gateway: "g", Version: version(2), Tenant: "default", Ended: 10, Shadowed: 10, Agreed: 8}
		}, true, []string{"of", "answers of m@2 equal those of m@1", "90 %"}},
		{"the shadow is the canary, and answers alike", func(r *tryout) {
			r.rollout(cluster.Rollout{Canary: r.alias().Rollout.Canary, Guard: &limits, Shadow: &cluster.Shadow{Version: version(2), Percent: 10}})
			r.rows[2] = cluster.Demand{Gateway: "g", Version: version(2), Tenant: "default", Ended: 10, Shadowed: 10, Agreed: 9}
		}, false, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := newTryout(t)
			r.rollout(cluster.Rollout{Canary: &cluster.Canary{Version: version(2), Percent: 10}, Guard: &limits, Follow: true})
			c.set(r)
			r.run(40)
			if c.what == "too few to judge" {
				if len(r.by) > 0 {
					t.Fatalf("40 requests, and %v", r.by)
				}
				r.run(20)
			}
			a := r.alias()
			taken := a.Rollout.Canary == nil
			if taken != c.back || c.back != slices.Equal(r.by, []string{"guard"}) || len(r.by) > 1 || a.Target != version(1) || a.Rollout.Guard == nil {
				t.Fatalf("taken back: %v, by %v; %+v; %q", taken, r.by, a, r.notes)
			}
			if taken && (a.Rollout.Follow || !r.noted(c.words...)) {
				t.Errorf("%+v, %q, want a note with %q", a.Rollout, r.notes, c.words)
			}
			r.run(120)
			if len(r.by) > 1 || r.alias().Target != version(1) {
				t.Errorf("then %v: %+v", r.by, r.alias())
			}
		})
	}
}

// TestGuardFlip: a target is taken back while its flip is young, and once: the version before is not judged by it.
func TestGuardFlip(t *testing.T) {
	r := newTryout(t)
	r.flip(2)
	r.flip(1)
	r.rollout(cluster.Rollout{Guard: &limits})
	r.serves(1, 50, 0, 10)
	r.run(70)
	r.flip(2)
	r.serves(1, 0, 0, 0)
	r.serves(2, 50, 25, 10)
	r.run(10)
	if a := r.alias(); a.Target != version(1) || len(a.History) != 2 || !slices.Equal(r.by, []string{"guard"}) || !r.noted("took m@2 back", "failed") {
		t.Fatalf("%+v by %v, %q", a, r.by, r.notes)
	}
	r.serves(1, 50, 25, 10)
	r.run(100)
	if a := r.alias(); a.Target != version(1) || len(r.by) != 1 {
		t.Errorf("what was before is judged too: %+v by %v", a, r.by)
	}

	old := newTryout(t)
	old.rollout(cluster.Rollout{Guard: &limits})
	old.flip(2)
	old.serves(2, 50, 0, 10)
	old.run(61)
	old.serves(2, 50, 50, 10)
	old.run(60)
	if a := old.alias(); a.Target != version(2) || len(old.by) > 0 {
		t.Errorf("a flip that is old is taken back: %+v by %v", a, old.by)
	}

	again := newTryout(t) // what it did in an earlier trial does not count in a new one
	again.flip(2)
	again.flip(1) // the guard keeps an eye on m@2 all the time
	again.rollout(cluster.Rollout{Guard: &limits, Canary: &cluster.Canary{Version: version(2), Percent: 10}})
	again.serves(2, 50, 25, 10)
	again.run(5)
	again.rollout(cluster.Rollout{Guard: &limits, Canary: &cluster.Canary{Version: version(2), Percent: 10}})
	again.serves(2, 50, 0, 10)
	again.run(60)
	if a := again.alias(); a.Rollout.Canary == nil || len(again.by) != 1 {
		t.Errorf("%+v by %v: %q", a.Rollout, again.by, again.notes)
	}
}

// TestShadowAlone: a shadow that differs is told of; there is nothing to take back.
func TestShadowAlone(t *testing.T) {
	r := newTryout(t)
	r.rollout(cluster.Rollout{Guard: &limits, Shadow: &cluster.Shadow{Version: version(2), Percent: 10}})
	r.rows[2] = cluster.Demand{Gateway: "g", Version: version(2), Tenant: "default", Ended: 10, Shadowed: 10, Agreed: 1}
	r.run(30)
	if len(r.by) > 0 || !r.noted("alias m", "answers of m@2 equal those of m@1") {
		t.Errorf("by %v, %q", r.by, r.notes)
	}
}

// TestFollow: an alias moves to the newest version that answers and breaks nothing; after a rollback it stays.
func TestFollow(t *testing.T) {
	r := newTryout(t)
	r.rollout(cluster.Rollout{Follow: true})
	r.run(2)
	if a := r.alias(); a.Target != version(2) || !slices.Equal(r.by, []string{"follow"}) || !a.Rollout.Follow {
		t.Fatalf("%+v by %v", a, r.by)
	}
	r.publish(3, &cluster.Traits{Inputs: []string{"generate"}, Context: 16})
	r.run(2)
	if a := r.alias(); a.Target != version(2) {
		t.Fatalf("a version that does not answer is followed: %+v", a)
	}
	r.publish(4, &cluster.Traits{Inputs: []string{"generate"}, Context: 8})
	r.answer(4)
	r.run(2)
	if a := r.alias(); a.Target != version(2) || !r.noted("does not follow m@4", "context") {
		t.Fatalf("a version that breaks clients is followed: %+v, %q", a, r.notes)
	}
	r.answer(3)
	r.run(2)
	if a := r.alias(); a.Target != version(3) || len(r.by) != 2 {
		t.Fatalf("%+v by %v", a, r.by)
	}
	r.must(cluster.RollbackAlias{Name: "m", Was: r.alias().Rev})
	r.run(10)
	if a := r.alias(); a.Target != version(2) || len(r.by) != 2 {
		t.Errorf("it follows again: %+v by %v", a, r.by)
	}
}

// TestRetire: the version before is served until its time is over and nobody needs it.
func TestRetire(t *testing.T) {
	r := newTryout(t)
	r.rollout(cluster.Rollout{Retire: 20, Guard: &cluster.Guard{Requests: 1, WindowSeconds: 30, ErrorPercent: 5}})
	r.must(cluster.PutAlias{Name: "other", Target: version(1)})
	r.flip(2)
	served := func(n int) bool { _, ok := r.state.Deployment(version(n)); return ok }
	r.run(40)
	if !served(1) {
		t.Fatal("retired while another name means it")
	}
	other, _ := r.state.Alias("other")
	r.must(cluster.DeleteAlias{Name: "other", Was: other.Rev})
	r.run(2)
	if served(1) || !served(2) || !slices.Equal(r.by, []string{"retire"}) || !r.noted("m@1", "retired") {
		t.Errorf("by %v, %q", r.by, r.notes)
	}

	early := newTryout(t)
	early.rollout(cluster.Rollout{Retire: 20, Guard: &cluster.Guard{Requests: 1, WindowSeconds: 30, ErrorPercent: 5}})
	early.flip(2)
	early.run(29)
	if _, ok := early.state.Deployment(version(1)); !ok {
		t.Error("retired while the guard may go back to it")
	}
	early.must(cluster.RollbackAlias{Name: "m", Was: early.alias().Rev})
	early.run(60)
	if len(early.by) > 0 {
		t.Errorf("after a rollback: %v", early.by)
	}
}

// TestGuardReplays: a recording of a guard's decision gives the same decision.
func TestGuardReplays(t *testing.T) {
	r := newTryout(t)
	r.rollout(cluster.Rollout{Canary: &cluster.Canary{Version: version(2), Percent: 10}, Guard: &limits})
	r.serves(1, 90, 0, 10)
	r.serves(2, 10, 2, 10)
	r.run(10)
	var b bytes.Buffer
	if _, err := r.loop.Recording().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	back, err := ReadRecording(&b)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, out := range Replay(back) {
		for _, txn := range out.Txns {
			found = found || txn.By == "guard"
		}
	}
	if !found {
		t.Error("replayed, the guard takes nothing back")
	}
}

// TestVerdict: a version is taken back only for what is above the limit and worse than before.
func TestVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (f tally) {
			f.Ended = rapid.IntRange(0, 200).Draw(t, name)
			f.Failed = rapid.IntRange(0, f.Ended).Draw(t, name+" failed")
			took := rapid.Int64Range(0, 2000).Draw(t, name+" took")
			for range f.Ended - f.Failed {
				f.Total.Add(took)
			}
			return f
		}
		g := cluster.Guard{Requests: rapid.IntRange(1, 100).Draw(t, "requests"), ErrorPercent: rapid.IntRange(0, 100).Draw(t, "errors"), P95Millis: rapid.Int64Range(0, 2000).Draw(t, "p95")}
		tried, base := draw("tried"), draw("base")
		share := func(f tally) float64 { return float64(f.Failed) / float64(max(f.Ended, 1)) }
		known := base.Ended >= g.Requests
		want := tried.Ended >= g.Requests &&
			(g.ErrorPercent > 0 && share(tried) > float64(g.ErrorPercent)/100 && (!known || share(tried) > share(base)) ||
				g.P95Millis > 0 && tried.Total.Quantile(950) > g.P95Millis && (!known || tried.Total.Quantile(950) > base.Total.Quantile(950)))
		if why := verdict(&g, trial{version(2), version(1), start}, tried, base); (why != "") != want {
			t.Fatalf("%q, want %v", why, want)
		}
	})
}
