package people

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// shop is the token endpoint of a provider, and what it was asked for.
type shop struct {
	*foreign
	url string

	mu       sync.Mutex
	sold     map[string]url.Values // authorization requests by the code that answers them
	claims   claims                // beside the good ones
	revoked  []string
	polls    int
	interval int64
}

func newShop(t *testing.T) *shop {
	t.Helper()
	k := keysOnce()
	s := &shop{foreign: newForeign(public("r", "RS256", k.rsa)), sold: map[string]url.Values{}, interval: 1}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /realm/token", func(w http.ResponseWriter, r *http.Request) { s.token(t, w, r) })
	mux.HandleFunc("POST /realm/device", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sold["device"] = url.Values{"code_challenge": {r.FormValue("code_challenge")}}
		json.NewEncoder(w).Encode(map[string]any{"device_code": "device", "user_code": "AB-CD", "verification_uri": s.url + "/device", "interval": s.interval, "expires_in": 600})
	})
	mux.HandleFunc("POST /realm/revoke", func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.revoked = append(s.revoked, r.FormValue("token"))
	})
	mux.Handle("/", s.foreign)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL + "/realm"
	s.describe = map[string]any{"issuer": s.url, "jwks_uri": s.url + "/keys", "authorization_endpoint": s.url + "/auth", "token_endpoint": s.url + "/token",
		"device_authorization_endpoint": s.url + "/device", "revocation_endpoint": s.url + "/revoke", "scopes_supported": []string{"openid", "email", "offline_access"}}
	return s
}

// token sells an ID token for a code, once, to whoever knows the verifier.
func (s *shop) token(t *testing.T, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := r.FormValue("code") + r.FormValue("device_code")
	w.Header().Set("Content-Type", "application/json")
	refuse := func(why string) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error": why})
	}
	asked, ok := s.sold[code]
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	switch {
	case r.FormValue("grant_type") == "refresh_token":
		asked = url.Values{}
	case code == "device" && s.polls > 0:
		s.polls--
		refuse("authorization_pending")
		return
	case !ok || asked.Get("code_challenge") != b64(sum[:]) || asked.Get("redirect_uri") != r.FormValue("redirect_uri"):
		refuse("invalid_grant")
		return
	}
	delete(s.sold, code)
	c := good().with(claims{"iss": s.url})
	if asked.Get("nonce") != "" {
		c["nonce"] = asked.Get("nonce")
	}
	json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "refresh_token": "refresh",
		"id_token": signed(t, jose.RS256, "r", keysOnce().rsa, c.with(s.claims))})
}

// sell says yes to an authorization request and gives the address that the browser is sent back to.
func (s *shop) sell(t *testing.T, page string) (back url.URL, q url.Values) {
	t.Helper()
	u, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	asked := u.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	code := fmt.Sprintf("code%d", len(s.sold))
	s.sold[code] = asked
	to, err := url.Parse(asked.Get("redirect_uri"))
	if err != nil {
		t.Fatal(err)
	}
	return *to, url.Values{"code": {code}, "state": {asked.Get("state")}}
}

