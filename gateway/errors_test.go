package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/internal/jinja"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// Every fault has a status, a type and a code in both protocols.
func TestFaults(t *testing.T) {
	s := &Server{log: slog.New(slog.DiscardHandler)}
	for fault, want := range map[Fault]struct {
		status     int
		kind, code string
		rpc        connect.Code
	}{
		FaultInternal:    {500, "server_error", "", connect.CodeInternal},
		FaultInvalid:     {400, "invalid_request_error", "", connect.CodeInvalidArgument},
		FaultContext:     {400, "invalid_request_error", "context_length_exceeded", connect.CodeInvalidArgument},
		FaultKey:         {401, "invalid_request_error", "invalid_api_key", connect.CodeUnauthenticated},
		FaultModel:       {404, "invalid_request_error", "model_not_found", connect.CodeNotFound},
		FaultTask:        {400, "invalid_request_error", "", connect.CodeInvalidArgument},
		FaultBusy:        {429, "rate_limit_error", "rate_limit_exceeded", connect.CodeResourceExhausted},
		FaultUnavailable: {503, "server_error", "", connect.CodeUnavailable},
		FaultCanceled:    {499, "server_error", "", connect.CodeCanceled},
		FaultTooLarge:    {413, "invalid_request_error", "", connect.CodeResourceExhausted},
		FaultTimeout:     {504, "server_error", "", connect.CodeDeadlineExceeded},
	} {
		err := fmt.Errorf("wrapped: %w", &Error{Fault: fault, Param: "p", Why: "why"})
		if got := connect.CodeOf(s.connectError(err)); got != want.rpc {
			t.Errorf("fault %d: %v, want %v", fault, got, want.rpc)
		}
		r := httptest.NewRecorder()
		(&answer{ResponseWriter: r, form: openAIForm, explain: s.explain, began: time.Now()}).fail(err)
		var body openAIError
		if err := json.Unmarshal(r.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		code := ""
		if body.Error.Code != nil {
			code = *body.Error.Code
		}
		if r.Code != want.status || body.Error.Type != want.kind || code != want.code || body.Error.Message != "why" || *body.Error.Param != "p" {
			t.Errorf("fault %d: %d %s", fault, r.Code, r.Body)
		}
		again := r.Header().Get("Retry-After") != ""
		if again != (want.status == 429 || want.status == 503) {
			t.Errorf("fault %d: Retry-After %v", fault, again)
		}
	}
}

// An error behind the first event is an event.
func TestFaultInAStream(t *testing.T) {
	r := httptest.NewRecorder()
	a := &answer{ResponseWriter: r, form: openAIForm, explain: explain, began: time.Now()}
	if err := a.event(map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	a.fail(invalid("", "why"))
	want := "data: {\"a\":1}\n\ndata: {\"error\":{\"message\":\"why\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}\n\n"
	if r.Code != http.StatusOK || r.Body.String() != want {
		t.Errorf("%d %q", r.Code, r.Body)
	}
}

// What other packages say becomes the client's business only where it is.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Fault
	}{
		{errors.New("disk 7 is on fire"), FaultInternal},
		{connect.NewError(connect.CodeUnavailable, errors.New("dial 10.0.0.7: refused")), FaultInternal},
		{fmt.Errorf("%w: x", router.ErrUnknownModel), FaultModel},
		{&router.Unready{Name: "m", Deployed: true}, FaultUnavailable},
		{fmt.Errorf("%w: 128 attempts: %w", errNoAnswer, &wire.Refused{Code: connect.CodeUnavailable, Why: "10.0.0.7 is down"}), FaultUnavailable},
		{&wire.Refused{Code: connect.CodeInvalidArgument, Why: "token 5"}, FaultInvalid},
		{&wire.Refused{Code: connect.CodeResourceExhausted, Why: "queue full"}, FaultBusy},
		{&jinja.RaisedError{Msg: "no"}, FaultInvalid},
		{fmt.Errorf("x: %w", token.InvalidText{Offset: 3}), FaultInvalid},
		{token.TooLong{What: "text", Bytes: 2, Limit: 1}, FaultInvalid},
		{fmt.Errorf("read: %w", context.Canceled), FaultCanceled},
		{context.DeadlineExceeded, FaultTimeout},
	} {
		e := explain(c.err)
		if e.Fault != c.want {
			t.Errorf("%v is %d, want %d", c.err, e.Fault, c.want)
		}
		if (c.want == FaultInternal || errors.Is(c.err, errNoAnswer)) && e.Why == c.err.Error() {
			t.Errorf("a client is told %q", e.Why)
		}
	}
}
