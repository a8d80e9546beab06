package bigmodel

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/model"
)

// folder opens what Write made as the input of conversion.
func folder(t *testing.T, dir string) map[string]convert.Source {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]convert.Source{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		x, err := blob.Scan(f)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = convert.Source{ReaderAt: f, Size: x.Size, Digest: x.Digest()}
	}
	return files
}

func TestWriteIsAModel(t *testing.T) {
	for _, tied := range []bool{false, true} {
		dir := t.TempDir()
		opt := Options{Bytes: 5 << 20, Shard: 2 << 20, Hidden: 256, Tied: tied}
		if err := Write(dir, opt); err != nil {
			t.Fatal(err)
		}
		made, err := convert.Folder(folder(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		m := made.Manifest
		var weights int64
		for block := range m.Tail() {
			for _, tensor := range m.Block(block) {
				weights += tensor.Ref.Len
			}
		}
		if weights < opt.Bytes || weights > opt.Bytes*3/2 || m.Tied() != tied || m.Config.KVHeads*sharing != m.Config.Heads || !slices.Equal(m.EOS, []int32{eos}) {
			t.Errorf("%d bytes, tied %v, %+v", weights, m.Tied(), m.Config)
		}
		token, _ := m.Tensor(model.Embed, "embed.token")
		if token.DType != model.BF16 {
			t.Errorf("type %s", token.DType)
		}
		twin := t.TempDir()
		if err := Write(twin, opt); err != nil {
			t.Fatal(err)
		}
		if again, err := convert.Folder(folder(t, twin)); err != nil || again.Manifest.Digest() != m.Digest() {
			t.Errorf("the same options give another model: %v", err)
		}
		other := opt
		other.Seed++
		if err := Write(twin, other); err != nil {
			t.Fatal(err)
		}
		if again, err := convert.Folder(folder(t, twin)); err != nil || again.Manifest.Digest() == m.Digest() {
			t.Errorf("another seed gives the same model: %v", err)
		}
	}
	if err := Write(t.TempDir(), Options{Hidden: 100}); err == nil {
		t.Error("a hidden size that heads cannot share is accepted")
	}
}

func BenchmarkWriteGiB(b *testing.B) {
	dir := b.TempDir()
	b.SetBytes(1 << 30)
	for b.Loop() {
		if err := Write(dir, Options{Bytes: 1 << 30}); err != nil {
			b.Fatal(err)
		}
	}
}
