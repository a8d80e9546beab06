package sim

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/internal/golden"
)

// TestScripts replays testdata/*.txt. Lines starting with # are comments; the other lines are verbs of Script, and the indented lines after one are
// what happened.
func TestScripts(t *testing.T) {
	golden.Scripts(t, func(t *testing.T, text string) string {
		got, err := Script(Config{Seed: 1}, strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
		return string(got)
	})
}

// TestScriptRefuses: a script that is wrong, or whose assertions do not hold, says on which line.
// A scheduler that knows of no quarantine empties nothing, and the story of one shows it.
func TestQuarantineTeeth(t *testing.T) {
	text, err := os.ReadFile("testdata/quarantine.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Script(Config{Seed: 1, Plant: Plant{IgnoreBars: true}}, bytes.NewReader(text)); err == nil || !strings.Contains(err.Error(), "assert empty n1") {
		t.Errorf("the bug is not found: %v", err)
	}
}

func TestScriptRefuses(t *testing.T) {
	for _, c := range []struct{ script, why string }{
		{"fly n1", "line 1"},
		{"node 100MiB\nrun", "line 2"},
		{"node 100MiB\nkill n7", "line 2"},
		{"node lots", "line 1"},
		{"node 100MiB\nmodel a 2 10MiB\nrun 1s\nserve a 1\nassert ready a 1", "line 5: a has 0"},
		{"node 100MiB\nassert status n1 lost", "line 2"},
		{strings.Repeat("run 59m\n", 200), "limit"},
	} {
		_, err := Script(Config{Seed: 1}, strings.NewReader(c.script))
		var bad *ScriptError
		if !errors.As(err, &bad) || !regexp.MustCompile(c.why).MatchString(err.Error()) {
			t.Errorf("%q: %v, want %q", c.script, err, c.why)
		}
	}
}

// TestSkew: clocks that differ by hours change nothing that is decided.
func TestSkew(t *testing.T) {
	var sums []uint64
	for _, skew := range []time.Duration{time.Millisecond, 100 * time.Hour} {
		w, err := run(Config{Seed: 3, Skew: skew})
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, w.Sum())
	}
	if sums[0] != sums[1] {
		t.Errorf("clocks matter: %x", sums)
	}
}
