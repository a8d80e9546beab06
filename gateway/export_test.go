package gateway

import (
	"reflect"

	"github.com/skein-project/skein/results"
)

// Ruled says that a gateway applies a policy.
func (s *Server) Ruled(p results.Policy) bool {
	return reflect.DeepEqual((*s.records.rules.Load())[p.ID()].Policy, p)
}

// Records are the figures of a gateway's records.
type Records struct{ Waiting, Kept, Queue, Spool, Refused, Damaged int }

// Records counts.
func (s *Server) Records() (n Records) {
	r := s.records
	n = Records{Kept: int(r.kept.Load()), Queue: int(r.droppedQueue.Load() + r.droppedOff.Load()), Spool: int(r.droppedFull.Load()), Refused: int(r.refused.Load())}
	if k := r.spool.Load(); k != nil {
		n.Waiting, n.Damaged = k.stats().Records, int(k.stats().Damaged)
	}
	return n
}

// Asked is the JSON of a request's body that a view reads.
func Asked(body, length string) string {
	w := &shaped{jsonBytes: length}
	w.request.WriteString(body)
	return string(w.asked())
}
