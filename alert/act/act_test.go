package act

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/series"
	"github.com/skein-project/skein/shard"
)

func v(n int) cluster.VersionID { return cluster.VersionID{Model: "m", Number: n} }

// fleet has two versions of a model, the first served by a replica on device d0 of node n0, and an alias that was flipped to the second.
func fleet(t *testing.T, more ...cluster.Command) cluster.State {
	t.Helper()
	serving := shard.Serving{Slots: 1, Context: 1}
	do := []cluster.Command{
		cluster.Init{ID: "c", Feature: cluster.Feature},
		cluster.PutMember{Member: cluster.Member{ID: "c1", Role: cluster.RoleCoordinator, Addr: "c1:1"}},
		cluster.PutNode{Node: cluster.Node{ID: "n0", Name: "zero", Addr: "n0:1", Devices: gpu.Inventory{{ID: "d0", Kind: gpu.Host, Memory: gpu.GiB}, {ID: "d1", Kind: gpu.Host, Memory: gpu.GiB}}}},
	}
	for n := 1; n <= 2; n++ {
		do = append(do, cluster.PutVersion{Version: cluster.Version{VersionID: v(n), Manifest: blob.Digest{byte(n)}, Holders: []cluster.NodeID{"c1"}, Profile: shard.Profile{Positions: 10, Blocks: []gpu.Bytes{1}}}})
	}
	do = append(do,
		cluster.PutDeployment{Deployment: cluster.Deployment{Version: v(1), Replicas: 1, Serving: serving}},
		cluster.PlaceReplica{Replica: cluster.Replica{ReplicaID: cluster.ReplicaID{Version: v(1)}, Epoch: 1, Status: cluster.Loading, Serving: serving,
			Stages: []cluster.StagePlace{{Span: shard.Span{To: 1}, Node: "n0", Device: "d0"}}}})
	s := apply(t, cluster.State{}, do...)
	a, _ := s.Alias("m")
	return apply(t, apply(t, s, cluster.PutAlias{Name: "m", Target: v(2), Force: true, Was: a.Rev}), more...)
}

func apply(t *testing.T, s cluster.State, do ...cluster.Command) cluster.State {
	t.Helper()
	e := cluster.Envelope{V: 1, At: 1}
	for _, c := range do {
		e.Txns = append(e.Txns, cluster.Txn{Do: []cluster.Command{c}})
	}
	next, errs := cluster.Apply(s, s.Index()+1, e)
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%+v: %v", do[i], err)
		}
	}
	return next
}

func TestCommands(t *testing.T) {
	s := fleet(t)
	alias, _ := s.Alias("m")
	d, _ := s.Deployment(v(1))
	n, _ := s.Node("n0")
	canary := apply(t, s, cluster.SetRollout{Name: "m", Rollout: &cluster.Rollout{Canary: &cluster.Canary{Version: v(1), Percent: 5}}, Force: true, Was: alias.Rev})
	need := d
	need.Need = &cluster.Need{Min: 1, Max: 2}
	elastic := apply(t, s, cluster.PutDeployment{Deployment: need, Was: d.Rev})
	pinned := d
	pinned.Pins = []cluster.Pin{{Device: "d0"}}
	for _, c := range []struct {
		name    string
		state   cluster.State
		kind    alert.ActionKind
		subject series.Labels
		want    string // of the state after it, or of the error
	}{
		{"a flip goes back", s, alert.Rollback, series.Of("version", "m@2"), "alias m@1"},
		{"not from another version", s, alert.Rollback, series.Of("version", "m@1"), "error: act: no alias that leads to m@1 can go back"},
		{"a canary ends", canary, alert.Rollback, series.Of("version", "m@1"), "alias m@2"},
		{"not what it leads to while a canary runs", canary, alert.Rollback, series.Of("version", "m@2"), "error: act: no alias that leads to m@2 can go back"},
		{"no version", s, alert.Rollback, nil, `error: act: the version "" does not exist`},
		{"more replicas", s, alert.Scale, series.Of("version", "m@1"), "wanted 3"},
		{"a higher floor", elastic, alert.Scale, series.Of("version", "m@1"), "wanted 2"},
		{"not deployed", s, alert.Scale, series.Of("version", "m@2"), "error: act: m@2 is not deployed"},
		{"a node", s, alert.Quarantine, series.Of("node", "zero"), `[node n0 under quarantine by alert r: {node="zero"}]`},
		{"an unknown node", s, alert.Quarantine, series.Of("node", "one"), `error: act: the node "one" does not exist`},
		{"a lost node", apply(t, s, cluster.SetNodeStatus{ID: "n0", Status: cluster.NodeLost, Was: n.Rev}), alert.Quarantine, series.Of("node", "zero"), `[node n0 under quarantine by alert r: {node="zero"}]`},
		{"a device", s, alert.Quarantine, series.Of("Hostname", "zero", "UUID", "d0"), `[device d0 under quarantine by alert r: {Hostname="zero",UUID="d0"}]`},
		{"a device without stages", s, alert.Quarantine, series.Of("Hostname", "zero", "UUID", "d1"), "[device d1 under"},
		{"a pinned device", apply(t, s, cluster.PutDeployment{Deployment: pinned, Was: d.Rev}), alert.Quarantine, series.Of("Hostname", "zero", "UUID", "d0"), "[device d0 under"},
		{"again", apply(t, s, cluster.PutQuarantine{Quarantine: cluster.Quarantine{QuarantineID: cluster.QuarantineID{Device: "d0"}}}), alert.Quarantine, series.Of("UUID", "d0"), "error: act: device d0 is under quarantine already"},
		{"of nothing", s, alert.Quarantine, series.Of("version", "m@1"), "error: act: the subject names no device and no node"},
		{"an unknown device", s, alert.Quarantine, series.Of("Hostname", "zero", "UUID", "d9"), `error: act: the device "d9" does not exist`},
		{"an unknown action", s, "explode", nil, `error: act: unknown action "explode"`},
	} {
		commands, err := Commands(c.state, alert.Act{Kind: c.kind, Subject: c.subject, By: 2, Rule: "r"})
		var got string
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got = after(apply(t, c.state, commands...))
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// after describes what acts change.
func after(s cluster.State) string {
	a, _ := s.Alias("m")
	d, _ := s.Deployment(v(1))
	var barred []string
	for q := range s.Quarantines() {
		barred = append(barred, q.QuarantineID.String()+" "+q.String())
	}
	return fmt.Sprintf("alias %s rollout %v wanted %d %s", a.Target, a.Rollout, d.Wanted(), barred)
}
