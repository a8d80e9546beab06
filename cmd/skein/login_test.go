package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/people"
)

// newRenewer is a provider that gives a new ID token for the refresh token "good", once, and a new refresh token with it.
func newRenewer(t *testing.T) people.Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var url string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/keys":
			json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public()}}})
		case r.URL.Path != "/token":
			json.NewEncoder(w).Encode(map[string]string{"issuer": url, "jwks_uri": url + "/keys", "token_endpoint": url + "/token"})
		case r.FormValue("refresh_token") != "good":
			w.WriteHeader(http.StatusBadRequest)
			json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"})
		default:
			claims, err := json.Marshal(map[string]any{"iss": url, "sub": "u1", "aud": "skein", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
			if err != nil {
				t.Error(err)
			}
			jws, err := signer.Sign(claims)
			if err != nil {
				t.Error(err)
			}
			raw, err := jws.CompactSerialize()
			if err != nil {
				t.Error(err)
			}
			json.NewEncoder(w).Encode(map[string]string{"access_token": "a", "token_type": "Bearer", "id_token": raw, "refresh_token": "next"})
		}
	}))
	t.Cleanup(s.Close)
	url = s.URL
	return people.Provider{Issuer: url, ClientID: "skein"}
}

// Whose word a command speaks with: flags and environment first, then a login at the same cluster, then the profile.
func TestWhoCalls(t *testing.T) {
	provider := newRenewer(t)
	const here, there = "http://127.0.0.1:8080", "http://127.0.0.1:9090"
	session := func(url, refresh string, life time.Duration) client.Session {
		return client.Session{URL: url, Provider: provider, Tokens: people.Session{Issuer: provider.Issuer, ClientID: "skein", Subject: "u1", IDToken: "old", Refresh: refresh, Expiry: time.Now().Add(life)}}
	}
	for name, c := range map[string]struct {
		flags   client.Profile
		env     string
		session client.Session
		profile client.Profile
		url     string
		key     string // "*" = an ID token that was just given
		err     error
	}{
		"a login":                     {session: session(here, "", time.Hour), url: here, key: "old"},
		"a flag":                      {flags: client.Profile{URL: here, Key: "sk-f"}, session: session(here, "", time.Hour), url: here, key: "sk-f"},
		"the environment":             {env: "sk-e", session: session(here, "", time.Hour), profile: client.Profile{URL: here, Key: "sk-p"}, url: here, key: "sk-e"},
		"before the profile":          {session: session(here, "", time.Hour), profile: client.Profile{URL: here, Key: "sk-p"}, url: here, key: "old"},
		"the profile is elsewhere":    {session: session(here, "", time.Hour), profile: client.Profile{URL: there, Key: "sk-p"}, url: there, key: "sk-p"},
		"a token stays at its own":    {flags: client.Profile{URL: there}, session: session(here, "", time.Hour), err: client.ErrProfile},
		"logged out":                  {session: client.Session{URL: here, Provider: provider}, profile: client.Profile{URL: here, Key: "sk-p"}, url: here, key: "sk-p"},
		"renewed":                     {session: session(here, "good", 10*time.Second), url: here, key: "*"},
		"ended":                       {session: session(here, "bad", -time.Hour), err: people.ErrLogin},
		"cannot be renewed":           {session: session(here, "", -time.Hour), err: people.ErrExpired},
		"ended, but for another":      {flags: client.Profile{URL: there, Key: "sk-f"}, session: session(here, "bad", -time.Hour), url: there, key: "sk-f"},
		"ended, the profile is there": {session: session(here, "bad", -time.Hour), profile: client.Profile{URL: there, Key: "sk-p"}, url: there, key: "sk-p"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			t.Setenv("SKEIN_KEY", c.env)
			path, err := client.SessionPath()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.session.Save(path); err != nil {
				t.Fatal(err)
			}
			file, err := client.DefaultPath()
			if err != nil {
				t.Fatal(err)
			}
			if c.profile.URL != "" {
				if err := c.profile.Save(file); err != nil {
					t.Fatal(err)
				}
			}
			a := &app{profile: c.flags}
			got, err := a.client()
			if c.err != nil {
				if !errors.Is(err, c.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.key == "*" {
				kept, _, err := client.LoadSession(path)
				if err != nil || kept.Tokens.IDToken == "old" || kept.Tokens.Refresh != "next" {
					t.Errorf("kept: %+v %v", kept, err)
				}
				c.key = kept.Tokens.IDToken
			}
			if got.Profile.URL != c.url || got.Profile.Key != c.key {
				t.Errorf("%+v", got.Profile)
			}
		})
	}
}
