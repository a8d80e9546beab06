package cluster

import (
	"fmt"
	"io"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// fleet is a state of n nodes with one device and one ready replica each.
func fleet(b *testing.B, n int) State {
	s := State{}
	apply := func(c ...Command) {
		var errs []error
		if s, errs = Apply(s, s.Index()+1, Envelope{V: 1, At: 1, Txns: []Txn{{Do: c}}}); errs[0] != nil {
			b.Fatal(errs[0])
		}
	}
	apply(Init{ID: "c"}, PutMember{Member{ID: "m1", Role: RoleCoordinator, Addr: "a:1"}, 0})
	v := VersionID{"m", 1}
	apply(PutVersion{Version: Version{VersionID: v, Manifest: blob.Digest{1}, Holders: []NodeID{"m1"}, Profile: shard.Profile{Positions: 64, Blocks: make([]gpu.Bytes, 32)}}})
	for i := range n {
		id := fmt.Sprintf("n%05d", i)
		apply(PutNode{Node{ID: NodeID(id), Addr: "a:1", Devices: gpu.Inventory{{ID: gpu.DeviceID("d" + id), Kind: gpu.Host, Memory: gpu.GiB}}}, 0})
		if i%MaxReplicas == 0 {
			v = VersionID{fmt.Sprintf("m%d", i), 1}
			apply(PutVersion{Version: Version{VersionID: v, Manifest: blob.Digest{1}, Holders: []NodeID{"m1"}, Profile: shard.Profile{Positions: 64, Blocks: make([]gpu.Bytes, 32)}}},
				PutDeployment{Deployment{Version: v, Replicas: 1, Serving: shard.Serving{Slots: 1, Context: 64}}, 0})
		}
		apply(placement(ReplicaID{v, i % MaxReplicas}, 1, NodeID(id)))
	}
	return s
}

func placement(id ReplicaID, epoch Epoch, node NodeID) PlaceReplica {
	return PlaceReplica{Replica{ReplicaID: id, Epoch: epoch, Status: Loading, Serving: shard.Serving{Slots: 1, Context: 64},
		Stages: []StagePlace{{Span: shard.Span{To: 32}, Node: node, Device: gpu.DeviceID("d" + string(node)), Reserve: gpu.MiB}}}, epoch - 1}
}

// BenchmarkApply places replicas of one stage in a fleet of 10,000 nodes, one command per entry, from the encoded entry.
func BenchmarkApply(b *testing.B) {
	start := fleet(b, 10_000)
	id := ReplicaID{VersionID{"m0", 1}, 0}
	var entries [64][]byte
	for i := range entries {
		var err error
		if entries[i], err = Encode(Envelope{V: 1, At: 1, Txns: []Txn{{Do: []Command{placement(id, Epoch(i+2), "n00000")}}}}); err != nil {
			b.Fatal(err)
		}
	}
	s := start
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(entries) == 0 {
			s = start
		}
		e, err := Decode(entries[i%len(entries)])
		if err != nil {
			b.Fatal(err)
		}
		var errs []error
		if s, errs = Apply(s, s.Index()+1, e); errs[0] != nil {
			b.Fatal(errs[0])
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

// BenchmarkCapture is what a snapshot costs the one who applies: copying the state.
func BenchmarkCapture(b *testing.B) {
	s := fleet(b, 10_000)
	var kept State
	for b.Loop() {
		kept = s
	}
	if kept.Index() != s.Index() {
		b.Fatal("not kept")
	}
}

// BenchmarkWriteTo writes the snapshot of 10,000 nodes with a replica each.
func BenchmarkWriteTo(b *testing.B) {
	s := fleet(b, 10_000)
	for b.Loop() {
		n, err := s.WriteTo(io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

// BenchmarkDesired is what a report of one node costs its leader.
func BenchmarkDesired(b *testing.B) {
	s := fleet(b, 10_000)
	for b.Loop() {
		if len(s.Desired("n05000", nil).Assignments) != 1 {
			b.Fatal("no assignment")
		}
	}
}
