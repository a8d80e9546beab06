package savedmodel

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
)

// largeFolder writes a SavedModel of n variables of 4 MiB to a folder: x of F32 [free, 1024] through n dense layers.
func largeFolder(t testing.TB, n int) map[string]onnxgraph.Source {
	t.Helper()
	const size = 4 << 20
	c := crafted{output: fmt.Sprintf("y%d:0", n-1), inner: 1024}
	dims := shapeOf(1024, 1024)
	entries := map[string]variableEntry{}
	zeros := make([]byte, size)
	crc := masked(zeros)
	last := "x"
	for i := range n {
		w, y := fmt.Sprintf("w%d", i), fmt.Sprintf("y%d", i)
		c.nodes = append(c.nodes, nodeDef(w, "VarHandleOp").with("dtype", floatType).with("shape", proto(nil).msg(7, dims)), nodeDef("r"+w, "ReadVariableOp", w),
			nodeDef("m"+w, "MatMul", last, "r"+w), nodeDef(y, "Relu", "m"+w))
		entries[w] = variableEntry{[]int64{1024, 1024}, int64(i) * size, size, crc, nil}
		last = y
	}
	dir := t.TempDir()
	files := map[string]onnxgraph.Source{}
	add := func(name string, content func(io.Writer) error) {
		path := filepath.Join(dir, filepath.Base(name))
		f, err := os.Create(path)
		if err == nil {
			err = content(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		files[name] = onnxgraph.Source{ReaderAt: f, Size: info.Size(), Digest: blob.Of([]byte(name)).Digest()}
	}
	whole := func(b []byte) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		}
	}
	add(File, whole(c.bytes()))
	add(bundle+".index", whole(bundleIndex(1, entries)))
	add(bundle+".data-00000-of-00001", func(w io.Writer) error {
		for range n {
			if _, err := w.Write(zeros); err != nil {
				return err
			}
		}
		return nil
	})
	return files
}

// Goal of BenchmarkConversion: at most as many times the time to read the bytes, and so much more.
const (
	goalFactor = 2
	goalMore   = time.Second
)

// BenchmarkConversion converts 400 MiB of variables, and says how long reading the same bytes takes. It fails above the goal.
func BenchmarkConversion(b *testing.B) {
	files := largeFolder(b, 100)
	var size int64
	read := func() time.Duration {
		start := time.Now()
		size = 0
		for _, src := range files {
			n, err := io.Copy(io.Discard, struct{ io.Reader }{io.NewSectionReader(src, 0, src.Size)})
			if err != nil {
				b.Fatal(err)
			}
			size += n
		}
		return time.Since(start)
	}
	read() // into the cache of the system
	var reading, converting time.Duration
	for b.Loop() {
		reading += read()
		start := time.Now()
		m, err := Read(files, "")
		if err != nil || len(m.Graph.Weights()) != 100 {
			b.Fatal(m, err)
		}
		converting += time.Since(start)
	}
	n := time.Duration(b.N)
	b.ReportMetric(float64(size)/1e6, "MB")
	b.ReportMetric((reading / n).Seconds(), "read-s")
	b.ReportMetric((converting / n).Seconds(), "convert-s")
	if converting/n > goalFactor*reading/n+goalMore {
		b.Errorf("converting takes %v, reading the bytes %v", converting/n, reading/n)
	}
}
