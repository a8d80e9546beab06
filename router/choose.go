package router

import (
	"slices"

	"github.com/skein-project/skein/cluster"
)

// choice is what a name means: one version, or one of two while a canary runs.
type choice struct {
	target  cluster.VersionID
	canary  *cluster.Canary // nil: none
	shadow  *cluster.Shadow // nil: none
	tenants []string        // of the canary, sorted
}

func choiceOf(a cluster.Alias) choice {
	c := choice{target: a.Target}
	if r := a.Rollout; r != nil {
		if c.canary, c.shadow = r.Canary, r.Shadow; r.Canary != nil {
			c.tenants = slices.Sorted(slices.Values(r.Canary.Tenants))
		}
	}
	return c
}

// Choose finds the version that answers a request for a name, once: what follows is done by that version and no other. A canary gets
// the requests of its tenants, and of the others its percentage, as draw falls; without a ready replica it gets none. shadow is the
// version that a copy goes to, nil = none; copies are made of what the target answers. draw is any number: the same table, tenant and
// draw give the same version, and a canary whose percentage grows keeps the draws that it had.
func (t *Table) Choose(name, tenant string, draw uint64) (version cluster.VersionID, shadow *cluster.VersionID, ok bool) {
	c, ok := t.targets[name]
	if !ok {
		return cluster.VersionID{}, nil, false
	}
	draw = mix(draw)
	if c.canary != nil && t.goes(&c, tenant, int(draw%100)) {
		return c.canary.Version, nil, true
	}
	if s := c.shadow; s != nil && s.Version != c.target && int(draw/100%100) < s.Percent && len(t.versions[s.Version].routes) > 0 {
		shadow = &s.Version
	}
	return c.target, shadow, true
}

// goes says whether a request goes to the canary.
func (t *Table) goes(c *choice, tenant string, percent int) bool {
	if percent >= c.canary.Percent {
		if _, ok := slices.BinarySearch(c.tenants, tenant); !ok {
			return false
		}
	}
	return len(t.versions[c.canary.Version].routes) > 0
}

// mix spreads a number over all its bits (the finalizer of SplitMix64; Steele, Lea and Flood, OOPSLA 2014), so that draws may be hashes or counts.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
