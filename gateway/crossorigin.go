package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// doors is a mux whose handlers pages of other origins may call, as Config.CORSOrigins says it (Fetch Standard, "CORS protocol"). Cookies and
// other credentials of a browser are never among what they may send: the API knows keys alone.
type doors struct {
	*http.ServeMux
	origins []string
}

// HandleFunc adds a handler that answers for pages of other origins too.
func (d doors) HandleFunc(pattern string, h http.HandlerFunc) {
	if len(d.origins) > 0 {
		h = d.open(h)
	}
	d.ServeMux.HandleFunc(pattern, h)
}

// Headers of CORS.
const (
	originHeader  = "Origin"
	allowOrigin   = "Access-Control-Allow-Origin"
	allowHeaders  = "Access-Control-Allow-Headers"
	allowMethods  = "Access-Control-Allow-Methods"
	exposeHeaders = "Access-Control-Expose-Headers"
	maxAgeHeader  = "Access-Control-Max-Age"
	askedMethod   = "Access-Control-Request-Method"
	preflightFor  = "7200" // seconds that a browser remembers an answer
)

// readable are the headers of answers that a page may read, beside those that every page may.
var readable = strings.Join(slices.Concat([]string{requestIDHeader, "request-id", "Retry-After", "Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Inference-Header-Content-Length", "Allow", "ETag"},
	limitHeaders[:]), ", ")

// sendable are the headers that a page may send: what the protocols know, and what their clients add.
var sendable = strings.Join([]string{"Authorization", keyHeader, "Content-Type", "Content-Encoding", "Accept", requestIDHeader, "Traceparent", viewHeader, sessionHeader, "Idempotency-Key", "If-None-Match",
	"Connect-Protocol-Version", "Connect-Timeout-Ms", "Connect-Accept-Encoding", "Connect-Content-Encoding", "Grpc-Timeout", "X-Grpc-Web", "X-User-Agent", "Inference-Header-Content-Length",
	"Anthropic-Version", "Anthropic-Beta", "Anthropic-Dangerous-Direct-Browser-Access", "OpenAI-Organization", "OpenAI-Project",
	"X-Stainless-Arch", "X-Stainless-Lang", "X-Stainless-OS", "X-Stainless-Package-Version", "X-Stainless-Retry-Count", "X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout", "X-Stainless-Helper-Method"}, ", ")

// open lets pages of the origins call a handler. What others ask is answered as if there was no CORS: a browser then keeps the answer from them.
func (d doors) open(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		to := w.Header()
		to.Set("Vary", originHeader)
		origin := r.Header.Get(originHeader)
		if !slices.Contains(d.origins, origin) {
			h(w, r)
			return
		}
		to.Set(allowOrigin, origin)
		if r.Method == http.MethodOptions && r.Header.Get(askedMethod) != "" {
			to.Set(allowMethods, "GET, POST, DELETE")
			to.Set(allowHeaders, sendable)
			to.Set(maxAgeHeader, preflightFor)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		to.Set(exposeHeaders, readable)
		h(w, r)
	}
}

// validOrigin refuses what no browser sends as an origin (RFC 6454, section 6.2), and what stands for many.
func validOrigin(origin string) error {
	u, err := url.Parse(origin)
	port := map[string]string{"http": "80", "https": "443"}
	switch {
	case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https", u.Scheme+"://"+u.Host != origin, strings.ToLower(origin) != origin, strings.ContainsAny(u.Host, "* ,"):
		return fmt.Errorf("gateway config: cors_origins: %.80q is no origin: want https://HOST or https://HOST:PORT, in small letters and without a path", origin)
	case u.Port() == port[u.Scheme]:
		return fmt.Errorf("gateway config: cors_origins: browsers leave the port %s out of %.80q", u.Port(), origin)
	}
	return nil
}
