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
// written. The seeds are small: the fuzzer spends its time on shortening long ones.
func FuzzSavedModel(f *testing.F) {
	f.Add(summing(2).bytes())
	f.Add(crafted{output: "y:0", restore: "r", nodes: []proto{constantOf("c", []int64{3}, []float32{1, 2, 3}), nodeDef("y", "AddV2", "x", "c", "^r"),
		nodeDef("r", "NoOp", "^a"), nodeDef("a", "Assign", "v", "s"), nodeDef("v", "VariableV2").with("shape", proto(nil).msg(7, shapeOf(2))), nodeDef("s", "RestoreV2", "c", "c", "c")}}.bytes())
	f.Add(crafted{output: "y:0", nodes: []proto{nodeDef("s", "Shape", "x"), nodeDef("y", "Reshape", "x", "s"),
		nodeDef("z", "StridedSlice", "x", "s", "s", "s").with("begin_mask", proto(nil).num(3, 1)), nodeDef("l", "Squeeze", "x").with("squeeze_dims", proto(nil).msg(1, proto(nil).num(3, 0)))}}.bytes())
	f.Add(crafted{output: "y:0", functions: []proto{functionDef("f", "n:y:0", nodeDef("n", "Neg", "x"))}, nodes: []proto{callOf("y", "f", "x")}}.bytes())
	f.Add(crafted{output: "y:0", nodes: []proto{nodeDef("a", "NoOp", ""), nodeDef("y", "Neg", "x", "^a", "^")}}.bytes())
	rest := sources(folder(f, filepath.Join("testdata", "models", "half_plus_two")))
	delete(rest, "golden.json")
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
