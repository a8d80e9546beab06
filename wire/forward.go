package wire

import (
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"

	"github.com/skein-project/skein/cluster"
)

// ClientHeader says where a request came from that a coordinator passes on. It counts only there: Forwarder replaces a client's own.
const ClientHeader = "Skein-Client"

// HandleForward answers requests of the operator's API that another coordinator passes on. Their keys are checked by h as anywhere else.
func (m *Mux) HandleForward(h http.Handler) {
	m.handle(Forward, http.StripPrefix(strings.TrimSuffix(string(Forward), "/"), h))
}

// Forwarder passes requests on to the leader, wherever it is: 503 while there is none.
func Forwarder(d *Dialer, leader func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr := leader()
		if addr == "" {
			http.Error(w, "there is no leader at the moment", http.StatusServiceUnavailable)
			return
		}
		p := &httputil.ReverseProxy{
			Transport:     d.http[cluster.RoleCoordinator].Transport,
			FlushInterval: -1,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(&url.URL{Scheme: "https", Host: addr, Path: strings.TrimSuffix(string(Forward), "/")})
				p.Out.Header.Del(ClientHeader)
				if at, err := netip.ParseAddrPort(p.In.RemoteAddr); err == nil {
					p.Out.Header.Set(ClientHeader, at.Addr().Unmap().String())
				}
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				http.Error(w, "the leader does not answer", http.StatusServiceUnavailable)
			},
		}
		p.ServeHTTP(w, r)
	})
}
