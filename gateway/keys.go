package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// maxKey bounds a presented key in bytes.
const maxKey = 256

// presented is what somebody shows at the door: the hash of a key, and where it comes from.
type presented struct {
	hash string
	from netip.Addr // the zero Addr = not known
}

// keyHeader is where clients of Anthropic's API put the key.
const keyHeader = "X-Api-Key"

// secretOf is the secret that a request presents: "Authorization: Bearer KEY", or where there is no such header, "X-Api-Key: KEY".
func secretOf(h http.Header) (secret string, ok bool) {
	authorization := h.Get("Authorization")
	if key := h.Get(keyHeader); authorization == "" && key != "" {
		return strings.TrimSpace(key), true
	}
	scheme, secret, ok := strings.Cut(authorization, " ")
	return strings.TrimSpace(secret), ok && strings.EqualFold(scheme, "Bearer")
}

// present reads the key of a request.
func (s *Server) present(r *http.Request) (presented, error) {
	secret, ok := secretOf(r.Header)
	if !ok || len(secret) > maxKey {
		return presented{}, &Error{Fault: FaultKey, Why: "an API key is needed: Authorization: Bearer KEY"}
	}
	return presented{wire.SecretHash(secret), s.from(r)}, nil
}

// from is the address of whoever makes a request: of the connection or, where that is of a proxy that is trusted, the nearest address
// of X-Forwarded-For that is not of one.
func (s *Server) from(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := at.Addr().Unmap().WithZone("")
	if len(s.proxies) == 0 || !s.trusted(from) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return netip.Addr{} // nobody knows who that is
		}
		if from = addr.Unmap().WithZone(""); !s.trusted(from) {
			break
		}
	}
	return from
}

func (s *Server) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(n netip.Prefix) bool { return n.Contains(a) })
}

// principal finds who presents a key. The hash of it is looked up, so the time of an answer tells nothing about other keys.
func (s *Server) principal(p presented) (cluster.Principal, error) {
	if err := s.stale(); err != nil {
		return cluster.Principal{}, err
	}
	who, refused := s.live.Now().Admit(p.hash, cluster.Millis(time.Now().UnixMilli()), p.from)
	if refused != "" {
		return cluster.Principal{}, &Error{Fault: FaultKey, Why: "the API key is not valid: " + string(refused)}
	}
	return who, nil
}
