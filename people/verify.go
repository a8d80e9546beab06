package people

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// Person is who a provider says somebody is.
type Person struct {
	Issuer        string
	Subject       string // unique at the issuer, and never given to somebody else
	Email         string
	EmailVerified bool // the provider says that the address is the person's
	Groups        []string
	Expiry        time.Time // of the token
}

// String names a person in records.
func (p Person) String() string {
	if p.Email != "" && p.EmailVerified {
		return fmt.Sprintf("%s (%s at %s)", p.Email, p.Subject, p.Issuer)
	}
	return fmt.Sprintf("%s at %s", p.Subject, p.Issuer)
}

// Verifier checks ID tokens. It remembers the keys of providers; it is safe for concurrent use.
type Verifier struct {
	client *http.Client

	mu      sync.Mutex
	sources map[string]*source // by issuer
}

// NewVerifier makes a verifier that asks providers by a client. Whatever that client allows, it reads MaxAnswer, waits AskFor and
// follows no redirect.
func NewVerifier(client *http.Client) *Verifier {
	return &Verifier{client: bounded(client), sources: map[string]*source{}}
}

// MayBeToken says whether a bearer's secret has the form of an ID token. API keys never have.
func MayBeToken(secret string) bool { return strings.Count(secret, ".") == 2 }

// Verify says who presents an ID token (OpenID Connect Core 1.0, section 3.1.3.7). Only the word of the given providers is taken. Errors
// are ErrToken, ErrExpired or ErrAway.
func (v *Verifier) Verify(ctx context.Context, providers []Provider, raw string) (Person, error) {
	v.forget(providers)
	issuer, err := claimedIssuer(raw)
	if err != nil {
		return Person{}, err
	}
	err = fmt.Errorf("%w: its issuer is none of the cluster's providers", ErrToken)
	for _, p := range providers[:min(len(providers), MaxProviders)] {
		if p.Issuer != issuer {
			continue
		}
		var who Person
		if who, err = v.check(ctx, p, raw, ""); err == nil {
			return who, nil
		}
	}
	return Person{}, err
}

// claimedIssuer reads an issuer that nobody has vouched for yet.
func claimedIssuer(raw string) (string, error) {
	if len(raw) > MaxToken {
		return "", fmt.Errorf("%w: it has more than %d bytes", ErrToken, MaxToken)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("%w: it is no signed token", ErrToken)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("%w: it is no signed token", ErrToken)
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(b, &claims); err != nil {
		return "", fmt.Errorf("%w: its claims cannot be read", ErrToken)
	}
	return claims.Issuer, nil
}

// check verifies a token of a provider; a nonce that is given must be in it.
func (v *Verifier) check(ctx context.Context, p Provider, raw, nonce string) (Person, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return Person{}, fmt.Errorf("%w: %.200s", ErrToken, err.Error())
	}
	header := jws.Signatures[0].Header
	fitting := func(f found) []any { return f.fitting(header.KeyID, jose.SignatureAlgorithm(header.Algorithm)) }
	f, err := v.source(p).get(ctx, func(f found) bool { return len(fitting(f)) > 0 })
	if err != nil {
		return Person{}, err
	}
	var keys []crypto.PublicKey
	for _, k := range fitting(f) {
		keys = append(keys, k)
	}
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	token, err := oidc.NewVerifier(p.Issuer, &oidc.StaticKeySet{PublicKeys: keys}, &oidc.Config{
		ClientID: p.audience(), SupportedSigningAlgs: names, Now: func() time.Time { return time.Now().Add(-Skew) },
	}).Verify(ctx, raw)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return Person{}, fmt.Errorf("%w at %s", ErrExpired, expired.Expiry.UTC().Format(time.RFC3339))
	case err != nil:
		return Person{}, fmt.Errorf("%w: %.300s", ErrToken, err.Error())
	case nonce != "" && token.Nonce != nonce:
		return Person{}, fmt.Errorf("%w: it is not of this login", ErrToken)
	case token.IssuedAt.After(time.Now().Add(Skew)):
		return Person{}, fmt.Errorf("%w: it is of the future", ErrToken)
	}
	return personOf(p, token)
}

// personOf reads the claims of a token that was verified.
func personOf(p Provider, token *oidc.IDToken) (Person, error) {
	var claims map[string]json.RawMessage
	if err := token.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("%w: %.200s", ErrToken, err.Error())
	}
	who := Person{Issuer: p.Issuer, Subject: token.Subject, Email: text(claims["email"]), Expiry: token.Expiry}
	verified := string(claims["email_verified"])
	who.EmailVerified = who.Email != "" && (verified == "true" || verified == `"true"`) // some providers write a string
	party := text(claims["azp"])
	switch {
	case who.Subject == "" || !plain(who.Subject) || !plain(who.Email):
		return Person{}, fmt.Errorf("%w: its subject or address is empty, too long or not printable", ErrToken)
	case party != "" && party != p.ClientID, party == "" && len(token.Audience) > 1:
		return Person{}, fmt.Errorf("%w: it was given to another program, %.100q", ErrToken, party)
	case token.IssuedAt.IsZero():
		return Person{}, fmt.Errorf("%w: it does not say when it was issued", ErrToken)
	}
	var err error
	who.Groups, err = groups(claims[p.groupsClaim()])
	return who, err
}

// text reads a claim that is a string; "" if it is anything else.
func text(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// groups reads a claim that is a string or a list of strings.
func groups(raw json.RawMessage) (list []string, err error) {
	if s := text(raw); s != "" {
		list = []string{s}
	} else if len(raw) > 0 && json.Unmarshal(raw, &list) != nil {
		return nil, fmt.Errorf("%w: its groups are not texts", ErrToken)
	}
	if len(list) > MaxGroups || slices.ContainsFunc(list, func(g string) bool { return !plain(g) }) {
		return nil, fmt.Errorf("%w: its groups are more than %d, too long or not printable", ErrToken, MaxGroups)
	}
	return list, nil
}

// source finds or makes what asks a provider.
func (v *Verifier) source(p Provider) *source {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.sources[p.Issuer]
	if s == nil {
		s = &source{p: p, client: v.client}
		v.sources[p.Issuer] = s
	}
	return s
}

// forget drops what is known of issuers that are not the cluster's providers any more.
func (v *Verifier) forget(providers []Provider) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for issuer := range v.sources {
		if !slices.ContainsFunc(providers, func(p Provider) bool { return p.Issuer == issuer }) {
			delete(v.sources, issuer)
		}
	}
}
