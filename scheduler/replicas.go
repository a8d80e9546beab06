package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
)

// stand is a replica as the leader sees it.
type stand struct {
	cluster.Replica
	broken  string // why it cannot serve where it is and must be placed anew
	leaving string // why it should be elsewhere, though it serves
	wished  bool   // the deployment asks for it: if there is no room beside it, it moves without another to take over
}

// replicas brings each deployment to what it wants: marks follow the reports, then missing replicas are placed.
func (d *decision) replicas() {
	for r := range d.was.Replicas() {
		d.mark(r)
	}
	for r := range d.was.Replicas() {
		if _, ok := d.was.Deployment(r.Version); !ok && r.Status != cluster.Stopping {
			d.stop(r, "its deployment is gone")
		}
	}
	var wants []want
	for dep := range d.state.Deployments() {
		wants = append(wants, d.fill(dep)...)
	}
	d.place(wants)
	d.forget()
}

// mark makes a replica's status follow what its nodes report.
func (d *decision) mark(r cluster.Replica) {
	switch r.Status {
	case cluster.Loading, cluster.Ready:
		d.markServing(r)
	case cluster.Stopping:
		if why := d.stillHeld(r); why != "" {
			d.note(replica(r), "stopping: "+why)
			return
		}
		d.do(replica(r), cluster.RemoveReplica{ID: r.ReplicaID, Epoch: r.Epoch})
	}
}

func replica(r cluster.Replica) string { return "replica " + r.ReplicaID.String() }

// markServing marks a replica ready when all its stages are, and loading when one no longer is.
func (d *decision) markServing(r cluster.Replica) {
	if d.brokenWhy(r) != "" {
		return // it is placed anew below, or waits without routes
	}
	endpoints := make([]string, len(r.Stages))
	ready, waiting, changed := true, "", false
	for i, st := range r.Stages {
		h, known := d.soft.held(r, i)
		switch {
		case !known:
			if r.Status == cluster.Ready {
				return // a new leader believes the state until the node says otherwise
			}
			ready, waiting = false, fmt.Sprintf("stage %d: node %s has not reported", i, st.Node)
		case h.Status != cluster.HeldReady || h.Endpoint == "":
			ready, waiting = false, fmt.Sprintf("stage %d on %s: %s", i, st.Device, progress(h))
		}
		endpoints[i] = h.Endpoint
		changed = changed || h.Endpoint != st.Endpoint
	}
	switch {
	case ready && (r.Status == cluster.Loading || changed):
		d.do(replica(r), cluster.MarkReplica{ID: r.ReplicaID, Epoch: r.Epoch, Status: cluster.Ready, Endpoints: endpoints})
	case !ready && r.Status == cluster.Ready:
		d.do(replica(r), cluster.MarkReplica{ID: r.ReplicaID, Epoch: r.Epoch, Status: cluster.Loading})
		fallthrough
	case !ready:
		d.note(replica(r), "loading: "+waiting)
	}
}

func progress(h cluster.Held) string {
	switch h.Status {
	case "":
		return "not begun"
	case cluster.HeldFailed:
		return "failed: " + h.Why
	case cluster.HeldFetching:
		return fmt.Sprintf("fetching, %d %% of %d bytes", 100*h.Fetched/max(h.Fetch, 1), h.Fetch)
	}
	return string(h.Status)
}

// stillHeld says which node may still have a stopping replica in memory; "" = none. A report counts only if its node knew by then that
// the replica stops: before, it may be about to load it.
func (d *decision) stillHeld(r cluster.Replica) string {
	for i, st := range r.Stages {
		n, ok := d.state.Node(st.Node)
		if !ok || n.Status == cluster.NodeLost {
			continue
		}
		g := d.soft.Nodes[st.Node]
		if g.Heard.IsZero() || g.Report.Seen < r.Rev {
			return fmt.Sprintf("stage %d: node %s has not answered yet", i, st.Node)
		}
		if slices.ContainsFunc(g.Report.Held, func(h cluster.Held) bool { return h.Replica == r.ReplicaID && h.Epoch <= r.Epoch }) {
			return fmt.Sprintf("stage %d is held on %s", i, st.Device)
		}
	}
	return ""
}

func (d *decision) stop(r cluster.Replica, why string) bool {
	return d.do(replica(r), cluster.MarkReplica{ID: r.ReplicaID, Epoch: r.Epoch, Status: cluster.Stopping, Why: "stopping: " + why})
}

