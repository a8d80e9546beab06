package engine_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// TestBadSteps: a step that does not fit is refused, and what the rows hold stays as it is.
func TestBadSteps(t *testing.T) {
	runtimeOf(t)
	f := open(t, "gpt2")
	p := f.cut(t, shard.Serving{Slots: 4, Context: 64})
	s := p[0]
	prompt := f.Prompts[0]
	n := len(prompt.IDs)
	logits := p.prefill(t, 2, prompt.IDs, n)
	decode := func(first int, positions ...int32) engine.Step {
		return engine.Step{Rows: engine.Rows{First: first, Positions: positions}}
	}
	for name, step := range map[string]engine.Step{
		"nothing":               {},
		"empty prefill":         {Prefill: true},
		"negative count":        {Prefill: true, Count: -1},
		"row below":             {Prefill: true, Count: 1, Row: -1},
		"row above":             {Prefill: true, Count: 1, Row: 4},
		"past below":            {Prefill: true, Count: 1, Past: -1},
		"past the context":      {Prefill: true, Count: 2, Past: 63},
		"past overflows":        {Prefill: true, Count: 2, Past: math.MaxInt},
		"more than the context": {Prefill: true, Count: 65},
		"rows below":            decode(-1, 0),
		"rows above":            decode(3, 0, 0),
		"rows overflow":         decode(math.MaxInt, 0, 0),
		"too many rows":         decode(0, 1, 1, 1, 1, 1),
		"position below":        decode(0, -2),
		"position above":        decode(0, 64),
		"logits of no token":    {Prefill: true, Count: 1, Want: []int{1}},
		"logits below":          {Prefill: true, Count: 1, Want: []int{-1}},
		"too many logits":       {Prefill: true, Count: 1, Want: make([]int, 65)},
	} {
		if _, err := s.Run(step); !errors.Is(err, engine.ErrStep) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"no token":           s.Embed(nil, nil, nil),
		"token below":        s.Embed([]int32{-1}, []int32{0}, nil),
		"token above":        s.Embed([]int32{int32(f.manifest.Config.Vocab)}, []int32{0}, nil),
		"no positions":       s.Embed([]int32{1}, nil, nil),
		"position above":     s.Embed([]int32{1}, []int32{int32(f.manifest.Config.Positions)}, nil),
		"position below":     s.Embed([]int32{1}, []int32{-2}, nil),
		"too many":           s.Embed(make([]int32, 65), make([]int32, 65), nil),
		"second stage":       f.load(t, shard.Span{From: 1, To: 2}, serving).Embed([]int32{1}, []int32{0}, nil),
		"a decoder's encode": encodeError(s),
	} {
		if !errors.Is(err, engine.ErrStep) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Input(0) != nil || s.Input(65) != nil || len(s.Input(64)) != 64*f.manifest.Config.Hidden {
		t.Error("Input gives buffers that no step can use, or none where one can")
	}
	vocab := f.manifest.Config.Vocab
	token := argmax(logits[len(logits)-vocab:])
	if token != prompt.Greedy.IDs[0] || argmax(p.decode(t, 2, []int32{token}, []int32{int32(n)})) != prompt.Greedy.IDs[1] {
		t.Error("refused steps changed a row")
	}
	if out := p.run(t, prompt.IDs, engine.Step{Prefill: true, Count: n}); len(out) != 0 {
		t.Errorf("%d logits where none were wanted", len(out))
	}
}

func encodeError(s *engine.Stage) error {
	_, err := s.Encode(engine.EncodeBatch{Rows: 1, Length: 1, Mask: []int32{1}})
	return err
}

func TestBadBatches(t *testing.T) {
	runtimeOf(t)
	f := open(t, "bert-embed")
	s := f.load(t, f.whole(), shard.Serving{Slots: 2, Context: 8})
	for name, b := range map[string]engine.EncodeBatch{
		"nothing":          {},
		"too many rows":    {Rows: 3, Length: 1, Mask: []int32{1, 1, 1}},
		"too long":         {Rows: 1, Length: 9, Mask: []int32{1, 1, 1, 1, 1, 1, 1, 1, 1}},
		"short mask":       {Rows: 1, Length: 2, Mask: []int32{1}},
		"mask of 2":        {Rows: 1, Length: 2, Mask: []int32{1, 2}},
		"row of padding":   {Rows: 2, Length: 1, Mask: []int32{1, 0}},
		"padding in front": {Rows: 1, Length: 2, Mask: []int32{0, 1}},
	} {
		if _, err := s.Encode(b); !errors.Is(err, engine.ErrStep) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Run(engine.Step{Prefill: true, Count: 1}); !errors.Is(err, engine.ErrStep) {
		t.Errorf("an encoder's Run: %v", err)
	}
	if err := s.Embed([]int32{1}, []int32{0}, nil); !errors.Is(err, engine.ErrStep) {
		t.Errorf("no types: %v", err)
	}
	rotary := open(t, "llama")
	if err := rotary.load(t, rotary.whole(), serving).Embed([]int32{1, 2}, []int32{0}, nil); !errors.Is(err, engine.ErrStep) {
		t.Errorf("positions that a rotary decoder does not need, and too few of them: %v", err)
	}
	if err := s.Embed([]int32{1}, []int32{0}, []int32{2}); !errors.Is(err, engine.ErrStep) {
		t.Errorf("unknown type: %v", err)
	}
}

// TestBadLoads: what cannot be loaded is refused with its reason, and leaves no mapping behind.
func TestBadLoads(t *testing.T) {
	rt := runtimeOf(t)
	f := open(t, "gpt2")
	var digest blob.Digest
	for _, x := range f.manifest.Tensors {
		digest = x.Ref.Digest
	}
	path, err := f.files(digest)
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	missing := errors.New("not here")
	good := engine.StageSpec{Manifest: f.manifest, Span: f.whole(), Serving: serving}
	with := func(change func(*engine.StageSpec)) engine.StageSpec {
		spec := good
		change(&spec)
		return spec
	}
	at := func(p string) func(blob.Digest) (string, error) {
		return func(blob.Digest) (string, error) { return p, nil }
	}
	before := mappings(t)
	for _, c := range []struct {
		name  string
		spec  engine.StageSpec
		files func(blob.Digest) (string, error)
		want  error
	}{
		{"no slots", with(func(s *engine.StageSpec) { s.Serving.Slots = 0 }), f.files, engine.ErrServing},
		{"10^9 slots", with(func(s *engine.StageSpec) { s.Serving.Slots = 1e9 }), f.files, engine.ErrServing},
		{"no context", with(func(s *engine.StageSpec) { s.Serving.Context = 0 }), f.files, engine.ErrServing},
		{"context above positions", with(func(s *engine.StageSpec) { s.Serving.Context = f.manifest.Config.Positions + 1 }), f.files, engine.ErrServing},
		{"-1 threads", with(func(s *engine.StageSpec) { s.Threads = -1 }), f.files, engine.ErrServing},
		{"span above", with(func(s *engine.StageSpec) { s.Span.To++ }), f.files, graph.ErrSpan},
		{"blob missing", good, func(blob.Digest) (string, error) { return "", missing }, missing},
		{"file missing", good, at(filepath.Join(dir, "none")), engine.ErrFile},
		{"a link", good, at(link), engine.ErrFile},
		{"relative path", good, at("model.safetensors"), engine.ErrFile},
		{"a folder", good, at(dir), engine.ErrFile},
		{"truncated file", good, at(write("short", body[:len(body)-1])), engine.ErrFile},
		{"empty file", good, at(write("empty", nil)), engine.ErrFile},
	} {
		s, err := engine.Load(rt, c.spec, c.files)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if s != nil {
			t.Errorf("%s: loaded", c.name)
		}
	}
	if after := mappings(t); after > before {
		t.Errorf("%d mappings before, %d after", before, after)
	}
}

// TestFolders: weights in two folders cannot be one stage, in one folder they can.
func TestFolders(t *testing.T) {
	rt := runtimeOf(t)
	f := open(t, "qwen2")
	other, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	moved := blob.Digest{}
	_, err = engine.Load(rt, engine.StageSpec{Manifest: f.manifest, Span: f.whole(), Serving: serving}, func(d blob.Digest) (string, error) {
		path, err := f.files(d)
		if moved.IsZero() {
			moved = d
		}
		if err != nil || d != moved {
			return path, err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		path = filepath.Join(other, filepath.Base(path))
		return path, os.WriteFile(path, b, 0o600)
	})
	if !errors.Is(err, engine.ErrFile) {
		t.Errorf("two folders: %v", err)
	}
}

// mappings counts the memory mappings of files and of anonymous regions that buffers make.
func mappings(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skipf("mappings cannot be counted here: %v", err)
	}
	n := 0
	for _, line := range strings.Split(string(b), "\n") {
		if strings.Contains(line, "safetensors") {
			n++
		}
	}
	return n
}

// TestClose: a stage that served leaves no mapping behind, and may be closed twice.
func TestClose(t *testing.T) {
	rt := runtimeOf(t)
	f := open(t, "llama-linear")
	before, size := mappings(t), virtual(t)
	for range 20 {
		s, err := engine.Load(rt, engine.StageSpec{Manifest: f.manifest, Span: f.whole(), Serving: shard.Serving{Slots: 64, Context: 256}}, f.files)
		if err != nil {
			t.Fatal(err)
		}
		pipeline{s}.prefill(t, 3, f.Prompts[0].IDs, 5)
		pipeline{s}.decode(t, 2, []int32{1, 2, 3}, []int32{0, 12, engine.Idle})
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Run(engine.Step{Prefill: true, Count: 1}); !errors.Is(err, engine.ErrStep) || s.Input(1) != nil {
			t.Fatalf("a step after Close: %v", err)
		}
	}
	if after := mappings(t); after != before {
		t.Errorf("%d mapped weight files before, %d after", before, after)
	}
	// One stage of this size reserves about 50 MiB; the allocators of the process may keep some.
	if grown := virtual(t) - size; grown > 256*gpu.MiB {
		t.Errorf("the process grew by %s of address space over 20 stages", grown)
	}
}

// virtual is the size of the address space.
func virtual(t *testing.T) gpu.Bytes {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skipf("memory cannot be read here: %v", err)
	}
	var pages gpu.Bytes
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		pages = pages*10 + gpu.Bytes(c-'0')
	}
	return pages * gpu.Bytes(os.Getpagesize())
}

