package savedmodel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// array is a tensor of golden.json.
type array struct {
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
	Data  string  `json:"data"`
}

// goldens are what TensorFlow answered.
type goldens struct {
	Cases []struct {
		Signature string
		Inputs    map[string]array
		Outputs   map[string]array
	}
}

// numpy maps numpy's names of types.
var numpy = map[string]model.DType{
	"float32": model.F32, "float64": model.F64, "float16": model.F16, "int32": model.I32, "int64": model.I64, "int8": model.I8, "uint8": model.U8, "bool": model.Bool,
}

func (a array) tensor(t testing.TB, name string) tensor.Tensor {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(a.Data)
	if err != nil || numpy[a.DType] == "" {
		t.Fatalf("%s of %s: %v", name, a.DType, err)
	}
	return tensor.Tensor{Name: name, DType: numpy[a.DType], Shape: a.Shape, Data: b}
}

// folder reads a SavedModel's files.
func folder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// sources makes the input of Read of files in memory.
func sources(files map[string][]byte) map[string]onnxgraph.Source {
	out := map[string]onnxgraph.Source{}
	for name, b := range files {
		out[name] = onnxgraph.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: blob.Of(b).Digest()}
	}
	return out
}

func golden(t testing.TB, files map[string][]byte) goldens {
	t.Helper()
	var g goldens
	if err := json.Unmarshal(files["golden.json"], &g); err != nil || len(g.Cases) == 0 {
		t.Fatalf("%d golden answers, %v", len(g.Cases), err)
	}
	return g
}

// fixtures lists the folders of testdata/models.
func fixtures(t testing.TB) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("testdata", "models", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no models: %v", err)
	}
	return dirs
}
