package people

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// algorithms are those that sign with a key which only the provider has (RFC 7518, RFC 8037): "none" and the HMACs are not among them.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// found is what a provider said of itself.
type found struct {
	provider *oidc.Provider
	extra    metadata
	keys     []jose.JSONWebKey
	at       time.Time // zero = never asked with success
}

// metadata is what go-oidc leaves out of a provider's description (OpenID Connect Discovery 1.0, section 3; RFC 8414).
type metadata struct {
	JWKS       string   `json:"jwks_uri"`
	Page       string   `json:"authorization_endpoint"`
	Token      string   `json:"token_endpoint"`
	Device     string   `json:"device_authorization_endpoint"`
	Revocation string   `json:"revocation_endpoint"`
	Scopes     []string `json:"scopes_supported"`
}

// fitting lists the public keys that may have signed with an algorithm under a key id ("" = not said).
func (f found) fitting(id string, alg jose.SignatureAlgorithm) (keys []any) {
	for _, k := range f.keys {
		if (id == "" || k.KeyID == id) && (k.Algorithm == "" || k.Algorithm == string(alg)) && signs(k.Key, alg) {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

// signs says whether a kind of key belongs to an algorithm.
func signs(key any, alg jose.SignatureAlgorithm) bool {
	switch key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(string(alg), "RS") || strings.HasPrefix(string(alg), "PS")
	case *ecdsa.PublicKey:
		return strings.HasPrefix(string(alg), "ES")
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// source asks one provider, seldom.
type source struct {
	p      Provider
	client *http.Client

	mu    sync.Mutex
	last  found
	tried time.Time     // when the last asking began
	err   error         // of the last asking
	busy  chan struct{} // closed when the asking under way has ended; nil = none
}

// get gives what is known of the provider, asked anew if that is old or not enough. Who cannot go on without waits for the answer; old
// keys are used meanwhile. Whatever is asked for, a provider hears of it once in AskEvery.
func (s *source) get(ctx context.Context, enough func(found) bool) (found, error) {
	f, busy, err := s.look(ctx, enough)
	if busy == nil {
		return f, err
	}
	select {
	case <-ctx.Done():
		return found{}, fmt.Errorf("%w: %s: %w", ErrAway, s.p.Issuer, context.Cause(ctx))
	case <-busy:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer(enough)
}

// look gives what is known, or what to wait for.
func (s *source) look(ctx context.Context, enough func(found) bool) (found, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.answer(enough)
	if err == nil && time.Since(f.at) < KeysFor {
		return f, nil, nil
	}
	if s.busy == nil && (s.tried.IsZero() || time.Since(s.tried) >= AskEvery) {
		s.tried, s.busy = time.Now(), make(chan struct{})
		go s.ask(context.WithoutCancel(ctx), s.busy) // others wait for it too; it ends after AskFor
	}
	if err == nil {
		return f, nil, nil
	}
	return f, s.busy, err
}

// answer says what is known. The caller holds mu.
func (s *source) answer(enough func(found) bool) (found, error) {
	switch {
	case s.last.at.IsZero() || time.Since(s.last.at) >= StaleFor:
		if s.err != nil {
			return found{}, s.err
		}
		return found{}, fmt.Errorf("%w: %s", ErrAway, s.p.Issuer)
	case !enough(s.last):
		return found{}, fmt.Errorf("%w: its key is none of the provider's", ErrToken)
	}
	return s.last, nil
}

func (s *source) ask(ctx context.Context, done chan<- struct{}) {
	ctx, cancel := context.WithTimeout(ctx, AskFor)
	defer cancel()
	f, err := discover(oidc.ClientContext(ctx, s.client), s.p, s.client)
	if err != nil {
		err = fmt.Errorf("%w: %s: %.300s", ErrAway, s.p.Issuer, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err = err; err == nil {
		s.last = f
	}
	s.busy = nil
	close(done)
}

// discover reads a provider's description and its keys.
func discover(ctx context.Context, p Provider, client *http.Client) (found, error) {
	f := found{at: time.Now()}
	var err error
	if f.provider, err = oidc.NewProvider(ctx, p.Issuer); err != nil {
		return found{}, err
	}
	if err := f.provider.Claims(&f.extra); err != nil {
		return found{}, err
	}
	for _, url := range []string{f.extra.JWKS, f.extra.Page, f.extra.Token, f.extra.Device, f.extra.Revocation} {
		if url == "" { // what is needed of it is found missing by whoever needs it
			continue
		}
		if err := p.reachable(url); err != nil {
			return found{}, err
		}
	}
	f.keys, err = fetchKeys(ctx, f.extra.JWKS, client)
	return f, err
}

// fetchKeys reads a key set (RFC 7517). What is no public key for signatures, or too weak, is left out.
func fetchKeys(ctx context.Context, url string, client *http.Client) (keys []jose.JSONWebKey, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys: %s", res.Status)
	}
	b, err := io.ReadAll(res.Body) // of at most MaxAnswer: see bounded
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("its keys: %w", err)
	}
	for _, raw := range set.Keys[:min(len(set.Keys), MaxKeys)] {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) == nil && strong(k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("it has no usable key")
	}
	return keys, nil
}

func strong(k jose.JSONWebKey) bool {
	if !k.Valid() || k.Use != "" && k.Use != "sig" {
		return false
	}
	if r, ok := k.Key.(*rsa.PublicKey); ok {
		return r.N.BitLen() >= weakestRSA && r.N.BitLen() <= longestRSA
	}
	return slices.ContainsFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return signs(k.Key, a) })
}

// bounded makes of a client one that reads little, waits little and goes nowhere else: a provider's addresses do not redirect.
func bounded(c *http.Client) *http.Client {
	out := *c
	if out.Transport == nil {
		out.Transport = http.DefaultTransport
	}
	out.Transport = shortBodies{out.Transport}
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	out.Timeout, out.Jar = AskFor, nil
	return &out
}

type shortBodies struct{ next http.RoundTripper }

func (s shortBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.next.RoundTrip(r)
	if err == nil {
		res.Body = http.MaxBytesReader(nil, res.Body, MaxAnswer)
	}
	return res, err
}
