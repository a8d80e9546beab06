package shard

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
)

// tiny is a decoder of 3 blocks with a tied head, sizes chosen so that every sum can be done by hand.
func tiny(dtype model.DType) *model.Manifest {
	size := dtype.Size()
	at := int64(0)
	ref := func(elements int64) blob.Ref {
		r := blob.Ref{Digest: blob.Digest{1}, Off: at, Len: elements * size}
		at += r.Len
		return r
	}
	table := ref(100 * 8)
	m := &model.Manifest{Config: model.Config{
		Arch: model.GPT2, Layers: 3, Hidden: 8, Heads: 2, KVHeads: 2, HeadDim: 4, Intermediate: 32, Vocab: 100, Positions: 16,
	}}
	m.Tensors = append(m.Tensors, model.Tensor{Name: "embed.token", Block: model.Embed, DType: dtype, Shape: []int64{100, 8}, Ref: table})
	for b := range 3 {
		m.Tensors = append(m.Tensors,
			model.Tensor{Name: "attn.qkv.bias", Block: b, DType: dtype, Shape: []int64{24}, Ref: ref(24)},
			model.Tensor{Name: "attn.qkv.weight", Block: b, DType: dtype, Shape: []int64{8, 24}, Ref: ref(192)})
	}
	m.Tensors = append(m.Tensors, model.Tensor{Name: "head.weight", Block: 3, DType: dtype, Shape: []int64{100, 8}, Ref: table})
	return m
}

func TestProfileOf(t *testing.T) {
	p := ProfileOf(tiny(model.BF16))
	if p.Embed != 1600 || p.Tail != 1600 || p.Shared != 1600 || p.Blocks[1] != 432 || p.Expand != 200 {
		t.Errorf("sizes: %+v", p)
	}
	if p.BlockCost != 192 || p.TailCost != 800 || p.KVToken != 2*2*4*4 || p.Inner != 32 || p.Heads != 2 || !p.Decoder {
		t.Errorf("costs: %+v", p)
	}
	m := tiny(model.F32)
	m.Tensors = append(m.Tensors, m.Tensors[1]) // the same bytes twice in one block
	if q := ProfileOf(m); q.Blocks[0] != 864 || q.Expand != 100 {
		t.Errorf("a range named twice counts once: %+v", q)
	}
}

// TestFoot checks the formulas against sums done by hand.
func TestFoot(t *testing.T) {
	s := Serving{Slots: 2, Context: 10}
	p := ProfileOf(tiny(model.F32))
	const workspace = 2*4*10*(4*8+2*32) + 10*2*10*4 + 10*64/2
	for _, c := range []struct {
		name    string
		span    Span
		kind    gpu.Kind
		weights gpu.Bytes
		kv      gpu.Bytes
		work    gpu.Bytes
	}{
		{"whole: the tied head packed beside the table", Span{0, 3}, gpu.Host, 2*3200 + 3*864, 3 * 64 * 20, workspace + 2*100*8},
		{"first stage", Span{0, 1}, gpu.Host, 3200 + 864, 64 * 20, workspace},
		{"last stage has its own head", Span{1, 3}, gpu.Host, 3200 + 2*864, 2 * 64 * 20, workspace + 2*100*8},
		{"middle", Span{1, 2}, gpu.CUDA, 864, 32 * 20, workspace},
	} {
		f := Foot(p, c.span, s, c.kind)
		if want := c.weights + c.weights/50; f.Weights != want || f.KV != c.kv || f.Workspace != c.work {
			t.Errorf("%s: %+v, want weights %d, kv %d, workspace %d", c.name, f, want, c.kv, c.work)
		}
	}
	half := ProfileOf(tiny(model.BF16))
	// Blocks and head are cast to fp32; the table stays as stored beside the cast head.
	if f, want := Foot(half, Span{0, 3}, s, gpu.Host), gpu.Bytes(1600+3200+3*864); f.Weights != want+want/50 {
		t.Errorf("16-bit on a host: %+v, want weights %d", f, want+want/50)
	}
	if f, want := Foot(half, Span{0, 3}, s, gpu.CUDA), gpu.Bytes(1600+3*432); f.Weights != want+want/50 {
		t.Errorf("16-bit on CUDA: %+v, want weights %d", f, want+want/50)
	}
	// A head larger than all that comes later: it is there twice while it is packed.
	wide := half
	wide.TailCost = 1 << 20
	if f := Foot(wide, Span{2, 3}, s, gpu.Host); f.KV+f.Workspace != 4<<20 {
		t.Errorf("a wide head: %+v", f)
	}
	if f := Foot(wide, Span{1, 2}, s, gpu.Host); f.Workspace != workspace {
		t.Errorf("a stage without the wide head: %+v", f)
	}
	if got := (Serving{Slots: 8, Context: 512}).Step(false); got != Batch {
		t.Errorf("an encoder's largest step has %d tokens", got)
	}
	if got := (Serving{Slots: 8, Context: 4096}).Step(false); got != 4096 {
		t.Errorf("the largest step of an encoder with a long context has %d tokens", got)
	}
	huge := Profile{Decoder: true, Hidden: 1 << 40, Vocab: 1 << 50, Heads: 1 << 40, Inner: 1 << 40, Blocks: []gpu.Bytes{1 << 62}, KVToken: 1 << 50, Expand: 200}
	if f := Foot(huge, Span{0, 1}, Serving{Slots: 1 << 40, Context: 1 << 40}, gpu.Host); f.Total() < gpu.TiB {
		t.Errorf("amounts must saturate, not overflow: %+v", f)
	}
}

