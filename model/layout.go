package model

import "sort"

// Slot is a tensor that a family's graph has a place for.
type Slot struct {
	Name     string  // canonical
	Shape    []int64 // elements
	Optional bool    // a bias that some checkpoints of the family lack
}

// Slots lists the tensors that the model has a place for in a block (Embed, 0..Layers-1, or Tail()), in the order of their names.
// It reads the manifest's config, tasks and labels, which must be valid.
func (m *Manifest) Slots(block int) []Slot {
	var slots []Slot
	switch m.Config.Arch {
	case GPT2:
		slots = m.Config.slotsGPT2(block)
	case Llama:
		slots = m.Config.slotsLlama(block)
	case BERT:
		slots = m.Config.slotsBERT(block)
		if block == m.Tail() {
			slots = m.slotsHeads()
		}
	}
	sort.Slice(slots, func(i, j int) bool { return slots[i].Name < slots[j].Name })
	return slots
}

// slotsHeads is the tail of an encoder. A classifier of texts reads the pooler; a classifier of tokens has none, which is how
// the graph knows it; others may have one.
func (m *Manifest) slotsHeads() []Slot {
	h, v := int64(m.Config.Hidden), int64(m.Config.Vocab)
	classifier := func(labels int64) []Slot { return pair("classifier", []int64{labels, h}, labels) }
	pooler := pair("pooler", []int64{h, h}, h)
	switch {
	case m.Can(Classify):
		return join(pooler, classifier(int64(len(m.Labels))))
	case m.Can(ClassifyTokens):
		return classifier(int64(len(m.Labels)))
	case m.Can(Answer):
		return classifier(AnswerEnds)
	}
	pooler[0].Optional, pooler[1].Optional = true, true
	if m.Can(FillMask) {
		return join(pooler, pair("mlm", []int64{h, h}, h), norm("mlm", h), pair("head", []int64{v, h}, v))
	}
	return pooler
}

// AnswerEnds is the number of scores that a model which answers questions gives each token: as the first of the answer, and as the last.
const AnswerEnds = 2

// pair is a weight and its bias.
func pair(name string, weight []int64, bias int64) []Slot {
	return []Slot{{Name: name + ".weight", Shape: weight}, {Name: name + ".bias", Shape: []int64{bias}}}
}

// norm is a LayerNorm.
func norm(name string, width int64) []Slot { return pair(name+".norm", []int64{width}, width) }

func join(groups ...[]Slot) []Slot {
	var all []Slot
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// slotsGPT2 has weights as Conv1D keeps them, [in, out].
func (c Config) slotsGPT2(block int) []Slot {
	h, m := int64(c.Hidden), int64(c.Intermediate)
	switch block {
	case Embed:
		return []Slot{{Name: "embed.token", Shape: []int64{int64(c.Vocab), h}}, {Name: "embed.position", Shape: []int64{int64(c.Positions), h}}}
	case c.Tail():
		return join(norm("final", h), []Slot{{Name: "head.weight", Shape: []int64{int64(c.Vocab), h}}})
	}
	return join(norm("attn", h), pair("attn.qkv", []int64{h, 3 * h}, 3*h), pair("attn.out", []int64{h, h}, h),
		norm("mlp", h), pair("mlp.up", []int64{h, m}, m), pair("mlp.down", []int64{m, h}, h))
}

// slotsLlama has weights as Linear keeps them, [out, in].
func (c Config) slotsLlama(block int) []Slot {
	h, m := int64(c.Hidden), int64(c.Intermediate)
	q, kv := int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim)
	switch block {
	case Embed:
		return []Slot{{Name: "embed.token", Shape: []int64{int64(c.Vocab), h}}}
	case c.Tail():
		return []Slot{{Name: "final.norm.weight", Shape: []int64{h}}, {Name: "head.weight", Shape: []int64{int64(c.Vocab), h}}}
	}
	return []Slot{
		{Name: "attn.norm.weight", Shape: []int64{h}},
		{Name: "attn.q.weight", Shape: []int64{q, h}}, {Name: "attn.q.bias", Shape: []int64{q}, Optional: true},
		{Name: "attn.k.weight", Shape: []int64{kv, h}}, {Name: "attn.k.bias", Shape: []int64{kv}, Optional: true},
		{Name: "attn.v.weight", Shape: []int64{kv, h}}, {Name: "attn.v.bias", Shape: []int64{kv}, Optional: true},
		{Name: "attn.out.weight", Shape: []int64{h, q}}, {Name: "attn.out.bias", Shape: []int64{h}, Optional: true},
		{Name: "mlp.norm.weight", Shape: []int64{h}},
		{Name: "mlp.gate.weight", Shape: []int64{m, h}}, {Name: "mlp.gate.bias", Shape: []int64{m}, Optional: true},
		{Name: "mlp.up.weight", Shape: []int64{m, h}}, {Name: "mlp.up.bias", Shape: []int64{m}, Optional: true},
		{Name: "mlp.down.weight", Shape: []int64{h, m}}, {Name: "mlp.down.bias", Shape: []int64{h}, Optional: true},
	}
}

// slotsBERT has weights as Linear keeps them, [out, in].
func (c Config) slotsBERT(block int) []Slot {
	h, m := int64(c.Hidden), int64(c.Intermediate)
	switch block {
	case Embed:
		slots := join([]Slot{{Name: "embed.token", Shape: []int64{int64(c.Vocab), h}}, {Name: "embed.position", Shape: []int64{int64(c.Positions), h}}}, norm("embed", h))
		if c.Types > 0 {
			slots = append(slots, Slot{Name: "embed.type", Shape: []int64{int64(c.Types), h}})
		}
		return slots
	}
	return join(pair("attn.q", []int64{h, h}, h), pair("attn.k", []int64{h, h}, h), pair("attn.v", []int64{h, h}, h),
		pair("attn.out", []int64{h, h}, h), norm("attn", h),
		pair("mlp.up", []int64{m, h}, m), pair("mlp.down", []int64{h, m}, h), norm("mlp", h))
}
