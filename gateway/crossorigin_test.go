package gateway

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// crossOrigin is a gateway that pages of an origin may call.
func crossOrigin(t *testing.T, origins ...string) *http.ServeMux {
	t.Helper()
	s, _ := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	s.cfg.CORSOrigins = origins
	mux := http.NewServeMux()
	s.Register(mux)
	return mux
}

// corsOf gives the headers of CORS of an answer.
func corsOf(h http.Header) map[string]string {
	out := map[string]string{}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			out[name] = h.Get(name)
		}
	}
	return out
}

// At every path pages of the origins that are named may ask, and read what they are answered, be it a refusal; no other page may, and no page may
// have its browser send cookies.
func TestCrossOrigin(t *testing.T) {
	const page = "https://app.example.com"
	mux, closed := crossOrigin(t, page, "http://localhost:5173"), crossOrigin(t)
	ways := map[string]string{pathOIPLive: http.MethodGet, "/v1/none": http.MethodPost, "/v2/none": http.MethodGet, "/grpc.health.v1.Health/Check": http.MethodPost,
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": http.MethodPost, pathDocument: http.MethodGet}
	for path := range Needs() {
		ways[path] = http.MethodPost
	}
	for _, e := range routes() {
		ways[e.path] = e.method
	}
	delete(ways, pathMetrics) // it is for machines
	preflight := func(mux http.Handler, at, origin, method string) *httptest.ResponseRecorder {
		return ask(mux, http.MethodOptions, at, "", "", "Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "authorization,content-type")
	}
	simple := map[string]bool{pathOIPLive: true, pathDocument: true} // they need no key, so that no browser asks before it asks
	for path, method := range ways {
		at := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "sums")
		for _, origin := range []string{page, "http://localhost:5173"} {
			w := preflight(mux, at, origin, method)
			got := corsOf(w.Header())
			if !simple[path] && (w.Code != http.StatusNoContent || w.Body.Len() > 0 || got[allowOrigin] != origin || !strings.Contains(got[allowMethods], method) || len(got) != 4) {
				t.Errorf("%s before a page of %s asks: %d %v", path, origin, w.Code, got)
			}
			for _, key := range []string{"", userKey, "wrong"} {
				w := ask(mux, method, at, key, `{}`, "Origin", origin)
				if got := corsOf(w.Header()); got[allowOrigin] != origin || !strings.Contains(got[exposeHeaders], "Retry-After") || len(got) != 2 || w.Header().Get("Vary") != "Origin" {
					t.Errorf("%s by a page of %s: %d %v, Vary %q", path, origin, w.Code, got, w.Header().Values("Vary"))
				}
			}
		}
		for _, origin := range []string{"https://app.example.com.evil.example", "https://app.example.com:8443", "http://app.example.com", "https://APP.example.com", "https://example.com", "null", "*", ""} {
			answers := []*httptest.ResponseRecorder{ask(mux, method, at, userKey, `{}`, "Origin", origin)}
			if !simple[path] {
				answers = append(answers, preflight(mux, at, origin, method))
			}
			for _, w := range answers {
				if got := corsOf(w.Header()); len(got) > 0 || w.Header().Get("Vary") != "Origin" {
					t.Errorf("%s by a page of %q: %v, Vary %q", path, origin, got, w.Header().Values("Vary"))
				}
			}
		}
		for _, w := range []*httptest.ResponseRecorder{preflight(closed, at, page, method), ask(closed, method, at, userKey, `{}`, "Origin", page)} {
			if got := corsOf(w.Header()); len(got) > 0 || w.Header().Get("Vary") != "" || w.Code == http.StatusNoContent {
				t.Errorf("%s where no page may: %d %v", path, w.Code, w.Header())
			}
		}
	}
}

// What a page sends and reads is let through, whichever protocol it speaks.
func TestCrossOriginHeaders(t *testing.T) {
	mux := crossOrigin(t, "https://app.example.com")
	w := ask(mux, http.MethodOptions, pathChat, "", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST")
	list := func(text string) map[string]bool {
		out := map[string]bool{}
		for _, name := range strings.Split(text, ", ") {
			out[http.CanonicalHeaderKey(name)] = true
		}
		return out
	}
	may := list(w.Header().Get(allowHeaders))
	for _, name := range []string{"Authorization", "X-Api-Key", "Content-Type", "Connect-Protocol-Version", "Connect-Timeout-Ms", "X-Grpc-Web", "X-User-Agent", "Grpc-Timeout", "Anthropic-Version", "Skein-View", "Skein-Session",
		"Traceparent", "X-Request-Id", "Inference-Header-Content-Length"} {
		if !may[name] {
			t.Errorf("%s may not be sent", name)
		}
	}
	if may["Cookie"] || may["*"] || may["X-Forwarded-For"] {
		t.Errorf("%v", may)
	}
	see := list(ask(mux, http.MethodGet, pathModels, userKey, "", "Origin", "https://app.example.com").Header().Get(exposeHeaders))
	for _, name := range append([]string{"X-Request-Id", "Retry-After", "Grpc-Status", "Grpc-Message"}, limitHeaders[:]...) {
		if !see[name] {
			t.Errorf("%s may not be read", name)
		}
	}
}

func TestOrigins(t *testing.T) {
	for origin, want := range map[string]bool{
		"https://app.example.com": true, "http://localhost:5173": true, "https://[::1]:8443": true, "http://10.0.0.7": true,
		"": false, "*": false, "null": false, "https://*": false, "https://*.example.com": false, "app.example.com": false, "https://app.example.com/": false, "https://app.example.com/x": false,
		"https://App.example.com": false, "https://app.example.com:443": false, "http://app.example.com:80": false, "ftp://app.example.com": false, "https://": false,
		"https://user@app.example.com": false, "https://a.example, https://b.example": false, "https://app.example.com?x": false, "https://app.example.com#x": false, "javascript:alert(1)": false,
	} {
		if err := (Config{CORSOrigins: []string{"https://other.example", origin}}).Validate(); (err == nil) != want {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
