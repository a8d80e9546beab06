package proof_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/coordinator/proof"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

var loaded = sync.OnceValues(func() (*ort.Runtime, error) {
	path := os.Getenv(ort.Variable)
	if path == "" {
		return nil, nil
	}
	return ort.Open(path)
})

// subject reads a folder of testdata as a version to be tried.
func subject(t *testing.T, dir string) proof.Subject {
	t.Helper()
	rt, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if rt == nil {
		t.Skipf("%s is unset: no libonnxruntime to test with", ort.Variable)
	}
	root, err := filepath.Abs(filepath.Join("..", "..", dir))
	if err != nil {
		t.Fatal(err)
	}
	store := t.TempDir()
	bodies, names := map[string][]byte{}, []string(nil)
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		names = append(names, name)
		bodies[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if names, err = convert.Select(names); err != nil {
		t.Fatal(err)
	}
	sources := map[string]convert.Source{}
	put := func(b []byte) blob.Digest {
		d := blob.Of(b).Digest()
		if err := os.WriteFile(filepath.Join(store, d.String()), b, 0o600); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, n := range names {
		sources[n] = convert.Source{ReaderAt: bytes.NewReader(bodies[n]), Size: int64(len(bodies[n])), Digest: put(bodies[n])}
	}
	made, err := convert.Folder(sources)
	if err != nil {
		t.Fatal(err)
	}
	s := proof.Subject{Runtime: rt, Manifest: made.Manifest, Files: func(d blob.Digest) (string, error) { return filepath.Join(store, d.String()), nil }}
	for _, b := range made.Derived {
		put(b)
		s.Graph = b
	}
	g, ok, err := convert.GoldenOf(sources)
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		s.Golden = &g
	}
	return s
}

// TestFamilies: every family with a builder gives numbers, and the same ones whether it is cut or not.
func TestFamilies(t *testing.T) {
	for _, name := range []string{"gpt2", "gpt2-f16", "llama", "llama3-rope", "mistral", "qwen2", "bert-embed", "bert-classify", "bert-tokens"} {
		p, err := subject(t, "testdata/models/"+name).Prove()
		if err != nil || !p.Finite || p.Cut == nil || p.Cut.Outputs == 0 || p.Cut.Absolute != 0 || p.Golden != nil || p.Why != "" {
			t.Errorf("%s: %+v, cut %+v, %v", name, p, p.Cut, err)
		}
	}
}

// TestGraphs: graphs are not cut, and agree with what their frameworks compute.
func TestGraphs(t *testing.T) {
	for _, name := range []string{"mlp", "external", "bert-classify", "bert-embed"} {
		p, err := subject(t, "testdata/onnx/"+name).Prove()
		if err != nil || !p.Finite || p.Cut != nil || p.Golden == nil || p.Golden.Outputs == 0 || p.Golden.Relative > proof.Tolerance/10 {
			t.Errorf("%s: %+v, golden %+v, %v", name, p, p.Golden, err)
		}
	}
	s := subject(t, "testdata/onnx/mlp")
	s.Golden = nil
	if p, err := s.Prove(); err != nil || !p.Finite || p.Golden != nil {
		t.Errorf("without golden outputs: %+v, %v", p, err)
	}
}

// TestGoldenOfBuilders: golden outputs are for families with a builder too.
func TestGoldenOfBuilders(t *testing.T) {
	for from, to := range map[string]string{"testdata/onnx/bert-classify": "testdata/models/bert-classify", "testdata/onnx/bert-embed": "testdata/models/bert-embed"} {
		s := subject(t, to)
		s.Golden = subject(t, from).Golden
		p, err := s.Prove()
		if err != nil || p.Golden == nil || p.Golden.Relative > proof.Tolerance/10 || p.Cut == nil || p.Cut.Absolute != 0 {
			t.Errorf("%s: %+v, golden %+v, %v", to, p, p.Golden, err)
		}
	}
}

// TestWrongGolden: what differs is measured, what cannot be compared is refused.
func TestWrongGolden(t *testing.T) {
	change := func(f func(*convert.Golden)) (cluster.Proof, error) {
		s := subject(t, "testdata/onnx/mlp")
		g := convert.Golden{Inputs: slices.Clone(s.Golden.Inputs), Outputs: slices.Clone(s.Golden.Outputs)}
		f(&g)
		s.Golden = &g
		return s.Prove()
	}
	find := func(list []tensor.Tensor, name string) *tensor.Tensor {
		i := slices.IndexFunc(list, func(x tensor.Tensor) bool { return x.Name == name })
		list[i].Data, list[i].Shape = slices.Clone(list[i].Data), slices.Clone(list[i].Shape)
		return &list[i]
	}
	p, err := change(func(g *convert.Golden) { find(g.Outputs, "y").Data[3] ^= 0x80 }) // the sign of the first number
	if err != nil || p.Golden.Relative <= proof.Tolerance || p.Golden.Absolute <= 0 {
		t.Errorf("another number: %+v, %v", p.Golden, err)
	}
	p, err = change(func(g *convert.Golden) { copy(find(g.Outputs, "y").Data, []byte{0, 0, 0xc0, 0x7f}) })
	if err != nil || p.Golden.Relative <= proof.Tolerance {
		t.Errorf("NaN is near a number: %+v, %v", p.Golden, err)
	}
	p, err = change(func(g *convert.Golden) { find(g.Outputs, "index").Data[0] ^= 1 })
	if err != nil || p.Golden.Relative <= proof.Tolerance {
		t.Errorf("another index: %+v, %v", p.Golden, err)
	}
	for what, c := range map[string]struct {
		change func(*convert.Golden)
		why    string
	}{
		"another shape":  {func(g *convert.Golden) { find(g.Outputs, "y").Shape = []int64{4, 3} }, "has the shape"},
		"no such output": {func(g *convert.Golden) { find(g.Outputs, "y").Name = "zz" }, `"zz" is no output of the model, which are `},
		"no input":       {func(g *convert.Golden) { g.Inputs = g.Inputs[:1] }, "inputs"},
		"another type":   {func(g *convert.Golden) { find(g.Inputs, "k").DType = model.U64 }, "inputs"},
	} {
		if _, err := change(c.change); !errors.As(err, new(convert.Refused)) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
