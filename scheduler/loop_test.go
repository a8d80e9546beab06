package scheduler

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// disturb does one random thing to the fleet.
func (r *rig) disturb(t *rapid.T) {
	ids := sortedKeys(r.nodes)
	id := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "node")]
	m := r.nodes[id]
	switch rapid.IntRange(0, 11).Draw(t, "what") {
	case 0:
		m.down = true
	case 1:
		m.mute = true
	case 2, 3:
		m.down, m.mute, m.held, m.report.Seen = false, false, nil, 0
		m.report.Session++
		clear(m.sick)
		clear(m.badLoads)
	case 4:
		if n, ok := r.state.Node(id); ok && n.Status != cluster.NodeLost {
			r.status(id, cluster.NodeDraining)
		}
	case 5:
		if n, ok := r.state.Node(id); ok && n.Status == cluster.NodeDraining {
			r.status(id, cluster.NodeReady)
		}
	case 10, 11:
		q := []cluster.QuarantineID{{Device: m.report.Devices[0].ID}, {Node: id}}[rapid.IntRange(0, 1).Draw(t, "of")]
		_, now := r.state.Quarantine(q)
		if owner, ok := r.state.Owner(m.report.Devices[0].ID); now || ok && owner == id {
			r.quarantine(q, now, [][]string{nil, {"7s"}}[rapid.IntRange(0, 1).Draw(t, "lasts")])
		}
	case 6:
		m.sick[m.report.Devices[0].ID] = true
	case 7:
		m.badLoads[m.report.Devices[0].ID] = !m.badLoads[m.report.Devices[0].ID]
	case 8:
		model := rapid.SampledFrom([]string{"a", "bb"}).Draw(t, "model")
		r.deploy(model, rapid.IntRange(0, 3).Draw(t, "replicas"), nil)
	case 9:
		r.term++
		r.loop, r.ready, r.commit = New(Config{Record: 8}), nil, nil
	}
}

// TestRandom disturbs a fleet at random. Nothing that the loop proposes is rejected; when nothing changes any more, nothing is proposed; every deployment
// ends as it is wished or has a note; and the last steps, written, read and replayed, decide the same.
func TestRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		r.loop = New(Config{Record: 8})
		for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
			size := gpu.Bytes(rapid.Int64Range(60, 200).Draw(t, "memory")) * gpu.MiB
			r.node(cluster.NodeID(fmt.Sprintf("n%d", i)), host(gpu.DeviceID(fmt.Sprintf("d%d", i)), size))
		}
		r.model("a", 4, 20*gpu.MiB)
		r.model("bb", 2, 10*gpu.MiB)
		r.deploy("a", 1, nil)
		r.deploy("bb", 2, nil)
		for range rapid.IntRange(1, 12).Draw(t, "disturbances") {
			r.run(time.Duration(rapid.IntRange(0, 8).Draw(t, "halves")) * 500 * time.Millisecond)
			r.disturb(t)
		}
		r.run(3 * time.Minute)
		if log := r.log.String(); bytes.Contains([]byte(log), []byte("REJECTED")) {
			t.Fatalf("the loop proposed what Apply rejects:\n%s", log)
		}
		r.checkConverged(t)
		r.checkReplay(t)
	})
}

func (r *rig) checkConverged(t *rapid.T) {
	r.step(r.reports())
	var failing bool
	for _, m := range r.nodes {
		failing = failing || slices.Contains(sortedValues(m.badLoads), true)
	}
	for d := range r.state.Deployments() {
		ready, trying := 0, false
		for rep := range r.state.ReplicasOf(d.Version) {
			if r.state.Routable(rep) {
				ready++
			}
			trying = trying || failing && rep.Status == cluster.Loading // again, just now
		}
		noted := slices.ContainsFunc(r.last.Notes, func(n Note) bool {
			return bytes.HasPrefix([]byte(n.Subject), []byte("replica "+d.Version.String()+"/"))
		})
		if ready != d.Wanted() && !noted && !trying {
			t.Fatalf("%s has %d ready replicas of %d and no note says why:\n%s", d.Version, ready, d.Wanted(), r.log.String())
		}
	}
	if failing {
		return // failed loads are tried again and again, with growing pauses
	}
	if out := r.step(r.reports()); len(out.Txns) > 0 || len(out.Refresh) > 0 {
		t.Fatalf("nothing changed, but the loop proposes %+v and refreshes %v\n%s", out.Txns, out.Refresh, r.log.String())
	}
}

func sortedValues(m map[gpu.DeviceID]bool) []bool {
	var list []bool
	for _, k := range sortedKeys(m) {
		list = append(list, m[k])
	}
	return list
}

func (r *rig) checkReplay(t *rapid.T) {
	rec := r.loop.Recording()
	if n := len(rec.Steps); n < 8 || n > 16 {
		t.Fatalf("%d steps are recorded, want 8 to 16", n)
	}
	var b bytes.Buffer
	if _, err := rec.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	read, err := ReadRecording(&b)
	if err != nil {
		t.Fatal(err)
	}
	plain, decoded := Replay(rec), Replay(read)
	if last := plain[len(plain)-1]; !same(last, r.last) {
		t.Fatalf("replayed %+v, decided %+v", last, r.last)
	}
	for i := range plain {
		if !same(plain[i], decoded[i]) {
			t.Fatalf("step %d: replayed %+v, after writing and reading %+v", i, plain[i], decoded[i])
		}
	}
}

