package sim

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/alert/defaults"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/series"
)

// watched is a small fleet with a served model under the default rules, at rest.
func watched(t *testing.T, seed uint64, nodes int, every time.Duration, days int) (*World, *Watch) {
	t.Helper()
	w := New(Config{Seed: seed, Kind: gpu.CUDA})
	for range nodes {
		w.AddNode(8 * gpu.GiB)
	}
	w.Publish("m0", 4, 10*gpu.MiB)
	w.Admit("acme", 50)
	w.Admit("zeta", 50)
	pass(t, w, 2*time.Second)
	w.Serve("m0", 2, func(d *cluster.Deployment) { d.Serving.Slots = 128 })
	w.Limit("acme", quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: 75_000_000}, quota.Limit{Meter: quota.Requests, Window: quota.Minute, Amount: 300})
	for pass(t, w, 5*time.Second); w.gateways[0].request("m0") != nil; pass(t, w, 5*time.Second) {
		if w.Elapsed() > time.Minute {
			t.Fatal("the model is not served")
		}
	}
	x, err := NewWatch(w, QuietLoad(), defaults.Rules(), every, days)
	if err != nil {
		t.Fatal(err)
	}
	return w, x
}

func pass(t *testing.T, w *World, d time.Duration) {
	t.Helper()
	if err := w.Run(d); err != nil {
		t.Fatal(err)
	}
}