// TestUsed: what a stage says it uses covers its weights in fp32 and what was written of its cache, and little more; rows never used
// cost nothing.
func TestUsed(t *testing.T) {
	runtimeOf(t)
	f := synthetic(t, wideLlama, model.BF16)
	v := shard.Serving{Slots: 512, Context: 512}
	s := f.load(t, f.whole(), v)
	var weights gpu.Bytes
	for _, x := range f.manifest.Tensors {
		if x.Block != model.Embed {
			weights += gpu.Bytes(2 * x.Ref.Len) // bf16, cast to fp32
		}
	}
	c := f.manifest.Config
	row := gpu.Bytes(2 * 4 * c.Layers * c.KVHeads * v.Context * c.HeadDim)
	check := func(when string, rows gpu.Bytes) {
		t.Helper()
		used := s.Used()
		if least := weights + rows*row; used < least || used > least+least/4+64*gpu.MiB {
			t.Errorf("%s: uses %s, weights and cache are %s (all rows would be %s)", when, used, least, gpu.Bytes(v.Slots)*row)
		}
	}
	check("loaded", 0)
	for r := range 3 {
		pipeline{s}.prefill(t, r, words(uint64(r), v.Context, c.Vocab), shard.Chunk)
	}
	check("three rows full", 3)
}

