package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/internal/jinja"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// Fault is the sort of an error as clients see it. Each protocol maps it to its own codes in one function.
type Fault int

// Faults.
const (
	FaultInternal    Fault = iota
	FaultInvalid           // the request is wrong: the same request will never work
	FaultContext           // the prompt is longer than the model's context
	FaultKey               // no key, or one that is not valid
	FaultModel             // there is no such model
	FaultTask              // the model does not do this
	FaultBusy              // no room now: try again
	FaultUnavailable       // no replica can answer now: try again
	FaultCanceled          // the client went away
	FaultTooLarge          // the request's body is over the limit
	FaultTimeout           // the client's own deadline has passed
	FaultPermission        // the key is valid and may not do this
	FaultLimit             // a limit is reached that soon allows more
	FaultQuota             // a limit is reached that counts days, months or the whole life
	FaultUnsupported       // the protocol knows this, and Skein does not do it
)

// String is the fault's name in metrics, traces and logs.
func (f Fault) String() string {
	if name, ok := faultNames[f]; ok {
		return name
	}
	return "other"
}

var faultNames = map[Fault]string{FaultInternal: "internal", FaultInvalid: "invalid", FaultContext: "context", FaultKey: "key", FaultModel: "model", FaultTask: "task",
	FaultBusy: "busy", FaultUnavailable: "unavailable", FaultCanceled: "canceled", FaultTooLarge: "too_large", FaultTimeout: "timeout",
	FaultPermission: "permission", FaultLimit: "limit", FaultQuota: "quota", FaultUnsupported: "unsupported"}

// Error is what a client is told.
type Error struct {
	Fault Fault
	Param string // the field of the request that is wrong, if one is
	Why   string
	Retry time.Duration // after which it may be worth trying again; 0 = not told
	Meter string        // of the limit that is reached
}

func (e *Error) Error() string { return e.Why }

var errNoTokenizer = &Error{Fault: FaultTask, Param: "model", Why: "the model has no tokenizer: send token ids"}

// errNotFinite is an answer of a model that is none: its arithmetic has overflowed, or its weights are damaged.
var errNotFinite = &Error{Fault: FaultInternal, Param: "model", Why: "the model's answer has numbers that are not finite"}

func invalid(param, format string, args ...any) error {
	return &Error{Fault: FaultInvalid, Param: param, Why: fmt.Sprintf(format, args...)}
}

// explain is what the client is told. What it is not told is logged.
func (s *Server) explain(err error) *Error {
	e := explain(err)
	if e.Fault == FaultInternal {
		s.log.Error("a request failed", "err", err)
	}
	return e
}

// explain turns any error into what the client is told. Words of internal errors stay inside.
func explain(err error) *Error {
	var e *Error
	var unready *router.Unready
	var refused *wire.Refused
	var raised *jinja.RaisedError
	var badText token.InvalidText
	var longText token.TooLong
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, router.ErrUnknownModel):
		return &Error{Fault: FaultModel, Param: "model", Why: "the model does not exist"}
	case errors.As(err, &unready):
		return &Error{Fault: FaultUnavailable, Param: "model", Why: unready.Error()}
	case errors.As(err, &refused) && refused.Code == connect.CodeInvalidArgument:
		return &Error{Fault: FaultInvalid, Why: refused.Why}
	case errors.As(err, &refused) && refused.Code == connect.CodeResourceExhausted:
		return &Error{Fault: FaultBusy, Why: refused.Why}
	case errors.As(err, &refused) && refused.Code == connect.CodeUnimplemented:
		return errOlder
	case errors.Is(err, errNoAnswer):
		return &Error{Fault: FaultUnavailable, Param: "model", Why: "no replica of the model answers"}
	case errors.As(err, &raised):
		return &Error{Fault: FaultInvalid, Param: "messages", Why: raised.Error()}
	case errors.As(err, &badText):
		return &Error{Fault: FaultInvalid, Why: badText.Error()}
	case errors.As(err, &longText):
		return &Error{Fault: FaultInvalid, Why: longText.Error()}
	case errors.Is(err, context.Canceled):
		return &Error{Fault: FaultCanceled, Why: "the client went away"}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Fault: FaultTimeout, Why: "the request's time is over"}
	}
	return &Error{Fault: FaultInternal, Why: "internal error"}
}