// incidents says for each default rule what happens in the world that makes it fire; others may fire with it.
var incidents = []struct {
	rule    string
	trouble func(w *World, x *Watch)
	with    []string // rules that fire too
	for_    time.Duration
}{
	{"batch-callback-given-up", func(w *World, _ *Watch) {
		over := job.Batch{Status: job.Completed, Since: map[job.Status]job.Millis{job.Completed: cluster.Millis(w.now.UnixMilli())}, Callback: &job.Callback{State: job.Pending}}
		w.Batch("acme", "b1", over)
		for i := range 12 { // by the leader, whom nobody answers
			w.after(time.Duration(i)*time.Second, "callback", func() {
				over = over.Called("status 502", false, 0, cluster.Millis(w.now.UnixMilli()))
				w.Batch("acme", "b1", over)
			})
		}
	}, nil, 5 * time.Minute},
	{"batches-standing-still", func(w *World, _ *Watch) { // there is no gateway that works it
		w.Batch("acme", "b1", job.Batch{Window: 24 * 3_600_000}.New(cluster.Millis(w.now.UnixMilli())))
	}, nil, 40 * time.Minute},
	{"calls-limited", func(_ *World, x *Watch) { x.Load.Times["acme"] = 12 }, []string{"calls-too-many"}, 15 * time.Minute},
	{"calls-too-few", func(_ *World, x *Watch) { x.Load.Times["acme"] = 0.01 }, nil, time.Hour},
	{"calls-too-many", func(_ *World, x *Watch) { x.Load.Times["zeta"] = 8 }, nil, 40 * time.Minute},
	{"certificate-ending", func(w *World, _ *Watch) { // of half its life, and not renewed
		p := w.papersOf("n1")
		p.broken, p.ends = true, w.now.Add(paperLife/2)
	}, nil, 6*time.Hour + 15*time.Minute},
	{"disk-nearly-full", func(w *World, _ *Watch) { w.nodes[0].other = diskSize * 9 / 10 }, nil, 15 * time.Minute},
	{"gateway-silent", func(w *World, _ *Watch) {
		for _, c := range w.coordinators {
			w.net.cut[[2]cluster.NodeID{w.gateways[0].id, c.id}] = true
		}
	}, nil, 3 * time.Minute},
	{"gpu-failed", func(w *World, _ *Watch) { w.nodes[0].health(w.nodes[0].workers["n1-d0"], true) }, []string{"gpu-xid"}, 3 * time.Minute},
	{"gpu-hot", func(w *World, _ *Watch) { w.nodes[0].workers["n1-d0"].noFan = true }, nil, 15 * time.Minute},
	{"gpu-memory-full", func(w *World, _ *Watch) { w.nodes[0].workers["n1-d0"].foreign = 8 * gpu.GiB }, nil, 20 * time.Minute},
	{"gpu-xid", func(w *World, _ *Watch) { w.nodes[0].health(w.nodes[0].workers["n1-d0"], true) }, []string{"gpu-failed"}, 3 * time.Minute},
	{"high-error-rate", func(w *World, _ *Watch) {
		for _, n := range w.nodes {
			n.stop()
		}
	}, []string{"node-lost"}, 8 * time.Minute},
	{"high-latency", func(_ *World, x *Watch) { x.Load.Tokens = 5000 }, nil, 20 * time.Minute}, // somebody asks for books
	{"log-apply-lag", func(w *World, _ *Watch) { // a disk stands still while much is written
		for _, c := range w.coordinators {
			if c != w.log.leader {
				c.stalled = true
				break
			}
		}
		w.Rename("zeta", 100*time.Millisecond)
	}, nil, 5 * time.Minute},
	{"node-lost", func(w *World, _ *Watch) { w.nodes[1].stop() }, nil, 3 * time.Minute},
	{"queue-too-long", func(w *World, _ *Watch) { // an operator means well
		w.Serve("m0", 2, func(d *cluster.Deployment) { d.Serving.Slots = 1 })
	}, []string{"high-latency", "slow-first-token"}, 15 * time.Minute},
	{"quorum-at-risk", func(w *World, _ *Watch) { w.coordinators[2].stop() }, nil, 5 * time.Minute},
	{"quota-burning", func(_ *World, x *Watch) { x.Load.Prompts["acme"] = 1200 }, []string{"quota-burning-fast"}, 7 * time.Hour},
	{"quota-burning-fast", func(_ *World, x *Watch) { x.Load.Prompts["acme"] = 6000 }, nil, 50 * time.Minute},
	{"quota-nearly-used", func(_ *World, x *Watch) { x.Load.Prompts["acme"] = 30_000 }, []string{"quota-burning", "quota-burning-fast"}, 57 * time.Minute},
	{"replicas-missing", func(w *World, _ *Watch) {
		w.Serve("m0", 3, func(d *cluster.Deployment) { d.Avoid = []gpu.DeviceID{"n1-d0", "n2-d0", "n3-d0"} })
	}, nil, 15 * time.Minute},
	{"results-dropped", func(w *World, _ *Watch) { w.store.away = true }, []string{"results-spool-growing"}, 90 * time.Minute},
	{"results-spool-growing", func(w *World, _ *Watch) { w.store.away = true }, nil, 40 * time.Minute},
	{"slow-first-token", func(w *World, _ *Watch) { w.slow(16) }, nil, 20 * time.Minute},
	{"throughput-drop", func(w *World, _ *Watch) { w.slow(300) }, []string{"high-latency", "queue-too-long", "slow-first-token"}, 20 * time.Minute},
	{"version-at-risk", func(w *World, _ *Watch) { w.coordinators[0].lost, w.coordinators[1].lost = true, true }, nil, 5 * time.Minute},
}

// slow lets every device work so many times slower.
func (w *World) slow(times float64) {
	for _, n := range w.nodes {
		for _, k := range n.workers {
			k.slow = times
		}
	}
}

// Each default rule has an incident that fires it and only it, or it and those that belong to it.
func TestIncidents(t *testing.T) {
	for _, r := range defaults.Rules() {
		if !slices.ContainsFunc(incidents, func(i struct {
			rule    string
			trouble func(w *World, x *Watch)
			with    []string
			for_    time.Duration
		}) bool {
			return i.rule == r.ID
		}) {
			t.Errorf("no incident fires the rule %s", r.ID)
		}
	}
	for i, c := range incidents {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			days := 0
			if strings.HasPrefix(c.rule, "calls-") || c.rule == "throughput-drop" { // they compare with what was
				days = 2
			}
			nodes, every := 3, 5*time.Second
			if c.for_ > 2*time.Hour {
				nodes, every = 1, 15*time.Second
			}
			w, x := watched(t, uint64(i), nodes, every, days)
			pass(t, w, 10*time.Minute)
			if len(x.Lines()) > 0 {
				t.Fatalf("before the trouble: %q", x.Lines())
			}
			c.trouble(w, x)
			pass(t, w, c.for_)
			fired := map[string]bool{}
			for _, line := range x.Lines() {
				rule := strings.Fields(line[strings.Index(line, ": opens ")+8:])[0]
				if fired[rule] = true; !strings.Contains(line, ": opens ") || rule != c.rule && !slices.Contains(c.with, rule) {
					t.Errorf("what happened: %q", x.Lines())
				}
			}
			if !fired[c.rule] || x.Err() != nil {
				t.Errorf("it does not fire: %q, %v", x.Lines(), x.Err())
			}
			for id, n := range x.Told() {
				if n > 1 {
					t.Errorf("notification %s was sent %d times", id, n)
				}
			}
		})
	}
}

