// Package engine runs the stages of models that are loaded on this machine.
//
// A Stage is one span of a model's blocks on ONNX Runtime: hidden states in, hidden states or logits out, with the KV cache of its blocks.
// Every buffer the runtime touches lies outside the Go heap (package ort). The KV cache of a block is one slab of rows,
// [slots, kv heads, context, head dim], bound as past and as present at once, so nothing is copied between steps: a prompt is prefilled
// into one row, and a decode step advances a contiguous range of rows that may have different lengths.
//
// On CUDA weights, KV cache and rotary tables lie on the GPU, and the arithmetic has 16 bits (Backend); hidden states and logits are float32
// in the machine's memory either way.
//
// A Stage belongs to one goroutine at a time; different stages may run at once. Those on CUDA belong to one locked thread for life.
package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// Errors of this package, beside those of graph and ort.
var (
	ErrServing = errors.New("engine: stage cannot be prepared for this")         // slots or context out of range
	ErrFile    = errors.New("engine: weight file unfit")                         // not a real path, too short, or outside the folder of the others
	ErrStep    = errors.New("engine: step does not fit the stage")               // the caller's mistake; nothing was run
	ErrRun     = errors.New("engine: run failed; the step's rows are undefined") // the runtime's error is wrapped beside it
)

// StageSpec says what to load.
type StageSpec struct {
	Manifest *model.Manifest
	Span     shard.Span
	Serving  shard.Serving
	Backend  Backend // the zero value is CPU
	Threads  int     // of one run; 0 = 1, more than MaxThreads are not used
}

// MaxThreads is how many threads one run uses.
const MaxThreads = 256

// Stage is a loaded span of a model.
type Stage struct {
	config   model.Config
	manifest *model.Manifest
	span     shard.Span
	serving  shard.Serving
	backend  Backend
	elem     ort.Elem // of the KV cache and the rotary tables
	capacity int      // tokens: the largest step

	graph   graph.Graph
	session *ort.Session
	embed   *embedding // first stage
	buffers
	views  map[rows]*kvView             // decoders
	plain  *ort.Binding                 // encoders
	states int                          // tokens whose hidden states the newest step left in out; 0 = none
	saved  []float32                    // keys and values that idle rows must find again
	native gpu.Bytes                    // malloc memory of the runtime: at load, and by the largest steps so far
	most   struct{ tokens, length int } // of the largest steps so far: tokens, and of the longest row with its cache
}

// buffers are the inputs and outputs of a run, each made for the largest step; untouched pages cost nothing.
type buffers struct {
	hidden  *ort.Buffer // in: [capacity, hidden] float32
	out     *ort.Buffer // out: the same
	logits  *ort.Buffer // [capacity, vocab] float32, or [model.MaxMasks, vocab] of an encoder; nil where the stage has no head
	sel     *ort.Buffer // [capacity] int64, or [model.MaxMasks]
	lengths *ort.Buffer // [slots] int32
	longest *ort.Buffer // [1] int32
	mask    *ort.Buffer // [capacity] int32
	pooled  *ort.Buffer // [slots, hidden] float32
	scores  *ort.Buffer // [capacity, labels] float32
	cos     *ort.Buffer // [context, head dim / 2] of elem
	sin     *ort.Buffer
	keys    []*ort.Buffer // per block of the span: [slots, kv heads, context, head dim] of elem
	values  []*ort.Buffer
}

