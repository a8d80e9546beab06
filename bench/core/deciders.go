package main

import (
	"context"
	"time"

	"github.com/skein-project/skein/internal/benchfile"
)

const decidersShare = 80 * time.Second

// decisions are the benchmarks of what decides, and of text.
var decisions = []goBench{
	{pkg: "cluster", match: "^BenchmarkApply$", time: "0.5s", take: []figure{
		{benchmark: "Apply", metric: "commands/s", name: "cluster/apply", unit: "commands/s", scale: 1, better: benchfile.Higher, goal: 20_000}}},
	{pkg: "router", match: "^BenchmarkPick$", time: "0.2s", take: []figure{
		{benchmark: "Pick/plain", metric: "ns/op", name: "router/pick", unit: "ns", scale: 1, better: benchfile.Lower, goal: 1000},
		{benchmark: "Pick/excluded", metric: "ns/op", name: "router/pick-excluded", unit: "ns", scale: 1, better: benchfile.Lower, goal: 1000}}},
	{pkg: "placement", match: "^BenchmarkSolve$", time: "1x", take: []figure{
		{benchmark: "Solve", metric: "demands/s", name: "placement/solve", unit: "demands/s", scale: 1, better: benchfile.Higher}}},
	{pkg: "token", match: "^BenchmarkEncode$/^(gpt2|llama3|bert-uncased)$/^prose$", time: "0.2s", take: []figure{
		{benchmark: "Encode/gpt2/prose", metric: "MB/s", name: "token/encode/gpt2", unit: "MB/s", scale: 1, better: benchfile.Higher},
		{benchmark: "Encode/llama3/prose", metric: "MB/s", name: "token/encode/llama3", unit: "MB/s", scale: 1, better: benchfile.Higher},
		{benchmark: "Encode/bert-uncased/prose", metric: "MB/s", name: "token/encode/bert-uncased", unit: "MB/s", scale: 1, better: benchfile.Higher}}},
	{pkg: "node/worker", match: "^BenchmarkFrame$", time: "0.2s", take: []figure{
		{benchmark: "Frame", metric: "ns/op", name: "frame/encode-decode", unit: "us", scale: 1e-3, better: benchfile.Lower}}},
}

// deciders measures pure code with its Go benchmarks.
func (b *bench) deciders(ctx context.Context) ([]benchfile.Section, error) {
	rounds := make([][]map[string]float64, len(decisions))
	err := b.each(ctx, decidersShare, func(int) error {
		for i, g := range decisions {
			got, err := g.run(ctx, b.dir)
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
		s.Records = append(s.Records, g.records(rounds[i])...)
	}
	return []benchfile.Section{s}, nil
}
