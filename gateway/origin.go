package gateway

import (
	"net/http"
	"net/netip"
)

// Origin is the address of whoever makes a request, behind the proxies that are trusted (Config.TrustedProxies); the zero Addr where nobody
// knows. What else a process serves at the same port goes by it too.
func (s *Server) Origin(r *http.Request) netip.Addr { return s.from(r) }