// brokenWhy says why a replica cannot serve where it is.
func (d *decision) brokenWhy(r cluster.Replica) string {
	for i, st := range r.Stages {
		n, ok := d.state.Node(st.Node)
		switch {
		case !ok:
			return fmt.Sprintf("stage %d: node %s is gone", i, st.Node)
		case n.Status == cluster.NodeLost:
			return fmt.Sprintf("stage %d: node %s is lost", i, st.Node)
		}
		if _, ok := n.Devices.Device(st.Device); !ok {
			return fmt.Sprintf("stage %d: device %s is gone", i, st.Device)
		}
		if why := d.failed(st.Node, st.Device); why != "" {
			return fmt.Sprintf("stage %d: device %s failed: %s", i, st.Device, why)
		}
		if h, _ := d.soft.held(r, i); h.Status == cluster.HeldFailed {
			d.remember(r, st, h)
			return fmt.Sprintf("stage %d: load on %s failed: %s", i, st.Device, h.Why)
		}
	}
	return ""
}

// remember counts a failed load once per placement.
func (d *decision) remember(r cluster.Replica, st cluster.StagePlace, h cluster.Held) {
	key := r.ReplicaID.String()
	f := d.soft.Failures[key]
	if f.Epoch == r.Epoch {
		return
	}
	wait := d.MaxBackoff
	if f.Count < 16 {
		wait = min(d.Backoff<<f.Count, d.MaxBackoff)
	}
	f.Epoch, f.Count, f.Last, f.Until, f.Why = r.Epoch, f.Count+1, d.now, d.now.Add(wait), h.Why
	f.Devices = append(slices.Clone(f.Devices), st.Device)
	if len(f.Devices) > maxFailedDevices {
		f.Devices = f.Devices[1:]
	}
	d.soft.Failures[key] = f
}

// leavingWhy says why a replica that serves should be elsewhere.
func (d *decision) leavingWhy(r cluster.Replica) string {
	for i, st := range r.Stages {
		if n, ok := d.state.Node(st.Node); ok && n.Status == cluster.NodeDraining {
			return fmt.Sprintf("stage %d: node %s is draining", i, st.Node)
		}
		if q, ok := d.state.Quarantined(st.Node, st.Device); ok {
			return fmt.Sprintf("stage %d: %s is under quarantine", i, q.QuarantineID)
		}
	}
	return ""
}

// unlike says in what a replica is not what its deployment asks for.
func unlike(dep cluster.Deployment, r cluster.Replica) string {
	if r.Serving != dep.Serving {
		return fmt.Sprintf("it is for %d sequences of %d tokens, wanted are %d of %d", r.Serving.Slots, r.Serving.Context, dep.Serving.Slots, dep.Serving.Context)
	}
	for i, st := range r.Stages {
		if slices.Contains(dep.Avoid, st.Device) || slices.Contains(dep.AvoidOn, st.Node) {
			return fmt.Sprintf("stage %d: the deployment avoids %s", i, st.Device)
		}
	}
	for _, p := range dep.Pins {
		if p.Replica == r.Ordinal && (p.Stage >= len(r.Stages) || r.Stages[p.Stage].Device != p.Device) {
			return fmt.Sprintf("stage %d is pinned to device %s", p.Stage, p.Device)
		}
	}
	return ""
}

// forget drops memories of replicas and failures that are past.
func (d *decision) forget() {
	for _, key := range sortedKeys(d.soft.Failures) {
		if f := d.soft.Failures[key]; d.now.Sub(f.Last) >= d.FailureKept+d.MaxBackoff {
			delete(d.soft.Failures, key)
		}
	}
}

// refresh says which nodes' Desired changed since the last step: those of replicas that changed, before and after.
func (d *decision) refresh() {
	touched := map[cluster.NodeID]bool{}
	now := map[string]seats{}
	for r := range d.was.Replicas() {
		key := r.ReplicaID.String()
		s := seats{Rev: r.Rev}
		for i, st := range r.Stages {
			h, _ := d.soft.held(r, i)
			s.Nodes, s.Chain = append(s.Nodes, st.Node), append(s.Chain, h.Endpoint)
		}
		now[key] = s
		old, ok := d.soft.Seats[key]
		if ok && old.Rev == s.Rev && slices.Equal(old.Chain, s.Chain) {
			continue
		}
		for _, n := range append(slices.Clone(old.Nodes), s.Nodes...) {
			touched[n] = true
		}
	}
	for _, key := range sortedKeys(d.soft.Seats) {
		if _, ok := now[key]; !ok {
			for _, n := range d.soft.Seats[key].Nodes {
				touched[n] = true
			}
		}
	}
	d.soft.Seats = now
	d.fresh = sortedKeys(touched)
}

// until keeps the loop awake for something that ends at t, and says whether it has ended.
func (d *decision) until(t time.Time) bool {
	if d.now.Before(t) {
		d.wakeAt(t)
		return false
	}
	return true
}
