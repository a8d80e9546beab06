package engine_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// reservations are stages whose memory is measured: models large enough that the runtime's constant is not most of it.
var reservations = map[string]struct {
	config  model.Config
	dtype   model.DType
	span    shard.Span
	serving shard.Serving
}{
	"tied head":       {footGPT2, model.F32, shard.Span{To: 4}, shard.Serving{Slots: 8, Context: 256}},
	"cast":            {footLlama, model.BF16, shard.Span{To: 4}, shard.Serving{Slots: 8, Context: 512}},
	"cast, one slot":  {footLlama, model.BF16, shard.Span{To: 4}, shard.Serving{Slots: 1, Context: 16}},
	"cast, last half": {footLlama, model.BF16, shard.Span{From: 2, To: 4}, shard.Serving{Slots: 1, Context: 512}},
	"encoder":         {footBERT, model.F32, shard.Span{To: 3}, shard.Serving{Slots: 8, Context: 512}},
}

var (
	footGPT2 = model.Config{Arch: model.GPT2, Layers: 4, Hidden: 768, Heads: 12, KVHeads: 12, HeadDim: 64, Intermediate: 3072,
		Vocab: 30000, Positions: 256, NormEps: 1e-5, Activation: "gelu_new"}
	footLlama = model.Config{Arch: model.Llama, Layers: 4, Hidden: 768, Heads: 12, KVHeads: 4, HeadDim: 64, Intermediate: 2048,
		Vocab: 30000, Positions: 512, NormEps: 1e-6, Activation: "silu", RopeTheta: 1e4}
	footBERT = model.Config{Arch: model.BERT, Layers: 3, Hidden: 768, Heads: 12, KVHeads: 12, HeadDim: 64, Intermediate: 3072,
		Vocab: 30000, Positions: 512, Types: 2, NormEps: 1e-12, Activation: "gelu"}
)

// footStage names the stage that this process measures, in a process that TestReservation started.
const footStage = "SKEIN_TEST_FOOT"

// TestReservation: neither what a stage says that it uses, nor what its process takes from the system while it loads and in the worst
// steps, is more than shard.Foot promises; and not much less. Each stage is measured in a process of its own.
func TestReservation(t *testing.T) {
	runtimeOf(t)
	if name := os.Getenv(footStage); name != "" {
		measure(t, name)
		return
	}
	if b, ok := debug.ReadBuildInfo(); ok && slices.Contains(b.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector takes memory of its own")
	}
	for name := range reservations {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReservation$", "-test.v")
			c.Env = append(os.Environ(), footStage+"="+name)
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "MiB") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}

// measure loads a stage, runs what takes most, and compares.
func measure(t *testing.T, name string) {
	r := reservations[name]
	f := synthetic(t, r.config, r.dtype)
	debug.FreeOSMemory()
	base := anonymous(t)
	peak := watch(t)
	s := f.load(t, r.span, r.serving)
	worst(t, s, r.config, r.span, r.serving)
	used, taken := s.Used(), peak()-base
	foot := shard.Foot(shard.ProfileOf(f.manifest), r.span, r.serving, gpu.Host)
	t.Logf("used %s, taken at most %s, promised %s: %+v", used, taken, foot.Total(), foot)
	if used > foot.Total() || taken > foot.Total() {
		t.Error("more than promised")
	}
	if most := max(used, taken); foot.Total()-most > most/4+40*gpu.MiB {
		t.Error("much less than promised")
	}
}

// worst runs the steps that take most: full rows, full pieces, full batches, of several lengths.
func worst(t *testing.T, s *engine.Stage, c model.Config, span shard.Span, v shard.Serving) {
	want := func(n ...int) []int {
		if span.To == c.Layers {
			return n
		}
		return nil
	}
	run := func(step engine.Step) {
		t.Helper()
		for i, x := range words(1, step.Tokens()*c.Hidden, 1000) {
			s.Input(step.Tokens())[i] = float32(x) / 1000
		}
		if _, err := s.Run(step); err != nil {
			t.Fatal(err)
		}
	}
	if !c.Arch.Decoder() {
		for _, shape := range [][2]int{{1, 1}, {1, 100}, {1, v.Context}, {v.Slots, shard.Batch / 8}, {v.Slots, 1}, {2, v.Context}} {
			b := engine.EncodeBatch{Rows: shape[0], Length: shape[1]}
			if b.Rows > v.Slots {
				continue
			}
			b.Mask, b.Masks = slices.Repeat([]int32{1}, b.Rows*b.Length), make([]int, model.MaxMasks)
			if _, err := s.Encode(b); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for row := range v.Slots {
		for past := 0; past < v.Context; past += shard.Chunk {
			n := min(shard.Chunk, v.Context-past)
			run(engine.Step{Prefill: true, Row: row, Past: past, Count: n - row%3, Want: want(0)})
		}
	}
	for n := range v.Slots {
		positions, all := slices.Repeat([]int32{int32(v.Context - 1)}, n+1), make([]int, n+1)
		run(engine.Step{Rows: engine.Rows{Positions: positions}, Want: want(all...)})
	}
}

// anonymous is the memory of this process that no file backs.
func anonymous(t *testing.T) gpu.Bytes {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("memory cannot be read here: %v", err)
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Skipf("memory cannot be read here: %v", err)
	}
	return gpu.Bytes(kib) * gpu.KiB
}

// watch follows the memory of this process; the function it returns ends that, and says what was most.
func watch(t *testing.T) (peak func() gpu.Bytes) {
	var most gpu.Bytes
	stop, done := make(chan struct{}), sync.WaitGroup{}
	done.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, anonymous(t))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	return func() gpu.Bytes {
		close(stop)
		done.Wait()
		return max(most, anonymous(t))
	}
}
