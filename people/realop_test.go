package people

import (
	"os"
	"os/exec"
	"testing"
)

// The same against a provider that others wrote: a module of its own, which only this test downloads.
func TestRealProvider(t *testing.T) {
	if os.Getenv("SKEIN_FULL") == "" {
		t.Skip("SKEIN_FULL is not set: people/realop is a module of its own")
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-C", "realop", "-count=1", "-timeout=5m", "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
