package sim

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func rollOut(c Config) (*World, error) {
	w := RandomRollout(c)
	if err := w.Run(FaultsFor); err != nil {
		return w, err
	}
	return w, w.RolledOut(90 * time.Second)
}

// TestRolloutSeeds lets random worlds try out versions that fail or do not, under load and through faults: what fails is taken back and nothing else is, nobody
// is sent to what was withdrawn, and what a name means is served on.
func TestRolloutSeeds(t *testing.T) {
	if *seedFlag != 0 {
		if _, err := rollOut(Config{Seed: *seedFlag, Trace: os.Stdout}); err != nil {
			t.Fatal(err)
		}
		return
	}
	by := map[string]int{}
	for seed := uint64(1); seed <= uint64(max(*seedsFlag/10, 1)); seed++ {
		w, err := rollOut(Config{Seed: seed})
		if err != nil {
			t.Errorf("%v\nreplay: go test ./sim -run TestRolloutSeeds -seed=%d", err, seed)
			continue
		}
		for who, n := range w.facts.by {
			by[who] += n
		}
		if again, _ := rollOut(Config{Seed: seed}); seed%6 == 0 && again.Sum() != w.Sum() {
			t.Errorf("seed %d: two runs have two traces", seed)
		}
	}
	for _, who := range []string{"guard", "follow", "retire"} {
		if by[who] == 0 && *seedsFlag >= 100 {
			t.Errorf("no world had anything done by %s: %v", who, by)
		}
	}
	t.Logf("done by %v", by)
}

// TestRolloutTeeth plants known bugs and requires that some seed finds each, with the words of the check that should.
func TestRolloutTeeth(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant Plant
		words []string
	}{
		{"nothing is taken back", Plant{NoGuard: true}, []string{"still leads there", "again and again"}},
		{"a gateway keeps its first table", Plant{StaleRoutes: true}, []string{"and the table of an older one"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const seeds = 20
			for seed := uint64(1); seed <= seeds; seed++ {
				if _, err := rollOut(Config{Seed: seed, Plant: c.plant}); err != nil {
					if !slices.ContainsFunc(c.words, func(words string) bool { return strings.Contains(err.Error(), words) }) {
						t.Fatalf("found by another check: %v", err)
					}
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("not found within %d seeds", seeds)
		})
	}
}
