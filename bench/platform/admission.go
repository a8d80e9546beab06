package main

import (
	"context"

	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/gobench"
)

// Goals of what identity, permission, quota and metrics add to a request.
const (
	addedGoal  = 30 // microseconds, the median
	allocsGoal = 10 // percent of a request's allocations
)

// admission measures what comes before a replica is asked and after it has answered, with and without asking who may do what.
func (b *bench) admission(ctx context.Context) (benchfile.Section, error) {
	s := benchfile.Section{Title: "Admission", How: []string{
		"Go benchmarks. A completion of the OpenAI API from its first byte to where a replica is chosen, and from its end: with the key, the grants, twelve",
		"limits (of all together, a tenant, an application and a key), 16 tokens on the bill, metrics and a line of the log, and by the same steps without any of these.",
		"\"added\" is their difference. \"request\" is the whole of it: over loopback, from a client that allocates nothing, through a stand-alone gateway with all of",
		"that, a worker that answers 16 tokens at once, and back. Its allocations are the gateway's: those of the process, less the worker's (a call of the worker in",
		"this process less one of a worker in another), less those of an idle fleet. \"share\" is what admission adds to the rest of them.",
		"\"refill\" is a request that finds an empty purse and waits for a settlement, in turn with the next one of the same tenant; there are three coordinators.",
		"It is at the leader's gateway, or at that of a coordinator which follows, where an entry is known only when the leader says so with the next one or its idle time."}}
	parts := gobench.Benchmark{Package: "gateway", Match: "^BenchmarkAdmission$", Time: "10000x", Take: []gobench.Figure{
		{Benchmark: "Admission/with", Metric: "p50-µs"}, {Benchmark: "Admission/with", Metric: "allocs/op"},
		{Benchmark: "Admission/without", Metric: "p50-µs"}, {Benchmark: "Admission/without", Metric: "allocs/op"}}}
	whole := gobench.Benchmark{Package: "bench/platform", Match: "^Benchmark(Request|Worker|Call)$", Time: "1000x", Take: []gobench.Figure{
		{Benchmark: "Request", Metric: "p50-us"}, {Benchmark: "Request", Metric: "allocs"}, {Benchmark: "Worker", Metric: "p50-us"},
		{Benchmark: "Worker", Metric: "allocs"}, {Benchmark: "Call", Metric: "allocs"}}}
	empty := gobench.Benchmark{Package: "bench/platform", Match: "^BenchmarkRefill$", Time: "200x", Take: []gobench.Figure{
		{Benchmark: "Refill", Metric: "leader-p50-ms"}, {Benchmark: "Refill", Metric: "follower-p50-ms"}, {Benchmark: "Refill", Metric: "next-p50-ms"}}}
	var added, with, allocs, share, request, refill, away, gateway benchfile.Series
	for range b.rounds {
		part, err := parts.Run(ctx, b.dir)
		if err != nil {
			return s, err
		}
		all, err := whole.Run(ctx, b.dir)
		if err != nil {
			return s, err
		}
		purses, err := empty.Run(ctx, b.dir)
		if err != nil {
			return s, err
		}
		added.Add(part["Admission/with p50-µs"] - part["Admission/without p50-µs"])
		with.AddPair(part["Admission/with p50-µs"], part["Admission/without p50-µs"])
		more := part["Admission/with allocs/op"] - part["Admission/without allocs/op"]
		allocs.AddPair(part["Admission/with allocs/op"], part["Admission/without allocs/op"])
		own := all["Request allocs"] - all["Worker allocs"] + all["Call allocs"]
		gateway.Add(own)
		share.Add(100 * more / (own - more))
		request.AddPair(all["Request p50-us"], all["Worker p50-us"])
		refill.AddPair(purses["Refill leader-p50-ms"], purses["Refill next-p50-ms"])
		away.AddPair(purses["Refill follower-p50-ms"], purses["Refill next-p50-ms"])
	}
	s.Records = []benchfile.Record{
		added.Record("admission/added/p50", "us", benchfile.Lower, "").WithGoal(addedGoal),
		share.Record("admission/allocations/share", "percent", benchfile.Lower, "").WithGoal(allocsGoal),
		with.Record("admission/p50", "us", benchfile.Lower, "without admission"),
		allocs.Record("admission/allocations", "allocations", benchfile.Lower, "without admission"),
		gateway.Record("admission/request/allocations", "allocations", benchfile.Lower, ""),
		request.Record("admission/request/p50", "us", benchfile.Lower, "the worker alone"),
		refill.Record("admission/refill/leader/p50", "ms", benchfile.Lower, "with a full purse"),
		away.Record("admission/refill/follower/p50", "ms", benchfile.Lower, "with a full purse")}
	return s, nil
}

// Goals of what must be known everywhere.
const (
	rollbackGoal = 1000 // milliseconds
	revokeGoal   = 2000
)

// fleet measures three coordinators with gateways.
func (b *bench) fleet(ctx context.Context) (benchfile.Section, error) {
	s := benchfile.Section{Title: "Gateways of a fleet", How: []string{
		"Three coordinators that write to one disk, each with its gateway, and ten stand-alone gateways that follow them, all in one process, over loopback with TLS.",
		"From the call, at a coordinator that does not lead, until the last of the 13 gateways routes to the version before, or refuses the key. After each",
		"change every gateway is asked once, and its answer is checked.",
		"Settlements: as many as the leader takes from gateways that each have one under way, with 16 asks and 16 rows of usage; a gateway makes one a second.",
		"Bytes are those of the encoded command: what a gateway with 16 tenants that call adds to the log."}}
	g := gobench.Benchmark{Package: "bench/platform", Match: "^Benchmark(Rollback|Revoke|Settle)$", Time: "100x", Take: []gobench.Figure{
		{Benchmark: "Rollback", Metric: "p50-ms", Name: "fleet/rollback/p50", Unit: "ms", Scale: 1, Better: benchfile.Lower, Goal: rollbackGoal},
		{Benchmark: "Rollback", Metric: "p99-ms", Name: "fleet/rollback/p99", Unit: "ms", Scale: 1, Better: benchfile.Lower, Goal: rollbackGoal},
		{Benchmark: "Revoke", Metric: "p50-ms", Name: "fleet/revoke/p50", Unit: "ms", Scale: 1, Better: benchfile.Lower, Goal: revokeGoal},
		{Benchmark: "Revoke", Metric: "p99-ms", Name: "fleet/revoke/p99", Unit: "ms", Scale: 1, Better: benchfile.Lower, Goal: revokeGoal},
		{Benchmark: "Settle/gateways=10", Metric: "settlements/s", Name: "fleet/settle/10", Unit: "settlements/s", Scale: 1, Better: benchfile.Higher, Goal: 10},
		{Benchmark: "Settle/gateways=50", Metric: "settlements/s", Name: "fleet/settle/50", Unit: "settlements/s", Scale: 1, Better: benchfile.Higher, Goal: 50},
		{Benchmark: "Settle/gateways=50", Metric: "p50-ms", Name: "fleet/settle/50/p50", Unit: "ms", Scale: 1, Better: benchfile.Lower},
		{Benchmark: "Settle/gateways=50", Metric: "log-B", Name: "fleet/settle/log", Unit: "B", Scale: 1, Better: benchfile.Lower}}}
	var rounds []gobench.Metrics
	for range b.rounds {
		got, err := g.Run(ctx, b.dir)
		if err != nil {
			return s, err
		}
		rounds = append(rounds, got)
	}
	s.Records = g.Records(rounds)
	return s, nil
}
