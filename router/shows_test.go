package router

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
)

// A table that is kept for as long as it shows the state is the table of that state, whatever is applied; and what gateways settle and
// administrators write about tenants and keys is no reason for another one.
func TestShows(t *testing.T) {
	start := fleet(t, 3, cluster.SetFeature{Was: 1, Feature: 2},
		cluster.PutMember{Member: cluster.Member{ID: "g1", Role: cluster.RoleGateway, Addr: "g1:1"}},
		cluster.PutLimits{Set: cluster.LimitSet{Subject: cluster.TotalSubject, Limits: []cluster.Limited{{Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: 1000}}}}})
	rapid.Check(t, func(t *rapid.T) {
		s := start
		kept := TableOf(s)
		for seq := range rapid.Uint64Range(1, 30).Draw(t, "entries") {
			c, elsewhere := change(t, s, seq+1)
			next, _ := cluster.Apply(s, s.Index()+1, cluster.Envelope{V: cluster.EnvelopeFormat, At: cluster.Millis(seq), Txns: []cluster.Txn{{Do: []cluster.Command{c}}}})
			s = next
			if elsewhere && !kept.Shows(s) {
				t.Fatalf("%+v changes routes", c)
			}
			if !kept.Shows(s) {
				kept = TableOf(s)
			}
			if want := TableOf(s); !reflect.DeepEqual(kept.targets, want.targets) || !reflect.DeepEqual(kept.versions, want.versions) {
				t.Fatalf("after %+v the table is %+v, want %+v", c, kept, want)
			}
		}
	})
}

// change draws a command that may be applied or not. elsewhere says that it has nothing to do with routes.
func change(t *rapid.T, s cluster.State, seq uint64) (c cluster.Command, elsewhere bool) {
	ordinal := rapid.IntRange(0, 2).Draw(t, "ordinal")
	r, _ := s.Replica(id(ordinal))
	n, _ := s.Node(cluster.NodeID("n" + string(rune('0'+ordinal))))
	a, _ := s.Alias("m")
	d, _ := s.Deployment(a.Target)
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	case 0:
		return cluster.SetNodeStatus{ID: n.ID, Status: rapid.SampledFrom([]cluster.NodeStatus{cluster.NodeReady, cluster.NodeLost, cluster.NodeDraining}).Draw(t, "status"), Was: n.Rev}, false
	case 1:
		return cluster.MarkReplica{ID: r.ReplicaID, Epoch: r.Epoch, Status: rapid.SampledFrom([]cluster.ReplicaStatus{cluster.Ready, cluster.Loading, cluster.Stopping}).Draw(t, "status"), Endpoints: []string{"w:1"}}, false
	case 2:
		return place(ordinal, r.Epoch+1), false
	case 3:
		return cluster.PutVersion{Version: cluster.Version{VersionID: cluster.VersionID{Model: "m", Number: s.NextNumber("m")}, Manifest: [32]byte{1}, Holders: []cluster.NodeID{"c1"}, Profile: fleetProfile}}, false
	case 4:
		return cluster.PutAlias{Name: "m", Target: cluster.VersionID{Model: "m", Number: rapid.IntRange(1, 3).Draw(t, "number")}, Was: a.Rev, Force: true}, false
	case 5:
		return cluster.DeleteDeployment{Version: d.Version, Was: d.Rev}, false
	case 6:
		return cluster.PutKey{Key: cluster.Key{ID: "k" + string(rune('a'+seq)), Hash: "h" + string(rune('a'+seq))}}, true
	case 7:
		return cluster.PutTenant{Tenant: cluster.Tenant{ID: "t" + string(rune('a'+seq)), Weight: 1, Models: []string{"*"}}}, true
	}
	return cluster.Settle{Gateway: "g1", Session: 1, Seq: seq,
		Usage: []cluster.Used{{Tenant: "default", Version: a.Target, Amounts: cluster.Amounts{Calls: 1}}},
		Asks:  []quota.Ask{{ID: quota.ID{Subject: cluster.TotalSubject, Meter: quota.Tokens, Window: quota.Day}, Want: 1 + int64(seq)}}}, true
}
