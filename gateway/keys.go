package gateway

import (
	"net/http"
	"strings"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// maxKey bounds a presented key in bytes.
const maxKey = 256

// Authenticate finds the API key of a request: "Authorization: Bearer KEY". The hash of what is presented is looked up, so the time of an
// answer tells nothing about other keys.
func Authenticate(state cluster.State, h http.Header) (cluster.Key, error) {
	scheme, secret, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(secret) > maxKey {
		return cluster.Key{}, &Error{Fault: FaultKey, Why: "an API key is needed: Authorization: Bearer KEY"}
	}
	key, ok := state.KeyByHash(wire.SecretHash(strings.TrimSpace(secret)))
	if !ok || key.Revoked {
		return cluster.Key{}, &Error{Fault: FaultKey, Why: "the API key is not valid"}
	}
	return key, nil
}
