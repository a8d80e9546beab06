package cluster

import (
	"cmp"
	"iter"
	"strings"

	"github.com/skein-project/skein/gpu"
)

// QuarantineID names what is under quarantine: a device, on whichever node it is, or a node with all its devices. One of both is set.
type QuarantineID struct {
	Device gpu.DeviceID `json:"device,omitempty"`
	Node   NodeID       `json:"node,omitempty"`
}

// Compare orders quarantines: those of nodes by id, then those of devices by id.
func (q QuarantineID) Compare(o QuarantineID) int {
	return cmp.Or(strings.Compare(string(q.Device), string(o.Device)), q.Node.Compare(o.Node))
}

func (q QuarantineID) String() string {
	if q.Device != "" {
		return "device " + string(q.Device)
	}
	return "node " + string(q.Node)
}

// Quarantine says that a device or a node is not trusted: nothing new is placed on it, and what it serves moves elsewhere as soon as
// others serve instead. It outlives the node's restarts and, for a device, its way to another node.
type Quarantine struct {
	QuarantineID
	Why   string `json:"why,omitempty"`
	By    string `json:"by,omitempty"`    // who asked for it, for people
	Since Millis `json:"since"`           // when it was first asked for
	Until Millis `json:"until,omitempty"` // when the scheduler lifts it; 0 = somebody has to
	Rev   Index  `json:"rev"`
}

func (q Quarantine) rev() Index { return q.Rev }

// String says for people by whom and why, without the subject.
func (q Quarantine) String() string {
	text := "under quarantine"
	if q.By != "" {
		text += " by " + q.By
	}
	if q.Why != "" {
		text += ": " + q.Why
	}
	return text
}

// Noun is what a device calls what is under quarantine: itself, or its node.
func (q Quarantine) Noun() string {
	if q.Device != "" {
		return "it"
	}
	return "its node"
}

// Quarantine finds a quarantine.
func (s State) Quarantine(id QuarantineID) (Quarantine, bool) { return s.quarantines.Get(id) }

// Quarantines yields the quarantines of nodes, then those of devices, each by id.
func (s State) Quarantines() iter.Seq[Quarantine] { return s.quarantines.Values() }

// Quarantined finds the quarantine that keeps a device on a node from being used, its own or its node's.
func (s State) Quarantined(n NodeID, d gpu.DeviceID) (Quarantine, bool) {
	if q, ok := s.quarantines.Get(QuarantineID{Device: d}); ok {
		return q, true
	}
	return s.quarantines.Get(QuarantineID{Node: n})
}

// PutQuarantine begins or changes a quarantine. Since is set to the entry's time when it begins. What begins to be under quarantine must
// exist.
type PutQuarantine struct {
	Quarantine Quarantine `json:"quarantine"`
	Was        Index      `json:"was"`
}

// DeleteQuarantine lifts a quarantine.
type DeleteQuarantine struct {
	ID  QuarantineID `json:"id"`
	Was Index        `json:"was"`
}

func (PutQuarantine) tag() string    { return "put_quarantine" }
func (DeleteQuarantine) tag() string { return "delete_quarantine" }

func (s *State) putQuarantine(c PutQuarantine) error {
	q, subject := c.Quarantine, "quarantine of "+c.Quarantine.QuarantineID.String()
	old, found, err := before(s.quarantines, q.QuarantineID, c.Was, subject, MaxQuarantines)
	if err != nil {
		return err
	}
	switch {
	case (q.Device == "") == (q.Node == ""):
		return reject(ReasonInvalid, "quarantine", "want a device or a node")
	case !found && q.Device != "" && !s.owners.Has(q.Device), !found && q.Node != "" && !s.nodes.Has(q.Node):
		return reject(ReasonNotFound, subject, "it does not exist")
	case q.Until != 0 && q.Until <= s.at:
		return reject(ReasonExpired, subject, "it would be over from the start")
	}
	q.Why, q.By, q.Since, q.Rev = clip(q.Why), clip(q.By), s.at, s.index
	if found {
		q.Since = old.Since
	}
	s.quarantines = s.quarantines.Set(q.QuarantineID, q)
	return nil
}

func (s *State) deleteQuarantine(c DeleteQuarantine) error {
	if _, err := existing(s.quarantines, c.ID, c.Was, "quarantine of "+c.ID.String()); err != nil {
		return err
	}
	s.quarantines = s.quarantines.Delete(c.ID)
	return nil
}
