package main

import (
	"context"
	"time"

	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/gobench"
)

const decidersShare = 80 * time.Second

// decisions are the benchmarks of what decides, and of text.
var decisions = []gobench.Benchmark{
	{Package: "cluster", Match: "^BenchmarkApply$", Time: "0.5s", Take: []gobench.Figure{
		{Benchmark: "Apply", Metric: "commands/s", Name: "cluster/apply", Unit: "commands/s", Scale: 1, Better: benchfile.Higher, Goal: 20_000}}},
	{Package: "router", Match: "^BenchmarkPick$", Time: "0.2s", Take: []gobench.Figure{
		{Benchmark: "Pick/plain", Metric: "ns/op", Name: "router/pick", Unit: "ns", Scale: 1, Better: benchfile.Lower, Goal: 1000},
		{Benchmark: "Pick/excluded", Metric: "ns/op", Name: "router/pick-excluded", Unit: "ns", Scale: 1, Better: benchfile.Lower, Goal: 1000}}},
	{Package: "placement", Match: "^BenchmarkSolve$", Time: "1x", Take: []gobench.Figure{
		{Benchmark: "Solve", Metric: "demands/s", Name: "placement/solve", Unit: "demands/s", Scale: 1, Better: benchfile.Higher}}},
	{Package: "token", Match: "^BenchmarkEncode$/^(gpt2|llama3|bert-uncased)$/^prose$", Time: "0.2s", Take: []gobench.Figure{
		{Benchmark: "Encode/gpt2/prose", Metric: "MB/s", Name: "token/encode/gpt2", Unit: "MB/s", Scale: 1, Better: benchfile.Higher},
		{Benchmark: "Encode/llama3/prose", Metric: "MB/s", Name: "token/encode/llama3", Unit: "MB/s", Scale: 1, Better: benchfile.Higher},
		{Benchmark: "Encode/bert-uncased/prose", Metric: "MB/s", Name: "token/encode/bert-uncased", Unit: "MB/s", Scale: 1, Better: benchfile.Higher}}},
	{Package: "node/worker", Match: "^BenchmarkFrame$", Time: "0.2s", Take: []gobench.Figure{
		{Benchmark: "Frame", Metric: "ns/op", Name: "frame/encode-decode", Unit: "us", Scale: 1e-3, Better: benchfile.Lower}}},
}

// deciders measures pure code with its Go benchmarks.
func (b *bench) deciders(ctx context.Context) ([]benchfile.Section, error) {
	rounds := make([][]gobench.Metrics, len(decisions))
	err := b.each(ctx, decidersShare, func(int) error {
		for i, g := range decisions {
			got, err := g.Run(ctx, b.dir)
			if err != nil {
				return err
			}
			rounds[i] = append(rounds[i], got)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := benchfile.Section{Title: "What decides", How: []string{
		"Go benchmarks: commands decoded and applied in a state of 10,000 nodes; a route among 64 replicas; 1,000 replicas of four models on 1,000 devices;",
		"100 kB of prose into tokens; a frame of 4 tokens of hidden size 896 written and read."}}
	for i, g := range decisions {
		s.Records = append(s.Records, g.Records(rounds[i])...)
	}
	return []benchfile.Section{s}, nil
}