func (s *shop) login(t *testing.T) Login {
	t.Helper()
	l, err := NewLogin(Provider{Issuer: s.url, ClientID: "skein"}, "", &http.Client{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// visit is what a browser does with an address.
func visit(t *testing.T, to url.URL, q url.Values) int {
	t.Helper()
	to.RawQuery = q.Encode()
	res, err := http.Get(to.String())
	if err != nil {
		t.Error(err)
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestBrowser(t *testing.T) {
	s := newShop(t)
	var pages []url.Values
	for range 2 {
		got, err := s.login(t).Browser(t.Context(), func(page string) error {
			u, err := url.Parse(page)
			if err != nil || !strings.HasPrefix(page, s.url+"/auth?") {
				t.Errorf("%q %v", page, err)
			}
			pages = append(pages, u.Query())
			back, q := s.sell(t, page)
			if code := visit(t, back, q); code != http.StatusOK {
				t.Errorf("the browser was told %d", code)
			}
			return nil
		})
		if err != nil || got.Subject != "u1" || got.Refresh != "refresh" || got.Issuer != s.url || got.ClientID != "skein" || time.Until(got.Expiry) < 8*time.Minute {
			t.Fatalf("%+v %v", got, err)
		}
		who, err := NewVerifier(http.DefaultClient).Verify(t.Context(), []Provider{{Issuer: s.url, ClientID: "skein"}}, got.IDToken)
		if err != nil || who.Subject != "u1" {
			t.Errorf("%+v %v", who, err)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if a, b := pages[0].Get(name), pages[1].Get(name); a == b || len(a) < 43 {
			t.Errorf("%s of two logins: %q, %q", name, a, b)
		}
	}
	if pages[0].Get("code_challenge_method") != "S256" || pages[0].Get("scope") != "openid email offline_access" || pages[0].Get("response_type") != "code" {
		t.Errorf("%v", pages[0])
	}
}

// What others send to the port neither ends nor steals the login (attack case 38: no login that somebody else began, no code twice).
func TestOthersAtThePort(t *testing.T) {
	s := newShop(t)
	var back url.URL
	got, err := s.login(t).Browser(t.Context(), func(page string) error {
		to, q := s.sell(t, page)
		back = to
		for name, c := range map[string]struct {
			change func(*url.URL, url.Values)
			want   int
		}{
			"no state":          {func(_ *url.URL, q url.Values) { q.Del("state") }, http.StatusBadRequest},
			"another state":     {func(_ *url.URL, q url.Values) { q.Set("state", "x") }, http.StatusBadRequest},
			"two states":        {func(_ *url.URL, q url.Values) { q.Add("state", q.Get("state")) }, http.StatusBadRequest},
			"a lower state":     {func(_ *url.URL, q url.Values) { q.Set("state", strings.ToLower(q.Get("state"))) }, http.StatusBadRequest},
			"an error, guessed": {func(_ *url.URL, q url.Values) { q.Del("state"); q.Set("error", "access_denied") }, http.StatusBadRequest},
			"another path":      {func(u *url.URL, _ url.Values) { u.Path = "/" }, http.StatusNotFound},
			"another name":      {func(u *url.URL, _ url.Values) { u.Host = "localhost:" + u.Port() }, http.StatusMisdirectedRequest},
		} {
			u, other := to, url.Values{"code": q["code"], "state": q["state"]}
			c.change(&u, other)
			if code := visit(t, u, other); code != c.want {
				t.Errorf("%s: %d, want %d", name, code, c.want)
			}
		}
		res, err := http.PostForm(to.String(), q)
		if err != nil || res.StatusCode != http.StatusNotFound {
			t.Fatalf("POST: %v %v", res, err)
		}
		res.Body.Close()
		if code := visit(t, to, q); code != http.StatusOK {
			t.Errorf("the answer: %d", code)
		}
		for name, again := range map[string]url.Values{"the same code": q, "another code": {"code": {"stolen"}, "state": q["state"]}} {
			if code := visit(t, to, again); code != http.StatusGone {
				t.Errorf("%s later: %d", name, code)
			}
		}
		return nil
	})
	if err != nil || got.Subject != "u1" {
		t.Fatal(got, err)
	}
	if c, err := net.Dial("tcp", back.Host); err == nil {
		c.Close()
		t.Error("the port is open after the login")
	}
}

// Answers that know the state and are still not this login's.
func TestBadAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		claims claims
		change func(*shop, url.Values)
		want   error
	}{
		"denied":                  {nil, func(_ *shop, q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, ErrLogin},
		"no code":                 {nil, func(_ *shop, q url.Values) { q.Del("code") }, ErrLogin},
		"two codes":               {nil, func(_ *shop, q url.Values) { q.Add("code", "x") }, ErrLogin},
		"unknown code":            {nil, func(_ *shop, q url.Values) { q.Set("code", "x") }, ErrLogin},
		"another provider (mix)":  {nil, func(_ *shop, q url.Values) { q.Set("iss", "https://evil.example.com") }, ErrLogin},
		"another login's code":    {nil, func(s *shop, q url.Values) { s.sold[q.Get("code")].Set("code_challenge", "x") }, ErrLogin},
		"another login's token":   {claims{"nonce": "x"}, nil, ErrToken},
		"a token without nonce":   {claims{"nonce": nil}, nil, ErrToken},
		"another program's token": {claims{"aud": "other"}, nil, ErrToken},
		"another issuer's token":  {claims{"iss": "https://evil.example.com"}, nil, ErrToken},
		"an expired token":        {claims{"exp": 1}, nil, ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.claims = c.claims
			got, err := s.login(t).Browser(t.Context(), func(page string) error {
				back, q := s.sell(t, page)
				if c.change != nil {
					c.change(s, q)
				}
				if code := visit(t, back, q); code != http.StatusOK {
					t.Errorf("the browser was told %d", code)
				}
				return nil
			})
			if !errors.Is(err, c.want) || got != (Session{}) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	s := newShop(t)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.login(t).Browser(ctx, func(string) error { cancel(); return nil }); !errors.Is(err, ErrLogin) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := s.login(t).Browser(t.Context(), func(string) error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	synctest.Test(t, func(t *testing.T) { // a device that nobody lets in
		f := newForeign(public("r", "RS256", keysOnce().rsa))
		f.describe["device_authorization_endpoint"] = issuer + "/device"
		f.body = func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			switch r.URL.Path {
			case "/realm/device":
				fmt.Fprintf(w, `{"device_code":"d","user_code":"AB","verification_uri":"%s/x","interval":-5,"expires_in":100000}`, issuer)
			case "/realm/token":
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"slow_down"}`)
			default:
				return false
			}
			return true
		}
		start := time.Now()
		_, err := Login{Provider: provider, verifier: f.verifier()}.Device(t.Context(), func(Code) error { return nil })
		if !errors.Is(err, ErrLogin) || time.Since(start) != LoginFor {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// A provider whose token endpoint hangs is left after AskFor.
func TestSlowTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForeign(public("r", "RS256", keysOnce().rsa))
		release := make(chan struct{})
		f.body = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/realm/token" {
				<-release
			}
			return false
		}
		start := time.Now()
		_, err := Login{Provider: provider, verifier: f.verifier()}.Renew(t.Context(), Session{Issuer: issuer, ClientID: "skein", Refresh: "r"})
		if err == nil || time.Since(start) != AskFor {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		close(release)
	})
}

func TestDevice(t *testing.T) {
	s := newShop(t)
	s.polls = 1
	var shown Code
	got, err := s.login(t).Device(t.Context(), func(c Code) error { shown = c; return nil })
	if err != nil || got.Subject != "u1" || shown.User != "AB-CD" || shown.Page != s.url+"/device" {
		t.Errorf("%+v %+v %v", got, shown, err)
	}
	delete(s.describe, "device_authorization_endpoint")
	if _, err := s.login(t).Device(t.Context(), nil); !errors.Is(err, ErrLogin) {
		t.Errorf("a provider without devices: %v", err)
	}
}

func TestRenewAndRevoke(t *testing.T) {
	s := newShop(t)
	l := s.login(t)
	old := Session{Issuer: s.url, ClientID: "skein", Subject: "u1", Refresh: "refresh"}
	if got, err := l.Renew(t.Context(), old); err != nil || got.Subject != "u1" || got.IDToken == "" {
		t.Errorf("%+v %v", got, err)
	}
	for name, bad := range map[string]Session{
		"another provider": {Issuer: issuer, ClientID: "skein", Subject: "u1", Refresh: "refresh"},
		"another program":  {Issuer: s.url, ClientID: "other", Subject: "u1", Refresh: "refresh"},
		"somebody else":    {Issuer: s.url, ClientID: "skein", Subject: "u2", Refresh: "refresh"},
		"nothing to renew": {Issuer: s.url, ClientID: "skein", Subject: "u1"},
	} {
		if got, err := l.Renew(t.Context(), bad); !errors.Is(err, ErrLogin) && !errors.Is(err, ErrExpired) || got != (Session{}) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	if ok, err := l.Revoke(t.Context(), old); err != nil || !ok || len(s.revoked) != 1 || s.revoked[0] != "refresh" {
		t.Errorf("%v %v %q", ok, err, s.revoked)
	}
	delete(s.describe, "revocation_endpoint")
	if ok, err := s.login(t).Revoke(t.Context(), old); err != nil || ok {
		t.Errorf("a provider that cannot revoke: %v %v", ok, err)
	}
}
