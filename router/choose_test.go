package router

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/shard"
)

// tried is a fleet of m@1 with a second version m@2, ready or not, that an alias tries out.
func tried(t testing.TB, answers bool, r cluster.Rollout) *Table {
	t.Helper()
	v := cluster.VersionID{Model: "m", Number: 2}
	s := fleet(t, 2,
		cluster.SetFeature{Was: 1, Feature: 2},
		cluster.PutVersion{Version: cluster.Version{VersionID: v, Manifest: blob.Digest{2}, Holders: []cluster.NodeID{"c1"}, Profile: fleetProfile}},
		cluster.PutDeployment{Deployment: cluster.Deployment{Version: v, Replicas: 1, Serving: shard.Serving{Slots: 1, Context: 1}}})
	if answers {
		p := place(0, 1).(cluster.PlaceReplica)
		p.Replica.Version = v
		s = apply(t, s, p, cluster.MarkReplica{ID: p.Replica.ReplicaID, Epoch: 1, Status: cluster.Ready, Endpoints: []string{"w:2"}})
	}
	a, _ := s.Alias("m")
	return TableOf(apply(t, s, cluster.SetRollout{Name: "m", Rollout: &r, Force: true, Was: a.Rev}))
}

var one, two = cluster.VersionID{Model: "m", Number: 1}, cluster.VersionID{Model: "m", Number: 2}

func TestChoose(t *testing.T) {
	canary := func(percent int, tenants ...string) cluster.Rollout {
		return cluster.Rollout{Canary: &cluster.Canary{Version: two, Percent: percent, Tenants: tenants}}
	}
	for _, c := range []struct {
		what    string
		answers bool
		rollout cluster.Rollout
		tenant  string
		name    string
		two     int // of 1000 requests, about
	}{
		{"no canary", true, cluster.Rollout{}, "a", "m", 0},
		{"a fifth", true, canary(20), "a", "m", 200},
		{"one of a hundred", true, canary(1), "a", "m", 10},
		{"all", true, canary(100), "a", "m", 1000},
		{"tenants only, another one", true, canary(0, "z", "b"), "a", "m", 0},
		{"tenants only, one of them", true, canary(0, "z", "b"), "b", "m", 1000},
		{"tenants and a half", true, canary(50, "b"), "a", "m", 500},
		{"the canary answers nothing", false, canary(100, "a"), "a", "m", 0},
		{"the version by its own name", true, canary(100), "a", "m@1", 0},
		{"the canary by its own name", true, canary(0, "z"), "a", "m@2", 1000},
	} {
		table := tried(t, c.answers, c.rollout)
		got := 0
		for draw := range uint64(1000) {
			v, shadow, ok := table.Choose(c.name, c.tenant, draw)
			if again, _, _ := table.Choose(c.name, c.tenant, draw); !ok || shadow != nil || again != v {
				t.Fatalf("%s: %v %v %v, then %v", c.what, v, shadow, ok, again)
			}
			if v == two {
				got++
			}
		}
		if tolerance := 50; got < c.two-tolerance || got > c.two+tolerance || (c.two == 0 || c.two == 1000) && got != c.two {
			t.Errorf("%s: %d of 1000 requests go to the canary, want about %d", c.what, got, c.two)
		}
	}
	if _, _, ok := tried(t, true, canary(100)).Choose("x", "a", 1); ok {
		t.Error("an unknown name is chosen")
	}
}

// A copy goes to the shadow of what the target answers, and of nothing that the canary does.
func TestChooseShadow(t *testing.T) {
	shadow := &cluster.Shadow{Version: two, Percent: 30}
	for _, c := range []struct {
		what    string
		answers bool
		rollout cluster.Rollout
		copies  int // of 1000 requests, about
	}{
		{"shadow alone", true, cluster.Rollout{Shadow: shadow}, 300},
		{"shadow that answers nothing", false, cluster.Rollout{Shadow: shadow}, 0},
		{"shadow beside a canary", true, cluster.Rollout{Shadow: shadow, Canary: &cluster.Canary{Version: two, Percent: 50}}, 150},
		{"shadow of itself", true, cluster.Rollout{Shadow: &cluster.Shadow{Version: one, Percent: 100}}, 0},
	} {
		table, got := tried(t, c.answers, c.rollout), 0
		for draw := range uint64(1000) {
			v, copied, _ := table.Choose("m", "a", draw)
			if copied == nil {
				continue
			}
			if got++; *copied != two || v != one {
				t.Fatalf("%s: a copy of %v goes to %v", c.what, v, *copied)
			}
		}
		if got < c.copies-50 || got > c.copies+50 || c.copies == 0 && got != 0 {
			t.Errorf("%s: %d of 1000 requests are copied, want about %d", c.what, got, c.copies)
		}
	}
}

