package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The clients in Python and TypeScript ask again what was refused, once what may have been answered, and stop when they are told to: their own tests,
// against servers that fail.
func TestSDKFaults(t *testing.T) {
	t.Parallel()
	sdk, built := filepath.Join(root(t), "sdk"), filepath.Join(root(t), "build", "conformance", "typescript", "index.js")
	for _, c := range []struct {
		name, program string
		args          []string
		dir, needs    string
		env           string
	}{
		{"python", "python3", []string{"-m", "unittest", "discover", "tests"}, filepath.Join(sdk, "python"), "", "PYTHONPATH=src"},
		{"typescript", "node", []string{"--test", "tests/"}, filepath.Join(sdk, "typescript"), built, "SKEIN_SDK=" + built},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(c.program)
			if err != nil {
				t.Skipf("no %s on this machine", c.program)
			}
			if _, err := os.Stat(c.needs); c.needs != "" && err != nil {
				t.Skip("not built: make conformance builds it")
			}
			cmd := exec.CommandContext(t.Context(), program, c.args...)
			cmd.Dir = c.dir
			cmd.Env = append(os.Environ(), c.env, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
