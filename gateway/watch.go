package gateway

import (
	"net/http"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
)

// Protect lets those through who may read what this process measures, which is of all tenants.
func (s *Server) Protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := Authenticate(s.live.Now(), r.Header)
		switch {
		case err != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, explain(err).Why, http.StatusUnauthorized)
		case !access.AllowsEverywhere(key.RoleSet(), accessv1.Permission_PERMISSION_METRICS_READ):
			http.Error(w, "the key may not read metrics", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
}
