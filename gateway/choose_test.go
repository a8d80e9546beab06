package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/shard"
)

// halved is a table in which a fifth of the requests for m go to its second version.
func halved(t *testing.T) *router.Table {
	t.Helper()
	s := cluster.State{}
	do := func(list ...cluster.Command) {
		t.Helper()
		for _, c := range list {
			next, errs := cluster.Apply(s, s.Index()+1, cluster.Envelope{V: cluster.EnvelopeFormat, Txns: []cluster.Txn{{Do: []cluster.Command{c}}}})
			if errs[0] != nil {
				t.Fatalf("%+v: %v", c, errs[0])
			}
			s = next
		}
	}
	do(cluster.Init{ID: "c", Feature: 2},
		cluster.PutMember{Member: cluster.Member{ID: "c1", Role: cluster.RoleCoordinator, Addr: "c1:1"}},
		cluster.PutNode{Node: cluster.Node{ID: "n", Addr: "n:1", Devices: gpu.Inventory{{ID: "d", Kind: gpu.Host, Memory: gpu.TiB}}}})
	for n := 1; n <= 2; n++ {
		v := cluster.VersionID{Model: "m", Number: n}
		serving := shard.Serving{Slots: 1, Context: 1}
		do(cluster.PutVersion{Version: cluster.Version{VersionID: v, Manifest: blob.Digest{byte(n)}, Holders: []cluster.NodeID{"c1"}, Profile: shard.Profile{Positions: 10, Blocks: []gpu.Bytes{1}}}},
			cluster.PutDeployment{Deployment: cluster.Deployment{Version: v, Replicas: 1, Serving: serving}},
			cluster.PlaceReplica{Replica: cluster.Replica{ReplicaID: cluster.ReplicaID{Version: v}, Epoch: 1, Status: cluster.Loading, Serving: serving,
				Stages: []cluster.StagePlace{{Span: shard.Span{To: 1}, Node: "n", Device: "d"}}}},
			cluster.MarkReplica{ID: cluster.ReplicaID{Version: v}, Epoch: 1, Status: cluster.Ready, Endpoints: []string{"n:2"}})
	}
	a, _ := s.Alias("m")
	do(cluster.SetRollout{Name: "m", Was: a.Rev, Rollout: &cluster.Rollout{Canary: &cluster.Canary{Version: cluster.VersionID{Model: "m", Number: 2}, Percent: 20}}})
	return router.TableOf(s)
}

// TestConversationsStay: whatever is said in a conversation, one version answers all of it, and of many conversations a fifth go to the canary.
func TestConversationsStay(t *testing.T) {
	table, who := halved(t), cluster.Principal{Tenant: "acme", Key: "sk-1"}
	at := func(who cluster.Principal, talk string) int {
		v, _, ok := table.Choose("m", who.Tenant, draw(who, talk))
		if !ok {
			t.Fatal("m is unknown")
		}
		return v.Number
	}
	const talks = 2000
	canaries, moved := 0, 0
	for i := range talks {
		messages := []Message{{"system", "You help."}, {"user", fmt.Sprintf("question %d", i)}}
		first := at(who, opening(messages))
		for turn := range 5 {
			messages = append(messages, Message{"assistant", "yes"}, Message{"user", fmt.Sprint("and ", turn)})
			if got := at(who, opening(messages)); got != first {
				t.Fatalf("conversation %d hops from version %d to %d", i, first, got)
			}
		}
		if first == 2 {
			canaries++
		}
		if at(cluster.Principal{Tenant: "acme", Key: "sk-2"}, opening(messages)) != first {
			moved++
		}
	}
	if canaries < talks/5-100 || canaries > talks/5+100 {
		t.Errorf("%d of %d conversations go to the canary, want a fifth", canaries, talks)
	}
	if want := talks * 32 / 100; moved < want-120 || moved > want+120 { // 2 · 0.2 · 0.8: other keys draw anew
		t.Errorf("with another key %d of %d conversations are elsewhere, want about %d", moved, talks, want)
	}
	alone := 0
	for range talks {
		if at(who, "") == 2 {
			alone++
		}
	}
	if alone < talks/5-100 || alone > talks/5+100 {
		t.Errorf("%d of %d requests that belong to no conversation go to the canary, want a fifth", alone, talks)
	}
}

func TestOpening(t *testing.T) {
	system, user := Message{"system", "s"}, Message{"user", "u"}
	if opening([]Message{system, user}) == opening([]Message{system, {"user", "v"}}) {
		t.Error("two questions open the same conversation")
	}
	if opening([]Message{{"system", "a"}, {"user", "b"}}) == opening([]Message{{"system", "ab"}, {"user", ""}}) {
		t.Error("the border between turns is not seen")
	}
	if opening(nil) != "" {
		t.Error("no messages are a conversation")
	}
	if n := len(opening([]Message{{"user", strings.Repeat("x", 1<<20)}})); n != maxTalk {
		t.Errorf("an opening of %d bytes", n)
	}
	if n := len(sessionOf(http.Header{sessionHeader: {strings.Repeat("x", 1<<20)}})); n != maxTalk {
		t.Errorf("a session of %d bytes", n)
	}
	who := cluster.Principal{Tenant: "a", Key: "bc"}
	first := draw(who, "t")
	if again := draw(who, "t"); again != first || first == draw(cluster.Principal{Tenant: "ab", Key: "c"}, "t") {
		t.Error("a draw is not that of its principal and conversation")
	}
}

func TestCosine(t *testing.T) {
	for _, c := range []struct {
		a, b []float32
		want float64
	}{
		{[]float32{1, 0}, []float32{2, 0}, 1}, {[]float32{1, 0}, []float32{0, 3}, 0}, {[]float32{1, 1}, []float32{-1, -1}, -1},
		{[]float32{1}, []float32{1, 0}, 0}, {[]float32{0}, []float32{0}, 0}, {nil, nil, 0},
	} {
		if got := cosine(c.a, c.b); got < c.want-1e-6 || got > c.want+1e-6 {
			t.Errorf("cosine of %v and %v is %g, want %g", c.a, c.b, got, c.want)
		}
	}
}
