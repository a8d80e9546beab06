package gateway

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"
)

// errPanic is what a request is told whose handling panicked.
var errPanic = &Error{Fault: FaultInternal, Why: "internal error"}

// survive runs what is done for one request. A panic is a defect, and the end of that request: not of the process, since the next gateway
// would be given the same request, and not of what else this one does. It is logged with its stack and counted.
func (s *Server) survive(ctx context.Context, do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.panicked(ctx, v)
		}
	}()
	return do()
}

// panicked notes a panic.
func (s *Server) panicked(ctx context.Context, v any) error {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // this is meant
	}
	s.panics.Add(1)
	id := ""
	if c := callOf(ctx); c != nil {
		id = c.id
	}
	s.log.Error("a request panicked", "id", id, "panic", v, "stack", string(debug.Stack()))
	return errPanic
}

// recovered does for Connect's handlers what survive does.
func (s *Server) recovered(ctx context.Context, _ connect.Spec, _ http.Header, v any) error {
	return s.panicked(ctx, v)
}
