package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// nodes admits machines that report, and marks lost those that do not.
func (d *decision) nodes() {
	for _, id := range d.soft.ids() {
		g := d.soft.Nodes[id]
		if g.Heard.IsZero() || d.silent(id) >= d.LostAfter {
			continue
		}
		n, known := d.was.Node(id)
		if r := g.Report; !known || n.Status == cluster.NodeLost || differs(n, r) {
			d.do("node "+string(id), cluster.PutNode{Was: n.Rev, Node: cluster.Node{
				ID: id, Name: r.Name, Addr: r.Addr, Zone: r.Zone, Software: r.Software, Devices: r.Devices,
			}})
		}
	}
	for n := range d.was.Nodes() {
		silent := d.silent(n.ID)
		if n.Status == cluster.NodeLost {
			d.note("node "+string(n.ID), cmpOr(n.Why, "lost"))
			continue
		}
		g := d.soft.Nodes[n.ID]
		need := d.witnesses()
		if silent < d.LostAfter {
			continue
		}
		if len(g.FailedBy) < need {
			d.note("node "+string(n.ID), fmt.Sprintf("no report for %s; %d of %d coordinators failed to reach it", coarse(silent), len(g.FailedBy), need))
			continue
		}
		d.do("node "+string(n.ID), cluster.SetNodeStatus{ID: n.ID, Status: cluster.NodeLost, Was: n.Rev,
			Why: fmt.Sprintf("no report for %s, and %d coordinators could not reach it", d.LostAfter, len(g.FailedBy))})
	}
}

func cmpOr(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// coarse rounds a duration down to whole seconds, so that a note does not change with every step.
func coarse(t time.Duration) time.Duration { return t.Truncate(time.Second) }

// silent is how long a node has not reported to this leader.
func (d *decision) silent(id cluster.NodeID) time.Duration {
	since := d.soft.Since
	if g := d.soft.Nodes[id]; g.Heard.After(since) {
		since = g.Heard
	}
	return d.now.Sub(since)
}

// witnesses is how many coordinators must have failed to reach a node: two, where there are two.
func (d *decision) witnesses() int {
	n := 0
	for m := range d.was.Members() {
		if m.Role == cluster.RoleCoordinator {
			n++
		}
	}
	return max(1, min(2, n))
}

func differs(n cluster.Node, r cluster.Report) bool {
	return n.Name != r.Name || n.Addr != r.Addr || n.Zone != r.Zone || n.Software != r.Software || !slices.Equal(n.Devices, r.Devices)
}

// watch asks for probes of silent and suspected nodes.
func (d *decision) watch() {
	for n := range d.was.Nodes() {
		if n.Status == cluster.NodeLost {
			continue
		}
		g := d.soft.Nodes[n.ID]
		due := d.now.Add(d.LostAfter - d.silent(n.ID))
		if !g.Suspect.IsZero() {
			due = g.Suspect
		}
		if g.Round != 0 {
			if next := g.Asked.Add(d.ProbeEvery); next.After(due) {
				due = next
			}
		}
		if due.After(d.now) {
			d.wakeAt(due)
			continue
		}
		d.soft.Rounds++
		g.Round, g.Asked = d.soft.Rounds, d.now
		if g.First == 0 {
			g.First = g.Round
		}
		d.soft.Nodes[n.ID] = g
		d.probes = append(d.probes, ProbeRequest{Node: n.ID, Addr: n.Addr, Round: g.Round})
		d.wakeAt(d.now.Add(d.ProbeEvery))
	}
}

// settled says that this leader knows enough to place replicas: most nodes have reported, or it has waited long enough for them. Before that, a
// node that is merely late would look empty.
func (d *decision) settled() bool {
	s := d.soft
	if s.Settled {
		return true
	}
	live, heard := 0, 0
	for n := range d.was.Nodes() {
		if n.Status == cluster.NodeLost {
			continue
		}
		live++
		if !s.Nodes[n.ID].Heard.IsZero() {
			heard++
		}
	}
	end := s.Since.Add(d.SettleFor)
	s.Settled = live > 0 && heard*100 > live*d.SettleShare || !d.now.Before(end)
	if !s.Settled {
		d.wakeAt(end)
		d.note("scheduler", fmt.Sprintf("new leader: %d of %d nodes have reported, placing nothing yet", heard, live))
	}
	return s.Settled
}

// quarantines lifts those whose time is over, and says which stand.
func (d *decision) quarantines() {
	for q := range d.was.Quarantines() {
		subject := q.QuarantineID.String()
		if q.Until != 0 && d.until(time.UnixMilli(int64(q.Until))) {
			d.do(subject, cluster.DeleteQuarantine{ID: q.QuarantineID, Was: q.Rev})
			continue
		}
		d.note(subject, q.String())
	}
}

// unusable says why nothing may be placed on a device now; "" = it may.
func (d *decision) unusable(n cluster.Node, dev gpu.Device) string {
	g := d.soft.Nodes[n.ID]
	if q, ok := d.state.Quarantined(n.ID, dev.ID); ok {
		return q.Noun() + " is " + q.String()
	}
	switch silent := d.silent(n.ID); {
	case n.Status != cluster.NodeReady:
		return "its node is " + string(n.Status)
	case g.Heard.IsZero():
		return "its node has not reported to this leader"
	case silent >= d.LostAfter:
		return fmt.Sprintf("its node has not reported for %s", coarse(silent))
	}
	for _, r := range g.Report.Readings {
		if r.ID == dev.ID && r.Health != gpu.Healthy {
			return fmt.Sprintf("it is %s: %s", r.Health, cmpOr(r.Why, "no reason given"))
		}
	}
	return ""
}

// failed says why nothing on a device works, by the newest report of its node; "" = no such reason is known.
func (d *decision) failed(node cluster.NodeID, device gpu.DeviceID) string {
	g := d.soft.Nodes[node]
	if g.Heard.IsZero() {
		return ""
	}
	for _, r := range g.Report.Readings {
		if r.ID == device && r.Health == gpu.Failed {
			return cmpOr(r.Why, "no reason given")
		}
	}
	return ""
}
