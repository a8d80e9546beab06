package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/series"
)

// guardSlots is how many parts a guard's window is cut into.
const guardSlots = 20

// tally is what became of a version's requests in one part of a guard's window.
type tally struct {
	At       time.Time        `json:"at"` // when it begins
	Ended    int              `json:"ended"`
	Failed   int              `json:"failed"`
	Shadowed int              `json:"shadowed,omitempty"`
	Agreed   int              `json:"agreed,omitempty"`
	Total    series.Histogram `json:"total"` // of those that went well
}

// side is one of the versions that a guard looks at.
type side struct {
	Version cluster.VersionID `json:"version"`
	Parts   []tally           `json:"parts"` // oldest first, those of the window only
}

// watched lists the versions that an alias's guard compares: what is tried out, and what it would go back to.
func watched(a cluster.Alias) []cluster.VersionID {
	list := []cluster.VersionID{a.Target}
	if n := len(a.History); n > 0 {
		list = append(list, a.History[n-1])
	}
	if c := a.Rollout.Canary; c != nil {
		list = append(list, c.Version)
	}
	if s := a.Rollout.Shadow; s != nil {
		list = append(list, s.Version)
	}
	return list
}

func guardOf(a cluster.Alias) *cluster.Guard {
	if a.Rollout == nil {
		return nil
	}
	return a.Rollout.Guard
}

func windowOf(g *cluster.Guard) time.Duration { return time.Duration(g.WindowSeconds) * time.Second }

// heed takes in what gateways report of the versions that guards look at, and forgets what no guard looks at any more.
func (d *decision) heed(rows []cluster.Demand) {
	guarded := map[string]bool{}
	for a := range d.was.Aliases() {
		g := guardOf(a)
		if g == nil {
			continue
		}
		guarded[a.Name] = true
		var sides []side
		for _, v := range watched(a) {
			if !slices.ContainsFunc(sides, func(s side) bool { return s.Version == v }) {
				sides = append(sides, side{v, d.parts(a.Name, v, windowOf(g), rows)})
			}
		}
		d.soft.Watches[a.Name] = sides
	}
	for _, name := range sortedKeys(d.soft.Watches) {
		if !guarded[name] {
			delete(d.soft.Watches, name)
		}
	}
}

// parts is what is known of a version for an alias's guard, with what was reported now. The slice is a new one: recordings keep the old.
func (d *decision) parts(alias string, v cluster.VersionID, window time.Duration, rows []cluster.Demand) []tally {
	var parts []tally
	for _, s := range d.soft.Watches[alias] {
		if s.Version == v {
			parts = slices.DeleteFunc(slices.Clone(s.Parts), func(t tally) bool { return !t.At.After(d.now.Add(-window)) })
		}
	}
	for i := range rows {
		r := &rows[i]
		if r.Version != v || r.Ended == 0 && r.Shadowed == 0 {
			continue
		}
		if n := len(parts); n == 0 || d.now.Sub(parts[n-1].At) >= window/guardSlots {
			parts = append(parts, tally{At: d.now})
		}
		t := &parts[len(parts)-1]
		t.Ended, t.Failed = t.Ended+r.Ended, t.Failed+r.Failed
		t.Shadowed, t.Agreed = t.Shadowed+r.Shadowed, t.Agreed+r.Agreed
		t.Total.Merge(&r.Total)
	}
	return parts
}

// figures sums what is known of a version for an alias's guard since a time.
func (d *decision) figures(alias string, v cluster.VersionID, since time.Time) (sum tally) {
	for _, s := range d.soft.Watches[alias] {
		if s.Version != v {
			continue
		}
		for i := range s.Parts {
			if t := &s.Parts[i]; !t.At.Before(since) {
				sum.Ended, sum.Failed = sum.Ended+t.Ended, sum.Failed+t.Failed
				sum.Shadowed, sum.Agreed = sum.Shadowed+t.Shadowed, sum.Agreed+t.Agreed
				sum.Total.Merge(&t.Total)
			}
		}
	}
	return sum
}

// trial is a version that an alias tries out, and what it would go back to.
type trial struct {
	tried, base cluster.VersionID
	since       time.Time
}

// trialOf finds what an alias tries out now: its canary, or a target that it was pointed at within the guard's window.
func (d *decision) trialOf(a cluster.Alias, window time.Duration) (trial, bool) {
	if c := a.Rollout.Canary; c != nil {
		return trial{c.Version, a.Target, time.UnixMilli(int64(c.Since))}, true
	}
	since := time.UnixMilli(int64(a.Since))
	if n := len(a.History); a.Since > 0 && n > 0 && d.now.Sub(since) < window {
		return trial{a.Target, a.History[n-1], since}, true
	}
	return trial{}, false
}

// guard takes back what its alias's guard finds worse than it may be.
func (d *decision) guard(a cluster.Alias) (back bool) {
	g := guardOf(a)
	if g == nil {
		return false
	}
	var why string
	t, trying := d.trialOf(a, windowOf(g))
	if trying {
		why = verdict(g, t, d.figures(a.Name, t.tried, t.since), d.figures(a.Name, t.base, time.Time{}))
	}
	if s := a.Rollout.Shadow; s != nil && why == "" {
		why = discord(g, s.Version, a.Target, d.figures(a.Name, s.Version, t.since))
		trying = trying && (s.Version == t.tried || s.Version == t.base)
	}
	subject := "alias " + a.Name
	switch {
	case why == "":
		return false
	case !trying:
		d.note(subject, why)
		return false
	}
	txn := cluster.Txn{Do: []cluster.Command{cluster.RollbackAlias{Name: a.Name, Was: a.Rev}}, Asker: cluster.Asker{By: "guard"}}
	if !d.propose(subject, txn) {
		return false
	}
	d.note(subject, fmt.Sprintf("the guard took %s back: %s", t.tried, why))
	return true
}

// verdict says why a version that is tried out is taken back; "" = it is good enough. What the version before does as badly is no reason.
func verdict(g *cluster.Guard, t trial, tried, base tally) string {
	if tried.Ended < g.Requests {
		return ""
	}
	known := base.Ended >= g.Requests
	if g.ErrorPercent > 0 && tried.Failed*100 > g.ErrorPercent*tried.Ended && (!known || tried.Failed*base.Ended > base.Failed*tried.Ended) {
		return fmt.Sprintf("%d of its %d requests failed, %d %% may; of %s %d of %d did", tried.Failed, tried.Ended, g.ErrorPercent, t.base, base.Failed, base.Ended)
	}
	slow, before := tried.Total.Quantile(950), base.Total.Quantile(950)
	if g.P95Millis > 0 && slow > g.P95Millis && (!known || slow > before) {
		return fmt.Sprintf("95 %% of its %d answers took up to %d ms, %d ms are allowed; those of %s took %d ms", tried.Total.Count(), slow, g.P95Millis, t.base, before)
	}
	return ""
}

// discord says that a shadow answers otherwise than the version that a name means; "" = not too often.
func discord(g *cluster.Guard, shadow, target cluster.VersionID, f tally) string {
	if f.Shadowed < g.Requests || f.Agreed*100 >= g.ParityPercent*f.Shadowed {
		return ""
	}
	return fmt.Sprintf("%d of %d answers of %s equal those of %s, %d %% must", f.Agreed, f.Shadowed, shadow, target, g.ParityPercent)
}
