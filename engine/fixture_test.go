package engine_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/token"
)

// loaded opens the library once; it is nil where the variable is unset. (The variable is read inside of tests, not in TestMain: only
// there does the go command see that the result depends on it.)
var loaded = sync.OnceValues(func() (*ort.Runtime, error) {
	path := os.Getenv(ort.Variable)
	if path == "" {
		return nil, nil
	}
	return ort.Open(path)
})

func runtimeOf(t testing.TB) *ort.Runtime {
	t.Helper()
	rt, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if rt == nil {
		t.Skipf("%s is unset: no libonnxruntime to test with", ort.Variable)
	}
	return rt
}

// Fixtures of tools/py/make_fixtures.py.
var (
	decoders = []string{"gpt2", "gpt2-f16", "llama", "llama3-rope", "llama-linear", "mistral", "qwen2"}
	encoders = []string{"bert-embed", "bert-cls-embed", "bert-classify", "bert-multilabel", "bert-tokens"}
)

// array is a tensor of reference.json.
type array []float32

func (a *array) UnmarshalJSON(b []byte) error {
	var v struct{ F32 []byte } // base64
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	for ; len(v.F32) >= 4; v.F32 = v.F32[4:] {
		*a = append(*a, math.Float32frombits(binary.LittleEndian.Uint32(v.F32)))
	}
	return nil
}

// reference is reference.json, as the script's docstring describes it.
type reference struct {
	Prompts []struct {
		Text   string
		IDs    []int32
		Greedy struct {
			IDs        []int32
			Text       string
			MinGap     float64 `json:"min_gap"`
			LastLogits array   `json:"last_logits"`
		}
		Logits array // of all positions; nil on all but one prompt
	}
	Inputs []struct {
		Text, Pair                     string
		IDs                            []int32
		TypeIDs                        []int32 `json:"type_ids"`
		Masks                          []int
		Hidden, Vector, Logits, Scores array
	}
	Batch struct {
		Rows            []int
		IDs             [][]int32
		TypeIDs         [][]int32 `json:"type_ids"`
		Mask            [][]int32
		Vectors, Logits array
	}
}

// fixture is a model folder as a store of blobs.
type fixture struct {
	manifest  *model.Manifest
	files     func(blob.Digest) (string, error)
	tokenizer *token.Tokenizer
	backend   engine.Backend
	reference
}

// open reads a folder of testdata/models.
func open(t testing.TB, name string) fixture {
	t.Helper()
	f := folder(t, filepath.Join("testdata", "models", name))
	b, err := os.ReadFile(filepath.Join("..", "testdata", "models", name, "reference.json"))
	if err == nil {
		err = json.Unmarshal(b, &f.reference)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// folder reads a model's folder, given by its path from the root of the repository.
func folder(t testing.TB, dir string) fixture {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", dir))
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{}
	sources := map[string]convert.Source{}
	paths := map[blob.Digest]string{}
	var names []string
	bodies := map[string][]byte{}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		names, bodies[rel] = append(names, rel), b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := convert.Select(names)
	if err != nil {
		t.Fatal(err)
	}
	for _, rel := range chosen {
		b := bodies[rel]
		d := blob.Of(b).Digest()
		paths[d] = filepath.Join(dir, rel)
		sources[rel] = convert.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: d}
	}
	made, err := convert.Folder(sources)
	if err != nil {
		t.Fatal(err)
	}
	f.manifest = made.Manifest
	f.files = func(d blob.Digest) (string, error) { return paths[d], nil }
	if f.tokenizer, err = token.Load(bodies); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f fixture) whole() shard.Span { return shard.Span{To: f.manifest.Config.Layers} }

// load loads a stage that runs on one thread and is closed when the test ends.
func (f fixture) load(t testing.TB, span shard.Span, serving shard.Serving) *engine.Stage {
	t.Helper()
	return f.loadThreads(t, span, serving, 1)
}

// pipeline is the stages of one replica, in order.
type pipeline []*engine.Stage

// cut loads the stages between the given boundaries.
func (f fixture) cut(t testing.TB, serving shard.Serving, boundaries ...int) pipeline {
	t.Helper()
	var p pipeline
	from := 0
	for _, to := range append(boundaries, f.manifest.Config.Layers) {
		p = append(p, f.load(t, shard.Span{From: from, To: to}, serving))
		from = to
	}
	return p
}

// run passes one step through all stages; the result is a copy.
func (p pipeline) run(t testing.TB, tokens []int32, step engine.Step) []float32 {
	t.Helper()
	positions := step.Rows.Positions
	if step.Prefill {
		positions = count(step.Past, len(tokens))
	}
	if err := p[0].Embed(tokens, positions, nil); err != nil {
		t.Fatal(err)
	}
	var out []float32
	for i, s := range p {
		if i > 0 {
			copy(s.Input(len(tokens)), out)
		}
		var err error
		if out, err = s.Run(step); err != nil {
			t.Fatal(err)
		}
	}
	return append([]float32(nil), out...)
}

// prefill runs a prompt in pieces into a row, and gives the logits of all its positions.
func (p pipeline) prefill(t testing.TB, row int, tokens []int32, piece int) []float32 {
	t.Helper()
	var out []float32
	for past := 0; past < len(tokens); past += piece {
		part := tokens[past:min(past+piece, len(tokens))]
		want := make([]int, len(part))
		for i := range want {
			want[i] = i
		}
		out = append(out, p.run(t, part, engine.Step{Prefill: true, Row: row, Past: past, Count: len(part), Want: want})...)
	}
	return out
}

// decode runs one token for each of the rows from first, and gives the logits of all.
func (p pipeline) decode(t testing.TB, first int, tokens []int32, positions []int32) []float32 {
	t.Helper()
	want := make([]int, len(tokens))
	for i := range want {
		want[i] = i
	}
	return p.run(t, tokens, engine.Step{Rows: engine.Rows{First: first, Positions: positions}, Want: want})
}

func count(from, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(from + i)
	}
	return out
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// far is the largest difference of two slices; infinite where their lengths differ or a number is none.
func far(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	var worst float64
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

// same says whether two slices are equal bit for bit.
func same(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}
