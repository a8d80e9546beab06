package coordinator_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/model"
)

// The graph of a model is a blob that nobody uploaded: it is counted, copied and kept like the others, and goes with its version.
func TestDerivedBlobs(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, converter(t))
	with(f, func(c *fleettest.Coordinator) {
		c.Config.Keep, c.Config.Library = 2*time.Second, os.Getenv(ort.Variable)
	})
	leader := f.Leader()
	files, sizes := map[string]blob.Digest{}, int64(0)
	for _, name := range []string{"model.onnx", "weights.data", "golden.safetensors"} {
		data, err := os.ReadFile(filepath.Join("..", "testdata", "onnx", "external", name))
		if err != nil {
			t.Fatal(err)
		}
		x := blob.Of(data)
		if _, err := leader.BeginBlob(x); err != nil {
			t.Fatal(err)
		}
		if err := leader.WriteChunk(x.Digest(), 0, data); err != nil {
			t.Fatal(err)
		}
		files[name], sizes = x.Digest(), sizes+int64(len(data))
	}
	var said []string
	id, err := leader.Publish(t.Context(), nobody, "", "external", files, false, func(step string) { said = append(said, step) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "serves tensors only") }) {
		t.Errorf("steps %q do not say that it serves tensors only", said)
	}
	v, _ := leader.Live().Now().Version(id)
	b, err := leader.ReadBlob(t.Context(), blob.Ref{Digest: v.Manifest, Len: sizeOf(t, leader, v.Manifest)})
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	graph := m.Files[model.GraphFile]
	if want := sizes + graph.Len + int64(len(b)) + sizeOf(t, leader, v.Folder); graph.Len == 0 || v.Bytes != want || len(v.Holders) != 2 {
		t.Errorf("%d bytes at %d holders, want %d", v.Bytes, len(v.Holders), want)
	}
	if p := v.Proof; p == nil || (p.Why == "") != (os.Getenv(ort.Variable) != "") || p.Why == "" && (p.Golden == nil || p.Golden.Relative > 1e5) {
		t.Errorf("proof %+v", p)
	}
	if !slices.ContainsFunc(v.Traits.Inputs, func(s string) bool { return strings.HasPrefix(s, "ports:") }) {
		t.Errorf("traits %+v", v.Traits)
	}
	list, err := leader.Files(t.Context(), v)
	if err != nil || len(list) != 3 {
		t.Errorf("files %v, %v", list, err)
	}
	const whole = 3 + 3 // files; manifest, graph, list of files
	if _, err := leader.BeginBlob(blob.Of(bytes.Repeat([]byte("unfinished"), 1000))); err != nil {
		t.Fatal(err)
	}
	fleettest.Within(t, "the unfinished upload goes, the version stays", func() bool { return blobsIn(t, f.Coordinators[0]) == whole && blobsIn(t, f.Coordinators[1]) == whole })
	for _, c := range f.Coordinators {
		if got, err := c.ReadBlob(t.Context(), graph); err != nil || blob.Of(got).Digest() != graph.Digest {
			t.Errorf("%s: the graph: %v", c.Config.Name, err)
		}
	}
	if a, ok := leader.Live().Now().Alias("external"); ok {
		f.Do(leader, cluster.DeleteAlias{Name: "external", Was: a.Rev})
	}
	f.Do(leader, cluster.DeleteVersion{Version: id, Was: v.Rev})
	fleettest.Within(t, "the deleted version's blobs go", func() bool { return blobsIn(t, f.Coordinators[0]) == 0 && blobsIn(t, f.Coordinators[1]) == 0 })
}

func sizeOf(t *testing.T, c *fleettest.Coordinator, d blob.Digest) int64 {
	t.Helper()
	n, err := c.BlobSize(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
