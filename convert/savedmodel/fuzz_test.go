package savedmodel

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
)

// full says that the long variants of tests run.
func full() bool { return os.Getenv("SKEIN_FULL") != "" }

// FuzzSavedModel: whatever the graph's file holds, it is read or refused with a type, and what is read passes the check of graphs and can be
// written.
func FuzzSavedModel(f *testing.F) {
	for _, name := range []string{"half_plus_two", "half_plus_two_v1", "resource_v1"} {
		b, err := os.ReadFile(filepath.Join("testdata", "models", name, File))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(summing(2).bytes())
	f.Add(crafted{output: "y:0", functions: []proto{functionDef("f", "n:y:0", nodeDef("n", "Neg", "x"))}, nodes: []proto{callOf("y", "f", "x")}}.bytes())
	rest := sources(folder(f, filepath.Join("testdata", "models", "half_plus_two")))
	f.Fuzz(func(t *testing.T, b []byte) {
		rest[File] = onnxgraph.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: blob.Of(b).Digest()}
		m, err := Read(rest, "")
		if err != nil {
			if !typed(err) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if err := onnxgraph.Check(m.Graph); err != nil {
			t.Fatal(err)
		}
		if _, err := onnxgraph.Encode(m.Graph); err != nil && !typed(err) {
			t.Fatal(err)
		}
	})
}
