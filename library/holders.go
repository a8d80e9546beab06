package library

import (
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Copies is how many coordinators hold a version, where there are so many.
const Copies = 2

// Answer is what a coordinator says about the versions it was asked for.
type Answer struct {
	Lacks map[cluster.VersionID]bool // versions of which a blob is not there whole
}

// View is what a step of Holders looks at.
type View struct {
	Versions     []cluster.Version
	Coordinators []cluster.NodeID          // all members
	Answers      map[cluster.NodeID]Answer // of those that answered
}

// Order is what to do about a version: first let To copy it, unless To is "", then say who holds it.
type Order struct {
	Version cluster.VersionID
	Was     cluster.Index
	To      cluster.NodeID
	From    []cluster.NodeID // that have it; none = only the bucket does
	Holders []cluster.NodeID // to be noted, sorted
	Why     string
}

// Kept is on how many coordinators all blobs of a version are.
type Kept struct {
	Copies int // on coordinators that answer
	Wanted int // 0 for a version that is in a bucket
}

// Kept counts the copies of a version. One that is not among those that coordinators were asked about, since nobody has the list of its blobs, has none.
func (in View) Kept(v cluster.Version) (k Kept) {
	if !v.Bucket {
		k.Wanted = min(Copies, len(in.Coordinators))
	}
	for _, a := range in.Answers {
		if lacks, asked := a.Lacks[v.VersionID]; asked && !lacks {
			k.Copies++
		}
	}
	return k
}

// Holders keeps every version on enough coordinators.
type Holders struct {
	Patience time.Duration // that a coordinator may be silent before what it holds is copied elsewhere

	silent map[cluster.NodeID]time.Time // since when
}

// Step compares who should hold versions with who does.
func (h *Holders) Step(now time.Time, in View) (orders []Order) {
	next := map[cluster.NodeID]time.Time{}
	for _, id := range in.Coordinators {
		if _, answered := in.Answers[id]; answered {
			continue
		}
		since, known := h.silent[id]
		if !known {
			since = now
		}
		next[id] = since
	}
	h.silent = next
	load := map[cluster.NodeID]int{} // versions that it holds
	for _, v := range in.Versions {
		for _, id := range v.Holders {
			load[id]++
		}
	}
	for _, v := range in.Versions {
		if o, ok := h.version(now, in, v, load); ok {
			orders = append(orders, o)
			load[o.To]++
		}
	}
	return orders
}

// version decides about one version.
func (h *Holders) version(now time.Time, in View, v cluster.Version, load map[cluster.NodeID]int) (Order, bool) {
	o := Order{Version: v.VersionID, Was: v.Rev}
	good := 0
	for _, id := range v.Holders {
		a, answered := in.Answers[id]
		switch {
		case !slices.Contains(in.Coordinators, id):
			o.Why = "a holder is a member no more"
		case answered && a.Lacks[v.VersionID]:
			o.Why = "a holder lost its copy"
		case answered:
			good++
			o.From = append(o.From, id)
			o.Holders = append(o.Holders, id)
		default:
			// It may come back with all that it had, so it stays a holder; the copies that count are others.
			if now.Sub(h.silent[id]) < h.Patience {
				good++
			} else if o.Why == "" {
				o.Why = "a holder is silent"
			}
			o.Holders = append(o.Holders, id)
		}
	}
	if good < min(Copies, len(in.Coordinators)) {
		to, has := h.another(in, v, o.Holders, load)
		if to != "" && (has || len(o.From) > 0 || v.Bucket) {
			if !has {
				o.To = to
			}
			o.Holders = append(o.Holders, to)
		}
		if o.Why == "" {
			o.Why = "too few coordinators hold it"
		}
	}
	slices.Sort(o.Holders)
	was := slices.Sorted(slices.Values(v.Holders))
	return o, len(o.Holders) > 0 && (o.To != "" || !slices.Equal(o.Holders, was)) // one that lost its copy may be the one to make it again
}

// another finds a coordinator that answers and is no holder: one that has the blobs already, else the one that holds least.
func (h *Holders) another(in View, v cluster.Version, holders []cluster.NodeID, load map[cluster.NodeID]int) (best cluster.NodeID, has bool) {
	for _, id := range slices.Sorted(slices.Values(in.Coordinators)) {
		a, answered := in.Answers[id]
		if !answered || slices.Contains(holders, id) {
			continue
		}
		hasIt := !a.Lacks[v.VersionID]
		if best == "" || hasIt && !has || hasIt == has && load[id] < load[best] {
			best, has = id, hasIt
		}
	}
	return best, has
}
