package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The first thing that a person does: a fleet of real processes comes up, cuts a model in two, and answers right; nothing is left behind.
func TestDevAsksAndExits(t *testing.T) {
	bin := programs(t)
	tmp := t.TempDir()
	cmd := exec.Command(filepath.Join(bin, "skein"), "dev", "--ask", "--exit", "--gateway")
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "SKEIN_ORT_LIB="+library(t), "TMPDIR="+tmp, "XDG_CONFIG_HOME="+filepath.Join(tmp, "config"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	guard := time.AfterFunc(4*time.Minute, func() { cmd.Process.Kill() })
	defer guard.Stop()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text := out.String()
	for _, want := range []string{"3 coordinators up", "2 nodes and a gateway up", "blocks 0-", "on node-1", "on node-2", "2 stages", "sum 123 45 678 =     846", "3 7 19 42 88"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, " right ("); n != 3 {
		t.Errorf("%d right answers, want 3:\n%s", n, text)
	}
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("%s is left behind", e.Name())
	}
}
