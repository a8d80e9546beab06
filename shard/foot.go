package shard

import (
	"math"
	"math/bits"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
)

// What the formulas of Foot assume about the engine, which keeps to the limits among them.
const (
	MaxSlots = 1024 // sequences at once
	Chunk    = 256  // tokens: the longest piece of a prompt that one forward step takes
	Batch    = 1024 // tokens of a batch of an encoder, padding included; one sequence may be longer

	hostOverhead = 32 * gpu.MiB  // of one stage: runtime session, its graph, allocator
	cudaOverhead = 800 * gpu.MiB // 500 MiB context and libraries of the process + 300 MiB of the session
	slack        = 50            // a fiftieth of the weights: padding and index structures of the runtime
	live         = 2             // layers' worth of activations alive at once under the runtime's memory plan
	element      = 4             // bytes of an activation (fp32)
)

// Step is the largest number of tokens that one forward step of a stage takes, padding included.
func (s Serving) Step(decoder bool) int {
	if decoder {
		return max(s.Slots, min(Chunk, s.Context))
	}
	return int(max(int64(s.Context), min(mul(int64(s.Slots), int64(s.Context)), Batch)))
}

// Foot says what the stage that holds span needs on a device of a kind. Formulas (per stage, n blocks, T tokens in the largest step,
// B slots, C context):
//
//	Weights    embed + (Σ blocks + tail)·expand, all ·(1 + 1/50)
//	KV         n · KVToken · B · C  (half of it on CUDA, where the cache is fp16)
//	Workspace  live·T·(4·hidden + 2·inner)·4 + attention scores T·heads·C·4 + rotary tables C·KVToken/2
//	           + logits B·vocab·8 on a decoder's last stage, and model.MaxMasks·vocab·8 on that of an encoder whose tail is as wide as a
//	           head that fills masks
//	Overhead   a constant by kind, and half of the workspace without logits for the arena, which grows by doubling
//
// T is Serving.Step. On host devices the graph computes in fp32, so weights stored in 16 bits grow by Profile.Expand, except the
// embedding table, whose rows are read from the stored bytes; pages that stay file-backed count fully. The runtime keeps weights in a
// layout of its own, so a tied head is held a second time there. While it casts and packs, one matrix is there twice: where cache and
// workspace, which come later, are less than the largest matrix, Workspace makes up for it. Amounts saturate far above any device instead
// of overflowing.
func Foot(p Profile, span Span, s Serving, kind gpu.Kind) Footprint {
	m := newMeter(p, s, kind)
	return m.foot(span)
}

// Cost is the multiply-accumulates per token of the stage that holds span; attention over the context is left out.
func Cost(p Profile, span Span) int64 {
	cost := mul(int64(span.To-span.From), p.BlockCost)
	if span.To == len(p.Blocks) {
		cost = add(cost, p.TailCost)
	}
	return cost
}

// meter answers Foot for many spans of one model in constant time each.
type meter struct {
	p      Profile
	prefix []int64 // prefix[i] is the weight of blocks [0, i) in memory
	embed  int64   // weights before block 0 in memory
	tail   int64   // weights of the tail in memory
	shared int64   // held once where a stage has both
	kv     int64   // KV cache of one block
	work   int64   // workspace of any stage
	logits int64   // workspace more on the last stage
	matrix int64   // the largest matrix of a block that is cast; 0 = none is
	head   int64   // the same of the tail
	fixed  int64   // overhead of any stage
}

func newMeter(p Profile, s Serving, kind gpu.Kind) meter {
	expand := int64(100)
	if kind == gpu.Host {
		expand = max(int64(p.Expand), 100)
	}
	m := meter{
		p:      p,
		prefix: make([]int64, len(p.Blocks)+1),
		embed:  int64(p.Embed),
		tail:   mul(int64(p.Tail), expand) / 100,
		fixed:  int64(cudaOverhead),
	}
	for i, b := range p.Blocks {
		m.prefix[i+1] = add(m.prefix[i], mul(int64(b), expand)/100)
	}
	if expand > 100 {
		m.matrix = mul(mul(int64(p.Hidden), int64(p.Inner)), element)
		m.head = mul(p.TailCost, element)
	}
	s.Slots, s.Context = max(s.Slots, 1), max(s.Context, 1)
	slots, context := int64(s.Slots), int64(s.Context)
	m.kv = mul(mul(slots, context), int64(p.KVToken))
	if kind == gpu.Host {
		m.fixed = int64(hostOverhead)
	} else {
		m.kv /= 2
		m.shared = int64(min(p.Shared, p.Embed, p.Tail))
	}
	tokens := int64(s.Step(p.Decoder))
	switch {
	case p.Decoder:
		m.logits = mul(mul(slots, int64(p.Vocab)), 2*element)
	case p.Vocab > 0 && p.TailCost >= mul(int64(p.Hidden), int64(p.Vocab)):
		m.logits = mul(mul(model.MaxMasks, int64(p.Vocab)), 2*element)
	}
	activations := mul(tokens, mul(live*element, 4*int64(p.Hidden)+2*int64(p.Inner)))
	scores := mul(mul(tokens, int64(p.Heads)), mul(context, element))
	m.work = add(add(activations, scores), mul(context, int64(p.KVToken))/2)
	return m
}

func (m *meter) foot(span Span) Footprint {
	weights := m.prefix[span.To] - m.prefix[span.From]
	work, matrix := m.work, m.matrix
	first, last := span.From == 0, span.To == len(m.p.Blocks)
	if first {
		weights = add(weights, m.embed)
	}
	if last {
		weights = add(weights, m.tail)
		work = add(work, m.logits)
		matrix = max(matrix, m.head)
	}
	if first && last {
		weights -= m.shared
	}
	kv := mul(int64(span.To-span.From), m.kv)
	return Footprint{
		Weights:   gpu.Bytes(add(weights, weights/slack)),
		KV:        gpu.Bytes(kv),
		Workspace: gpu.Bytes(max(work, matrix-kv)),
		Overhead:  gpu.Bytes(add(m.fixed, m.work/2)),
	}
}

// most is where amounts saturate: 1 EiB, so that the four parts of a Footprint can be added.
const most = math.MaxInt64 / 8

func add(a, b int64) int64 { return min(a+b, most) }

// mul multiplies two amounts that are not negative.
func mul(a, b int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi != 0 || lo > most {
		return most
	}
	return int64(lo)
}