// TestChooseGrows: a larger canary keeps whom it had, whatever the percentages and draws are.
func TestChooseGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.IntRange(0, 100).Draw(t, "percent")
		large := rapid.IntRange(small, 100).Draw(t, "then")
		draw := rapid.Uint64().Draw(t, "draw")
		table := func(percent int) *Table {
			c := choiceOf(cluster.Alias{Target: one, Rollout: &cluster.Rollout{Canary: &cluster.Canary{Version: two, Percent: percent}}})
			return &Table{targets: map[string]choice{"m": c}, versions: map[cluster.VersionID]destination{two: {routes: make([]Route, 1)}}}
		}
		before, _, _ := table(small).Choose("m", "a", draw)
		after, _, _ := table(large).Choose("m", "a", draw)
		if before == two && after != two {
			t.Fatalf("draw %d was of the canary at %d %% and is not at %d %%", draw, small, large)
		}
	})
}

// BenchmarkChoose: goal ≤ 1 µs per pick, version and replica, among 1,000 models with their aliases.
func BenchmarkChoose(b *testing.B) {
	s := fleet(b, 4, cluster.SetFeature{Was: 1, Feature: 2})
	tenants := []string{"t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"}
	names := []string{"m"}
	for i := range 1000 {
		name := fmt.Sprintf("model-%d", i)
		v := cluster.VersionID{Model: name, Number: 1}
		next := cluster.VersionID{Model: name, Number: 2}
		s = apply(b, s,
			cluster.PutVersion{Version: cluster.Version{VersionID: v, Manifest: blob.Digest{1}, Holders: []cluster.NodeID{"c1"}, Profile: fleetProfile}},
			cluster.PutVersion{Version: cluster.Version{VersionID: next, Manifest: blob.Digest{2}, Holders: []cluster.NodeID{"c1"}, Profile: fleetProfile}},
			cluster.PutDeployment{Deployment: cluster.Deployment{Version: v, Replicas: 2, Serving: shard.Serving{Slots: 1, Context: 1}}},
			cluster.PutDeployment{Deployment: cluster.Deployment{Version: next, Replicas: 2, Serving: shard.Serving{Slots: 1, Context: 1}}})
		for _, of := range []cluster.VersionID{v, next} {
			for ordinal := range 2 {
				p := place(ordinal, 1).(cluster.PlaceReplica)
				p.Replica.Version = of
				s = apply(b, s, p, cluster.MarkReplica{ID: p.Replica.ReplicaID, Epoch: 1, Status: cluster.Ready, Endpoints: []string{"w:1"}})
			}
		}
		a, _ := s.Alias(name)
		s = apply(b, s, cluster.SetRollout{Name: name, Was: a.Rev, Rollout: &cluster.Rollout{
			Canary: &cluster.Canary{Version: next, Percent: 10, Tenants: tenants}, Shadow: &cluster.Shadow{Version: next, Percent: 5}}})
		names = append(names, name)
	}
	table := TableOf(s)
	slices.Sort(names)
	load := func(p Placed) int { return p.Replica.Ordinal }
	draw := uint64(0)
	for b.Loop() {
		draw += 0x9E3779B97F4A7C15
		v, _, ok := table.Choose(names[draw%uint64(len(names))], "t9", draw)
		if !ok {
			b.Fatal("unknown")
		}
		if _, err := table.Pick(v, load, nil, draw); err != nil {
			b.Fatal(err)
		}
	}
}
