package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func follow(c Config) (*World, error) {
	w := RandomDemand(c)
	if err := w.Run(FaultsFor); err != nil {
		return w, err
	}
	return w, w.Serves(90*time.Second, 30*time.Second)
}

// TestDemandSeeds lets random worlds follow random loads through faults: no check fails. Some run twice and have the same trace. A failing seed is
// replayed, with its trace, by the printed command.
func TestDemandSeeds(t *testing.T) {
	if *seedFlag != 0 {
		if _, err := follow(Config{Seed: *seedFlag, Trace: os.Stdout}); err != nil {
			t.Fatal(err)
		}
		return
	}
	const workers = 4
	for k := range workers {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1 + k); seed <= uint64(*seedsFlag/16); seed += workers {
				w, err := follow(Config{Seed: seed})
				if err != nil {
					t.Errorf("%v\nreplay: go test ./sim -run TestDemandSeeds -seed=%d", err, seed)
					continue
				}
				if again, _ := follow(Config{Seed: seed}); seed%6 == 0 && again.Sum() != w.Sum() {
					t.Errorf("seed %d: two runs have two traces", seed)
				}
			}
		})
	}
}

// TestDemandTeeth plants known bugs and requires that some seed finds each, with the words of the check that should.
func TestDemandTeeth(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant Plant
		seeds uint64 // within so many
		words string
	}{
		{"no hysteresis", Plant{NoHysteresis: true}, 20, "went up and down"},
		{"priorities are ignored", Plant{NoPriority: true}, 40, "(priority"},
		{"a new leader forgets what was decided", Plant{ForgetScale: true}, 40, "by a new leader"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= c.seeds; seed++ {
				_, err := follow(Config{Seed: seed, Plant: c.plant})
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), c.words) {
					t.Fatalf("found by another check: %v", err)
				}
				t.Logf("seed %d: %v", seed, err)
				return
			}
			t.Errorf("not found within %d seeds", c.seeds)
		})
	}
}
