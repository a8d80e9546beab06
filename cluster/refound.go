package cluster

import (
	"slices"

	"github.com/skein-project/skein/internal/table"
)

// Refound makes a state that was backed up the state of another cluster, on machines of its own. It is applied once, to the restored
// state, before anybody sees that. The new cluster has an id and an authority of its own, so that neither its members nor those of the
// old one, should that still run, can be taken for the other's: members, nodes, placements and join tokens of the old cluster are gone,
// and what people made stays: also that a device is not trusted, which may be in one of the new machines. A version is held by the new coordinator if all its blobs came along, and by nobody else.
type Refound struct {
	From    string      `json:"from"` // id of the cluster that was backed up
	ID      string      `json:"id"`
	CACert  []byte      `json:"ca_cert"`
	CAKey   []byte      `json:"ca_key"`
	Member  Member      `json:"member"`            // the coordinator that begins
	Key     Key         `json:"key"`               // a fresh admin key
	Suspend bool        `json:"suspend,omitempty"` // every other key is suspended, and nobody vouches for people any more
	Held    []VersionID `json:"held,omitempty"`    // versions whose blobs came along
}

func (Refound) tag() string { return "refound" }

func (s *State) refound(c Refound) error {
	subject := "cluster " + c.ID
	switch {
	case c.From == "" || s.cluster.ID != c.From:
		return reject(ReasonStale, subject, "the state is that of cluster %s, not %.64s", s.cluster.ID, c.From)
	case !validID(c.ID) || c.ID == c.From:
		return reject(ReasonInvalid, subject, "malformed id, or not a new one")
	case len(c.CACert) > MaxSecret || len(c.CAKey) > MaxSecret:
		return reject(ReasonLimit, subject, "certificate or key over %d bytes", MaxSecret)
	case c.Member.Role != RoleCoordinator:
		return reject(ReasonInvalid, subject, "its first member is no coordinator")
	case !c.Key.Admin || c.Key.Suspended || c.Key.Revoked:
		return reject(ReasonInvalid, subject, "its first key is no valid admin key")
	}
	s.cluster = Cluster{ID: c.ID, Feature: s.cluster.Feature, CACert: slices.Clone(c.CACert), CAKey: slices.Clone(c.CAKey), Rev: s.index}
	for r := range s.Replicas() {
		s.accrue(r)
	}
	s.replicas, s.nodes = table.Table[ReplicaID, Replica]{}, table.Table[NodeID, Node]{}
	s.members, s.settled, s.gone = table.Table[NodeID, Member]{}, table.Table[NodeID, Settled]{}, table.Table[NodeID, Gone]{}
	s.tokens = table.Table[text, JoinToken]{}
	for q := range s.Quarantines() {
		if q.Node != "" {
			s.quarantines = s.quarantines.Delete(q.QuarantineID)
		}
	}
	if err := s.putMember(PutMember{Member: c.Member}); err != nil {
		return err
	}
	s.hold(c.Member.ID, c.Held)
	if c.Suspend {
		s.suspend()
	}
	if err := s.putKey(PutKey{Key: c.Key}); err != nil {
		return err
	}
	s.derived = s.derive()
	return nil
}

// hold makes a coordinator the only holder of some versions, and leaves the others without any.
func (s *State) hold(holder NodeID, held []VersionID) {
	has := make(map[VersionID]bool, len(held))
	for _, v := range held {
		has[v] = true
	}
	for v := range s.Versions() {
		if v.Holders, v.Rev = nil, s.index; has[v.VersionID] {
			v.Holders = []NodeID{holder}
		}
		s.versions = s.versions.Set(v.VersionID, v)
	}
}

// suspend takes their way in from all keys and people. Whether one of them was taken it for good since, the state cannot tell.
func (s *State) suspend() {
	for k := range s.Keys() {
		if !k.Revoked {
			k.Suspended, k.Rev = true, s.index
			s.keys = s.keys.Set(text(k.ID), k)
		}
	}
	for d := range s.Documents(Provider) {
		s.documents = s.documents.Delete(d.DocumentID)
	}
}
