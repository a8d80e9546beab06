package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const (
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	sampled     = "00-" + clientTrace + "-b7ad6b7169203331-01"
	unsampled   = "00-" + clientTrace + "-b7ad6b7169203331-00"
)

func recorded(ratio float64) (*Tracer, *tracetest.InMemoryExporter) {
	e := tracetest.NewInMemoryExporter()
	return newTracer(Identity{Program: "p", Version: "v", Member: "m", Name: "n"}, sdk.WithSyncer(e), sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(ratio)))), e
}

func TestSpans(t *testing.T) {
	tracer, out := recorded(0)
	ctx, request := tracer.Request(t.Context(), "chat", sampled)
	request.Rename("chat calc")
	request.Text(KeyTenant, strings.Repeat("x", 2*maxText))
	request.Texts(KeyFinish, []string{"stop"})
	request.Number(KeyInputTokens, 3)
	_, attempt := tracer.Start(ctx, SpanAttempt)
	head := tracer.Below(attempt.Traceparent(), SpanHead)
	head.Fail("unavailable")
	head.End()
	attempt.End()
	request.End()
	list := out.GetSpans()
	if len(list) != 3 || list[0].Name != SpanHead || list[1].Name != SpanAttempt || list[2].Name != "chat calc" {
		t.Fatalf("%v", list)
	}
	for i, s := range list {
		if s.SpanContext.TraceID().String() != clientTrace || i < 2 && s.Parent.SpanID() != list[i+1].SpanContext.SpanID() || s.Resource.Set().Len() < 4 {
			t.Errorf("%s: trace %s, parent %s, resource %v", s.Name, s.SpanContext.TraceID(), s.Parent.SpanID(), s.Resource)
		}
		for _, a := range s.Attributes {
			if len(a.Value.String()) > maxText {
				t.Errorf("%s has %d bytes", a.Key, len(a.Value.String()))
			}
		}
		for _, a := range s.Resource.Attributes() {
			if strings.HasPrefix(string(a.Key), "process.") {
				t.Errorf("the resource tells %s", a.Key)
			}
		}
	}
	if request.TraceID() != clientTrace {
		t.Errorf("trace %q", request.TraceID())
	}
}

// What the client says about sampling is followed; without a word the ratio decides, and garbage is no word.
func TestSampling(t *testing.T) {
	for _, c := range []struct {
		parent string
		ratio  float64
		want   bool
	}{
		{sampled, 0, true}, {unsampled, 1, false}, {"", 0, false}, {"", 1, true}, {"garbage", 0, false}, {"garbage", 1, true},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01", 0, false}, {"ff-" + clientTrace + "-b7ad6b7169203331-01", 0, false},
		{strings.Repeat("0", 1<<16), 1, true},
	} {
		tracer, out := recorded(c.ratio)
		ctx, s := tracer.Request(t.Context(), "chat", c.parent)
		_, below := tracer.Start(ctx, SpanAttempt)
		below.End()
		s.End()
		if s.On() != c.want || below.On() != c.want || len(out.GetSpans()) > 0 != c.want {
			t.Errorf("%.60q with %v: recorded %v", c.parent, c.ratio, s.On())
		}
		if !c.want && (s.Traceparent() != "" || below.TraceID() != "") {
			t.Error("a span that is not recorded has a name")
		}
	}
	tracer, out := recorded(1)
	for _, parent := range []string{"", unsampled, "garbage"} {
		tracer.Below(parent, SpanStage).End()
	}
	if len(out.GetSpans()) != 0 {
		t.Error("spans below nothing")
	}
}

// A process that does not trace pays nothing for it.
func TestNoTracerCostsNothing(t *testing.T) {
	var tracer *Tracer
	ctx := t.Context()
	n := testing.AllocsPerRun(100, func() {
		ctx, s := tracer.Request(ctx, "chat", sampled)
		_, a := tracer.Start(ctx, SpanAttempt)
		s.Text(KeyTenant, "acme")
		s.Number(KeyInputTokens, 3)
		a.End()
		tracer.Below(s.Traceparent(), SpanHead).Fail("internal")
		s.End()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := tracer.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestTracingSettings(t *testing.T) {
	for _, c := range []struct {
		Tracing
		ok bool
	}{
		{Tracing{}, true}, {DefaultTracing(), true}, {Tracing{"http://127.0.0.1:4318/v1/traces", 0.5}, true}, {Tracing{"https://c:4318/v1/traces", 1}, true},
		{Tracing{"", -0.1}, false}, {Tracing{"", 1.1}, false}, {Tracing{"127.0.0.1:4318", 0}, false}, {Tracing{"ftp://c/", 0}, false},
		{Tracing{"http://user:secret@c/", 0}, false}, {Tracing{"http://c/?key=secret", 0}, false}, {Tracing{"http://c/#secret", 0}, false}, {Tracing{"http://", 0}, false},
	} {
		err := c.Validate()
		if (err == nil) != c.ok || err != nil && strings.Contains(err.Error(), "secret") || err != nil && !errors.Is(err, ErrTracing) {
			t.Errorf("%+v: %v", c.Tracing, err)
		}
	}
	tracer, err := Tracing{}.Tracer(t.Context(), Identity{}, slog.New(slog.DiscardHandler))
	if tracer != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", tracer, err)
	}
}

// A collector that refuses, and quotes secrets, is not quoted.
func TestRefusedSpans(t *testing.T) {
	asked := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		http.Error(w, "secret", http.StatusBadRequest)
	}))
	defer s.Close()
	var log strings.Builder
	tracer, err := Tracing{s.URL + "/v1/traces", 1}.Tracer(t.Context(), Identity{}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracer.Request(t.Context(), "chat", "")
	span.End()
	if err := tracer.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if path := <-asked; path != "/v1/traces" {
		t.Errorf("asked %s", path)
	}
	if !strings.Contains(log.String(), "not delivered") || strings.Contains(log.String(), "secret") || strings.Contains(log.String(), s.URL) {
		t.Errorf("log: %s", log.String())
	}
}
