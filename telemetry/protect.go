package telemetry

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
)

// Limits of a token in bytes.
const (
	minToken = 16
	maxToken = 256
)

// ErrToken says that a file holds no token that may protect anything.
var ErrToken = errors.New("telemetry: no token")

// Token is a secret that a scraper presents: "Authorization: Bearer TOKEN". Only its hash is kept.
type Token struct{ hash [sha256.Size]byte }

// ReadToken reads the token in a file that only its owner may read: 16 to 256 bytes, without the blanks around it.
func ReadToken(path string) (Token, error) {
	f, err := os.Open(path)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return Token{}, fmt.Errorf("%w: others may read %s: chmod 600", ErrToken, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxToken+2))
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < minToken || len(secret) > maxToken {
		return Token{}, fmt.Errorf("%w: %s holds %d bytes, want %d to %d", ErrToken, path, len(secret), minToken, maxToken)
	}
	return Token{sha256.Sum256([]byte(secret))}, nil
}

// Protect lets those through who present the token.
func (t Token) Protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		given := sha256.Sum256([]byte(secret[:min(len(secret), maxToken+1)]))
		if !ok || subtle.ConstantTimeCompare(given[:], t.hash[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a token is needed: Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Profiles answers /debug/pprof/ with what the Go runtime measures of this process. The command line, which may hold secrets, is not among
// it. It asks for no key: who serves it does.
func Profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		mux.Handle("GET /debug/pprof/"+name, pprof.Handler(name))
	}
	return mux
}
