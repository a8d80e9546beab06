package sim

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/scheduler"
	"github.com/skein-project/skein/shard"
)

// submit has the leader propose what an operator wants, again and again until it is committed or refused for another reason than being stale. want is given
// the leader's state, and returns nothing if there is nothing to do (any more).
func (w *World) submit(what string, want func(cluster.State) []cluster.Command) {
	w.attempt(what, want, w.now.Add(time.Minute))
}

func (w *World) attempt(what string, want func(cluster.State) []cluster.Command, until time.Time) {
	if w.now.After(until) {
		w.trace("operator gives up: %s", what)
		return
	}
	answered := false
	again := func() {
		if !answered {
			answered = true
			w.attempt(what, want, until)
		}
	}
	l := w.log.leader
	if l == nil || l.term != w.log.term {
		w.after(300*time.Millisecond, "operator", again)
		return
	}
	do := want(l.state)
	if len(do) == 0 {
		return
	}
	w.trace("operator: %s", what)
	w.propose(l, l.term, []cluster.Txn{{Do: do}}, func(index cluster.Index, errs []error) {
		if answered {
			return
		}
		if index == 0 {
			again()
			return
		}
		answered = true
		if len(errs) > 0 && errs[0] != nil {
			w.trace("operator: %s: %v", what, errs[0])
		}
		l.step(scheduler.Input{})
	})
	w.after(3*time.Second, "operator", again)
}

// Publish makes version 1 of a model with so many blocks of a size.
func (w *World) Publish(model string, blocks int, block gpu.Bytes) {
	w.publish(cluster.VersionID{Model: model, Number: 1}, blocks, block)
}

func (w *World) publish(id cluster.VersionID, blocks int, block gpu.Bytes) {
	w.versions++
	manifest := blob.Digest{byte(w.versions), 1}
	profile := shard.Profile{Decoder: true, Hidden: 64, Vocab: 1000, Positions: 64, Heads: 4, Inner: 256, Expand: 100, BlockCost: 1000, TailCost: 500, Embed: gpu.MiB, Tail: gpu.MiB}
	for range blocks {
		profile.Blocks = append(profile.Blocks, block)
	}
	what := id.Model
	if id.Number > 1 {
		what = id.String()
	}
	w.submit("publish "+what, func(s cluster.State) []cluster.Command {
		if _, ok := s.Version(id); ok {
			return nil
		}
		var holders []cluster.NodeID
		for _, c := range w.coordinators {
			holders = append(holders, c.id)
		}
		return []cluster.Command{cluster.PutVersion{Version: cluster.Version{VersionID: id, Manifest: manifest, Profile: profile, Holders: holders, Bytes: 1}}}
	})
}

// Serve wishes version 1 of a model to have so many replicas, and changes the rest of the wish.
func (w *World) Serve(model string, replicas int, change func(*cluster.Deployment)) {
	w.serveVersion(cluster.VersionID{Model: model, Number: 1}, model, replicas, change)
}

func (w *World) serveVersion(id cluster.VersionID, what string, replicas int, change func(*cluster.Deployment)) {
	w.submit(fmt.Sprintf("serve %s with %d replicas", what, replicas), func(s cluster.State) []cluster.Command {
		old, _ := s.Deployment(id)
		d := old
		d.Version, d.Replicas = id, replicas
		if d.Serving.Slots == 0 {
			d.Serving = shard.Serving{Slots: 1, Context: 16}
		}
		if change != nil {
			change(&d)
		}
		return []cluster.Command{cluster.PutDeployment{Deployment: d, Was: old.Rev}}
	})
}

// Follow wishes the replicas of version 1 of a model to follow demand.
func (w *World) Follow(model, owner string, need cluster.Need, slots int) {
	w.listen()
	w.ranks[model] = need.Priority
	if w.Plant.NoPriority {
		need.Priority = 0
	}
	w.Serve(model, 0, func(d *cluster.Deployment) { d.Need, d.Owner, d.Serving.Slots = &need, owner, slots })
}