func drawProfile(t *rapid.T, blocks int) Profile {
	p := Profile{
		Decoder:   rapid.Bool().Draw(t, "decoder"),
		Hidden:    8,
		Vocab:     rapid.IntRange(0, 1000).Draw(t, "vocab"),
		Heads:     rapid.IntRange(1, 4).Draw(t, "heads"),
		Inner:     16,
		Expand:    rapid.SampledFrom([]int{100, 200}).Draw(t, "expand"),
		BlockCost: rapid.Int64Range(0, 10).Draw(t, "block cost"),
		TailCost:  rapid.Int64Range(0, 30).Draw(t, "tail cost"),
		Embed:     gpu.Bytes(rapid.Int64Range(0, 20).Draw(t, "embed")) * gpu.MiB,
		Tail:      gpu.Bytes(rapid.Int64Range(0, 20).Draw(t, "tail")) * gpu.MiB,
	}
	p.Shared = min(p.Embed, p.Tail) * gpu.Bytes(rapid.IntRange(0, 1).Draw(t, "tied"))
	for range blocks {
		p.Blocks = append(p.Blocks, gpu.Bytes(rapid.Int64Range(1, 20).Draw(t, "block"))*gpu.MiB)
	}
	return p
}

// TestCutAgainstBruteForce compares Cut with every way to cut: it finds a cut exactly if there is one, and none is better.
func TestCutAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "blocks")
		p := drawProfile(t, n)
		k := rapid.IntRange(1, min(n, 4)).Draw(t, "stages")
		s := Serving{Slots: rapid.IntRange(1, 3).Draw(t, "slots"), Context: 16}
		kind := rapid.SampledFrom([]gpu.Kind{gpu.Host, gpu.CUDA}).Draw(t, "kind")
		capacities := make([]gpu.Bytes, k)
		for i := range capacities {
			capacities[i] = map[gpu.Kind]gpu.Bytes{gpu.Host: hostOverhead, gpu.CUDA: cudaOverhead}[kind] + gpu.Bytes(rapid.Int64Range(5, 120).Draw(t, "capacity"))*gpu.MiB
		}
		wantCost, wantSize, fits := int64(-1), int64(-1), false
		var try func(from, stage int, cost, size int64)
		try = func(from, stage int, cost, size int64) {
			if stage == k {
				if from == n && (!fits || cost < wantCost || cost == wantCost && size < wantSize) {
					wantCost, wantSize, fits = cost, size, true
				}
				return
			}
			for to := from + 1; to <= n; to++ {
				span := Span{from, to}
				if need := Foot(p, span, s, kind).Total(); need <= capacities[stage] {
					try(to, stage+1, max(cost, Cost(p, span)), max(size, int64(need)))
				}
			}
		}
		try(0, 0, 0, 0)
		plan, err := Cut(p, s, capacities, kind)
		var misfit *DoesNotFit
		if !fits {
			if !errors.As(err, &misfit) || misfit.Need <= misfit.Have {
				t.Fatalf("nothing fits, but Cut says %+v, %v", plan, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("a cut exists, but: %v", err)
		}
		var cost, size int64
		at := 0
		for i, st := range plan.Stages {
			if st.From != at || st.To <= st.From || st.Footprint != Foot(p, st.Span, s, kind) || st.Footprint.Total() > capacities[i] {
				t.Fatalf("stage %d of %+v", i, plan)
			}
			at = st.To
			cost, size = max(cost, st.Cost), max(size, int64(st.Footprint.Total()))
		}
		if at != n || cost != wantCost || size != wantSize {
			t.Fatalf("cost %d size %d, want %d %d: %+v", cost, size, wantCost, wantSize, plan)
		}
	})
}

