package defaults

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/internal/golden"
)

func TestRules(t *testing.T) {
	c, err := alert.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range Rules() {
		if err := c.Check(&r); err != nil {
			t.Error(err)
		}
		ids = append(ids, r.ID)
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(r.Annotations.Runbook)))
		if err != nil {
			t.Errorf("%s has no runbook: %v", r.ID, err)
			continue
		}
		for _, want := range []string{"# " + r.ID + "\n", "\n## What it means\n", "\n## What to look at\n", "\n## What to do\n"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %q", r.Annotations.Runbook, want)
			}
		}
		if r.Disabled || !strings.Contains(string(text), "`skein ") {
			t.Errorf("%s names no command, or the rule is off", r.Annotations.Runbook)
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("not sorted, or twice: %v", ids)
	}
	files, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil || len(files) != len(ids)+1 {
		t.Errorf("%d runbooks for %d rules and a list of them", len(files), len(ids))
	}
}

// Links between runbooks lead somewhere.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "](")[1:] {
			to, _, _ := strings.Cut(part, ")")
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), to)); err != nil {
				t.Errorf("%s links to %s: %v", file, to, err)
			}
		}
	}
}

// The rules as Prometheus has them are these, and the real promtool takes them where there is one (SKEIN_PROMTOOL, or on the PATH), and
// finds what tests.yml says of them.
func TestPrometheus(t *testing.T) {
	c, err := alert.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Prometheus(Rules())
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, filepath.Join("testdata", "rules.yml"), string(out))
	tool := os.Getenv("SKEIN_PROMTOOL")
	if tool == "" {
		if tool, err = exec.LookPath("promtool"); err != nil {
			t.Skip("no promtool: neither SKEIN_PROMTOOL nor on the PATH")
		}
	}
	for _, args := range [][]string{{"check", "rules", "testdata/rules.yml"}, {"test", "rules", "testdata/tests.yml", "testdata/tests_baseline.yml"}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		} else {
			t.Logf("promtool %v: %s", args, out)
		}
	}
}
