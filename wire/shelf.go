package wire

import "github.com/skein-project/skein/results"

// PutBoxRequest has a sealed answer kept.
type PutBoxRequest struct {
	Box  results.Box `json:"box"`
	Copy bool        `json:"copy,omitempty"` // it is there at another coordinator: keep it, and bring it to nobody else
}

// BoxRequest is about the box of an owner.
type BoxRequest struct {
	Name  string        `json:"name"`
	Owner results.Owner `json:"owner"`
	Here  bool          `json:"here,omitempty"` // ask no other coordinator
}

// BoxResponse says what was found.
type BoxResponse struct {
	Found  bool         `json:"found,omitempty"`
	Box    *results.Box `json:"box,omitempty"`    // of GetBox
	Silent int          `json:"silent,omitempty"` // coordinators that may have it too, and that do not answer
}
