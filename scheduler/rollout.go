package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
)

// rollouts moves aliases: back where a guard says so, on where they follow the newest version, and away from versions that are retired.
func (d *decision) rollouts() {
	if d.was.Cluster().Feature < 2 {
		return
	}
	for a := range d.was.Aliases() {
		if a.Rollout == nil || d.guard(a) {
			continue
		}
		if a.Rollout.Follow && a.Rollout.Canary == nil && d.follow(a) {
			continue
		}
		d.retire(a)
	}
}

// follow points an alias at the newest version of its model that answers.
func (d *decision) follow(a cluster.Alias) (moved bool) {
	var newer []cluster.Version
	for v := range d.was.VersionsOf(a.Target.Model) {
		if v.Number > a.Target.Number {
			newer = append(newer, v)
		}
	}
	was, _ := d.was.Version(a.Target)
	subject := "alias " + a.Name
	for _, v := range slices.Backward(newer) {
		if what := was.Traits.Breaks(v.Traits); len(what) > 0 {
			d.note(subject, fmt.Sprintf("it does not follow %s, which differs from %s in what clients rely on: %s", v.VersionID, a.Target, strings.Join(what, ", ")))
			continue
		}
		if !d.answers(v.VersionID) {
			continue
		}
		txn := cluster.Txn{Do: []cluster.Command{cluster.PutAlias{Name: a.Name, Target: v.VersionID, Was: a.Rev}}, Asker: cluster.Asker{By: "follow"}}
		if d.propose(subject, txn) {
			d.note(subject, fmt.Sprintf("it follows %s, which answers", v.VersionID))
			return true
		}
	}
	return false
}

func (d *decision) answers(v cluster.VersionID) bool {
	for r := range d.was.ReplicasOf(v) {
		if d.was.Routable(r) {
			return true
		}
	}
	return false
}

// retire ends the deployment of the version that an alias pointed at before, once its time is over and nobody needs it. Its replicas
// finish what they do.
func (d *decision) retire(a cluster.Alias) {
	n := len(a.History)
	if a.Rollout.Retire == 0 || a.Since == 0 || n == 0 {
		return
	}
	old := a.History[n-1]
	dep, ok := d.state.Deployment(old)
	if !ok || d.needed(old) {
		return
	}
	due := time.UnixMilli(int64(a.Since)).Add(time.Duration(a.Rollout.Retire) * time.Second)
	if g := guardOf(a); g != nil { // it may go back
		due = later(due, time.UnixMilli(int64(a.Since)).Add(windowOf(g)))
	}
	if d.now.Before(due) {
		d.wakeAt(due)
		return
	}
	subject := "deployment " + old.String()
	txn := cluster.Txn{Do: []cluster.Command{cluster.DeleteDeployment{Version: old, Was: dep.Rev}}, Asker: cluster.Asker{By: "retire"}}
	if d.propose(subject, txn) {
		d.note(subject, fmt.Sprintf("it is retired: alias %s points at %s, and its time to go back is over", a.Name, a.Target))
	}
}

// needed says whether an alias sends requests to a version.
func (d *decision) needed(v cluster.VersionID) bool {
	for a := range d.was.Aliases() {
		if a.Target == v {
			return true
		}
		if r := a.Rollout; r != nil && (r.Canary != nil && r.Canary.Version == v || r.Shadow != nil && r.Shadow.Version == v) {
			return true
		}
	}
	return false
}
