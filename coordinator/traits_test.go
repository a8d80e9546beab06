package coordinator_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/model"
)

// traits converts a folder, changes the manifest or what its files hold, and finds the traits.
func traits(t *testing.T, dir string, change func(*model.Manifest), edit func(name string, text []byte) []byte) *cluster.Traits {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, sources := map[string][]byte{}, map[string]convert.Source{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = text
		sources[e.Name()] = convert.Source{ReaderAt: bytes.NewReader(text), Size: int64(len(text)), Digest: blob.Of(text).Digest()}
	}
	made, err := convert.Folder(sources)
	if err != nil {
		t.Fatal(err)
	}
	m := made.Manifest
	if change != nil {
		change(m)
	}
	got, err := coordinator.TraitsOf(m, func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
		}
		if edit != nil {
			text = edit(name, text)
		}
		return text, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// What clients rely on is found in the manifest and its files, and a change of it is named.
func TestTraits(t *testing.T) {
	t.Parallel()
	calc, triage := traits(t, "../examples/calc", nil, nil), traits(t, "../examples/triage", nil, nil)
	if !slices.Equal(calc.Inputs, []string{"embed", "generate"}) || calc.Context != 256 || calc.Labels != "" || calc.Vector == 0 || len(calc.Template) != 64 || len(calc.Tokens) != 64 {
		t.Errorf("calc: %+v", calc)
	}
	if !slices.Contains(triage.Inputs, "classify") || len(triage.Labels) != 64 || triage.Template != "" {
		t.Errorf("triage: %+v", triage)
	}
	if what := calc.Breaks(traits(t, "../examples/calc", nil, nil)); what != nil {
		t.Errorf("the same again breaks %q", what)
	}
	for want, change := range map[string]func(*model.Manifest){
		"labels":  func(m *model.Manifest) { slices.Reverse(m.Labels) },
		"context": func(m *model.Manifest) { m.Config.Positions-- },
		"inputs: classify is gone": func(m *model.Manifest) {
			m.Tasks = slices.DeleteFunc(m.Tasks, func(t model.Task) bool { return t == model.Classify })
		},
		"vector dimension": func(m *model.Manifest) { m.Config.Hidden *= 2 },
	} {
		if what := triage.Breaks(traits(t, "../examples/triage", change, nil)); !slices.Equal(what, []string{want}) {
			t.Errorf("breaks %q, want %q", what, want)
		}
	}
	other := traits(t, "../examples/calc", nil, func(name string, text []byte) []byte {
		return bytes.ReplaceAll(text, []byte("last.text | trim"), []byte("last.text"))
	})
	if what := calc.Breaks(other); !slices.Equal(what, []string{"template"}) {
		t.Errorf("another template breaks %q", what)
	}
	_, err := coordinator.TraitsOf(&model.Manifest{Files: map[string]blob.Ref{"tokenizer.json": {}}}, func(string) ([]byte, error) { return nil, os.ErrPermission })
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}
