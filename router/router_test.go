package router

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

var fleetProfile = shard.Profile{Positions: 10, Blocks: []gpu.Bytes{1, 1}}

// fleet applies commands to a new cluster of three nodes with one version "m@1" deployed.
func fleet(t testing.TB, replicas int, more ...cluster.Command) cluster.State {
	t.Helper()
	do := []cluster.Command{
		cluster.Init{ID: "c"},
		cluster.PutMember{Member: cluster.Member{ID: "c1", Role: cluster.RoleCoordinator, Addr: "c1:1"}},
	}
	for _, n := range []cluster.NodeID{"n0", "n1", "n2"} {
		do = append(do, cluster.PutNode{Node: cluster.Node{ID: n, Addr: string(n) + ":1", Devices: gpu.Inventory{{ID: gpu.DeviceID("d" + n), Kind: gpu.Host, Memory: gpu.TiB}}}})
	}
	v := cluster.VersionID{Model: "m", Number: 1}
	do = append(do,
		cluster.PutVersion{Version: cluster.Version{VersionID: v, Manifest: blob.Digest{1}, Holders: []cluster.NodeID{"c1"},
			Profile: fleetProfile}},
		cluster.PutDeployment{Deployment: cluster.Deployment{Version: v, Replicas: replicas, Serving: shard.Serving{Slots: 1, Context: 1}}})
	for i := range replicas {
		do = append(do, place(i, 1), ready(i, 1))
	}
	return apply(t, cluster.State{}, append(do, more...)...)
}

func apply(t testing.TB, s cluster.State, do ...cluster.Command) cluster.State {
	t.Helper()
	e := cluster.Envelope{V: 1}
	for _, c := range do {
		e.Txns = append(e.Txns, cluster.Txn{Do: []cluster.Command{c}})
	}
	s, errs := cluster.Apply(s, s.Index()+1, e)
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%+v: %v", do[i], err)
		}
	}
	return s
}

func id(ordinal int) cluster.ReplicaID {
	return cluster.ReplicaID{Version: cluster.VersionID{Model: "m", Number: 1}, Ordinal: ordinal}
}

func place(ordinal int, epoch cluster.Epoch) cluster.Command {
	n := cluster.NodeID(fmt.Sprintf("n%d", ordinal%3))
	return cluster.PlaceReplica{Was: epoch - 1, Replica: cluster.Replica{ReplicaID: id(ordinal), Epoch: epoch, Status: cluster.Loading, Serving: shard.Serving{Slots: 1, Context: 1},
		Stages: []cluster.StagePlace{{Span: shard.Span{From: 0, To: 2}, Node: n, Device: gpu.DeviceID("d" + n)}}}}
}

func ready(ordinal int, epoch cluster.Epoch) cluster.Command {
	return cluster.MarkReplica{ID: id(ordinal), Epoch: epoch, Status: cluster.Ready, Endpoints: []string{fmt.Sprintf("w%d.%d:1", ordinal, epoch)}}
}

func TestPick(t *testing.T) {
	s := fleet(t, 3)
	table := TableOf(s)
	if got := table.Names(); !slices.Equal(got, []string{"m", "m@1"}) {
		t.Errorf("names %v", got)
	}
	load := func(p Placed) int { return []int{5, 1, 9}[p.Replica.Ordinal] }
	for draw := range uint64(100) {
		r, err := Pick(table, "m", load, nil, draw)
		if err != nil || r.Replica.Ordinal == 2 {
			t.Fatalf("draw %d: %+v %v: of two replicas never the one with most load", draw, r, err)
		}
	}
	r, err := Pick(table, "m@1", load, []Placed{{id(0), 1}, {id(1), 1}}, 7)
	if err != nil || r.Replica != id(2) || r.Head() != "w2.1:1" {
		t.Errorf("%+v %v", r, err)
	}
	for draw := range uint64(4) {
		if r, err := Pick(table, "m", load, []Placed{{id(1), 1}, {id(1), 1}}, draw); err != nil || r.Replica != id(0) {
			t.Errorf("two are left, the first has less load: %+v %v", r, err)
		}
	}
	if _, err := Pick(table, "m", nil, []Placed{{id(0), 9}}, 0); err != nil {
		t.Errorf("another epoch is another placement: %v", err)
	}
	var unready *Unready
	if _, err := Pick(table, "m", load, []Placed{{id(0), 1}, {id(1), 1}, {id(2), 1}}, 7); !errors.Is(err, ErrNoReplica) || !errors.As(err, &unready) || unready.Excluded != 3 {
		t.Errorf("%v", err)
	}
	if _, err := Pick(table, "x", load, nil, 0); !errors.Is(err, ErrUnknownModel) {
		t.Errorf("%v", err)
	}
}

