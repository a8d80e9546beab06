package coordinator

import (
	"maps"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Limits of peers as sources of bytes.
const (
	maxPeers  = 4               // that a stage may be fetched from
	peerFresh = 3 * time.Second // age of the report that says a peer has the bytes
)

// addPeers puts other nodes that hold all bytes of a stage before the coordinators, so that bytes that one node has
// need not leave those again. Nodes that begin at the same moment are each other's sharers.
func (f *fleet) addPeers(node cluster.NodeID, d *cluster.Desired, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range d.Assignments {
		a := &d.Assignments[i]
		if held(f.reports[node].Held, a.Key) {
			a.Sharers = nil
			continue // nothing is to be fetched; and who else has it changes all the time
		}
		var peers []string
		for _, id := range slices.Sorted(maps.Keys(f.reports)) {
			r := f.reports[id]
			if id != node && r.Addr != "" && now.Sub(r.at) < peerFresh && len(peers) < maxPeers && held(r.Held, a.Key) {
				peers = append(peers, r.Addr)
			}
		}
		a.Sources = append(peers, a.Sources...)
	}
}

// held says whether a node that holds stages has every byte of another one: the same weights, of the same blocks or more.
func held(stages []cluster.Held, key cluster.StageKey) bool {
	return slices.ContainsFunc(stages, func(h cluster.Held) bool {
		return h.Status == cluster.HeldReady && h.Key.Manifest == key.Manifest && h.Key.Variant == key.Variant && h.Key.Span.From <= key.Span.From && h.Key.Span.To >= key.Span.To
	})
}
