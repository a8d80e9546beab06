package model

import (
	"fmt"
	"math"
)

// Limits of what a manifest may say. They bound memory and time before anything is allocated, and lie far above real models.
const (
	MaxLayers       = 1024
	MaxHidden       = 1 << 16 // elements
	MaxHeads        = 1024
	MaxHeadDim      = 1024    // elements
	MaxIntermediate = 1 << 20 // elements
	MaxVocab        = 1 << 22 // token ids
	MaxPositions    = 1 << 24 // tokens
	MaxTypes        = 1024    // segment ids
	MaxTensors      = 1 << 15
	MaxFiles        = 32
	MaxFileLen      = 64 << 20 // bytes of one file of Manifest.Files
	MaxLabels       = 1 << 16
	MaxLabelLen     = 1024     // bytes of UTF-8
	MaxEOS          = 64       // token ids that end a generation
	MaxEncoded      = 16 << 20 // bytes of an encoded manifest
	MaxTemperature  = 100
	MaxTopLogprobs  = 20  // the OpenAI API's limit
	MaxMasks        = 32  // masks of one text that are filled
	MaxPenalty      = 2   // of penalties: the OpenAI API's limit
	MaxBias         = 100 // added to a logit, or taken from it: the OpenAI API's limit
	MaxBiases       = 300 // tokens of one request that have a bias
)

// Invalid says what of a model's description is wrong, and why.
type Invalid struct {
	What string // "layers", "tensor 3/attn.q.weight"
	Why  string // "1000000000 is not in 1..1024"
}

// Error implements error.
func (e Invalid) Error() string { return "model: " + e.What + ": " + e.Why }

// within checks low ≤ v ≤ high.
func within(what string, v, low, high int) error {
	if v < low || v > high {
		return Invalid{what, fmt.Sprintf("%d is not in %d..%d", v, low, high)}
	}
	return nil
}

// finite checks that v is a number with low < v ≤ high.
func finite(what string, v, low, high float64) error {
	if math.IsNaN(v) || v <= low || v > high {
		return Invalid{what, fmt.Sprintf("%v is not above %v and at most %v", v, low, high)}
	}
	return nil
}

// first is the first error that is not nil.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
