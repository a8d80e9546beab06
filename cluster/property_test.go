package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/table"
	"github.com/skein-project/skein/shard"
)

// draw makes random commands about few ids, most of them sensible in the state they are made for. Its numbers come from a generator
// that rapid seeds: rapid's own numbers favour the small ones, and hardly a placement would succeed.
type draw struct {
	rand *rand.Rand
	s    State
}

func newDraw(t *rapid.T) draw {
	return draw{rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
}

func (d draw) n(lo, hi int) int        { return lo + d.rand.IntN(hi-lo+1) }
func (d draw) seldom() bool            { return d.n(0, 11) == 0 }
func (d draw) node() NodeID            { return NodeID(fmt.Sprintf("n%d", d.n(1, 3))) }
func (d draw) member() NodeID          { return NodeID(fmt.Sprintf("m%d", d.n(1, 3))) }
func (d draw) version() VersionID      { return VersionID{fmt.Sprintf("model%d", d.n(1, 2)), d.n(1, 3)} }
func (d draw) device() gpu.DeviceID    { return gpu.DeviceID(fmt.Sprintf("gpu%d", d.n(1, 4))) }
func (d draw) holders() (ids []NodeID) { return []NodeID{"m1", "m2", "m3"}[d.n(0, 1):d.n(2, 3)] }

func (d draw) was(now Index) Index {
	if d.seldom() {
		now++
	}
	return now
}

func (d draw) epoch(now Epoch) Epoch { return Epoch(d.was(Index(now))) }

// pick draws from a table, or nothing if it is empty.
func pick[V any](d draw, all iter.Seq[V]) (v V) {
	if list := slices.Collect(all); len(list) > 0 {
		v = list[d.n(0, len(list)-1)]
	}
	return v
}

func (d draw) command() Command {
	if d.s.Cluster().Feature >= 2 && d.n(0, 2) == 0 {
		return d.platform()
	}
	switch d.n(0, 32) {
	case 0, 1, 2:
		return d.putNode(d.node())
	case 3, 4:
		n, _ := d.s.Node(d.node())
		return SetNodeStatus{n.ID, []NodeStatus{NodeReady, NodeReady, NodeDraining, NodeLost}[d.n(0, 3)], "", d.was(n.Rev)}
	case 5:
		n, _ := d.s.Node(d.node())
		return DeleteNode{n.ID, d.was(n.Rev)}
	case 6:
		m, _ := d.s.Member(d.member())
		return DeleteMember{m.ID, d.was(m.Rev)}
	case 7:
		return d.putMember(d.member())
	case 8, 9:
		v := d.version()
		return d.putVersion(VersionID{v.Model, int(d.was(Index(d.s.NextNumber(v.Model))))})
	case 10, 11:
		v := pick(d, d.s.Versions())
		return DeleteVersion{v.VersionID, d.was(v.Rev)}
	case 12:
		v := pick(d, d.s.Versions())
		return SetHolders{v.VersionID, d.holders(), d.was(v.Rev)}
	case 13, 14:
		a, _ := d.s.Alias(d.version().Model)
		return PutAlias{d.version().Model, pick(d, d.s.Versions()).VersionID, d.n(0, 1) == 0, d.was(a.Rev), d.n(0, 1) == 0}
	case 15:
		a := pick(d, d.s.Aliases())
		return RollbackAlias{a.Name, d.n(0, 1) == 0, d.was(a.Rev)}
	case 16, 17:
		return d.putDeployment(pick(d, d.s.Versions()).VersionID)
	case 18:
		dep := pick(d, d.s.Deployments())
		return DeleteDeployment{dep.Version, d.was(dep.Rev)}
	case 19, 20, 21, 22, 23:
		return d.placeReplica(ReplicaID{pick(d, d.s.Deployments()).Version, d.n(0, 2)})
	case 24, 25, 26, 27:
		r := pick(d, d.s.Replicas())
		m := MarkReplica{ID: r.ReplicaID, Epoch: d.epoch(r.Epoch), Status: []ReplicaStatus{Loading, Ready, Ready, Stopping}[d.n(0, 3)]}
		for range r.Stages {
			m.Endpoints = append(m.Endpoints, fmt.Sprintf("w:%d", d.n(1, 9)))
		}
		return m
	case 28:
		r := pick(d, d.s.Replicas())
		return RemoveReplica{r.ReplicaID, d.epoch(r.Epoch)}
	case 29:
		if !d.seldom() {
			break
		}
		return Refound{From: d.s.Cluster().ID, ID: fmt.Sprintf("c%d", d.n(1, 9)), Member: Member{ID: d.member(), Role: RoleCoordinator, Addr: "m:7000"},
			Key: Key{ID: "k9", Hash: "hash9", Admin: true}, Suspend: d.n(0, 1) == 0, Held: []VersionID{pick(d, d.s.Versions()).VersionID}}
	}
	return d.secret()
}

func (d draw) secret() Command {
	id := fmt.Sprintf("k%d", d.n(1, 3))
	switch d.n(0, 2) {
	case 0:
		k, _ := d.s.Key(id)
		return PutKey{Key{ID: id, Hash: "hash" + id, Revoked: d.seldom()}, d.was(k.Rev)}
	case 1:
		return PutJoinToken{JoinToken{Hash: id, Role: RoleNode, Expires: d.s.At() + Millis(d.n(-10, 100))}}
	}
	return UseJoinToken{id, RoleNode, d.node()}
}

func (d draw) putMember(id NodeID) Command {
	old, _ := d.s.Member(id)
	return PutMember{Member{ID: id, Role: []Role{RoleCoordinator, RoleCoordinator, RoleGateway}[d.n(0, 2)], Addr: "a:1"}, d.was(old.Rev)}
}

// putNode reports a node with the device of its own number, mostly, and sometimes another one.
func (d draw) putNode(id NodeID) Command {
	old, _ := d.s.Node(id)
	n := Node{ID: id, Addr: "a:1"}
	if !d.seldom() {
		n.Devices = append(n.Devices, gpu.Device{ID: gpu.DeviceID("gpu" + id[1:]), Kind: gpu.Host, Memory: gpu.Bytes(d.n(40, 100))})
	}
	if d.n(0, 3) == 0 {
		n.Devices = append(n.Devices, gpu.Device{ID: d.device(), Kind: gpu.Host, Memory: gpu.Bytes(d.n(0, 100))})
	}
	return PutNode{n, d.was(old.Rev)}
}

func (d draw) putVersion(v VersionID) Command {
	return PutVersion{Version: Version{VersionID: v, Manifest: blob.Digest(sha256.Sum256([]byte(fmt.Sprint(v, d.s.Index())))), Tasks: []string{"generate"},
		Profile: shard.Profile{Positions: 10, Blocks: make([]gpu.Bytes, d.n(1, 3))}, Holders: d.holders()}}
}

func (d draw) putDeployment(v VersionID) Command {
	old, _ := d.s.Deployment(v)
	dep := Deployment{Version: v, Replicas: d.n(0, 3), Serving: shard.Serving{Slots: 1, Context: d.n(5, 10)}}
	if d.seldom() {
		dep.Pins = []Pin{{d.n(0, 2), 0, d.device()}}
	}
	if d.seldom() {
		dep.Avoid = []gpu.DeviceID{d.device()}
	}
	return PutDeployment{dep, d.was(old.Rev)}
}

func (d draw) placeReplica(id ReplicaID) Command {
	old, _ := d.s.Replica(id)
	v, _ := d.s.Version(id.Version)
	r := Replica{ReplicaID: id, Epoch: d.epoch(d.s.LastEpoch(id) + 1), Status: Loading, Serving: shard.Serving{Slots: 1, Context: 5}}
	for at := 0; at < len(v.Profile.Blocks); {
		to := at + d.n(1, len(v.Profile.Blocks)-at)
		device := d.device()
		owner, _ := d.s.Owner(device)
		r.Stages = append(r.Stages, StagePlace{Span: shard.Span{From: at, To: to}, Node: owner, Device: device, Reserve: gpu.Bytes(d.n(0, 60))})
		at = to
	}
	if d.seldom() {
		r.Epoch--
	}
	return PlaceReplica{r, d.epoch(old.Epoch)}
}

func (d draw) envelope() Envelope {
	e := Envelope{V: EnvelopeFormat, At: Millis(d.n(0, 1000))}
	for range d.n(1, 3) {
		var txn Txn
		for range 1 + d.n(0, 3)/3 {
			txn.Do = append(txn.Do, d.command())
		}
		e.Txns = append(e.Txns, txn)
	}
	return e
}

// founded is a state with members, nodes, versions and deployments, so that random commands have something to work on.
func founded(t *rapid.T) (State, []Envelope) {
	e := Envelope{V: EnvelopeFormat, Txns: []Txn{{Do: []Command{Init{ID: "c", Feature: rapid.IntRange(0, 3).Draw(t, "feature")}}}}}
	for _, id := range []NodeID{"m1", "m2", "m3"} {
		e.Txns = append(e.Txns, Txn{Do: []Command{PutMember{Member{ID: id, Role: RoleCoordinator, Addr: "a:1"}, 0}}})
	}
	for _, n := range []string{"1", "2", "3"} {
		e.Txns = append(e.Txns, Txn{Do: []Command{PutNode{Node{ID: NodeID("n" + n), Addr: "a:1", Devices: gpu.Inventory{{ID: gpu.DeviceID("gpu" + n), Kind: gpu.Host, Memory: 100}}}, 0}}})
	}
	for i, m := range []string{"model1", "model2"} {
		v := Version{VersionID: VersionID{m, 1}, Manifest: blob.Digest{byte(i + 1)}, Profile: shard.Profile{Positions: 10, Blocks: make([]gpu.Bytes, i+2)}, Holders: []NodeID{"m1", "m2"}}
		e.Txns = append(e.Txns, Txn{Do: []Command{PutVersion{Version: v}, PutDeployment{Deployment{Version: v.VersionID, Replicas: 2, Serving: shard.Serving{Slots: 1, Context: 5}}, 0}}})
	}
	s, errs := Apply(State{}, 1, e)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, []Envelope{e}
}

// draws is the makers of 20 to 40 entries: fewer seldom get as far as a ready replica.
func draws(t *rapid.T) []draw { return rapid.SliceOfN(rapid.Custom(newDraw), 20, 40).Draw(t, "draws") }

func dump(t *rapid.T, s State) string {
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// body is the snapshot without what every entry changes: index, time and the checksum over them.
func body(t *rapid.T, s State) string {
	s.index, s.at, s.audit = 0, 0, audit.Head{} // what is rejected is recorded too
	return dump(t, s)
}

// The log is the truth: replayed through the codec, entry by entry or from a snapshot in the middle, it gives the same bytes.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, log := founded(t)
		snapshot := s
		for i, d := range draws(t) {
			d.s = s
			e := d.envelope()
			log = append(log, e)
			if s, _ = Apply(s, Index(len(log)), e); i == 10 {
				snapshot = s
			}
		}
		replayed := State{}
		restored, err := Read(bytes.NewReader([]byte(dump(t, snapshot))))
		if err != nil {
			t.Fatal(err)
		}
		checkDerived(t, restored)
		for i, e := range log {
			b, err := Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			if e, err = Decode(b); err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			replayed, _ = Apply(replayed, Index(i+1), e)
			restored, _ = Apply(restored, Index(i+1), e) // refuses those that it has
		}
		want := dump(t, s)
		for name, got := range map[string]State{"replayed": replayed, "restored": restored} {
			if dump(t, got) != want || got.Hash() != s.Hash() {
				t.Fatalf("%s:\n%s\nwant:\n%s", name, dump(t, got), want)
			}
		}
	})
}

