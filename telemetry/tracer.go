package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracing is how a process traces.
type Tracing struct {
	TraceEndpoint string  `yaml:"trace_endpoint" help:"URL that takes spans, OTLP over HTTP, for example http://127.0.0.1:4318/v1/traces (default: no traces)"` // default "": off
	TraceRatio    float64 `yaml:"trace_ratio" help:"share of the requests that are traced if their client does not say, 0 to 1 (default 0.01)"`                 // default 0.01
}

// DefaultTracing is how a process traces where nothing else is set: not at all, and one request in a hundred once there is an endpoint.
func DefaultTracing() Tracing { return Tracing{TraceRatio: 0.01} }

// Limits of the exporter.
const (
	exportWithin = 5 * time.Second // one batch
	maxQueue     = 4096            // spans that wait; more are dropped
	maxBatch     = 512             // spans of a batch
	exportEvery  = 2 * time.Second
	maxText      = 256 // bytes of an attribute
)

// ErrTracing says that the settings of tracing are wrong.
var ErrTracing = errors.New("telemetry: tracing")

// Validate checks the endpoint and the ratio.
func (t Tracing) Validate() error {
	if t.TraceRatio < 0 || t.TraceRatio > 1 {
		return fmt.Errorf("%w: trace ratio %v, want 0 to 1", ErrTracing, t.TraceRatio)
	}
	if t.TraceEndpoint == "" {
		return nil
	}
	u, err := url.Parse(t.TraceEndpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" { // secrets go into the header
		return fmt.Errorf("%w: the trace endpoint is no URL of the form http://HOST:PORT/v1/traces", ErrTracing)
	}
	return nil
}

// Tracer makes spans. A nil *Tracer makes none, and costs nothing.
type Tracer struct {
	tracer   trace.Tracer
	provider *sdk.TracerProvider
}

// Identity is what the spans of a process say about it.
type Identity struct {
	Program string // for example skein-gateway
	Version string
	Member  string // id in the cluster
	Name    string // for people
}

// Tracer makes the tracer of a process, nil if no endpoint is set. Spans that cannot be delivered are dropped, and log is told.
func (t Tracing) Tracer(ctx context.Context, who Identity, log *slog.Logger) (*Tracer, error) {
	if err := t.Validate(); err != nil || t.TraceEndpoint == "" {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(t.TraceEndpoint), otlptracehttp.WithTimeout(exportWithin), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTracing, err)
	}
	return newTracer(who, sdk.WithBatcher(quietly{exporter, log}, sdk.WithMaxQueueSize(maxQueue), sdk.WithMaxExportBatchSize(maxBatch), sdk.WithBatchTimeout(exportEvery), sdk.WithExportTimeout(exportWithin)),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(t.TraceRatio)))), nil
}

func newTracer(who Identity, opts ...sdk.TracerProviderOption) *Tracer {
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxText
	// The resource is ours alone: the library's default adds the command line.
	r := resource.NewSchemaless(attribute.String("service.name", who.Program), attribute.String("service.version", who.Version),
		attribute.String("service.instance.id", who.Member), attribute.String("host.name", who.Name))
	p := sdk.NewTracerProvider(append(opts, sdk.WithResource(r), sdk.WithRawSpanLimits(limits))...)
	return &Tracer{tracer: p.Tracer("skein"), provider: p}
}

// quietly hands spans to the exporter, and logs failures at a level that a broken collector cannot flood.
type quietly struct {
	sdk.SpanExporter
	log *slog.Logger
}

func (q quietly) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := q.SpanExporter.ExportSpans(ctx, spans); err != nil {
		// The words of the error hold the endpoint's URL, and what that answered: both may hold secrets.
		q.log.Debug("spans were not delivered", "spans", len(spans), "timeout", errors.Is(err, context.DeadlineExceeded))
	}
	return nil // the library would print it to standard error
}

// Close delivers what waits, as long as ctx allows.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Span is a part of a trace. The zero Span is none: its methods do nothing.
type Span struct{ span trace.Span }

// Request begins the span of a client's request. traceparent is what the client said (W3C Trace Context): its trace is continued, and its decision
// to sample is followed.
func (t *Tracer) Request(ctx context.Context, name, traceparent string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx, s := t.tracer.Start(propagation.TraceContext{}.Extract(ctx, parent(traceparent)), name, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, recording(s)
}

// Start begins a span below the one of ctx, if that is sampled.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	ctx, s := t.tracer.Start(ctx, name)
	return ctx, recording(s)
}

// Below begins a span below one that is known by its traceparent alone, if that is sampled.
func (t *Tracer) Below(traceparent, name string) Span {
	if t == nil || traceparent == "" {
		return Span{}
	}
	_, s := t.Start(propagation.TraceContext{}.Extract(context.Background(), parent(traceparent)), name)
	return s
}

func recording(s trace.Span) Span {
	if !s.IsRecording() {
		return Span{}
	}
	return Span{s}
}

// parent carries a traceparent alone: a tracestate may hold anything, so it goes no further.
type parent string

func (p parent) Get(key string) string {
	if key == "traceparent" {
		return string(p)
	}
	return ""
}

func (parent) Set(string, string) {}

func (parent) Keys() []string { return []string{"traceparent"} }

// carried takes a traceparent.
type carried struct{ traceparent string }

func (c *carried) Get(string) string { return "" }

func (c *carried) Set(key, value string) {
	if key == "traceparent" {
		c.traceparent = value
	}
}

func (*carried) Keys() []string { return nil }

// On says whether the span is recorded.
func (s Span) On() bool { return s.span != nil }

// Traceparent names the span for those who begin spans below it; "" if there is none.
func (s Span) Traceparent() string {
	if s.span == nil {
		return ""
	}
	var c carried
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), s.span), &c)
	return c.traceparent
}

// TraceID is the trace that the span belongs to, in hex; "" if there is none.
func (s Span) TraceID() string {
	if s.span == nil {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// Rename gives the span another name.
func (s Span) Rename(name string) {
	if s.span != nil {
		s.span.SetName(name)
	}
}

// Text sets an attribute.
func (s Span) Text(k Key, v string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.String(string(k), v))
	}
}

// Texts sets an attribute that is a list.
func (s Span) Texts(k Key, v []string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.StringSlice(string(k), v))
	}
}

// Number sets an attribute.
func (s Span) Number(k Key, v int) {
	if s.span != nil {
		s.span.SetAttributes(attribute.Int(string(k), v))
	}
}

// Fail marks the span as failed. class is a word of ours, never the words of an error: those may quote what a client sent.
func (s Span) Fail(class string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.String(string(KeyError), class))
		s.span.SetStatus(codes.Error, class)
	}
}

// End ends the span.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}
