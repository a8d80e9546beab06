package convert

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/model"
)

// readFolder reads a folder whole.
func readFolder(t testing.TB, dir string) map[string][]byte {
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

// fixture reads what conversion selects of a fixture.
func fixture(t testing.TB, name string) map[string][]byte {
	t.Helper()
	files := readFolder(t, filepath.Join("..", "testdata", "models", name))
	var names []string
	for n := range files {
		names = append(names, n)
	}
	selected, err := Select(names)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, n := range selected {
		out[n] = files[n]
	}
	return out
}

// sources makes the input of Folder of files in memory.
func sources(files map[string][]byte) map[string]Source {
	out := map[string]Source{}
	for name, b := range files {
		out[name] = Source{bytes.NewReader(b), int64(len(b)), blob.Of(b).Digest()}
	}
	return out
}

func TestFixtures(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", "testdata", "models"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			m, err := Folder(sources(fixture(t, e.Name())))
			if err != nil {
				t.Fatal(err)
			}
			again, err := model.Decode(model.Encode(m))
			if err != nil || again.Digest() != m.Digest() {
				t.Fatalf("the manifest does not survive encoding: %v", err)
			}
			short := *m
			short.Tensors = nil
			t.Logf("%s tied=%v tensors=%d", model.Encode(&short), m.Tied(), len(m.Tensors))
		})
	}
}