// What must hold after every entry.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := founded(t)
		last, numbers := map[ReplicaID]Epoch{}, map[VersionID]blob.Digest{}
		for i, d := range draws(t) {
			d.s = s
			e, before, bytes := d.envelope(), s, dump(t, s)
			after, errs := Apply(s, Index(i+2), e)
			if dump(t, before) != bytes {
				t.Fatal("an old state changed")
			}
			checkRejections(t, before, e, errs)
			checkDerived(t, after)
			checkMemory(t, before, after)
			checkReferences(t, after)
			checkPlatform(t, before, after)
			for r := range after.Replicas() {
				if old, ok := before.Replica(r.ReplicaID); ok && old.Epoch == r.Epoch {
					continue
				}
				if r.Epoch <= last[r.ReplicaID] {
					t.Fatalf("replica %v: epoch %d came after %d", r.ReplicaID, r.Epoch, last[r.ReplicaID])
				}
				last[r.ReplicaID] = r.Epoch
			}
			for v := range after.Versions() {
				if d, ok := numbers[v.VersionID]; ok && d != v.Manifest {
					t.Fatalf("version %v changed", v.VersionID)
				}
				numbers[v.VersionID] = v.Manifest
			}
			s = after
		}
	})
}

// checkRejections: every error is a *Rejected, and an entry all of whose transactions are rejected changes nothing.
func checkRejections(t *rapid.T, before State, e Envelope, errs []error) {
	s := before
	for i, txn := range e.Txns {
		next, one := Apply(s, before.index+Index(i)+1, Envelope{V: e.V, At: e.At, Txns: []Txn{txn}})
		if one[0] == nil {
			s = next
			continue
		}
		if r := (*Rejected)(nil); !errors.As(one[0], &r) || r.Reason == "" || r.Subject == "" || r.Why == "" {
			t.Fatalf("%+v: %v", txn, one[0])
		}
		if body(t, next) != body(t, s) || !reflect.DeepEqual(next.derived, s.derived) {
			t.Fatalf("%+v was rejected (%v) and changed the state", txn, one[0])
		}
	}
	if len(errs) != len(e.Txns) {
		t.Fatalf("%d answers to %d transactions", len(errs), len(e.Txns))
	}
}

