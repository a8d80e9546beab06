package cluster

import (
	"fmt"

	"github.com/skein-project/skein/gpu"
)

// Reason says why a transaction was rejected. The set is closed.
type Reason string

// Reasons.
const (
	ReasonStale        Reason = "stale"            // Was or Epoch is not the record's: read again
	ReasonExists       Reason = "exists"           // Was is 0 and the record exists, or its name is taken
	ReasonNotFound     Reason = "not_found"        // something named does not exist
	ReasonOversold     Reason = "oversold"         // a device has less memory left than the stage needs
	ReasonNodeNotReady Reason = "node_not_ready"   // the node is draining or lost
	ReasonQuarantined  Reason = "quarantined"      // the device, or its node, is under quarantine
	ReasonInvalid      Reason = "invalid"          // a value breaks a rule of its record
	ReasonLimit        Reason = "limit"            // a limit of this package is reached
	ReasonRoom         Reason = "room"             // a tenant has no room for another document of the kind
	ReasonExpired      Reason = "expired"          // the join token's time is over
	ReasonUsed         Reason = "used"             // the join token was used
	ReasonInUse        Reason = "in_use"           // other records name it
	ReasonNoReplica    Reason = "no_ready_replica" // the alias would point at a version that answers nothing
	ReasonIncompatible Reason = "incompatible"     // clients of the present version would miss something
	ReasonOwner        Reason = "owner"            // the name is another tenant's
	ReasonLastAdmin    Reason = "last_admin"       // nobody could administer the cluster any more
	ReasonFeature      Reason = "feature"          // the command needs a higher committed feature level
)

// Rejected is the answer to a transaction that was not applied. It is decided inside Apply, so it is the same on every coordinator.
type Rejected struct {
	Reason   Reason        `json:"reason"`
	Subject  string        `json:"subject"` // kind and id of the record, for example "node n1"
	Why      string        `json:"why"`     // for people
	Oversold *gpu.Oversold `json:"oversold,omitempty"`
}

func (r *Rejected) Error() string {
	return fmt.Sprintf("cluster: %s: %s (%s)", r.Subject, r.Why, r.Reason)
}

// Unwrap gives the *gpu.Oversold of ReasonOversold.
func (r *Rejected) Unwrap() error {
	if r.Oversold == nil {
		return nil
	}
	return r.Oversold
}

func reject(reason Reason, subject, format string, args ...any) error {
	return &Rejected{Reason: reason, Subject: subject, Why: fmt.Sprintf(format, args...)}
}
