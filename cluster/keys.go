package cluster

import (
	"cmp"
	"strings"
)

// Compare orders node ids.
func (n NodeID) Compare(o NodeID) int { return strings.Compare(string(n), string(o)) }

// Compare orders versions by model and number.
func (v VersionID) Compare(o VersionID) int {
	return cmp.Or(strings.Compare(v.Model, o.Model), cmp.Compare(v.Number, o.Number))
}

// Compare orders replicas by version and ordinal.
func (r ReplicaID) Compare(o ReplicaID) int {
	return cmp.Or(r.Version.Compare(o.Version), cmp.Compare(r.Ordinal, o.Ordinal))
}

// text is a key that has no type of its own: a name, a hash, a key id.
type text string

func (t text) Compare(o text) int { return strings.Compare(string(t), string(o)) }

// seat says that a node holds stages of a replica.
type seat struct {
	node    NodeID
	replica ReplicaID
}

func (s seat) Compare(o seat) int {
	return cmp.Or(s.node.Compare(o.node), s.replica.Compare(o.replica))
}

// lineage remembers the highest number a model ever had, so that a deleted version's name is never given to other weights, and whose
// the model is, so that a name that has no version left is never given to another tenant: clients may still call it.
type lineage struct {
	Model  string `json:"model"`
	Number int    `json:"number"`
	Owner  string `json:"owner,omitempty"` // of the model that has no version left; "" = DefaultTenant, or what the model's record says
}

// mark is the highest epoch a replica ever had, kept after its removal, so that an epoch is never used twice. It goes with its
// version, whose number is never used twice either.
type mark struct {
	Replica ReplicaID `json:"replica"`
	Epoch   Epoch     `json:"epoch"`
}