// TestRoutes: loading and stopping replicas and those with a lost node have no route; draining ones keep theirs.
func TestRoutes(t *testing.T) {
	s := fleet(t, 3)
	status := func(n cluster.NodeID, st cluster.NodeStatus) cluster.Command {
		node, _ := s.Node(n)
		return cluster.SetNodeStatus{ID: n, Status: st, Was: node.Rev}
	}
	s = apply(t, s, status("n0", cluster.NodeLost), status("n1", cluster.NodeDraining), cluster.MarkReplica{ID: id(2), Epoch: 1, Status: cluster.Stopping})
	v := cluster.VersionID{Model: "m", Number: 1}
	if got := TableOf(s).Routes(v); len(got) != 1 || got[0].Replica != id(1) {
		t.Errorf("%+v", got)
	}
	s = apply(t, s, cluster.MarkReplica{ID: id(1), Epoch: 1, Status: cluster.Loading})
	_, err := Pick(TableOf(s), "m", nil, nil, 0)
	var unready *Unready
	if !errors.As(err, &unready) || unready.Loading != 1 || unready.Lost != 1 || !unready.Deployed {
		t.Errorf("%+v %v", unready, err)
	}
}

// TestPickEven: over many draws every replica is first choice equally often.
func TestPickEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "replicas")
		d := destination{}
		for i := range n {
			d.routes = append(d.routes, Route{Replica: id(i), Epoch: 1, Endpoints: []string{"w:1"}})
		}
		v := cluster.VersionID{Model: "m", Number: 1}
		table := &Table{targets: map[string]choice{"m": {target: v}}, versions: map[cluster.VersionID]destination{v: d}}
		busy := rapid.IntRange(0, n-1).Draw(t, "busy")
		seen := make([]int, n)
		for draw := range uint64(n * max(1, n-1)) {
			r, err := Pick(table, "m", func(p Placed) int { return min(1, max(0, 1-(p.Replica.Ordinal-busy)*(p.Replica.Ordinal-busy))) }, nil, draw)
			if err != nil {
				t.Fatal(err)
			}
			seen[r.Replica.Ordinal]++
		}
		for i, times := range seen {
			want := n // each is in a pair 2(n-1) times, first in half of them; the busy one always loses
			if n > 1 && i == busy {
				want = 0
			} else if n == 1 {
				want = 1
			}
			if times != want {
				t.Fatalf("replica %d of %d was picked %d times, want %d (busy %d): %v", i, n, times, want, busy, seen)
			}
		}
	})
}

// BenchmarkPick: goal ≤ 1 µs per pick.
func BenchmarkPick(b *testing.B) {
	table := TableOf(fleet(b, 64))
	load := func(p Placed) int { return p.Replica.Ordinal }
	excluded := []Placed{{id(3), 1}}
	for _, c := range []struct {
		name     string
		excluded []Placed
	}{{"plain", nil}, {"excluded", excluded}} {
		b.Run(c.name, func(b *testing.B) {
			draw := uint64(0)
			for b.Loop() {
				draw += 0x9E3779B97F4A7C15
				if _, err := Pick(table, "m", load, c.excluded, draw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
