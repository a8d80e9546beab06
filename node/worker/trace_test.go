package worker

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/telemetry"
)

const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// tracer makes a tracer whose spans go to a collector that keeps none.
func tracer(t *testing.T) *telemetry.Tracer {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	x, err := telemetry.Tracing{TraceEndpoint: s.URL, TraceRatio: 0}.Tracer(t.Context(), telemetry.Identity{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = x.Close(t.Context()) // its context has ended, which cuts the delivery short
		s.Close()
	})
	return x
}

// A traced sequence is in all prefill steps and in the first decoding ones; others are in none, and an end leaves nothing behind.
func TestTracedSteps(t *testing.T) {
	const chunk, prompt, answer = 4, 10, tracedStep + 20
	loop, err := batch.New(batch.Config{Stages: 1, Slots: 3, Context: 128, Chunk: chunk})
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{tracer: tracer(t)}
	x := turn{head: &head{w: w}, loop: loop, out: map[batch.ID]chan outcome{}, flying: map[int]uint64{}, traced: map[batch.ID]*traced{}}
	var in batch.Input
	for id := range batch.ID(2) {
		a := &arrival{Arrival: batch.Arrival{ID: id + 1, Tokens: make([]int32, prompt), MaxTokens: answer}, out: make(chan outcome, answer+2)}
		if id == 0 {
			a.span = w.tracer.Below(sampled, telemetry.SpanHead)
		}
		x.take(event{arrival: a}, &in)
	}
	prefills, decodes := 0, 0
	seen := map[string]bool{}
	for step := 0; step == 0 || loop.Active() > 0; step++ {
		if step > 1000 {
			t.Fatal("it does not end")
		}
		o := loop.Step(time.Now(), in)
		in = batch.Input{}
		for _, e := range o.Emits {
			x.emitted(e)
		}
		for _, f := range o.Forwards {
			parents := x.parents(f)
			if len(parents) > 1 {
				t.Fatalf("%d spans for one traced sequence", len(parents))
			}
			for _, p := range parents {
				seen[p] = true
				if f.Prefill {
					prefills++
				} else {
					decodes++
				}
			}
			r := batch.Result{Group: f.Group, Number: f.Number}
			for range f.Wants {
				r.Choices = append(r.Choices, sample.Choice{Token: 7})
			}
			in.Results = append(in.Results, r)
		}
	}
	if want := (prompt + chunk - 1) / chunk; prefills != want || decodes != tracedStep {
		t.Errorf("%d prefill steps and %d decoding ones are traced, want %d and %d", prefills, decodes, want, tracedStep)
	}
	if len(seen) != 2 || len(x.traced) != 0 { // prefill and decode
		t.Errorf("%d parents; %d sequences are still traced", len(seen), len(x.traced))
	}
}

// What another member says of traces is bounded, and need not be true.
func TestForeignTraces(t *testing.T) {
	w := &worker{tracer: tracer(t)}
	s := &loaded{blocks: "[0,3)"}
	for _, c := range []struct {
		trace []string
		want  int
	}{
		{nil, 0}, {[]string{"", "garbage", strings.Repeat("x", 1<<16)}, 0}, {[]string{sampled, strings.Replace(sampled, "-01", "-00", 1)}, 1}, {slices.Repeat([]string{sampled}, 1000), maxTraced},
	} {
		m := message{Kind: kindForward, Trace: c.trace}
		spans := w.stageSpans(&m, 1, s)
		endSpans(spans, errChain)
		if len(spans) != c.want {
			t.Errorf("%d traceparents: %d spans, want %d", len(c.trace), len(spans), c.want)
		}
	}
	m := message{Kind: kindForward}
	off := &worker{}
	if n := testing.AllocsPerRun(100, func() { endSpans(off.stageSpans(&m, 1, s), nil) }); n != 0 {
		t.Errorf("%v allocations of a step that is not traced", n)
	}
}

// A program before this one sent frames without traces, and ignores them: the field is an addition.
func TestTraceIsAnAddition(t *testing.T) {
	m := message{Kind: kindForward}
	b, err := json.Marshal(&m)
	if err != nil || strings.Contains(string(b), "trace") {
		t.Errorf("%s, %v", b, err)
	}
	m.Trace = []string{sampled}
	var older struct {
		Kind string `json:"kind"`
	}
	if b, err = json.Marshal(&m); err != nil || json.Unmarshal(b, &older) != nil || older.Kind != kindForward {
		t.Errorf("%s, %v", b, err)
	}
}
