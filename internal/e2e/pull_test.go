package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/internal/hubtest"
)

// A model comes from a hub by one command, answers, and goes back to files; the coordinators' token stays with them.
func TestPull(t *testing.T) {
	h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
	h.Add(t, "team/Calc", filepath.Join(root(t), "examples", "calc"))
	h.Need("hub-secret")
	data := t.TempDir()
	s := raise(t, devfleet.Config{Dir: data, Coordinators: 2, Nodes: 1, Devices: []string{"host:128MiB"}, More: func(name string) (args, env []string) {
		if strings.HasPrefix(name, "coordinator") {
			return []string{"--hub-url", h.URL, "--hub-allow", "127.0.0.1/32", "--hub-allow", "127.0.0.2/32"}, []string{"SKEIN_HUB_TOKEN=hub-secret"}
		}
		return nil, nil
	}})
	pinned := "hf:team/Calc@" + hubtest.Commit
	s.says([]string{"pull", "hf:team/Calc"}, "calc@1 from "+pinned, "model.safetensors", "converting", "copying to a second coordinator")
	s.says([]string{"push", "hf:team/Calc", "--name", "again"}, "again@1 from "+pinned)
	s.says([]string{"serve", "calc@1", "--wait"}, "1 of 1 replicas ready")
	s.says([]string{"chat", "calc", "sum 2 40"}, "42")

	dir := t.TempDir()
	s.says([]string{"download", "calc", dir}, "calc@1 is in "+dir)
	s.says([]string{"audit", "list"}, "note_download", "calc")
	for _, name := range []string{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		want, err := os.ReadFile(filepath.Join(root(t), "examples", "calc", name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d, %v", name, len(got), len(want), err)
		}
	}

	h.Lie(nil, func(w http.ResponseWriter, _ *http.Request, file string) bool {
		if file == "tokenizer.json" {
			w.Write([]byte("{}"))
		}
		return file == "tokenizer.json"
	})
	h.Add(t, "team/other", filepath.Join(root(t), "examples", "calc"))
	for source, why := range map[string]string{
		"hf:team/other": `"tokenizer.json" of hf:team/other@`,
		"hf:team/none":  "404",
		"folder:x":      "hub_folder",
		"ftp:x":         "no source of models",
	} {
		if out, errs := s.command(exitRefused, "pull", source); !strings.Contains(errs, why) || out != "" {
			t.Errorf("skein pull %s: want %q on standard error:\n%s%s", source, why, out, errs)
		}
	}
	s.refuses(exitRefused, "does not exist", "download", "nobody", t.TempDir())
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("hub-secret")) {
			t.Errorf("the token is in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
