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
	if m.Config.Arch == model.Graph {
		return profileOfGraph(m)
	}
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

// leastInner is the widest activation that a graph without text is taken to have, in elements per row of a batch: what its nodes make is not
// known here, and images are wide.
const leastInner = 1 << 18

// profileOfGraph is the profile of a graph that is not cut: one block. Its weights are held as they are stored, but for those of 16 bits, which
// a graph casts. A graph without text has rows of one token.
func profileOfGraph(m *model.Manifest) Profile {
	c := m.Config
	p := Profile{Hidden: c.Hidden, Vocab: c.Vocab, Positions: max(c.Positions, 1), Heads: (c.Hidden + headWidth - 1) / headWidth, Inner: leastInner}
	if m.Graph.Text != nil {
		p.Inner = 4 * c.Hidden
	}
	var stored, held, cost int64
	seen := map[blob.Ref]bool{}
	for _, t := range m.Tensors {
		if seen[t.Ref] {
			continue
		}
		seen[t.Ref] = true
		stored += t.Ref.Len
		held += t.Ref.Len
		if t.DType == model.F16 || t.DType == model.BF16 {
			held += t.Ref.Len
		}
		cost += matrix(t)
		for _, d := range t.Shape {
			if len(t.Shape) == 2 && d != int64(c.Vocab) {
				p.Inner = max(p.Inner, int(min(d, model.MaxIntermediate)))
			}
		}
	}
	for _, out := range m.Graph.Outputs {
		if n := len(out.Shape); n > 0 {
			p.Inner = max(p.Inner, int(min(out.Shape[n-1], model.MaxVocab)))
		}
	}
	p.Blocks, p.BlockCost, p.Expand = []gpu.Bytes{gpu.Bytes(stored)}, cost, 100
	if stored > 0 {
		p.Expand = int((held*100 + stored - 1) / stored)
	}
	return p
}

// headWidth is how many elements of a token an attention head usually has.
const headWidth = 64

// matrix is the number of multiply-accumulates that a token costs in a weight: its elements if it is a matrix, else 0.
func matrix(t model.Tensor) int64 {
	if len(t.Shape) != 2 {
		return 0
	}
	return t.Shape[0] * t.Shape[1]
}
