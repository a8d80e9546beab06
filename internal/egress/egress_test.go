package egress_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/skein-project/skein/internal/egress"
)

// names is a DNS server of this process: it answers every question about a name with the next of its addresses, like a name that
// changes its mind between the check and the call.
type names struct {
	answers map[string][]netip.Addr // by name with a final dot; the last one stays
	asked   map[string]int
}

func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	n.asked = map[string]int{}
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			list := n.answers[q.Name.String()]
			if len(list) == 0 {
				m.RCode = dnsmessage.RCodeNameError
			} else if q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA {
				a := list[min(n.asked[q.Name.String()], len(list)-1)]
				h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}
				switch {
				case q.Type == dnsmessage.TypeA && a.Is4():
					n.asked[q.Name.String()]++
					m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: a.As4()}}}
				case q.Type == dnsmessage.TypeAAAA && a.Is6():
					n.asked[q.Name.String()]++
					m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}}
				}
			}
			if out, err := m.Pack(); err == nil {
				conn.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// at starts a server on an address of the loopback network.
func at(t *testing.T, addr string, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func only(prefixes ...string) (out []netip.Prefix) {
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func port(s *httptest.Server) string {
	return s.Listener.Addr().(*net.TCPAddr).AddrPort().String()[len("127.0.0.x:"):]
}

func get(c *http.Client, url string) (string, error) {
	res, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func refused(err error) bool {
	var r *egress.Refused
	return errors.As(err, &r)
}

// Every way inside that has a name: addresses of all kinds, in every notation, names that mean them, schemes.
func TestInsideIsRefused(t *testing.T) {
	t.Parallel()
	inside := at(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) { t.Error("the inside was called") })
	p := port(inside)
	dns := &names{answers: map[string][]netip.Addr{
		"localhost.": {netip.MustParseAddr("127.0.0.1")}, "v4.example.": {netip.MustParseAddr("127.0.0.1")}, "v6.example.": {netip.MustParseAddr("::1")}, "mapped.example.": {netip.MustParseAddr("::ffff:127.0.0.1")},
		"cloud.example.": {netip.MustParseAddr("169.254.169.254")}, "nat64.example.": {netip.MustParseAddr("64:ff9b::7f00:1")},
	}}
	c := egress.New(egress.Config{Resolver: dns.resolver(t)})
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
		"[::1]", "[::]", "[fd00::1]", "[fc00::1]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[ff02::1]", "[fd00:ec2::254]",
		"[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::1]", "[2001::1]", "[2001:db8::1]",
		"localhost", "LOCALHOST", "localhost.", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "017700000001", "127.0.0.1.", "0",
		"v4.example", "v6.example", "mapped.example", "cloud.example", "nat64.example",
	} {
		for _, scheme := range []string{"http", "https"} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+":"+p+"/", nil)
			if err != nil {
				cancel()
				continue // Go itself does not read such a URL
			}
			res, err := c.Do(req)
			if !refused(err) {
				t.Errorf("%s://%s: %v", scheme, host, err)
			}
			if err == nil {
				res.Body.Close()
			}
			cancel()
		}
	}
	for _, u := range []string{"file:///etc/passwd", "gopher://127.0.0.1:70/", "ftp://127.0.0.1/x", "unix:///run/x.sock", "https://user:word@example.com/", "https:///nothing", "http://93.184.215.14/"} {
		if _, err := get(c, u); err == nil || !refused(err) && !strings.Contains(err.Error(), "no Host") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// An address outside passes, one on the border as the registry has it.
func TestInside(t *testing.T) {
	t.Parallel()
	for addr, inside := range map[string]bool{"8.8.8.8": false, "100.63.255.255": false, "100.64.0.0": true, "100.128.0.0": false, "172.15.255.255": false, "172.32.0.0": false, "11.0.0.0": false,
		"223.255.255.255": false, "2606:4700::1": false, "2001:200::1": false, "::ffff:8.8.8.8": false, "4000::1": true, "1fff::1": true, "fe80::1%eth0": true} {
		if why := egress.Inside(netip.MustParseAddr(addr)); (why != "") != inside {
			t.Errorf("%s: %q", addr, why)
		}
	}
	if egress.Inside(netip.Addr{}) == "" {
		t.Error("no address is outside")
	}
}

// A name that means an allowed address when it is first asked for, and one inside when it is asked for again.
func TestNameChangesItsMind(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	good := at(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "good") })
	at(t, "127.0.0.3:"+port(good), func(w http.ResponseWriter, r *http.Request) { called.Add(1) })
	dns := &names{answers: map[string][]netip.Addr{"rebind.example.": {netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}}}
	c := egress.New(egress.Config{Resolver: dns.resolver(t), Allow: only("127.0.0.2/32")})
	url := "http://rebind.example:" + port(good) + "/"
	if body, err := get(c, url); err != nil || body != "good" {
		t.Fatalf("the first time: %q, %v", body, err)
	}
	c.CloseIdleConnections()
	if _, err := get(c, url); !refused(err) || called.Load() != 0 {
		t.Errorf("the second time: %v, %d calls inside", err, called.Load())
	}
}

