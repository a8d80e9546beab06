package cluster

// Nanos is a number in billionths: the state has no fractions.
type Nanos int64

// Proof is what was found when a version was tried before it existed.
type Proof struct {
	Why    string     `json:"why,omitempty"`    // why it was not tried; "" = it was
	Finite bool       `json:"finite,omitempty"` // every output was a number
	Cut    *Deviation `json:"cut,omitempty"`    // in stages against whole; nil = the family is not cut
	Golden *Deviation `json:"golden,omitempty"` // against outputs of the source framework that came with it; nil = none came
}

// Deviation is how far outputs are from what they should be.
type Deviation struct {
	Outputs  int   `json:"outputs"`  // tensors that were compared
	Absolute Nanos `json:"absolute"` // largest difference
	Relative Nanos `json:"relative"` // largest difference by the largest value of its tensor
}
