// Package shard cuts a model into stages that fit on devices, and says what each costs.
package shard

import (
	"github.com/skein-project/skein/gpu"
)

// Serving is how much a replica of a model is prepared to serve at once; KV memory is reserved for it.
type Serving struct {
	Slots   int `json:"slots"`   // sequences at once
	Context int `json:"context"` // tokens: the longest sequence, prompt and answer together
}

// Span is a range of blocks [From, To). A span that starts at 0 includes the embeddings, one that ends at Layers the tail.
type Span struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Footprint is what a stage needs on its device, in bytes.
type Footprint struct {
	Weights   gpu.Bytes `json:"weights"`
	KV        gpu.Bytes `json:"kv"`
	Workspace gpu.Bytes `json:"workspace"` // activations, logits, attention scratch at the largest step
	Overhead  gpu.Bytes `json:"overhead"`  // runtime: context, arena slack
}

// Total is the sum: what is reserved in the ledger.
func (f Footprint) Total() gpu.Bytes { return f.Weights + f.KV + f.Workspace + f.Overhead }

// Stage is one span of a plan with its footprint and cost.
type Stage struct {
	Span
	Footprint Footprint `json:"footprint"`
	Cost      int64     `json:"cost"` // multiply-accumulates per token
}

// Plan is a cut of a whole model: its stages cover all blocks once, in order.
type Plan struct {
	Stages []Stage `json:"stages"`
}

// Profile is what cutting and placing must know of a model: sizes and costs, no tensors. It is computed once from a manifest
// (ProfileOf) and kept in the replicated state.
type Profile struct {
	Decoder   bool        `json:"decoder"`
	Hidden    int         `json:"hidden"`
	Vocab     int         `json:"vocab"`
	Positions int         `json:"positions"`  // tokens: the longest sequence the weights support
	Heads     int         `json:"heads"`      // of attention: scores take heads × context per token
	Blocks    []gpu.Bytes `json:"blocks"`     // weights of each block as stored
	Embed     gpu.Bytes   `json:"embed"`      // weights needed before block 0
	Tail      gpu.Bytes   `json:"tail"`       // weights needed after the last block
	Shared    gpu.Bytes   `json:"shared"`     // counted in Embed and in Tail, held once where one stage has both (tied head)
	Expand    int         `json:"expand"`     // percent: bytes in memory per stored byte on a host device (200 for 16-bit weights cast to fp32)
	KVToken   gpu.Bytes   `json:"kv_token"`   // KV cache per token and block, fp32; 0 for encoders
	BlockCost int64       `json:"block_cost"` // multiply-accumulates per token and block
	TailCost  int64       `json:"tail_cost"`  // multiply-accumulates per token of the tail
	Inner     int         `json:"inner"`      // widest activation of a block in elements per token
}
