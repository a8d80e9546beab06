package engine_test

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// starved marks the process in which memory runs out.
const starved = "SKEIN_TEST_STARVED"

// TestRunFails: a step that fails inside the runtime is ErrRun and nothing worse: the stage answers the same one once there is memory
// again, as if nothing had been, and closes. Memory runs out in a process of its own.
func TestRunFails(t *testing.T) {
	runtimeOf(t)
	if os.Getenv(starved) == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRunFails$", "-test.v")
		c.Env = append(os.Environ(), starved+"=yes")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	c := footLlama // with little weight and large activations: 64 MiB for 256 tokens
	c.Layers, c.Vocab, c.Hidden, c.Intermediate = 1, 64, 32, 1<<16
	f := synthetic(t, c, model.F32)
	s := f.load(t, f.whole(), shard.Serving{Slots: 1, Context: 512})
	run := func(n int) ([]float32, error) {
		if err := s.Embed(words(1, n, c.Vocab), nil, nil); err != nil {
			t.Fatal(err)
		}
		return s.Run(engine.Step{Prefill: true, Count: n, Want: []int{n - 1}})
	}
	if _, err := run(8); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &old); err != nil {
		t.Fatal(err)
	}
	tight := unix.Rlimit{Cur: uint64(virtual(t) + 8*gpu.MiB), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &tight); err != nil {
		t.Skipf("memory cannot be limited here: %v", err)
	}
	_, failed := run(256)
	if err := unix.Setrlimit(unix.RLIMIT_AS, &old); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(failed, engine.ErrRun) {
		t.Errorf("a step without memory: %v", failed)
	}
	whole, err := run(256)
	if err != nil {
		t.Fatalf("the same step with memory: %v", err)
	}
	got := append([]float32(nil), whole...)
	want := pipeline{f.load(t, f.whole(), shard.Serving{Slots: 1, Context: 512})}.prefill(t, 0, words(1, 256, c.Vocab), 256)
	if !same(got, want[len(want)-c.Vocab:]) {
		t.Errorf("the answer after a failure differs by %g", far(got, want[len(want)-c.Vocab:]))
	}
}
