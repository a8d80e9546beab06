package oip

import (
	"cmp"
	"time"
)

// Duration is how often something happened, and how long it took in all.
type Duration struct {
	Count uint64 `json:"count"`
	Nanos uint64 `json:"ns"`
}

// Add counts once. A clock that was set back counts as no time.
func (d *Duration) Add(took time.Duration) {
	d.Count++
	d.Nanos += uint64(max(0, took.Nanoseconds()))
}

func (d *Duration) merge(o Duration) { d.Count, d.Nanos = d.Count+o.Count, d.Nanos+o.Nanos }

// Tally is what was counted of a model.
type Tally struct {
	Last  uint64 // milliseconds since 1970 of the last success; 0 = there was none
	Rows  uint64 // of successes
	Runs  uint64 // successes that a replica ran
	Infer Duration
	Queue Duration
	Input Duration // until it could be sent

	Output  Duration // from the replica's answer to the end
	Success Duration
	Fail    Duration
}

// Merge adds another tally.
func (t *Tally) Merge(o Tally) {
	t.Last, t.Rows, t.Runs = max(t.Last, o.Last), t.Rows+o.Rows, t.Runs+o.Runs
	for _, p := range []struct {
		to   *Duration
		from Duration
	}{{&t.Infer, o.Infer}, {&t.Queue, o.Queue}, {&t.Input, o.Input}, {&t.Output, o.Output}, {&t.Success, o.Success}, {&t.Fail, o.Fail}} {
		p.to.merge(p.from)
	}
}

// Statistics answers the statistics extension.
type Statistics struct {
	Models []ModelStatistics `json:"model_stats"`
}

// ModelStatistics is what was counted of a version.
type ModelStatistics struct {
	Name       string         `json:"name"`
	Version    string         `json:"version"`
	Last       uint64         `json:"last_inference"`
	Inferences uint64         `json:"inference_count"`
	Executions uint64         `json:"execution_count"`
	Stats      InferenceStats `json:"inference_stats"`
	Batches    []struct{}     `json:"batch_stats"` // batches are made by the replicas, and not told apart
}

// InferenceStats says what became of requests and where their time went.
type InferenceStats struct {
	Success       Duration `json:"success"`
	Fail          Duration `json:"fail"`
	Queue         Duration `json:"queue"`
	ComputeInput  Duration `json:"compute_input"`
	ComputeInfer  Duration `json:"compute_infer"`
	ComputeOutput Duration `json:"compute_output"`
	CacheHit      Duration `json:"cache_hit"`
	CacheMiss     Duration `json:"cache_miss"`
}

// Of makes statistics of a tally.
func Of(name, version string, t Tally) ModelStatistics {
	return ModelStatistics{Name: name, Version: version, Last: t.Last, Inferences: t.Rows, Executions: t.Runs, Batches: []struct{}{},
		Stats: InferenceStats{Success: t.Success, Fail: t.Fail, Queue: t.Queue, ComputeInput: t.Input, ComputeInfer: t.Infer, ComputeOutput: t.Output}}
}

// IndexRequest asks for the repository's index.
type IndexRequest struct {
	Ready bool `json:"ready"` // only what can be called now
}

// IndexEntry is a version of a model in the repository's index.
type IndexEntry struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// States of a version in the index.
const (
	StateReady       = "READY"
	StateLoading     = "LOADING"
	StateUnavailable = "UNAVAILABLE"
)

// LoadRequest asks for a model to be loaded or unloaded.
type LoadRequest struct {
	Parameters map[string]any `json:"parameters,omitempty"`
}

// Compare orders the index: by name, then by version.
func (e IndexEntry) Compare(o IndexEntry) int {
	return cmp.Or(cmp.Compare(e.Name, o.Name), cmp.Compare(len(e.Version), len(o.Version)), cmp.Compare(e.Version, o.Version))
}