// A day on which nothing goes wrong, after a week of the same, fires nothing.
func TestQuietDay(t *testing.T) {
	t.Parallel()
	nodes, every := 1, 15*time.Second
	if os.Getenv("SKEIN_FULL") != "" {
		nodes, every = 4, 5*time.Second
	}
	w, x := watched(t, 99, nodes, every, 7)
	pass(t, w, 24*time.Hour)
	if len(x.Lines()) > 0 || len(x.Told()) > 0 || x.Err() != nil {
		t.Errorf("%q, %v", x.Lines(), x.Err())
	}
}

// When the trouble ends the incidents end, also under leaders that come and go, and nobody is told twice.
func TestIncidentsEnd(t *testing.T) {
	t.Parallel()
	w, x := watched(t, 7, 3, time.Second, 0)
	pass(t, w, 30*time.Second)
	w.nodes[1].stop()
	w.nodes[2].other = diskSize * 19 / 20
	pass(t, w, 12*time.Minute)
	for range 4 {
		w.log.leader.crash("while it leads")
		pass(t, w, 20*time.Second)
	}
	w.nodes[1].start()
	w.nodes[2].other = 0
	pass(t, w, 20*time.Minute)
	var what []string
	for _, l := range x.Lines() {
		_, l, _ = strings.Cut(l, ": ")
		what = append(what, l)
	}
	slices.Sort(what)
	want := []string{
		`ends disk-nearly-full {node="n3"}`, `ends node-lost {node="n2"}`,
		`opens disk-nearly-full {node="n3"}`, `opens node-lost {node="n2"}`,
	}
	if !slices.Equal(what, want) {
		t.Errorf("what happened: %q", x.Lines())
	}
	for id, n := range x.Told() {
		if n > 1 {
			t.Errorf("notification %s was sent %d times", id, n)
		}
	}
	if len(x.Told()) < 4 {
		t.Errorf("%d notifications", len(x.Told()))
	}
}

// A rule tried on the history of a world finds what the loop found.
func TestTryOnHistory(t *testing.T) {
	t.Parallel()
	w, x := watched(t, 3, 3, time.Second, 0)
	from := w.now
	pass(t, w, 2*time.Minute)
	w.nodes[1].stop()
	pass(t, w, 4*time.Minute)
	w.nodes[1].start()
	pass(t, w, 4*time.Minute)
	for _, r := range defaults.Rules() {
		if r.ID != "node-lost" {
			continue
		}
		got, err := try(&r, x.store, from, w.now)
		if err != nil || len(got) != 1 || got[0].Labels.Get("node") != "n2" || got[0].Phase != alert.Resolved {
			t.Fatalf("%+v, %v", got, err)
		}
		opened := fmt.Sprintf("at %.0fs", got[0].Opened.At().Sub(epoch).Seconds())
		t.Logf("tried: %s; the loop: %q", opened, x.Lines())
	}
}

// try is what a rule would have had.
func try(r *alert.Rule, s *series.Store, from, to time.Time) ([]alert.Incident, error) {
	c, err := alert.NewCompiler()
	if err != nil {
		return nil, err
	}
	t, err := c.Try(r, s, from, to)
	if err != nil {
		return nil, err
	}
	for !t.Go(1000) {
	}
	return t.Incidents(), nil
}
