package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/placement"
)

// yields is the class of a claim that gives a replica to another one.
const yields = "yields"

const (
	maxVictims = 8  // replicas that are given up for one
	maxAsks    = 32 // replicas that are looked for in one look
)

// share is the room that the fleet would have if what stops had stopped, while replicas are looked for.
type share struct {
	d       *decision
	devices []placement.Device
	claims  []*claim
}

// ask is one replica that a deployment misses.
type ask struct {
	dep    cluster.Deployment
	claim  *claim // nil: its number is fixed
	sure   bool   // within its minimum, or fixed: it comes before every wish beyond a minimum
	beyond int    // replicas beyond its minimum, with this one
}

// allot gives claims what there is room for: minima first, then by priority, then by the weights of the tenants. Who has more than its demand
// needs gives it to whoever misses some; beyond that, a wish takes only from wishes of lower priority, or of a tenant with more than its share.
// The one that shrinks drains first. Nobody goes below a minimum.
func (d *decision) allot(claims []*claim) {
	asks := d.asks(claims)
	if len(asks) == 0 {
		return
	}
	s := &share{d: d, claims: claims, devices: d.devices()}
	for r := range d.state.Replicas() {
		if r.Status == cluster.Stopping {
			s.free(r, 1)
		}
	}
	full := map[cluster.VersionID]bool{}
	for i, a := range asks {
		c := a.claim
		if c != nil && c.class == yields {
			continue
		}
		full[a.dep.Version] = full[a.dep.Version] || i >= maxAsks || !s.find(a)
		if full[a.dep.Version] && c != nil {
			c.flow.Short++
			if c.want > max(c.have, c.dep.Need.Min) {
				c.want--
			}
			c.flow.Cramped = d.now
		}
	}
}

// asks lists what is missing, in the order in which it is looked for.
func (d *decision) asks(claims []*claim) []ask {
	var list []ask
	byVersion := map[cluster.VersionID]*claim{}
	for _, c := range claims {
		byVersion[c.dep.Version] = c
	}
	for dep := range d.state.Deployments() {
		c, want, least := byVersion[dep.Version], dep.Wanted(), dep.Wanted()
		if c != nil {
			want, least = c.want, dep.Need.Min
			if d.now.Sub(c.flow.Cramped) < d.Hold/12 && !c.flow.Cramped.IsZero() { // asked a moment ago
				if c.want > c.have {
					c.want = c.have
				}
				continue
			}
			c.flow.Short = 0
		}
		for n := d.seated(dep); n < want; n++ {
			list = append(list, ask{dep: dep, claim: c, sure: n < least, beyond: n + 1 - least})
		}
	}
	slices.SortStableFunc(list, func(a, b ask) int {
		return cmp.Or(
			cmp.Compare(order01(b.sure), order01(a.sure)),
			cmp.Compare(priority(b.dep), priority(a.dep)),
			cmp.Compare(a.portion(d, a.beyond), b.portion(d, b.beyond)))
	})
	return list
}

func priority(d cluster.Deployment) int {
	if d.Need == nil {
		return 0
	}
	return d.Need.Priority
}

// portion is what a tenant has beyond a minimum, for its weight.
func (a ask) portion(d *decision, beyond int) float64 { return portion(d, a.dep, beyond) }

func portion(d *decision, dep cluster.Deployment, beyond int) float64 {
	t, ok := d.state.Tenant(cmp.Or(dep.Owner, cluster.DefaultTenant))
	if !ok || t.Weight < 1 {
		t.Weight = cluster.DefaultWeight
	}
	return float64(max(beyond, 0)) / float64(t.Weight)
}

// seated counts the replicas of a deployment that have a place where they can be.
func (d *decision) seated(dep cluster.Deployment) (n int) {
	for r := range d.state.ReplicasOf(dep.Version) {
		n += order01(r.Status != cluster.Stopping && d.stands(r))
	}
	return n
}

// stands says that a replica's nodes are there.
func (d *decision) stands(r cluster.Replica) bool {
	return !slices.ContainsFunc(r.Stages, func(st cluster.StagePlace) bool {
		n, ok := d.state.Node(st.Node)
		return !ok || n.Status == cluster.NodeLost
	})
}

