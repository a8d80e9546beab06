package gateway

import "net/http"

// Protect lets those through who may read what this process measures: holders of an admin key.
func (s *Server) Protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := Authenticate(s.live.Now(), r.Header)
		switch {
		case err != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, explain(err).Why, http.StatusUnauthorized)
		case !key.Admin:
			http.Error(w, "the key may not read metrics", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
}
