package people

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Limits of a login.
const (
	LoginFor                = 5 * time.Minute // a person has to answer the provider
	shortestPoll, rarestAsk = 1, 60           // seconds between two questions whether a device was let in
)

// ErrLogin says that a login came to nothing.
var ErrLogin = errors.New("people: the login failed")

// Login logs a person in at a provider, on the person's own machine.
type Login struct {
	Provider Provider
	Secret   string // of the client id, where a provider insists on one; it is no secret on people's machines
	verifier *Verifier
}

// NewLogin makes a login that asks the provider by a client, with the bounds of NewVerifier.
func NewLogin(p Provider, secret string, client *http.Client) (Login, error) {
	return Login{Provider: p, Secret: secret, verifier: NewVerifier(client)}, p.Validate()
}

// Session is what a login leaves on a person's machine. Its tokens are secrets.
type Session struct {
	Issuer   string    `json:"issuer"`
	ClientID string    `json:"client_id"`
	Subject  string    `json:"subject"`
	IDToken  string    `json:"id_token"`
	Expiry   time.Time `json:"expiry"`            // of the ID token
	Refresh  string    `json:"refresh,omitempty"` // for Renew
}

// scopes are asked for where the provider knows them: without a refresh token a session ends with its first ID token.
var scopes = []string{"email", "profile", "groups", "offline_access"}

// config is the client's side of OAuth 2.0 at what a provider says of itself.
func (l Login) config(ctx context.Context) (*oauth2.Config, found, error) {
	f, err := l.verifier.source(l.Provider).get(ctx, func(found) bool { return true })
	if err != nil {
		return nil, found{}, err
	}
	c := &oauth2.Config{ClientID: l.Provider.ClientID, ClientSecret: l.Secret, Endpoint: f.provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID}}
	c.Endpoint.AuthStyle = oauth2.AuthStyleInParams // not one after the other until one is taken: a code is asked for once
	if l.Secret != "" {
		c.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	for _, s := range scopes {
		if slices.Contains(f.extra.Scopes, s) {
			c.Scopes = append(c.Scopes, s)
		}
	}
	return c, f, nil
}

// through makes OAuth 2.0 use the login's client.
func (l Login) through(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, l.verifier.client)
}

// session verifies what a token endpoint answered.
func (l Login) session(ctx context.Context, t *oauth2.Token, nonce string) (Session, error) {
	raw, ok := t.Extra("id_token").(string)
	if !ok || len(raw) > MaxToken || len(t.RefreshToken) > MaxToken {
		return Session{}, fmt.Errorf("%w: the provider gave no ID token, or one that is too long", ErrLogin)
	}
	who, err := l.verifier.check(ctx, l.Provider, raw, nonce)
	if err != nil {
		return Session{}, fmt.Errorf("%w: %w", ErrLogin, err)
	}
	return Session{Issuer: l.Provider.Issuer, ClientID: l.Provider.ClientID, Subject: who.Subject,
		IDToken: raw, Expiry: who.Expiry, Refresh: t.RefreshToken}, nil
}

// Code is what a person types into the provider's page on another device.
type Code struct {
	Page string // URL
	User string // the code
	Full string // URL with the code in it, "" where the provider gives none
}

// Device logs in without a browser on this machine (RFC 8628): show tells the person where to type what.
func (l Login) Device(ctx context.Context, show func(Code) error) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, LoginFor)
	defer cancel()
	c, _, err := l.config(ctx)
	if err != nil {
		return Session{}, err
	}
	if c.Endpoint.DeviceAuthURL == "" {
		return Session{}, fmt.Errorf("%w: %s lets no devices in: log in with a browser", ErrLogin, l.Provider.Issuer)
	}
	verifier := oauth2.GenerateVerifier()
	d, err := c.DeviceAuth(l.through(ctx), oauth2.S256ChallengeOption(verifier))
	if err != nil {
		return Session{}, l.failed(err)
	}
	for _, page := range []string{d.VerificationURI, d.VerificationURIComplete} {
		if err := l.Provider.reachable(page); page != "" && err != nil {
			return Session{}, err
		}
	}
	if !plain(d.UserCode) || !plain(d.VerificationURI) || d.UserCode == "" || d.VerificationURI == "" {
		return Session{}, fmt.Errorf("%w: %s gave no code, or none that can be shown", ErrAway, l.Provider.Issuer)
	}
	if d.Interval != 0 {
		d.Interval = min(max(d.Interval, shortestPoll), rarestAsk)
	}
	if err := show(Code{Page: d.VerificationURI, User: d.UserCode, Full: d.VerificationURIComplete}); err != nil {
		return Session{}, err
	}
	t, err := c.DeviceAccessToken(l.through(ctx), d, oauth2.VerifierOption(verifier))
	if err != nil {
		return Session{}, l.failed(err)
	}
	return l.session(ctx, t, "")
}

// Renew makes a session that goes on from one whose ID token ends.
func (l Login) Renew(ctx context.Context, s Session) (Session, error) {
	switch {
	case s.Issuer != l.Provider.Issuer || s.ClientID != l.Provider.ClientID:
		return Session{}, fmt.Errorf("%w: the session is of another provider or program", ErrLogin)
	case s.Refresh == "":
		return Session{}, fmt.Errorf("%w: log in again", ErrExpired)
	}
	c, _, err := l.config(ctx)
	if err != nil {
		return Session{}, err
	}
	t, err := c.TokenSource(l.through(ctx), &oauth2.Token{RefreshToken: s.Refresh, Expiry: time.Unix(1, 0)}).Token()
	if err != nil {
		return Session{}, l.failed(err)
	}
	next, err := l.session(ctx, t, "")
	if err == nil && next.Subject != s.Subject {
		return Session{}, fmt.Errorf("%w: the provider answered for somebody else", ErrLogin)
	}
	return next, err
}

// Revoke ends a session at the provider (RFC 7009). ok is false where the provider cannot: its tokens then live until they expire.
func (l Login) Revoke(ctx context.Context, s Session) (ok bool, err error) {
	if s.Refresh == "" {
		return false, nil
	}
	_, f, err := l.config(ctx)
	if err != nil || f.extra.Revocation == "" {
		return false, err
	}
	form := url.Values{"token": {s.Refresh}, "token_type_hint": {"refresh_token"}, "client_id": {l.Provider.ClientID}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.extra.Revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if l.Secret != "" {
		req.SetBasicAuth(url.QueryEscape(l.Provider.ClientID), url.QueryEscape(l.Secret))
	}
	res, err := l.verifier.client.Do(req)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("%w: it did not end the session: %s", ErrAway, res.Status)
	}
	return true, nil
}

// failed says what an exchange of OAuth 2.0 came to. The provider's answer may hold tokens: only its error code is told.
func (l Login) failed(err error) error {
	var said *oauth2.RetrieveError
	switch {
	case errors.As(err, &said):
		return fmt.Errorf("%w: %s says %q", ErrLogin, l.Provider.Issuer, fmt.Sprintf("%.64s", said.ErrorCode))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrLogin, err)
	}
	return fmt.Errorf("%w: %s: %.300s", ErrAway, l.Provider.Issuer, err.Error())
}

// nonceOf makes 128 bits or more of randomness that nobody guesses.
func nonceOf() string { return rand.Text() + rand.Text() }
