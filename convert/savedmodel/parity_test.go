package savedmodel

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// tolerance is how far an answer may be from TensorFlow's, as a share of the largest number of the output.
const tolerance = 1e-4

// runtime opens the library once for all tests.
var runtime = sync.OnceValues(func() (*ort.Runtime, error) { return ort.Open(os.Getenv(ort.Variable)) })

// blobs writes files to one folder, named as blobs are on a node.
func blobs(t testing.TB, files map[string][]byte) (dir string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range files {
		if err := os.WriteFile(filepath.Join(dir, blob.Of(b).Digest().String()), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loaded loads the graph of a model, whose files lie in a folder of blobs.
func loaded(t testing.TB, dir string, m *Model) *engine.Graph {
	t.Helper()
	rt, err := runtime()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := onnxgraph.Encode(m.Graph)
	if err != nil {
		t.Fatal(err)
	}
	manifest := &model.Manifest{Config: model.Config{Arch: model.Graph, Layers: 1}, Graph: m.Graph.Signature(), Tensors: m.Graph.Weights()}
	g, err := engine.LoadGraph(rt, engine.GraphSpec{Manifest: manifest}, encoded, func(d blob.Digest) (string, error) {
		return filepath.Join(dir, d.String()), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// Every signature of every fixture answers as TensorFlow did.
func TestParity(t *testing.T) {
	if os.Getenv(ort.Variable) == "" {
		t.Skipf("%s is unset: no runtime to compare with", ort.Variable)
	}
	for _, dir := range fixtures(t) {
		if filepath.Base(dir) != "refused" {
			parity(t, dir)
		}
	}
}

// TestRemade makes all SavedModels anew with the TensorFlow of SKEIN_TF_PYTHON, also what transformers saves by itself, and more of
// its families.
func TestRemade(t *testing.T) {
	python := os.Getenv("SKEIN_TF_PYTHON")
	if !full() || python == "" || os.Getenv(ort.Variable) == "" {
		t.Skip("wants SKEIN_FULL=1, SKEIN_TF_PYTHON and a runtime")
	}
	out := t.TempDir()
	more := []string{"bert_saved", "roberta", "distilbert", "electra", "albert", "mpnet", "bert_mlm", "bert_qa", "mobilebert", "t5", "flaubert", "xlnet", "mistral", "gptj"}
	for _, names := range [][]string{nil, more} {
		script := exec.Command(python, append([]string{"tools/py/make_savedmodels.py", "--out", out}, names...)...)
		script.Dir = filepath.Join("..", "..")
		if b, err := script.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
	}
	for _, dir := range append(fixtures(t), more...) {
		if filepath.Base(dir) != "refused" {
			parity(t, filepath.Join(out, filepath.Base(dir)))
		}
	}
}

// parity asks every golden question of a SavedModel.
func parity(t *testing.T, dir string) {
	files := folder(t, dir)
	stored, uploaded := blobs(t, files), sources(files)
	for i, c := range golden(t, files).Cases {
		t.Run(fmt.Sprintf("%s/%s/%d", filepath.Base(dir), c.Signature, i), func(t *testing.T) {
			m, err := Choice{c.Signature, shapes(t, files)}.Read(uploaded)
			if err != nil {
				t.Fatal(err)
			}
			var in []tensor.Tensor
			for _, name := range slices.Sorted(maps.Keys(c.Inputs)) {
				p, _ := m.Graph.Signature().Input(name)
				in = append(in, padded(t, c.Inputs[name].tensor(t, name), p))
			}
			out, err := loaded(t, stored, m).Run(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(out) != len(c.Outputs) {
				t.Errorf("%d outputs, want %d", len(out), len(c.Outputs))
			}
			for _, got := range out {
				near(t, got, c.Outputs[got.Name].tensor(t, got.Name), m, strings.HasSuffix(c.Signature, "_relative"))
			}
		})
	}
}

// shapes are the lengths that a folder's skein.json chooses.
func shapes(t testing.TB, files map[string][]byte) map[string][]int64 {
	t.Helper()
	var side struct{ Shapes map[string][]int64 }
	if b, ok := files["skein.json"]; ok {
		if err := json.Unmarshal(b, &side); err != nil {
			t.Fatal(err)
		}
	}
	return side.Shapes
}

// padded puts zeros behind the rows of an input [rows, length] that are shorter than the port's.
func padded(t testing.TB, x tensor.Tensor, p model.Port) tensor.Tensor {
	t.Helper()
	if len(p.Shape) != 2 || p.Shape[1] == model.Free || p.Shape[1] == x.Shape[1] {
		return x
	}
	row, long := int(x.Shape[1]*x.DType.Size()), int(p.Shape[1]*x.DType.Size())
	out := x
	out.Shape, out.Data = []int64{x.Shape[0], p.Shape[1]}, nil
	for at := 0; at < len(x.Data); at += row {
		out.Data = append(append(out.Data, x.Data[at:at+row]...), make([]byte, long-row)...)
	}
	return out
}

// near compares an output with the golden one, by the largest number of all or each by itself, and both with what the signature says.
func near(t *testing.T, got, want tensor.Tensor, m *Model, relative bool) {
	t.Helper()
	if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) {
		t.Errorf("%s is %s %v, want %s %v", got.Name, got.DType, got.Shape, want.DType, want.Shape)
		return
	}
	p, _ := m.Graph.Signature().Output(got.Name)
	if len(p.Shape) != len(want.Shape) || !fits(p.Shape, want.Shape) {
		t.Errorf("%s is declared as %v and is %v", got.Name, p.Shape, want.Shape)
	}
	a, b := reals(t, got), reals(t, want)
	largest := 1.0
	for _, x := range b {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			largest = max(largest, math.Abs(x))
		}
	}
	for i := range a {
		if relative {
			largest = math.Abs(b[i])
		}
		if d := math.Abs(a[i] - b[i]); d > tolerance*largest || math.IsNaN(a[i]) != math.IsNaN(b[i]) || math.IsInf(a[i], 0) != math.IsInf(b[i], 0) {
			t.Errorf("%s[%d] = %v, want %v", got.Name, i, a[i], b[i])
			return
		}
	}
}

// reals are a tensor's elements.
func reals(t *testing.T, x tensor.Tensor) []float64 {
	t.Helper()
	var out []float64
	size := int(x.DType.Size())
	for b := x.Data; len(b) > 0; b = b[size:] {
		switch x.DType {
		case model.F32:
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		case model.F64:
			out = append(out, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		case model.I32:
			out = append(out, float64(int32(binary.LittleEndian.Uint32(b))))
		case model.I64:
			out = append(out, float64(int64(binary.LittleEndian.Uint64(b))))
		case model.Bool:
			out = append(out, float64(b[0]))
		default:
			t.Fatalf("type %s", x.DType)
		}
	}
	return out
}
