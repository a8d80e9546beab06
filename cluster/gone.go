package cluster

import (
	"iter"
	"slices"
)

// GoneKept is how long, in milliseconds, a removed member is remembered: longer than any certificate that it can have opens anything,
// 24 h and 30 days to renew it.
const GoneKept = 32 * 24 * 60 * 60 * 1000

// certified is how long, in milliseconds, a certificate can count after its member was removed: its life of 24 h, and clocks that differ.
const certified = 25 * 60 * 60 * 1000

// Gone is a coordinator, node or gateway that was removed. Its certificate counts for nothing, and its id is never anybody's again
// while it is remembered.
type Gone struct {
	ID NodeID `json:"id"`
	At Millis `json:"at"`
}

// Gone says whether a member was removed.
func (s State) Gone(id NodeID) bool { return s.gone.Has(id) }

// AllGone yields the removed members that are remembered, by id.
func (s State) AllGone() iter.Seq[Gone] { return s.gone.Values() }

// uncertain lists the removed members whose certificates may not have ended.
func (s State) uncertain() (ids []NodeID) {
	for g := range s.AllGone() {
		if g.At+certified > s.at {
			ids = append(ids, g.ID)
		}
	}
	return ids
}

// leave remembers that a member was removed, and forgets those whose certificates have ended long ago.
func (s *State) leave(id NodeID, subject string) error {
	if s.cluster.Feature < 2 {
		return nil
	}
	for _, g := range slices.Collect(s.AllGone()) {
		if g.At+GoneKept < s.at {
			s.gone = s.gone.Delete(g.ID)
		}
	}
	if s.gone.Len() >= MaxGone {
		return reject(ReasonLimit, subject, "%d members were removed within %d days", MaxGone, GoneKept/dayMs)
	}
	s.gone = s.gone.Set(id, Gone{id, s.at})
	return nil
}