func same(a, b Output) bool {
	if !a.NextWake.Equal(b.NextWake) || len(a.Txns) != len(b.Txns) || len(a.Notes) != len(b.Notes) {
		return false
	}
	a.NextWake, b.NextWake = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b) || fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

// TestReports: late and repeated reports, and those of a process that is gone, change nothing.
func TestReports(t *testing.T) {
	s := newSoft()
	for _, c := range []struct {
		session, seq uint64
		kept         bool
	}{{1, 1, true}, {1, 3, true}, {1, 2, false}, {1, 3, false}, {7, 1, true}, {1, 9, false}, {7, 2, true}} {
		s.hear(start, cluster.Report{Node: "n", Session: c.session, Seq: c.seq})
		if g := s.Nodes["n"].Report; (g.Session == c.session && g.Seq == c.seq) != c.kept && c.seq != 3 {
			t.Errorf("report %d of session %d: kept is %+v", c.seq, c.session, g)
		}
	}
}

// TestProposal: while a proposal is under way nothing else is proposed; a lost one is decided again.
func TestProposal(t *testing.T) {
	r := newRig(t)
	r.node("n1", host("d1", gpu.GiB))
	in := Input{State: r.state, Term: 1, Reports: r.reports()}
	first := r.loop.Step(r.now, in)
	if len(first.Txns) != 1 || first.Proposal != 1 {
		t.Fatalf("%+v", first)
	}
	in.Reports = nil
	if out := r.loop.Step(r.now.Add(time.Second), in); len(out.Txns) > 0 {
		t.Fatalf("proposed again: %+v", out.Txns)
	}
	in.Commits = []Commit{{Proposal: 1, Failed: "leadership lost"}}
	out := r.loop.Step(r.now.Add(2*time.Second), in)
	if len(out.Txns) > 0 || out.NextWake.IsZero() {
		t.Fatalf("a pause comes first: %+v", out)
	}
	in.Commits, in.Reports = nil, r.reports()
	if out := r.loop.Step(out.NextWake, in); len(out.Txns) != 1 || out.Proposal != 2 {
		t.Fatalf("after the pause: %+v", out)
	}
	if out := r.loop.Step(r.now.Add(time.Minute), Input{State: r.state}); !reflect.DeepEqual(out, Output{}) {
		t.Fatalf("who does not lead decides nothing: %+v", out)
	}
}

// TestPreview: what a wish would lead to, before it is wished.
func TestPreview(t *testing.T) {
	r := newRig(t)
	r.node("n1", host("d1", 100*gpu.MiB))
	r.node("n2", host("d2", 100*gpu.MiB))
	r.model("a", 4, 10*gpu.MiB)
	r.run(time.Second)
	d := cluster.Deployment{Version: cluster.VersionID{Model: "a", Number: 1}, Replicas: 1}
	d.Serving.Slots, d.Serving.Context = 1, 16
	d.Pins = []cluster.Pin{{Device: "d2"}}
	s := r.loop.Preview(r.now, r.state, d)
	if len(s.Placed) != 1 || s.Placed[0].Stages[0].Device != "d2" {
		t.Errorf("%+v", s)
	}
	d.Serving.Slots, d.Serving.Context = 4096, 64
	d.Avoid = []gpu.DeviceID{"d1"}
	d.Pins[0].Device = "d1"
	if s := r.loop.Preview(r.now, r.state, d); len(s.Refused) != 1 || s.Refused[0].Why != "stage 0 is pinned to device d1: the deployment avoids it" {
		t.Errorf("%+v", s)
	}
}

// BenchmarkStep: one report of a fleet of 500 nodes with 500 replicas.
func BenchmarkStep(b *testing.B) {
	r := newRig(b)
	for i := range 500 {
		r.node(cluster.NodeID(fmt.Sprintf("n%03d", i)), host(gpu.DeviceID(fmt.Sprintf("d%03d", i)), 100*gpu.MiB))
	}
	r.model("a", 2, 10*gpu.MiB)
	r.deploy("a", 500, nil)
	r.run(2 * time.Second)
	for b.Loop() {
		m := r.nodes["n000"]
		m.report.Seq++
		r.loop.Step(r.now, Input{State: r.state, Term: 1, Reports: []cluster.Report{m.report}})
	}
}

// TestRelease: memory of a stopping replica is free again only when each node says that it lets go, and knew by then that it should.
func TestRelease(t *testing.T) {
	r := newRig(t)
	r.node("n1", host("d1", gpu.GiB))
	r.model("a", 2, 10*gpu.MiB)
	r.deploy("a", 1, nil)
	r.run(2 * time.Second)
	r.deploy("a", 0, nil)
	r.step(nil) // stops it
	early := r.nodes["n1"].report
	early.Seq, early.Held = early.Seq+1, nil // as if made before the node was told
	r.step([]cluster.Report{early})
	if _, ok := r.state.Replica(cluster.ReplicaID{Version: cluster.VersionID{Model: "a", Number: 1}}); !ok {
		t.Fatal("removed on the word of a node that did not know yet")
	}
	r.nodes["n1"].report.Seq++
	r.run(time.Second)
	if _, ok := r.state.Replica(cluster.ReplicaID{Version: cluster.VersionID{Model: "a", Number: 1}}); ok {
		t.Fatal("not removed although the node let go")
	}
}
