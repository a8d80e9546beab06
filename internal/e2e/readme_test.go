package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// runnable finds the blocks of a document that say that they run against a fleet.
var runnable = regexp.MustCompile("(?s)<!-- run: against a fleet[^>]*-->\n```sh\n(.*?)```")

// The commands that the README and the documents tell people to type do what they say.
func TestReadmeCommands(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, f := range append([]string{filepath.Join(root(t), "README.md")}, files...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	s := raise(t, devfleet.Config{Devices: []string{"host:320MiB"}})
	s.push(filepath.Join(root(t), "examples", "calc"), "calc")
	s.serve(&adminv1.ServeRequest{Model: "calc"})
	blocks := runnable.FindAllSubmatch(text, -1)
	if len(blocks) < 9 {
		t.Fatalf("%d blocks to run", len(blocks))
	}
	for _, b := range blocks {
		for _, line := range strings.Split(strings.ReplaceAll(string(b[1]), "\\\n", " "), "\n") {
			if strings.TrimSpace(line) == "" {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(line, "bin/skein", filepath.Join(programs(t), "skein")))
			cmd.Dir = root(t)
			cmd.Env = append(os.Environ(), "SKEIN_URL="+s.URL(), "SKEIN_KEY="+s.Key)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s\n%v: %s", line, err, out)
			}
			if _, want, ok := strings.Cut(line, "# "); ok && regexp.MustCompile(`^[\d ]+$`).MatchString(want) && !strings.Contains(string(out), want) {
				t.Errorf("%s\ngave %q, want %q", line, out, want)
			}
		}
	}
}