// TestUsedTogether: stages that load and serve at the same time say the same as one that is alone.
func TestUsedTogether(t *testing.T) {
	rt := runtimeOf(t)
	f := synthetic(t, wideLlama, model.BF16)
	v := shard.Serving{Slots: 1, Context: 64}
	use := func() (gpu.Bytes, error) {
		s, err := engine.Load(rt, engine.StageSpec{Manifest: f.manifest, Span: f.whole(), Serving: v}, f.files)
		if err != nil {
			return 0, err
		}
		for past := range v.Context {
			if err := s.Embed([]int32{1}, nil, nil); err != nil {
				return 0, err
			}
			if _, err := s.Run(engine.Step{Prefill: true, Past: past, Count: 1}); err != nil {
				return 0, err
			}
		}
		return s.Used(), s.Close()
	}
	alone, err := use()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if used, err := use(); err != nil || max(used-alone, alone-used) > gpu.MiB {
				t.Errorf("uses %s beside others, %s alone: %v", used, alone, err)
			}
		})
	}
	group.Wait()
}

// TestSparse: a stage needs the byte ranges of its own blocks only. Its file here has the right length and holes everywhere else.
func TestSparse(t *testing.T) {
	runtimeOf(t)
	f := open(t, "llama-linear")
	want := f.cut(t, serving).prefill(t, 0, f.Prompts[0].IDs, 100)
	layers := f.manifest.Config.Layers
	var p pipeline
	for _, span := range []shard.Span{{From: 0, To: 1}, {From: 1, To: layers}} {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		sparse := f
		sparse.files = func(d blob.Digest) (string, error) {
			path := filepath.Join(dir, d.String())
			whole, err := f.files(d)
			if err != nil {
				return "", err
			}
			body, err := os.ReadFile(whole)
			if err != nil {
				return "", err
			}
			holes := make([]byte, len(body))
			for _, x := range f.manifest.Tensors {
				mine := x.Block == model.Embed && span.From == 0 || x.Block == layers && span.To == layers || x.Block >= span.From && x.Block < span.To
				if mine && x.Ref.Digest == d {
					copy(holes[x.Ref.Off:], body[x.Ref.Off:][:x.Ref.Len])
				}
			}
			return path, os.WriteFile(path, holes, 0o600)
		}
		p = append(p, sparse.load(t, span, serving))
	}
	if got := p.prefill(t, 0, f.Prompts[0].IDs, 100); !same(got, want) {
		t.Errorf("logits differ by %g", far(got, want))
	}
}
