package sim

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this one seed and print its trace")
	seedsFlag = flag.Int("seeds", 200, "number of random seeds")
)

// run lets a random world live through its faults and come to rest.
func run(c Config) (*World, error) {
	w := Random(c)
	if err := w.Run(FaultsFor); err != nil {
		return w, err
	}
	return w, w.Settle(150 * time.Second)
}

// TestSeeds runs -seeds random worlds, each twice: no check fails, and both runs have the same trace. A failing seed is replayed, with its trace, by the
// printed command.
func TestSeeds(t *testing.T) {
	if *seedFlag != 0 {
		if _, err := run(Config{Seed: *seedFlag, Trace: os.Stdout}); err != nil {
			t.Fatal(err)
		}
		return
	}
	const workers = 4
	for k := range workers {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1 + k); seed <= uint64(*seedsFlag); seed += workers {
				w, err := run(Config{Seed: seed})
				if err != nil {
					t.Errorf("%v\nreplay: go test ./sim -run TestSeeds -seed=%d", err, seed)
					continue
				}
				if again, _ := run(Config{Seed: seed}); again.Sum() != w.Sum() || again.Events() != w.Events() {
					t.Errorf("seed %d: two runs have two traces\nreplay: go test ./sim -run TestSeeds -seed=%d", seed, seed)
				}
			}
		})
	}
}
