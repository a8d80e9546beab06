package wire

import (
	"context"
	"net/http"
)

// traceHeader carries a traceparent with an internal call (W3C Trace Context, level 2).
const traceHeader = "Traceparent"

// maxTrace bounds a traceparent in bytes: version 00 has 55.
const maxTrace = 64

type traceKey struct{}

// WithTrace makes calls under ctx carry a traceparent.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// Trace is the traceparent that came with the call that ctx belongs to, "" if there was none.
func Trace(ctx context.Context) string {
	t, _ := ctx.Value(traceKey{}).(string)
	return t
}

// carryTrace writes the traceparent of ctx into the header of a call.
func carryTrace(ctx context.Context, h http.Header) {
	if t := Trace(ctx); t != "" {
		h.Set(traceHeader, t)
	}
}

// takeTrace reads it there.
func takeTrace(ctx context.Context, h http.Header) context.Context {
	if t := h.Get(traceHeader); t != "" && len(t) <= maxTrace {
		return WithTrace(ctx, t)
	}
	return ctx
}
