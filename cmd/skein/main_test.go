package main

import (
	"strings"
	"testing"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// profile is a decoder of six equal blocks.
func profile(block gpu.Bytes) shard.Profile {
	p := shard.Profile{Decoder: true, Hidden: 128, Vocab: 256, Positions: 256, Heads: 4, Expand: 100, KVToken: 1024, BlockCost: 1 << 18, Inner: 512}
	for range 6 {
		p.Blocks = append(p.Blocks, block)
	}
	return p
}

// The memory that skein dev gives to nodes holds half of the model and not the whole, whatever the model.
func TestDeviceHoldsHalf(t *testing.T) {
	for _, block := range []gpu.Bytes{0, 1, 700 * gpu.KiB, 30 * gpu.MiB, 4 * gpu.GiB} {
		m := &prepared{profile: profile(block)}
		m.serving = servingOf(m.profile)
		spec, err := m.device(2)
		if err != nil {
			t.Errorf("blocks of %s: %v", block, err)
			continue
		}
		memory, err := gpu.ParseBytes(strings.TrimPrefix(spec, "host:"))
		if err != nil {
			t.Fatal(err)
		}
		capacity := []gpu.Bytes{memory, memory}
		if _, err := shard.Cut(m.profile, m.serving, capacity[:1], gpu.Host); err == nil {
			t.Errorf("blocks of %s: %s holds the whole", block, spec)
		}
		if _, err := shard.Cut(m.profile, m.serving, capacity, gpu.Host); err != nil {
			t.Errorf("blocks of %s: %s does not hold a half: %v", block, spec, err)
		}
		alone, err := m.device(1)
		if err != nil {
			t.Fatal(err)
		}
		memory, err = gpu.ParseBytes(strings.TrimPrefix(alone, "host:"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := shard.Cut(m.profile, m.serving, []gpu.Bytes{memory}, gpu.Host); err != nil {
			t.Errorf("blocks of %s: a single node of %s does not hold the whole: %v", block, alone, err)
		}
	}
	m := &prepared{profile: profile(gpu.MiB)}
	m.profile.Blocks = m.profile.Blocks[:1]
	m.serving = servingOf(m.profile)
	alone, err := m.device(1)
	if err != nil {
		t.Fatal(err)
	}
	if spec, err := m.device(2); err != nil || spec != alone {
		t.Errorf("a model of one block is not cut: %s, %v, and on one node %s", spec, err, alone)
	}
}

func TestQuestions(t *testing.T) {
	for _, c := range []struct {
		q    question
		want string
	}{
		{question{task: "sum", numbers: []int{17, 25}}, "42"},
		{question{task: "sum", numbers: []int{1, 2, 3}}, "6"},
		{question{task: "sort", numbers: []int{42, 7, 19, 7}}, "7 7 19 42"},
	} {
		if got := c.q.right(); got != c.want {
			t.Errorf("%v: %q, want %q", c.q, got, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Setenv("SKEIN_URL", "")
	t.Setenv("SKEIN_KEY", "")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, c := range []struct {
		args string
		code int
	}{
		{"version", 0},
		{"completion bash", 0},
		{"sing", exitUsage},
		{"ps", exitUsage}, // nobody said which cluster
		{"ps --url http://127.0.0.1:1 --key k", exitUnreachable},
		{"ps --url ftp://x --key k", exitUsage},
		{"join --role king --url http://127.0.0.1:1 --key k", exitUsage},
		{"placement pin m --url http://127.0.0.1:1 --key k", exitUsage},
		{"dev --nodes -1", exitUsage},
		{"dev --ask --model x", exitUsage},
		{"push /nonexistent --url http://127.0.0.1:1 --key k", exitFailed},
	} {
		if code := run(strings.Fields(c.args)); code != c.code {
			t.Errorf("skein %s: exit code %d, want %d", c.args, code, c.code)
		}
	}
}