// Load builds the graph of a stage and loads it. files finds the local file of a blob; the file may be sparse where only this stage's
// ranges were fetched, but must be a real path, all in one folder. Errors wrap ErrServing, ErrFile, or those of graph.Build, or come
// from the runtime.
func Load(rt *ort.Runtime, spec StageSpec, files func(blob.Digest) (path string, err error)) (*Stage, error) {
	s := &Stage{
		config:   spec.Manifest.Config,
		manifest: spec.Manifest,
		span:     spec.Span,
		serving:  spec.Serving,
		backend:  spec.Backend,
		views:    map[rows]*kvView{},
	}
	if err := s.load(rt, spec, files); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stage) load(rt *ort.Runtime, spec StageSpec, files func(blob.Digest) (string, error)) error {
	if err := spec.validate(); err != nil {
		return err
	}
	weights, err := locate(spec.Manifest, spec.Span, files)
	if err != nil {
		return err
	}
	compute, elem := spec.Backend.arithmetic(spec.Manifest)
	s.elem = elem
	s.graph, err = graph.Build(spec.Manifest, spec.Span, graph.Options{Context: spec.Serving.Context, Compute: compute, File: weights.name})
	if err != nil {
		return err
	}
	s.session, err = rt.NewSession(s.graph.Model, ort.Options{
		Threads:  min(max(spec.Threads, 1), MaxThreads),
		Folder:   weights.folder,
		Provider: spec.Backend.provider(),
	})
	if err != nil {
		return fmt.Errorf("engine: loading blocks %d to %d: %w", spec.Span.From, spec.Span.To, err)
	}
	s.native = s.session.Native()
	if spec.Span.From == 0 {
		if s.embed, err = openEmbedding(spec.Manifest, weights); err != nil {
			return err
		}
	}
	if err := s.allocate(); err != nil {
		return err
	}
	return s.prepare(rt, compute)
}

func (spec StageSpec) validate() error {
	v := spec.Serving
	if v.Slots < 1 || v.Slots > shard.MaxSlots || v.Context < 1 || v.Context > spec.Manifest.Config.Positions {
		return fmt.Errorf("%w: %d slots (1 to %d) of %d tokens (1 to %d)", ErrServing, v.Slots, shard.MaxSlots, v.Context, spec.Manifest.Config.Positions)
	}
	if spec.Threads < 0 {
		return fmt.Errorf("%w: %d threads", ErrServing, spec.Threads)
	}
	return nil
}

// allocate makes the buffers.
func (s *Stage) allocate() error {
	c, v := s.config, s.serving
	s.capacity = v.Step(c.Arch.Decoder())
	const f32, i32, i64 = 4, 4, 8
	slab := int64(v.Slots) * int64(s.rowSize()) * s.elem.Size()
	type want struct {
		at   **ort.Buffer
		size int64
	}
	wants := []want{{&s.hidden, int64(s.capacity) * int64(c.Hidden) * f32}}
	var kept []want // where the backend computes
	if c.Arch.Decoder() {
		s.keys, s.values = make([]*ort.Buffer, s.span.To-s.span.From), make([]*ort.Buffer, s.span.To-s.span.From)
		for i := range s.keys {
			kept = append(kept, want{&s.keys[i], slab}, want{&s.values[i], slab})
		}
		wants = append(wants, want{&s.lengths, int64(v.Slots) * i32}, want{&s.longest, i32})
	} else {
		wants = append(wants, want{&s.mask, int64(s.capacity) * i32})
	}
	wants = append(wants, want{&s.out, int64(s.capacity) * int64(c.Hidden) * f32})
	if s.graph.Head {
		most := int64(model.MaxMasks)
		if c.Arch.Decoder() {
			most = int64(s.capacity)
		}
		wants = append(wants, want{&s.logits, most * int64(c.Vocab) * f32}, want{&s.sel, most * i64})
	}
	if s.graph.Pooler {
		wants = append(wants, want{&s.pooled, int64(v.Slots) * int64(c.Hidden) * f32})
	}
	if s.graph.Labels > 0 {
		wants = append(wants, want{&s.scores, int64(s.capacity) * int64(s.graph.Labels) * f32})
	}
	if s.graph.Rope {
		table := int64(v.Context) * int64(c.HeadDim/2) * s.elem.Size()
		kept = append(kept, want{&s.cos, table}, want{&s.sin, table})
	}
	var err error
	for _, w := range wants {
		if *w.at, err = ort.NewBuffer(w.size); err != nil {
			return err
		}
	}
	for _, w := range kept {
		if *w.at, err = s.backend.buffer(s.session, w.size); err != nil {
			return err
		}
	}
	return nil
}

// rowSize is the number of elements of one row of a KV slab.
func (s *Stage) rowSize() int { return s.config.KVHeads * s.serving.Context * s.config.HeadDim }

