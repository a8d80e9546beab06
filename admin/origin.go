package admin

import (
	"net/http"
	"net/netip"
)

// Behind says how to find the address of whoever makes a request, where proxies are trusted. It is called before the API is served.
func (h *Handler) Behind(origin func(*http.Request) netip.Addr) { h.origin = origin }

// locate lets a request come from whoever makes it, also for the coordinator that it is passed on to. Who is not known comes from the
// unspecified address, which is of nobody.
func (h *Handler) locate(r *http.Request) {
	if h.origin == nil {
		return
	}
	from := h.origin(r)
	if !from.IsValid() {
		from = netip.IPv6Unspecified()
	}
	r.RemoteAddr = netip.AddrPortFrom(from, 0).String()
}