// Redirects are followed where they may lead, and what may be a credential does not follow to another host.
func TestRedirects(t *testing.T) {
	t.Parallel()
	var seen http.Header
	other := at(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
		}
	})
	first := at(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		var n int
		if fmt.Sscanf(r.URL.Path, "/hop/%d", &n); n > 0 {
			http.Redirect(w, r, fmt.Sprintf("/hop/%d", n-1), http.StatusFound)
			return
		}
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	})
	inside := at(t, "127.0.0.3:0", func(w http.ResponseWriter, r *http.Request) { t.Error("the inside was called") })
	c := egress.New(egress.Config{Allow: only("127.0.0.2/32")})
	do := func(path string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, first.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer secret")
		req.Header.Set("X-Private", "secret")
		req.Header.Set("Range", "bytes=1-")
		seen = nil
		res, err := c.Do(req)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	for path, want := range map[string]struct{ refused, keeps bool }{
		"/":                                      {false, true},
		"/hop/5":                                 {false, true},
		"/hop/6":                                 {true, true},
		"/?to=" + url.QueryEscape(other.URL+"/"): {false, false},
		"/?to=" + url.QueryEscape(inside.URL):    {true, false},
		"/?to=" + url.QueryEscape("file:///etc"): {true, false},
		"/?to=" + url.QueryEscape("http://0/"):   {true, false},
		"/?to=" + url.QueryEscape("https://[::1]/x"):                                {true, false},
		"/?to=" + url.QueryEscape(other.URL+"/?to="+url.QueryEscape(first.URL+"/")): {false, false}, // away and back again
	} {
		err := do(path)
		if refused(err) != want.refused || !want.refused && err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if !want.refused && (seen.Get("Authorization") != "" != want.keeps || seen.Get("X-Private") != "" != want.keeps || seen.Get("Range") == "" || seen.Get("Referer") != "") {
			t.Errorf("%s: arrived with %v", path, seen)
		}
	}
	// A body does not go to another host either.
	res, err := c.Post(first.URL+"/?to="+url.QueryEscape(other.URL), "text/plain", strings.NewReader("secret"))
	if !refused(err) {
		t.Errorf("a body was sent on: %v", err)
	}
	if res != nil {
		res.Body.Close()
	}
	none := egress.New(egress.Config{Allow: only("127.0.0.2/32"), Redirects: -1})
	res, err = none.Get(first.URL + "/hop/1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusFound {
		t.Errorf("redirected though none are followed: %s", res.Status)
	}
}

