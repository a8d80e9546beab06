package library

import (
	"bytes"
	"maps"
	"slices"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// Copy is blobs that a coordinator is to copy from others.
type Copy struct {
	To    cluster.NodeID
	From  []cluster.NodeID
	Blobs []blob.Digest // sorted
}

// Spread says what to copy so that every blob is on Copies coordinators, or on all where there are fewer. lacks says of each coordinator that
// answered which of the blobs it has not; what a silent one has does not count. Blobs that nobody has are not copied.
func Spread(blobs []blob.Digest, coordinators []cluster.NodeID, lacks map[cluster.NodeID]map[blob.Digest]bool) []Copy {
	answered := slices.Sorted(maps.Keys(lacks))
	load := map[cluster.NodeID]int{}
	orders := map[cluster.NodeID]*Copy{}
	blobs = slices.Clone(blobs)
	slices.SortFunc(blobs, func(a, b blob.Digest) int { return bytes.Compare(a[:], b[:]) })
	for _, d := range slices.Compact(blobs) {
		var have, free []cluster.NodeID
		for _, id := range answered {
			if lacks[id][d] {
				free = append(free, id)
			} else {
				have = append(have, id)
			}
		}
		for n := len(have); len(have) > 0 && n < min(Copies, len(coordinators)) && len(free) > 0; n++ {
			to := slices.MinFunc(free, func(a, b cluster.NodeID) int { return load[a] - load[b] })
			free = slices.DeleteFunc(free, func(id cluster.NodeID) bool { return id == to })
			load[to]++
			if orders[to] == nil {
				orders[to] = &Copy{To: to}
			}
			orders[to].Blobs = append(orders[to].Blobs, d)
			for _, id := range have {
				if !slices.Contains(orders[to].From, id) {
					orders[to].From = append(orders[to].From, id)
				}
			}
		}
	}
	var out []Copy
	for _, id := range slices.Sorted(maps.Keys(orders)) {
		slices.Sort(orders[id].From)
		out = append(out, *orders[id])
	}
	return out
}