// free gives back what a replica reserves, or (−1) takes it again.
func (s *share) free(r cluster.Replica, sign gpu.Bytes) {
	for _, st := range r.Stages {
		if i := s.device(st.Device); i >= 0 {
			s.devices[i].Free += sign * st.Reserve
		}
	}
}

func (s *share) device(id gpu.DeviceID) int {
	return slices.IndexFunc(s.devices, func(dev placement.Device) bool { return dev.ID == id })
}

// fits says whether a replica more has a place, and takes the place if keep is set.
func (s *share) fits(a ask, keep bool) bool {
	demands := s.d.demands([]want{{id: cluster.ReplicaID{Version: a.dep.Version, Ordinal: cluster.MaxReplicas}, dep: a.dep}}, false)
	placed := placement.Solve(placement.Problem{Devices: s.devices, Demands: demands}).Placed
	if keep && len(placed) > 0 {
		for _, st := range placed[0].Stages {
			s.devices[s.device(st.Device)].Free -= st.Reserve
		}
	}
	return len(placed) > 0
}

// victim is a replica that could be given up.
type victim struct {
	claim   *claim
	base    int // replicas that the claim had, of those that have a place
	replica cluster.Replica
	why     string
}

// find looks for room for a replica, and for who has to make it.
func (s *share) find(a ask) bool {
	if s.fits(a, true) {
		return true
	}
	var taken []victim
	for !s.fits(a, false) {
		v, ok := s.victim(a, taken)
		if !ok || len(taken) == maxVictims {
			for _, v := range taken {
				s.free(v.replica, -1)
			}
			return false
		}
		taken = append(taken, v)
		s.free(v.replica, 1)
	}
	for i := 0; i < len(taken); { // whose room does not help keeps it
		s.free(taken[i].replica, -1)
		if s.fits(a, false) {
			taken = slices.Delete(taken, i, i+1)
			continue
		}
		s.free(taken[i].replica, 1)
		i++
	}
	for _, v := range taken {
		v.claim.want = min(v.claim.want, v.base) - 1
		v.claim.class, v.claim.because = yields, "gives a replica to another deployment: "+v.why // which is perhaps another tenant's: its name is not for who reads this
	}
	return s.fits(a, true)
}

// victim finds who gives a replica up next, beside those that do already.
func (s *share) victim(a ask, taken []victim) (best victim, found bool) {
	type merit struct {
		needed, priority int
		portion          float64
	}
	var least merit
	for _, c := range s.claims {
		given := 0
		for _, v := range taken {
			given += order01(v.claim == c)
		}
		placed := s.placed(c)
		base := min(c.want, c.have, len(placed))
		left := base - given
		if c == a.claim || left <= c.dep.Need.Min {
			continue
		}
		why := s.yielding(a, c, left)
		if why == "" {
			continue
		}
		m := merit{order01(left <= c.least), priority(c.dep), -portion(s.d, c.dep, left-c.dep.Need.Min)}
		if !found || cmp.Or(cmp.Compare(m.needed, least.needed), cmp.Compare(m.priority, least.priority), cmp.Compare(m.portion, least.portion)) < 0 {
			best, least, found = victim{c, base, placed[left-1].Replica, why}, m, true
		}
	}
	return best, found
}

// yielding says why a claim with so many replicas left gives one to an ask; "" = it does not.
func (s *share) yielding(a ask, c *claim, left int) string {
	settled := s.d.now.Sub(c.flow.Rose) >= s.d.Hold/4 // it did not just get it
	mine := c.dep.Need.Priority
	switch theirs := priority(a.dep); {
	case left > c.least && settled:
		return "its own demand needs fewer"
	case a.sure:
		return "its minimum comes first"
	case mine < theirs:
		return fmt.Sprintf("priority %d is before %d", theirs, mine)
	case mine == theirs && settled && portion(s.d, c.dep, left-1-c.dep.Need.Min) >= portion(s.d, a.dep, a.beyond):
		return "its tenant has more than its share"
	}
	return ""
}

// placed lists a claim's replicas that have a place, with those that it would lose first at the end.
func (s *share) placed(c *claim) []stand {
	var list []stand
	for r := range s.d.state.ReplicasOf(c.dep.Version) {
		if r.Status != cluster.Stopping && s.d.stands(r) {
			list = append(list, stand{Replica: r})
		}
	}
	s.d.rank(c.dep, c.want, list)
	return list
}
