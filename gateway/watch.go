package gateway

import (
	"net/http"

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/cluster"
)

// Protect lets those through who may read what this process measures, which is of all tenants.
func (s *Server) Protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var who cluster.Principal
		shown, err := s.present(r)
		if err == nil {
			who, err = s.principal(shown)
		}
		need, known := s.needs.Requires(pathMetrics)
		switch {
		case err != nil && explain(err).Fault == FaultUnavailable:
			http.Error(w, explain(err).Why, http.StatusServiceUnavailable)
		case err != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, explain(err).Why, http.StatusUnauthorized)
		case !known || !access.AllowsEverywhere(who.Roles, need):
			http.Error(w, "the key may not read metrics", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
}
