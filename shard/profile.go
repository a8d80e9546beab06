package shard

import (
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
)

// kvElement is the size of one element of the KV cache as Profile.KVToken counts it, in bytes (fp32).
const kvElement = 4

// ProfileOf adds up what a manifest's tensors need. A byte range that a section names twice counts once in it; a range that both the
// embeddings and the tail name (a tied head) is Shared. The manifest must be valid (model.Validate).
func ProfileOf(m *model.Manifest) Profile {
	c := m.Config
	p := Profile{
		Decoder:   c.Arch.Decoder(),
		Hidden:    c.Hidden,
		Vocab:     c.Vocab,
		Positions: c.Positions,
		Heads:     c.Heads,
		Blocks:    make([]gpu.Bytes, c.Layers),
		Inner:     max(c.Intermediate, (c.Heads+2*c.KVHeads)*c.HeadDim),
	}
	if p.Decoder {
		p.KVToken = gpu.Bytes(2 * c.KVHeads * c.HeadDim * kvElement)
	}
	type place struct {
		section int
		ref     blob.Ref
	}
	seen := map[place]bool{}
	var stored, cast, blockCost int64 // bytes as stored and as fp32, of what a graph computes with; multiply-accumulates
	for _, t := range m.Tensors {
		at := place{section: t.Block, ref: t.Ref}
		if seen[at] {
			continue
		}
		seen[at] = true
		size := gpu.Bytes(t.Ref.Len)
		if t.Block != model.Embed {
			stored += t.Ref.Len
			cast += t.Ref.Len / max(t.DType.Size(), 1) * model.F32.Size()
		}
		switch t.Block {
		case model.Embed:
			p.Embed += size
			if seen[place{section: c.Layers, ref: t.Ref}] {
				p.Shared += size
			}
		case c.Layers:
			p.Tail += size
			p.TailCost += matrix(t)
			if seen[place{section: model.Embed, ref: t.Ref}] {
				p.Shared += size
			}
		default:
			p.Blocks[t.Block] += size
			blockCost += matrix(t)
		}
	}
	p.BlockCost = (blockCost + int64(c.Layers) - 1) / max(int64(c.Layers), 1)
	p.Expand = 100
	if stored > 0 {
		p.Expand = int((cast*100 + stored - 1) / stored)
	}
	return p
}

// matrix is the number of multiply-accumulates that a token costs in a weight: its elements if it is a matrix, else 0.
func matrix(t model.Tensor) int64 {
	if len(t.Shape) != 2 {
		return 0
	}
	return t.Shape[0] * t.Shape[1]
}