func TestCutRefuses(t *testing.T) {
	p := ProfileOf(tiny(model.F32))
	s := Serving{Slots: 1, Context: 8}
	for _, k := range []int{0, 4} {
		if _, err := Cut(p, s, make([]gpu.Bytes, k), gpu.Host); !errors.Is(err, ErrStages) {
			t.Errorf("%d stages: %v", k, err)
		}
	}
	_, err := Cut(p, s, []gpu.Bytes{gpu.GiB, gpu.MiB}, gpu.Host)
	var misfit *DoesNotFit
	if !errors.As(err, &misfit) || misfit.Stage != 1 || misfit.Span != (Span{2, 3}) || misfit.Have != gpu.MiB {
		t.Errorf("%v", err)
	}
}

func TestCandidates(t *testing.T) {
	plans := Candidates(ProfileOf(tiny(model.F32)), Serving{Slots: 1, Context: 8}, 8, gpu.Host)
	if len(plans) != 3 {
		t.Fatalf("3 blocks have 3 cuts, got %d", len(plans))
	}
	for i, p := range plans {
		if len(p.Stages) != i+1 {
			t.Errorf("candidate %d: %+v", i, p)
		}
	}
	if plans[1].Stages[0].To != 2 { // the tail costs four blocks: it stands alone as far as possible
		t.Errorf("two stages: %+v", plans[1])
	}
}

func BenchmarkCut(b *testing.B) {
	p := Profile{Decoder: true, Hidden: 8192, Vocab: 128000, Heads: 64, Inner: 28672, Expand: 100, BlockCost: 855, TailCost: 1050, KVToken: 4096, Embed: 2 * gpu.GiB, Tail: 2 * gpu.GiB}
	for range 80 {
		p.Blocks = append(p.Blocks, 1700*gpu.MiB)
	}
	caps := make([]gpu.Bytes, 8)
	for i := range caps {
		caps[i] = 40 * gpu.GiB
	}
	for b.Loop() {
		if _, err := Cut(p, Serving{Slots: 8, Context: 4096}, caps, gpu.CUDA); err != nil {
			b.Fatal(err)
		}
	}
}

// A head that fills masks takes what the logits of as many masks as a text may have take; a classifier takes nothing more.
func TestFootOfMasks(t *testing.T) {
	p := Profile{Hidden: 64, Vocab: 30000, Heads: 4, Blocks: []gpu.Bytes{gpu.MiB, gpu.MiB}, Expand: 100, Inner: 256, TailCost: 64 * 3}
	plain := Foot(p, Span{To: 2}, Serving{Slots: 1, Context: 16}, gpu.CUDA)
	p.TailCost = 64 * 30000
	masks := Foot(p, Span{To: 2}, Serving{Slots: 1, Context: 16}, gpu.CUDA)
	first := Foot(p, Span{To: 1}, Serving{Slots: 1, Context: 16}, gpu.CUDA)
	if d := masks.Workspace - plain.Workspace; d != model.MaxMasks*30000*8 || first.Workspace != plain.Workspace || masks.Overhead != plain.Overhead {
		t.Errorf("%+v, %+v, first of two %+v", plain, masks, first)
	}
}

// A graph is one block: it is placed whole, and its 16-bit weights are held cast.
func TestProfileOfGraph(t *testing.T) {
	d := blob.Of([]byte("w")).Digest()
	m := &model.Manifest{Config: model.Config{Arch: model.Graph, Layers: 1, Hidden: 64, Vocab: 1000, Positions: 128},
		Graph: &model.Signature{Text: &model.Text{IDs: "ids"}},
		Tensors: []model.Tensor{{Name: "a", DType: model.F16, Shape: []int64{1000, 64}, Ref: blob.Ref{Digest: d, Len: 128_000}},
			{Name: "b", DType: model.F32, Shape: []int64{64, 500}, Ref: blob.Ref{Digest: d, Off: 128_000, Len: 128_000}},
			{Name: "c", DType: model.F32, Shape: []int64{64, 500}, Ref: blob.Ref{Digest: d, Off: 128_000, Len: 128_000}}}}
	p := ProfileOf(m)
	if len(p.Blocks) != 1 || p.Blocks[0] != 256_000 || p.Expand != 150 || p.Decoder || p.KVToken != 0 || p.Inner != 500 || p.Positions != 128 {
		t.Errorf("%+v", p)
	}
	if _, err := Uniform(p, Serving{Slots: 4, Context: 128}, 2, gpu.Host); !errors.Is(err, ErrStages) {
		t.Errorf("a graph is cut: %v", err)
	}
	m.Config, m.Graph.Text, m.Tensors = model.Config{Arch: model.Graph, Layers: 1}, nil, nil
	if p := ProfileOf(m); p.Positions != 1 || p.Inner != leastInner || p.Expand != 100 || Foot(p, Span{To: 1}, Serving{Slots: 16, Context: 1}, gpu.Host).Workspace < 32*gpu.MiB {
		t.Errorf("tensors only: %+v", p)
	}
}
