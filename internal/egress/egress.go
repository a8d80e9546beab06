// Package egress makes HTTP clients that cannot be led inside: they connect to public addresses, and to networks that the operator named.
//
// What is checked is the address of the connection itself, after names were resolved, so a name that changes its mind, an address in
// disguise and a redirect are all one case.
package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Limits that hold unless a Config says otherwise.
const (
	DefaultRedirects = 5
	DefaultHeader    = 64 << 10         // bytes of an answer's header
	DefaultFirstByte = 30 * time.Second // from the call to the end of the answer's header
	DefaultStall     = 60 * time.Second // of waiting for StallBytes of a body
	DefaultBody      = 1 << 40          // bytes of a body (1 TiB)
	StallBytes       = 4 << 10          // that must come within Stall
	dialWait         = 10 * time.Second // for one connection, with its name resolved
	idleConn         = 90 * time.Second // that an unused connection is kept
	idlePerHost      = 8                // unused connections
)

// Config says what a client may do. The zero value is a client for the public Internet.
type Config struct {
	Allow     []netip.Prefix // networks of the inside that may be called, also over plain http; default none
	Proxy     *url.URL       // http(s) proxy that makes the connections; it is then the proxy that must keep names from leading inside; default none
	RootCAs   *x509.CertPool // default: the system's
	Resolver  *net.Resolver  // default: net.DefaultResolver
	Redirects int            // followed at most; 0 = DefaultRedirects, negative = none
	Header    int64          // bytes of an answer's header; 0 = DefaultHeader
	FirstByte time.Duration  // 0 = DefaultFirstByte
	Stall     time.Duration  // 0 = DefaultStall
	Body      int64          // bytes of a body; 0 = DefaultBody
}

// Refused says what was not called and why.
type Refused struct {
	What string // an address, a host, a URL's scheme
	Why  string
}

// Error implements error.
func (e *Refused) Error() string { return "egress: " + e.What + " is not called: " + e.Why }

// TooLarge says that a body went on beyond its limit.
type TooLarge struct {
	What  string // "body", or what a caller of Limit named
	Limit int64  // bytes
}

// Error implements error.
func (e *TooLarge) Error() string {
	return fmt.Sprintf("egress: the %s is larger than %d bytes", e.What, e.Limit)
}

// ErrStalled says that an answer did not begin, or did not go on, in time.
var ErrStalled = errors.New("egress: the other side stalled")

// New makes a client. It keeps no cookies, reads no environment and never decompresses: sizes are those on the wire.
func New(c Config) *http.Client {
	t := &transport{guard: c.Allow, proxied: c.Proxy != nil, firstByte: c.FirstByte, stall: c.Stall, body: c.Body}
	if t.firstByte <= 0 {
		t.firstByte = DefaultFirstByte
	}
	if t.stall <= 0 {
		t.stall = DefaultStall
	}
	if t.body <= 0 {
		t.body = DefaultBody
	}
	t.plain, t.sealed = c.newTransport(true), c.newTransport(false)
	redirects := c.Redirects
	if redirects == 0 {
		redirects = DefaultRedirects
	}
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if redirects < 0 {
			return http.ErrUseLastResponse
		}
		return redirect(r, via, redirects)
	}}
}

// newTransport makes the half of a client that speaks http or https: they differ in which addresses they may connect to.
func (c Config) newTransport(plain bool) *http.Transport {
	d := &net.Dialer{Timeout: dialWait, Resolver: c.Resolver, Control: guard(c.Allow).control(plain)}
	t := &http.Transport{
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialWait,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleConn,
		MaxResponseHeaderBytes: c.Header,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
	}
	if t.MaxResponseHeaderBytes <= 0 {
		t.MaxResponseHeaderBytes = DefaultHeader
	}
	if c.Proxy != nil {
		t.Proxy = http.ProxyURL(c.Proxy)
		t.DialContext = (&net.Dialer{Timeout: dialWait, Resolver: c.Resolver}).DialContext // to the proxy and nowhere else
	}
	return t
}

// harmless lists the headers that follow a redirect to another host. All others may be credentials.
var harmless = []string{"Accept", "Accept-Encoding", "If-Match", "If-None-Match", "If-Range", "Range", "User-Agent"}

// redirect says whether a redirect is followed, and takes from the request what the new host must not learn.
func redirect(r *http.Request, via []*http.Request, most int) error {
	if len(via) > most {
		return &Refused{What: r.URL.Redacted(), Why: fmt.Sprintf("more than %d redirects", most)}
	}
	from := via[0].URL
	if from.Scheme == "https" && r.URL.Scheme == "http" {
		return &Refused{What: r.URL.Redacted(), Why: "a redirect from https to plain http"}
	}
	r.Header.Del("Referer") // it may be a signed URL
	for _, earlier := range append(via[1:len(via):len(via)], r) {
		if earlier.URL.Scheme == from.Scheme && earlier.URL.Host == from.Host {
			continue
		}
		kept := http.Header{}
		for _, name := range harmless {
			if v := r.Header.Values(name); len(v) > 0 {
				kept[name] = v
			}
		}
		r.Header = kept
		if r.Body != nil && r.Body != http.NoBody {
			return &Refused{What: r.URL.Redacted(), Why: "a redirect of a body to another host"}
		}
		return nil
	}
	return nil
}
