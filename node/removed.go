package node

import (
	"slices"
	"sync"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/node/worker"
)

// removed are the members that were removed, as the newest word of a leader has them.
type removed struct {
	mu    sync.Mutex
	term  uint64
	index cluster.Index
	ids   []cluster.NodeID
}

// news says whether a list is another one than the newest word so far, and keeps it.
func (r *removed) news(d cluster.Desired) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.Term < r.term || d.Term == r.term && d.Index < r.index {
		return false
	}
	r.term, r.index = d.Term, d.Index
	if slices.Equal(d.Gone, r.ids) {
		return false
	}
	r.ids = d.Gone
	return true
}

// expelled lists the removed members.
func (s *Server) expelled() []cluster.NodeID {
	s.removed.mu.Lock()
	defer s.removed.mu.Unlock()
	return s.removed.ids
}

// heed keeps the end of the audit log, and lets the certificates of removed members count for nothing, here and in the workers.
func (s *Server) heed(d cluster.Desired) {
	if err := s.heads.keep(d.Head); err != nil {
		s.log.Warn("the audit log's end is not kept here", "err", err)
	}
	s.crowd.set(d)
	if !s.removed.news(d) {
		return
	}
	ids := append([]cluster.NodeID{}, d.Gone...) // never nil: none is an order too
	s.creds.RefuseAll(ids)
	for _, p := range s.processes {
		if err := p.send(worker.Order{Gone: &ids}); err != nil {
			s.log.Debug("worker is told of removed members when it starts", "device", p.device.ID, "err", err)
		}
	}
}