// all lists the buffers that exist.
func (b *buffers) all() []*ort.Buffer {
	list := []*ort.Buffer{b.hidden, b.out, b.logits, b.sel, b.lengths, b.longest, b.mask, b.pooled, b.scores, b.cos, b.sin}
	list = append(append(list, b.keys...), b.values...)
	n := 0
	for _, x := range list {
		if x != nil {
			list[n] = x
			n++
		}
	}
	return list[:n]
}

// Used is the memory that the stage holds now: what the runtime allocated at load (weights) and for its largest steps, the touched pages
// of its buffers, and those pages of the embedding tables that are in memory, by whomever. On a device it is what is there: the weights,
// the KV cache and the rotary tables; the runtime's arena is not in it.
func (s *Stage) Used() gpu.Bytes {
	if s.backend.device() {
		return s.onDevice()
	}
	used := s.native
	for _, b := range s.all() {
		if n, err := b.Resident(); err == nil {
			used += n
		}
	}
	if s.embed != nil {
		used += s.embed.resident()
	}
	return used
}

// Close frees everything. Slices that the stage gave out become invalid, and it refuses every step (ErrStep). Closing twice does nothing.
func (s *Stage) Close() error {
	s.capacity = 0
	var errs []error
	for _, v := range s.views {
		errs = append(errs, v.close())
	}
	s.views = nil
	if s.plain != nil {
		errs = append(errs, s.plain.Close())
		s.plain = nil
	}
	for _, b := range s.all() {
		errs = append(errs, b.Close())
	}
	if s.session != nil {
		errs = append(errs, s.session.Close())
	}
	if s.embed != nil {
		errs = append(errs, s.embed.close())
	}
	return errors.Join(errs...)
}

// weightFiles are the files of a stage's blobs: one folder, and a name in it for each.
type weightFiles struct {
	folder string
	paths  map[blob.Digest]string
}

func (w weightFiles) name(d blob.Digest) string { return filepath.Base(w.paths[d]) }

// locate finds and checks the files that hold the tensors of a span. The runtime refuses links that leave the folder, and a read behind
// the end of a mapped file would kill the process, so both are checked here.
func locate(m *model.Manifest, span shard.Span, files func(blob.Digest) (string, error)) (weightFiles, error) {
	w := weightFiles{paths: map[blob.Digest]string{}}
	sizes := map[blob.Digest]int64{}
	for _, t := range m.Tensors {
		if !holds(span, m.Config.Layers, t.Block) {
			continue
		}
		d := t.Ref.Digest
		if _, ok := w.paths[d]; !ok {
			path, err := files(d)
			if err != nil {
				return w, fmt.Errorf("engine: finding blob %s: %w", d.Short(), err)
			}
			size, err := realFile(path)
			if err != nil {
				return w, err
			}
			if dir := filepath.Dir(path); w.folder == "" {
				w.folder = dir
			} else if dir != w.folder {
				return w, fmt.Errorf("%w: %s is not in %s like the others", ErrFile, path, w.folder)
			}
			w.paths[d], sizes[d] = path, size
		}
		if t.Ref.Off < 0 || t.Ref.Len < 0 || t.Ref.Off > sizes[d]-t.Ref.Len {
			return w, fmt.Errorf("%w: block %d %s needs %d bytes at %d of %s, which has %d", ErrFile, t.Block, t.Name, t.Ref.Len, t.Ref.Off, w.paths[d], sizes[d])
		}
	}
	return w, nil
}

// holds says whether a span needs the tensors of a block.
func holds(span shard.Span, layers, block int) bool {
	switch block {
	case model.Embed:
		return span.From == 0
	case layers:
		return span.To == layers
	}
	return span.From <= block && block < span.To
}

// realFile gives the size of a regular file and refuses any link on the way to it.
func realFile(path string) (int64, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if !filepath.IsAbs(path) || target != filepath.Clean(path) {
		return 0, fmt.Errorf("%w: %s is not an absolute path without links", ErrFile, path)
	}
	st, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%w: %s is no regular file", ErrFile, path)
	}
	return st.Size(), nil
}
