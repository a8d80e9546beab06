// Package realop tests people against an OpenID provider that others wrote and that is certified: zitadel/oidc, with its example server.
// It is a module of its own, so that nobody else needs that server.
package realop

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/skein-project/skein/people"
)

const (
	client   = "skein"
	username = "test-user2"
	password = "verysecure"
	subject  = "id2"
	email    = "test-user2@zitadel.ch"
)

// native is a program on people's machines: no secret, claims in the ID token, also let in by code.
type native struct{ *storage.Client }

func (native) IDTokenUserinfoClaimsAssertion() bool { return true }

func (n native) GrantTypes() []oidc.GrantType {
	return append(slices.Clone(n.Client.GrantTypes()), oidc.GrantTypeDeviceCode)
}

// store is the example's storage with such programs.
type store struct{ *storage.Storage }

func (s store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if plain, ok := c.(*storage.Client); ok {
		return native{plain}, err
	}
	return c, err
}

// CompleteDeviceAuthorization is given a name where tokens want an id.
func (s store) CompleteDeviceAuthorization(ctx context.Context, code, _ string) error {
	return s.Storage.CompleteDeviceAuthorization(ctx, code, subject)
}

// newProvider starts the server.
func newProvider(t *testing.T) people.Provider {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	storage.RegisterClients(storage.NativeClient(client, "http://127.0.0.1/callback"), storage.NativeClient("other", "http://127.0.0.1/callback"))
	kept := store{storage.NewStorage(storage.NewUserStore(server.URL))}
	handler = exampleop.SetupServer(server.URL, kept, slog.New(slog.DiscardHandler), false, op.WithAllowInsecure())
	return people.Provider{Issuer: server.URL, ClientID: client}
}

func login(t *testing.T, p people.Provider) people.Login {
	t.Helper()
	l, err := people.NewLogin(p, "", &http.Client{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newBrowser keeps cookies, and stops at the address that stop says.
func newBrowser(t *testing.T, stop func(*url.URL) bool) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if stop != nil && stop(r.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// body ends an exchange.
func body(t *testing.T, res *http.Response, err error) (status int, text string) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.StatusCode, string(b)
}

// signIn shows the page and fills in its form; it gives what the browser saw last.
func signIn(t *testing.T, b *http.Client, page string) *http.Response {
	t.Helper()
	res, err := b.Get(page)
	if status, text := body(t, res, err); status != http.StatusOK || !strings.Contains(text, `name="password"`) {
		t.Fatalf("the login page: %d %s", status, text)
	}
	form := url.Values{"id": {res.Request.URL.Query().Get("authRequestID")}, "username": {username}, "password": {password}}
	to := *res.Request.URL
	to.RawQuery = ""
	res, err = b.PostForm(to.String(), form)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func verify(t *testing.T, p people.Provider, raw string) (people.Person, error) {
	t.Helper()
	return people.NewVerifier(&http.Client{}).Verify(t.Context(), []people.Provider{p}, raw)
}

func TestBrowser(t *testing.T) {
	p := newProvider(t)
	s, err := login(t, p).Browser(t.Context(), func(page string) error {
		status, text := body(t, signIn(t, newBrowser(t, nil), page), nil)
		if status != http.StatusOK || !strings.HasPrefix(text, "Skein") {
			t.Errorf("the browser saw %d %s", status, text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	who, err := verify(t, p, s.IDToken)
	if err != nil || who.Subject != subject || who.Email != email || !who.EmailVerified || who.Issuer != p.Issuer {
		t.Errorf("%+v %v", who, err)
	}
	if _, err := verify(t, people.Provider{Issuer: p.Issuer, ClientID: "other"}, s.IDToken); !errors.Is(err, people.ErrToken) {
		t.Errorf("for another program: %v", err)
	}
	if _, err := verify(t, p, s.IDToken[:len(s.IDToken)-8]+"AAAAAAAA"); !errors.Is(err, people.ErrToken) {
		t.Errorf("with another signature: %v", err)
	}
	other := newProvider(t)
	if _, err := verify(t, people.Provider{Issuer: other.Issuer, ClientID: client}, s.IDToken); !errors.Is(err, people.ErrToken) {
		t.Errorf("at another provider: %v", err)
	}

	next, err := login(t, p).Renew(t.Context(), s)
	if err != nil || next.Subject != subject {
		t.Fatalf("%+v %v", next, err)
	}
	if _, err := verify(t, p, next.IDToken); err != nil {
		t.Error(err)
	}
	if ok, err := login(t, p).Revoke(t.Context(), next); err != nil || !ok {
		t.Errorf("revoke: %v %v", ok, err)
	}
	if got, err := login(t, p).Renew(t.Context(), next); err == nil {
		t.Errorf("a session that was ended goes on: %+v", got)
	}
}

// A code that was overheard is worth nothing without the verifier, at another program, or after it was used (attack cases 9 and 38).
func TestStolenCode(t *testing.T) {
	p := newProvider(t)
	exchange := func(code, program, redirect, verifier string) int {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "client_id": {program}, "redirect_uri": {redirect}}
		if verifier != "" {
			form.Set("code_verifier", verifier)
		}
		res, err := http.PostForm(p.Issuer+"/oauth/token", form)
		status, _ := body(t, res, err)
		return status
	}
	var code, redirect string
	_, err := login(t, p).Browser(t.Context(), func(page string) error {
		res := signIn(t, newBrowser(t, func(u *url.URL) bool { return u.Path == "/callback" && u.Query().Has("state") }), page)
		body(t, res, nil)
		back, err := res.Location()
		if err != nil {
			t.Fatalf("%s: %v", res.Status, err)
		}
		code = back.Query().Get("code")
		redirect = "http://" + back.Host + back.Path
		for _, verifier := range []string{"", "guessed-guessed-guessed-guessed-guessed-guessed"} {
			for _, program := range []string{client, "other"} {
				if status := exchange(code, program, redirect, verifier); status < 400 {
					t.Errorf("the code is sold to %s with the verifier %q: %d", program, verifier, status)
				}
			}
		}
		res, err = http.Get(back.String())
		if status, _ := body(t, res, err); status != http.StatusOK {
			t.Errorf("the answer: %d", status)
		}
		res, err = http.Get(back.String())
		if status, _ := body(t, res, err); status != http.StatusGone {
			t.Errorf("the answer again: %d", status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if status := exchange(code, client, redirect, ""); status < 400 {
		t.Errorf("a used code: %d", status)
	}
}

func TestDevice(t *testing.T) {
	p := newProvider(t)
	for action, allowed := range map[string]bool{"allowed": true, "denied": false} {
		s, err := login(t, p).Device(t.Context(), func(c people.Code) error {
			b := newBrowser(t, nil)
			res, err := b.PostForm(p.Issuer+"/device/login", url.Values{"user_code": {c.User}, "username": {username}, "password": {password}})
			if status, text := body(t, res, err); status != http.StatusOK {
				t.Errorf("%d %s", status, text)
			}
			res, err = b.Get(p.Issuer + "/device/confirm?action=" + action)
			if status, text := body(t, res, err); status != http.StatusOK || !strings.Contains(text, action) {
				t.Errorf("%d %s", status, text)
			}
			return nil
		})
		if !allowed {
			if !errors.Is(err, people.ErrLogin) {
				t.Errorf("%s: %v", action, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if who, err := verify(t, p, s.IDToken); err != nil || who.Subject != subject {
			t.Errorf("%+v %v", who, err)
		}
	}
}
