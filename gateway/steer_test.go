package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
)

// A node of an older program knows no call for what it would not heed: such a request is refused with the reason, and others are answered.
func TestOlderNodes(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	key, g := tenant(f, "acme", 100, "*"), f.Gateway("alone", gateway.Config{Attempts: 2})
	ask := func(more string) (r reply) {
		fleettest.Within(t, "an answer", func() bool {
			var err error
			r, err = post(t.Context(), g.URL+"/v1/completions", key, `{"model": "calc", "prompt": [1, 2], "max_tokens": 2`+more+`}`)
			return err == nil && r.status != http.StatusUnauthorized && (r.status != http.StatusServiceUnavailable || strings.Contains(r.body, "older program"))
		})
		return r
	}
	if r := ask(""); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
	for _, more := range []string{`, "frequency_penalty": 1`, `, "logit_bias": {"3": 5}`, `, "repetition_penalty": 1.5`, `, "guided_regex": "a"`} {
		if r := ask(more); r.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %+v", more, r)
		}
	}
	if r := ask(`, "repetition_penalty": 1, "presence_penalty": 0`); r.status != http.StatusOK {
		t.Errorf("what asks for nothing: %+v", r)
	}
}