// checkDerived: what was kept up step by step equals what is computed from nothing.
func checkDerived(t *rapid.T, s State) {
	fresh := s.derive()
	same(t, "ledger", maps.Collect(s.ledger.All()), maps.Collect(fresh.ledger.All()))
	same(t, "owners", entries(s.owners), entries(fresh.owners))
	same(t, "seats", entries(s.seats), entries(fresh.seats))
	same(t, "hashes", entries(s.hashes), entries(fresh.hashes))
	for k := range documentKinds {
		same(t, "documents of "+string(k), s.documentsOf(k), fresh.documentsOf(k))
	}
	restored, err := Read(bytes.NewReader([]byte(dump(t, s))))
	if err != nil || dump(t, restored) != dump(t, s) {
		t.Fatalf("snapshot does not come back: %v", err)
	}
}

type pair[K, V any] struct {
	k K
	v V
}

func entries[K table.Key[K], V any](of table.Table[K, V]) (list []pair[K, V]) {
	for k, v := range of.All() {
		list = append(list, pair[K, V]{k, v})
	}
	return list
}

func same(t *rapid.T, what string, got, want any) {
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is %v, and should be %v", what, got, want)
	}
}

// checkMemory: no entry takes memory that a device does not have. A device may be over its capacity only because it shrank or
// vanished, and then nothing is added to it.
func checkMemory(t *rapid.T, before, after State) {
	for d, a := range after.Ledger().All() {
		sum := gpu.Bytes(0)
		for r := range after.Replicas() {
			for _, at := range r.Stages {
				if at.Device == d {
					sum += at.Reserve
				}
			}
		}
		was := before.Ledger().Account(d)
		shrank := !a.Known || a.Capacity < was.Capacity || was.Free() < 0
		if a.Reserved != sum || a.Free() < 0 && !shrank {
			t.Fatalf("device %s: capacity %d, reserved %d, sum of its stages %d, before %+v", d, a.Capacity, a.Reserved, sum, was)
		}
	}
}

