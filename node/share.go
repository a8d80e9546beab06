package node

import (
	"maps"
	"slices"
	"sync"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/wire"
)

// crowd is who shares the work of fetching the stages of this node, as the newest Desired says.
type crowd struct {
	mu      sync.Mutex
	by      map[cluster.StageKey][]cluster.Sharer
	changed chan struct{} // closed, and made anew, when that changes
}

func newCrowd() *crowd { return &crowd{changed: make(chan struct{})} }

func (c *crowd) set(d cluster.Desired) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := map[cluster.StageKey][]cluster.Sharer{}
	for _, a := range d.Assignments {
		now[a.Key] = a.Sharers
	}
	if !maps.EqualFunc(now, c.by, slices.Equal[[]cluster.Sharer]) {
		c.by = now
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// of tells, of a stage of a model, who shares its bytes, as wire.Sources asks.
func (c *crowd) of(key cluster.StageKey, m *model.Manifest) func() ([]wire.Sharer, <-chan struct{}) {
	return func() ([]wire.Sharer, <-chan struct{}) {
		c.mu.Lock()
		list, changed := c.by[key], c.changed
		c.mu.Unlock()
		return sharers(m, list), changed
	}
}

// sharers says of each other node which chunks its stages of a model need.
func sharers(m *model.Manifest, list []cluster.Sharer) []wire.Sharer {
	spans := map[shard.Span]map[blob.Digest][]blob.Ref{}
	var out []wire.Sharer
	needs := map[string][]map[blob.Digest][]blob.Ref{} // by address
	for _, s := range list {
		if spans[s.Span] == nil {
			spans[s.Span] = byBlob(m.Refs(s.Span.From, s.Span.To))
		}
		if needs[s.Addr] == nil {
			out = append(out, wire.Sharer{Addr: s.Addr, Wants: func(d blob.Digest, chunk int) bool {
				return slices.ContainsFunc(needs[s.Addr], func(of map[blob.Digest][]blob.Ref) bool { return touches(of[d], chunk) })
			}})
		}
		needs[s.Addr] = append(needs[s.Addr], spans[s.Span])
	}
	return out
}

// byBlob sorts ranges, which stay in their order, by the blob that they are of.
func byBlob(refs []blob.Ref) map[blob.Digest][]blob.Ref {
	out := map[blob.Digest][]blob.Ref{}
	for _, r := range refs {
		if r.Len == 0 {
			continue
		}
		out[r.Digest] = append(out[r.Digest], r)
	}
	return out
}

// touches says whether ranges, sorted and apart, have a byte of a chunk.
func touches(refs []blob.Ref, chunk int) bool {
	i, _ := slices.BinarySearchFunc(refs, chunk, func(r blob.Ref, chunk int) int { // the first that ends behind its beginning
		if _, to := r.Chunks(); to <= chunk {
			return -1
		}
		return 1
	})
	if i == len(refs) {
		return false
	}
	from, _ := refs[i].Chunks()
	return from <= chunk
}
