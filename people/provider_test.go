package people

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const issuer = "https://login.example.com/realm"

var provider = Provider{Issuer: issuer, ClientID: "skein"}

// foreign is a provider as it must not be trusted to be: hand-made, so that it can also lie. Its handler is called in place of the network.
type foreign struct {
	mu       sync.Mutex
	describe map[string]any // of the description
	keys     []any          // of the key set
	status   int            // of every answer; 0 = 200
	asked    int            // descriptions given
	body     func(w http.ResponseWriter, r *http.Request) bool
}

func newForeign(keys ...any) *foreign {
	return &foreign{keys: keys, describe: map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/keys", "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token",
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
	}}
}

func (f *foreign) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	body := f.body
	f.mu.Unlock()
	if body != nil && body(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if f.status != 0 {
		w.WriteHeader(f.status)
	}
	if r.URL.Path == "/realm/keys" {
		json.NewEncoder(w).Encode(map[string]any{"keys": f.keys})
		return
	}
	f.asked++
	json.NewEncoder(w).Encode(f.describe)
}

// RoundTrip answers without a network. A request that ends first is answered with its end.
func (f *foreign) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		f.ServeHTTP(w, r)
		close(done)
	}()
	select {
	case <-done:
		res := w.Result()
		res.Request = r
		return res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (f *foreign) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *foreign) asks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *foreign) verifier() *Verifier { return NewVerifier(&http.Client{Transport: f}) }

// testKeys are made once: they cost.
type testKeys struct {
	rsa, rsa2 *rsa.PrivateKey
	ec        *ecdsa.PrivateKey
	ed        ed25519.PrivateKey
}

var keysOnce = sync.OnceValue(func() (k testKeys) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.rsa2, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return k
})

// public is an entry of a key set.
func public(id, alg string, key crypto.Signer) any {
	return jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: alg, Use: "sig"}
}

type claims map[string]any

// with changes claims; nil takes one away.
func (c claims) with(more claims) claims {
	out := maps.Clone(c)
	maps.Copy(out, more)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// good are claims that nothing is wrong with, at this moment.
func good() claims {
	now := time.Now().Unix()
	return claims{"iss": issuer, "sub": "u1", "aud": "skein", "exp": now + 600, "iat": now, "email": "ann@example.com",
		"email_verified": true, "groups": []string{"ops", "ml"}}
}

// signed makes a token as a provider does.
func signed(t testing.TB, alg jose.SignatureAlgorithm, id string, key any, c claims) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func b64(v any) string {
	b, ok := v.([]byte)
	if !ok {
		b, _ = json.Marshal(v)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// handmade makes a token with any header, signed as sign likes.
func handmade(header map[string]any, c claims, sign func(input []byte) []byte) string {
	input := b64(header) + "." + b64(c)
	return input + "." + b64(sign([]byte(input)))
}

func hs256(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(input)
		return h.Sum(nil)
	}
}

func pemOf(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func rs256(t testing.TB, key *rsa.PrivateKey) func([]byte) []byte {
	return func(input []byte) []byte {
		sum := sha256.Sum256(input)
		b, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			t.Error(err)
		}
		return b
	}
}