// Sizes and times end what does not end by itself.
func TestLimits(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s := at(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			w.Header().Set("X-Long", strings.Repeat("x", 100<<10))
		case "/body":
			w.Write(bytes.Repeat([]byte("x"), 1001))
		case "/fits":
			w.Write(bytes.Repeat([]byte("x"), 1000))
		case "/silent":
			<-hang
		case "/stall":
			io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			<-hang
		case "/drip":
			for range 1000 {
				io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				select {
				case <-time.After(20 * time.Millisecond):
				case <-r.Context().Done():
					return
				}
			}
		case "/gzip":
			w.Header().Set("X-Accepts", r.Header.Get("Accept-Encoding"))
		}
	})
	t.Cleanup(func() { close(hang) })
	c := egress.New(egress.Config{Allow: only("127.0.0.2/32"), Body: 1000, FirstByte: 300 * time.Millisecond, Stall: 300 * time.Millisecond})
	if body, err := get(c, s.URL+"/fits"); err != nil || len(body) != 1000 {
		t.Errorf("what fits: %d bytes, %v", len(body), err)
	}
	var large *egress.TooLarge
	if body, err := get(c, s.URL+"/body"); !errors.As(err, &large) || large.Limit != 1000 || len(body) != 1000 {
		t.Errorf("a large body: %d bytes, %v", len(body), err)
	}
	if _, err := get(c, s.URL+"/header"); err == nil {
		t.Error("a large header passed")
	}
	for _, path := range []string{"/silent", "/stall", "/drip"} {
		if _, err := get(c, s.URL+path); !errors.Is(err, egress.ErrStalled) {
			t.Errorf("%s: %v", path, err)
		}
	}
	res, err := c.Get(s.URL + "/gzip")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if coding := res.Header.Get("X-Accepts"); coding != "" {
		t.Errorf("compression was asked for: %s", coding)
	}
}

// The names of certificates are checked, and a proxy is used only where it was named; what is inside by address is refused there too.
func TestTLSAndProxy(t *testing.T) {
	t.Parallel()
	sealed := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "sealed") }))
	t.Cleanup(sealed.Close)
	roots := x509.NewCertPool()
	roots.AddCert(sealed.Certificate())
	if body, err := get(egress.New(egress.Config{Allow: only("127.0.0.0/8"), RootCAs: roots}), sealed.URL); err != nil || body != "sealed" {
		t.Errorf("https: %q, %v", body, err)
	}
	if _, err := get(egress.New(egress.Config{Allow: only("127.0.0.0/8")}), sealed.URL); err == nil || refused(err) {
		t.Errorf("an unknown certificate: %v", err)
	}
	var asked atomic.Int32
	proxy := at(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Error(w, r.Method+" "+r.Host, http.StatusBadGateway)
	})
	by, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := egress.New(egress.Config{Proxy: by})
	for _, u := range []string{"https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/", "https://0x7f.1/", "http://example.com/"} {
		if _, err := get(c, u); !refused(err) || asked.Load() != 0 {
			t.Errorf("%s through a proxy: %v", u, err)
		}
	}
	if _, err := get(c, "https://model.example/"); refused(err) || err == nil || asked.Load() != 1 {
		t.Errorf("the proxy was asked %d times: %v", asked.Load(), err)
	}
}

// FuzzHost looks for a host that a client connects to inside.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"127.1", "[::ffff:7f00:1]", "0x7f000001", "localhost", "example.com", "[fe80::1%25x]", "1.", "0x"} {
		f.Add(host)
	}
	c := egress.New(egress.Config{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no names here")
	}}, Proxy: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}})
	f.Fuzz(func(t *testing.T, host string) {
		req, err := http.NewRequest(http.MethodGet, "https://"+host+"/", nil)
		if err != nil || req.URL.Host != host {
			return
		}
		res, err := c.Do(req)
		if err == nil {
			res.Body.Close()
		}
		a, notAddr := netip.ParseAddr(req.URL.Hostname())
		if notAddr == nil && egress.Inside(a) != "" && !refused(err) {
			t.Errorf("%q: %v", host, err)
		}
		if ip := net.ParseIP(req.URL.Hostname()); ip != nil && ip.IsLoopback() && !refused(err) {
			t.Errorf("%q: %v", host, err)
		}
	})
}
