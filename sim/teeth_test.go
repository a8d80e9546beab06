package sim

import (
	"strings"
	"testing"
)

// TestTeeth plants known bugs and requires that some seed finds each, with the words of the check that should.
func TestTeeth(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant Plant
		seeds uint64 // within so many
		words []string
	}{
		{"epochs are not checked", Plant{AnyEpoch: true}, 60, []string{"was served by epoch"}},
		{"unloading frees nothing", Plant{ForgetUnload: true}, 20, []string{"its stages take"}},
		{"draining nodes look ready", Plant{IgnoreDrain: true}, 40, []string{"draining nodes", "drains", "decided although nothing", "again and again"}},
		{"ready is reported early", Plant{EarlyReady: true}, 20, []string{"nothing ever served"}},
		{"an entry is lost on one coordinator", Plant{SkipEntry: true}, 20, []string{"differ", "no answer"}},
		{"probes find everybody alive", Plant{AlwaysAlive: true}, 40, []string{"not at rest", "placements", "no answer"}},
		{"tables grow old", Plant{StaleRoutes: true}, 20, []string{"and the table of an older one"}},
		{"removing frees nothing", Plant{LoseReleases: true}, 20, []string{"is stopping", "again and again"}},
		{"duties pile up", Plant{BothEpochs: true}, 60, []string{"two epochs", "not loaded"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= c.seeds; seed++ {
				_, err := run(Config{Seed: seed, Plant: c.plant})
				if err == nil {
					continue
				}
				for _, w := range c.words {
					if strings.Contains(err.Error(), w) {
						t.Logf("seed %d: %v", seed, err)
						return
					}
				}
				t.Fatalf("found by another check: %v", err)
			}
			t.Errorf("not found within %d seeds", c.seeds)
		})
	}
}
