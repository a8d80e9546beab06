package convert

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFormatsTable: docs/formats.md lists every format that is refused, by the endings and in the words of its refusal.
func TestFormatsTable(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	_, table, _ := strings.Cut(string(b), "## What is refused, with the way out")
	table, _, _ = strings.Cut(table, "\n## ")
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 6 && !strings.HasPrefix(cells[1], "---") && strings.TrimSpace(cells[1]) != "format" {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells[1:5])
		}
	}
	if len(rows) != len(Foreigns) {
		t.Fatalf("%d rows for %d formats", len(rows), len(Foreigns))
	}
	for i, f := range Foreigns {
		row := rows[i]
		if want := "`" + strings.Join(f.Endings, "` `") + "`"; row[0] != f.Name || row[1] != want || row[2] != f.Why || row[3] == "" {
			t.Errorf("row %q, want %q, %q, %q and a way out", row, f.Name, want, f.Why)
		}
		way, _, _ := strings.Cut(f.Way, "%s")
		for _, ending := range f.Endings {
			_, err := Select([]string{"config.json", "model" + ending})
			refusal(t, err, "model"+ending, f.Why)
			refusal(t, err, "model"+ending, way)
			if f.Alone {
				continue
			}
			_, err = Folder(sources(map[string][]byte{"config.json": []byte("{}"), "model" + ending: nil, "model.safetensors": nil}))
			refusal(t, err, "model"+ending, way)
			if err != nil && strings.Contains(err.Error(), "%s") {
				t.Errorf("%s: the way out has a blank: %v", ending, err)
			}
		}
	}
}

// TestReadableTable: of the formats that docs/formats.md says are read, the files that it names are taken.
func TestReadableTable(t *testing.T) {
	for _, folder := range [][]string{{"config.json", "model.safetensors"}, {"config.json", "model.safetensors.index.json", "model-00001-of-00001.safetensors"},
		{"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001", "assets/vocab.txt"}, {"model.onnx"}, {"onnx/model.onnx"}, {"bert.onnx", "bert.onnx_data"}} {
		got, err := Select(append([]string{"README.md", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.gguf"}, folder...))
		want := slices.Clone(folder)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", folder, got, err)
		}
	}
}
