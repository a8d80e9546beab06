package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/skein-project/skein/wire"
)

// Numbers that JSON does not have are refused before anything was said: an answer is whole or an error, and a stream ends with one.
func TestNotFinite(t *testing.T) {
	s, _ := watched(t, slog.New(slog.DiscardHandler))
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, f := range []form{openAIForm, anthropicForm, oipForm} {
		w := httptest.NewRecorder()
		a := &answer{ResponseWriter: w, form: f, explain: s.explain}
		a.json(200, map[string]any{"x": nan})
		if w.Code != 500 || !strings.Contains(w.Body.String(), "not finite") {
			t.Errorf("an answer: %d %s", w.Code, w.Body)
		}
		w = httptest.NewRecorder()
		a = &answer{ResponseWriter: w, form: f, explain: s.explain}
		for what, send := range map[string]func(any) error{"an event": a.event, "an event with a name": func(v any) error { return a.named("x", v) }} {
			err := send(inf)
			var e *Error
			if !errors.As(err, &e) || e.Fault != FaultInternal || a.streaming {
				t.Errorf("%s: %v, begun %v", what, err, a.streaming)
			}
		}
		if err := a.event("fine"); err != nil {
			t.Fatal(err)
		}
		if a.fail(a.event(nan)); !json.Valid([]byte(strings.TrimPrefix(strings.Split(w.Body.String(), "\n\n")[1], "data: "))) || !strings.Contains(w.Body.String(), "not finite") {
			t.Errorf("a stream ends with %q", w.Body)
		}
	}
	good := wire.EncodedRow{Vector: wire.Floats{1, -math.MaxFloat32}}
	for _, bad := range []wire.EncodedRow{{Vector: wire.Floats{1, nan}}, {Hidden: wire.Floats{inf}}, {Logits: wire.Floats{0, -inf}}, {Pooled: wire.Floats{nan}}} {
		if finite([]wire.EncodedRow{good, bad}) || !finite([]wire.EncodedRow{good, good}) {
			t.Errorf("%v", bad)
		}
	}
}
