package shelf

import (
	"cmp"
	"maps"
	"slices"

	"github.com/skein-project/skein/results"
)

// entry is what is known of a box without reading it.
type entry struct {
	name    string
	owner   results.Owner
	expires int64
	size    int64 // of what is sealed
	order   uint64
	coming  bool // its file is still being written
}

// share is what a tenant has on the shelf, by application.
type share struct {
	apps  map[string]*holding
	bytes int64
	boxes int
}

// holding is what an owner has on the shelf.
type holding struct {
	entries []*entry // the oldest first, which is by order
	bytes   int64
}

// add notes a box. The caller holds the lock, or has the shelf alone, as with all that follows.
func (s *Shelf) add(e *entry) {
	t := s.tenants[e.owner.Tenant]
	if t == nil {
		t = &share{apps: map[string]*holding{}}
		s.tenants[e.owner.Tenant] = t
	}
	h := t.apps[e.owner.App]
	if h == nil {
		h = &holding{}
		t.apps[e.owner.App] = h
	}
	s.order++
	e.order = s.order
	s.byName[e.name] = e
	h.entries = append(h.entries, e)
	h.bytes += e.size
	t.bytes += e.size
	t.boxes++
	s.bytes += e.size
}

// take forgets a box, whose file is to be removed then.
func (s *Shelf) take(e *entry) {
	t := s.tenants[e.owner.Tenant]
	h := t.apps[e.owner.App]
	at, _ := slices.BinarySearchFunc(h.entries, e.order, func(x *entry, order uint64) int { return cmp.Compare(x.order, order) })
	if at == 0 { // as with all that make room: nothing is moved
		h.entries[0] = nil
		h.entries = h.entries[1:]
	} else {
		h.entries = slices.Delete(h.entries, at, at+1)
	}
	s.forget(t, h, e)
}

// forget takes a box out of all but its owner's entries.
func (s *Shelf) forget(t *share, h *holding, e *entry) {
	h.bytes -= e.size
	t.bytes -= e.size
	t.boxes--
	s.bytes -= e.size
	delete(s.byName, e.name)
	if !e.coming {
		s.leaving[e.name] = true
	}
	if len(h.entries) == 0 {
		delete(t.apps, e.owner.App)
	}
	if len(t.apps) == 0 {
		delete(s.tenants, e.owner.Tenant)
	}
}

// takeAll forgets what is to go by owner and box, going through each owner's entries once.
func (s *Shelf) takeAll(goes func(results.Owner) func(*entry) bool) (gone []*entry) {
	for tenant, t := range s.tenants {
		for app, h := range t.apps {
			out, stays := goes(results.Owner{Tenant: tenant, App: app}), []*entry(nil)
			from := len(gone)
			for _, e := range h.entries {
				if out(e) {
					gone = append(gone, e)
				} else {
					stays = append(stays, e)
				}
			}
			h.entries = stays
			for _, e := range gone[from:] {
				s.forget(t, h, e)
			}
		}
	}
	return gone
}

// takeIf forgets a box, if it is still there.
func (s *Shelf) takeIf(e *entry) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName[e.name] != e {
		return nil
	}
	s.take(e)
	return []*entry{e}
}

// evictFor makes room for more bytes and boxes.
func (s *Shelf) evictFor(bytes int64, boxes int) (gone []*entry) {
	for {
		var e *entry
		switch {
		case len(s.byName) == 0:
			return gone
		case s.bytes+bytes > s.most:
			e = s.oldest(func(t *share) int64 { return t.bytes }, func(h *holding) int64 { return h.bytes })
		case len(s.byName)+boxes > s.boxes:
			e = s.oldest(func(t *share) int64 { return int64(t.boxes) }, func(h *holding) int64 { return int64(len(h.entries)) })
		default:
			return gone
		}
		s.take(e)
		gone = append(gone, e)
	}
}

// oldest is the oldest box of whoever has most.
func (s *Shelf) oldest(ofTenant func(*share) int64, ofApp func(*holding) int64) *entry {
	t := s.tenants[greatest(s.tenants, ofTenant)]
	return t.apps[greatest(t.apps, ofApp)].entries[0]
}

// greatest is the key of the value with most; of several, the first by name.
func greatest[V any](all map[string]V, size func(V) int64) string {
	return slices.MaxFunc(slices.Collect(maps.Keys(all)), func(a, b string) int {
		return cmp.Or(cmp.Compare(size(all[a]), size(all[b])), cmp.Compare(b, a))
	})
}