// checkReferences: what a record names exists, and devices have one owner.
func checkReferences(t *rapid.T, s State) {
	for r := range s.Replicas() {
		if _, ok := s.Version(r.Version); !ok {
			t.Fatalf("replica %v has no version", r.ReplicaID)
		}
		for i, at := range r.Stages {
			if _, ok := s.Node(at.Node); !ok {
				t.Fatalf("replica %v stage %d is on no node", r.ReplicaID, i)
			}
			told := slices.ContainsFunc(s.Desired(at.Node, nil).Assignments, func(a Assignment) bool {
				return a.Replica == r.ReplicaID && a.Stage == i && a.Epoch == r.Epoch
			})
			if !told {
				t.Fatalf("node %s is not told about replica %v stage %d", at.Node, r.ReplicaID, i)
			}
		}
	}
	for a := range s.Aliases() {
		for _, v := range append([]VersionID{a.Target}, a.History...) {
			if _, ok := s.Version(v); !ok {
				t.Fatalf("alias %s names %v, which does not exist", a.Name, v)
			}
		}
	}
	for d := range s.Deployments() {
		if _, ok := s.Version(d.Version); !ok {
			t.Fatalf("deployment %v has no version", d.Version)
		}
	}
	owners := map[gpu.DeviceID]NodeID{}
	for n := range s.Nodes() {
		for _, d := range n.Devices {
			if other, ok := owners[d.ID]; ok {
				t.Fatalf("device %s belongs to %s and %s", d.ID, other, n.ID)
			}
			owners[d.ID] = n.ID
		}
	}
}