// Admit makes a tenant with a weight of its fair share.
func (w *World) Admit(tenant string, weight int) {
	w.submit("admit tenant "+tenant, func(s cluster.State) []cluster.Command {
		old, _ := s.Tenant(tenant)
		return []cluster.Command{cluster.PutTenant{Tenant: cluster.Tenant{ID: tenant, Name: tenant, Weight: weight}, Was: old.Rev}}
	})
}

// Batch makes or changes a batch of a tenant.
func (w *World) Batch(tenant, id string, b job.Batch) {
	w.submit("batch "+id, func(s cluster.State) []cluster.Command {
		doc := cluster.DocumentID{Kind: cluster.Batch, ID: tenant + "/" + id}
		old, _ := s.Document(doc)
		body, err := json.Marshal(b)
		if err != nil {
			return nil
		}
		return []cluster.Command{cluster.PutDocument{Document: cluster.Document{DocumentID: doc, Body: body}, Was: old.Rev}}
	})
}

// Limit gives a tenant limits.
func (w *World) Limit(tenant string, limits ...quota.Limit) {
	subject := cluster.TenantSubject(tenant)
	w.submit("limit "+tenant, func(s cluster.State) []cluster.Command {
		old, _ := s.Limits(subject)
		set := cluster.LimitSet{Subject: subject}
		for _, l := range limits {
			set.Limits = append(set.Limits, cluster.Limited{Limit: l})
		}
		return []cluster.Command{cluster.PutLimits{Set: set, Was: old.Rev}}
	})
}

// Rename lets somebody change a tenant again and again.
func (w *World) Rename(tenant string, every time.Duration) {
	weight := 50
	var again func()
	again = func() {
		weight = 50 + (weight+1)%50
		w.Admit(tenant, weight)
		w.after(every, "rename", again)
	}
	again()
}

// Unserve ends a deployment.
func (w *World) Unserve(model string) {
	w.submit("unserve "+model, func(s cluster.State) []cluster.Command {
		d, ok := s.Deployment(cluster.VersionID{Model: model, Number: 1})
		if !ok {
			return nil
		}
		return []cluster.Command{cluster.DeleteDeployment{Version: d.Version, Was: d.Rev}}
	})
}

// Quarantine keeps new work off a device or a node, for a while by the true time; 0 = until it is lifted.
func (w *World) Quarantine(id cluster.QuarantineID, lasts time.Duration) {
	w.submit(id.String()+" to be under quarantine", func(s cluster.State) []cluster.Command {
		old, _ := s.Quarantine(id)
		q := cluster.Quarantine{QuarantineID: id, By: "operator"}
		if lasts > 0 {
			q.Until = cluster.Millis(w.now.Add(lasts).UnixMilli())
		}
		return []cluster.Command{cluster.PutQuarantine{Quarantine: q, Was: old.Rev}}
	})
}

// Lift ends a quarantine.
func (w *World) Lift(id cluster.QuarantineID) {
	w.submit("quarantine of "+id.String()+" to end", func(s cluster.State) []cluster.Command {
		q, ok := s.Quarantine(id)
		if !ok {
			return nil
		}
		return []cluster.Command{cluster.DeleteQuarantine{ID: id, Was: q.Rev}}
	})
}

// Drain wishes a node to be empty, or ends that wish.
func (w *World) Drain(id cluster.NodeID, drain bool) {
	from, to := cluster.NodeReady, cluster.NodeDraining
	if !drain {
		from, to = to, from
	}
	w.submit(fmt.Sprintf("node %s to be %s", id, to), func(s cluster.State) []cluster.Command {
		n, ok := s.Node(id)
		if !ok || n.Status != from && (n.Status != cluster.NodeLost || (n.Drain != nil) == drain) {
			return nil
		}
		return []cluster.Command{cluster.SetNodeStatus{ID: id, Status: to, Was: n.Rev}}
	})
}
