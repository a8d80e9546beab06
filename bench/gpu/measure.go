package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// What is measured.
const (
	weightBytes = 2 << 30 // of the layers, in bfloat16
	window      = 2048    // tokens of a row
	prompted    = 1024    // tokens of a measured prompt
	past        = 128     // tokens of each sequence before a measured decode
	steps       = 64      // of a measured decode
)

var (
	serving = shard.Serving{Slots: 32, Context: window}
	batches = []int{1, 8, 32}
)

type bench struct {
	rt       *ort.Runtime
	backend  engine.Backend
	manifest *model.Manifest
	paths    map[blob.Digest]string
	rounds   int
}

// measure loads the model whole and cut in two, and takes both in turn in each round.
func (b *bench) measure(ctx context.Context, cpu bool) (sections []benchfile.Section, err error) {
	var memory benchfile.Section
	free := func() (float64, error) { return 0, nil }
	if !cpu {
		free = func() (float64, error) { return used(ctx) }
	}
	before, err := free()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	whole, err := b.load()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, whole.close()) }()
	took := time.Since(began)
	vocab := b.manifest.Config.Vocab
	if _, err := whole.prefill(0, prompted); err != nil { // what the runtime does once
		return nil, err
	}
	if _, err := whole.decode(serving.Slots, past, 2, vocab); err != nil {
		return nil, err
	}
	after, err := free()
	if err != nil {
		return nil, err
	}
	memory = b.memory(took, after-before, whole)
	cut, err := b.load(b.manifest.Config.Layers / 2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cut.close()) }()

	prefill := [2]benchfile.Series{}
	decode := map[int]*[2]benchfile.Series{}
	for round := range b.rounds + 1 { // the first is not counted
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rate := func(f func(p pipeline) (float64, error), to *[2]benchfile.Series) error {
			one, err := f(whole)
			if err != nil {
				return err
			}
			two, err := f(cut)
			if err == nil && round > 0 {
				to[0].Add(one)
				to[1].AddPair(two, one)
			}
			return err
		}
		if err := rate(func(p pipeline) (float64, error) { return p.prefill(0, prompted) }, &prefill); err != nil {
			return nil, err
		}
		for _, n := range batches {
			if decode[n] == nil {
				decode[n] = &[2]benchfile.Series{}
			}
			if err := rate(func(p pipeline) (float64, error) { return p.decode(n, past, steps, vocab) }, decode[n]); err != nil {
				return nil, err
			}
		}
	}
	c := b.manifest.Config
	s := benchfile.Section{Title: "Tokens of one GPU", How: []string{
		fmt.Sprintf("A Llama of %d layers, hidden size %d, feed-forward %d, %d heads, %d key heads, vocabulary %d; random bfloat16 weights; %d rows of %d tokens.",
			c.Layers, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.Vocab, serving.Slots, serving.Context),
		fmt.Sprintf("Stages alone in one process, stepped by one thread, without cluster or network. Prefill: %d tokens of one sequence in pieces of %d.", prompted, shard.Chunk),
		fmt.Sprintf("Decode: %d greedy steps of 1, 8 or 32 sequences behind %d tokens. Two stages take turns on the same GPU and hand over through host memory.", steps, past),
	}}
	for i, name := range []string{"one-stage", "two-stages"} {
		peer := []string{"", "one stage"}[i]
		s.Records = append(s.Records, prefill[i].Record("prefill/"+name, "tokens/s", benchfile.Higher, peer))
		for _, n := range batches {
			s.Records = append(s.Records, decode[n][i].Record(fmt.Sprintf("decode/%s/%d", name, n), "tokens/s", benchfile.Higher, peer))
		}
	}
	return []benchfile.Section{s, memory}, nil
}

// memory is what the whole model takes, beside what placement reckons with.
func (b *bench) memory(load time.Duration, grown float64, p pipeline) benchfile.Section {
	profile := shard.ProfileOf(b.manifest)
	foot := shard.Foot(profile, shard.Span{To: b.manifest.Config.Layers}, serving, gpu.CUDA)
	var took, taken, counted benchfile.Series
	took.Add(load.Seconds())
	reckoned := float64(foot.Total()) / float64(gpu.MiB)
	taken.AddPair(grown, reckoned)
	counted.Add(float64(p[0].Used()) / float64(gpu.MiB))
	return benchfile.Section{Title: "Memory of one GPU", How: []string{
		"The growth of what the driver says is in use, from before the first session to after the largest steps: context, libraries, weights, cache, arena.",
		"The peer is what placement reserves for the same stage. Counted is what the stage says it holds: weights, cache and tables.",
	}, Records: []benchfile.Record{
		took.Record("load/seconds", "s", benchfile.Lower, ""),
		taken.Record("memory/used", "MiB", benchfile.Lower, "shard.Foot"),
		counted.Record("memory/counted", "MiB", benchfile.Lower, ""),
	}}
}
