package people

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestGoodTokens(t *testing.T) {
	k := keysOnce()
	f := newForeign(public("r", "RS256", k.rsa), public("e", "", k.ec), public("d", "EdDSA", k.ed))
	v := f.verifier()
	for name, raw := range map[string]string{
		"RS256":         signed(t, jose.RS256, "r", k.rsa, good()),
		"ES256":         signed(t, jose.ES256, "e", k.ec, good()),
		"EdDSA":         signed(t, jose.EdDSA, "d", k.ed, good()),
		"no key id":     signed(t, jose.ES256, "", k.ec, good()),
		"two audiences": signed(t, jose.RS256, "r", k.rsa, good().with(claims{"aud": []string{"x", "skein"}, "azp": "skein"})),
		"clock behind":  signed(t, jose.RS256, "r", k.rsa, good().with(claims{"exp": time.Now().Add(-Skew / 2).Unix()})),
		"clock ahead":   signed(t, jose.RS256, "r", k.rsa, good().with(claims{"iat": time.Now().Add(Skew / 2).Unix()})),
	} {
		who, err := v.Verify(t.Context(), []Provider{provider}, raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if who.Issuer != issuer || who.Subject != "u1" || who.Email != "ann@example.com" || !who.EmailVerified || !slices.Equal(who.Groups, []string{"ops", "ml"}) {
			t.Errorf("%s: %+v", name, who)
		}
	}
	if n := f.asks(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	custom := Provider{Issuer: issuer, ClientID: "skein", Audience: "api", Groups: "roles"}
	who, err := v.Verify(t.Context(), []Provider{{Issuer: issuer, ClientID: "other"}, custom},
		signed(t, jose.RS256, "r", k.rsa, good().with(claims{"aud": "api", "roles": "admins", "email": nil})))
	if err != nil || !slices.Equal(who.Groups, []string{"admins"}) || who.EmailVerified || who.String() != "u1 at "+issuer {
		t.Errorf("%+v %v", who, err)
	}
}

// Tokens that somebody made up, changed, or was given for something else are refused (attack cases 1 and 9).
func TestHostileTokens(t *testing.T) {
	k := keysOnce()
	f := newForeign(public("r", "RS256", k.rsa), public("e", "ES256", k.ec), public("d", "EdDSA", k.ed))
	v := f.verifier()
	sign := func(c claims) string { return signed(t, jose.RS256, "r", k.rsa, good().with(c)) }
	right := sign(nil)
	part := strings.Split(right, ".")
	own := jose.JSONWebKey{Key: &k.rsa2.PublicKey, KeyID: "r"}
	now := time.Now()
	for name, raw := range map[string]string{
		"empty":                     "",
		"dots":                      "..",
		"a key":                     "sk-0123456789abcdef",
		"no JSON":                   "e30.e30.e30",
		"too long":                  sign(claims{"x": strings.Repeat("x", MaxToken)}),
		"none":                      handmade(map[string]any{"alg": "none"}, good(), func([]byte) []byte { return nil }),
		"None":                      handmade(map[string]any{"alg": "None", "kid": "r"}, good(), func([]byte) []byte { return nil }),
		"no algorithm":              handmade(map[string]any{"kid": "r"}, good(), rs256(t, k.rsa)),
		"HS256, public key as PEM":  handmade(map[string]any{"alg": "HS256", "kid": "r"}, good(), hs256(pemOf(t, k.rsa))),
		"HS256, modulus":            handmade(map[string]any{"alg": "HS256", "kid": "r"}, good(), hs256(k.rsa.N.Bytes())),
		"HS256, empty secret":       handmade(map[string]any{"alg": "HS256"}, good(), hs256(nil)),
		"RS256 said, HMAC done":     handmade(map[string]any{"alg": "RS256", "kid": "r"}, good(), hs256(pemOf(t, k.rsa))),
		"another algorithm of RSA":  signed(t, jose.PS256, "r", k.rsa, good()),
		"RS256 with a key of EC":    handmade(map[string]any{"alg": "RS256", "kid": "e"}, good(), rs256(t, k.rsa)),
		"its own key in the header": handmade(map[string]any{"alg": "RS256", "kid": "r", "jwk": own}, good(), rs256(t, k.rsa2)),
		"its own key, without id":   handmade(map[string]any{"alg": "RS256", "jwk": own}, good(), rs256(t, k.rsa2)),
		"its own keys' address":     handmade(map[string]any{"alg": "RS256", "kid": "r", "jku": "https://evil.example.com/keys"}, good(), rs256(t, k.rsa2)),
		"unknown critical header":   handmade(map[string]any{"alg": "RS256", "kid": "r", "crit": []string{"x"}, "x": 1}, good(), rs256(t, k.rsa)),
		"another's signature":       signed(t, jose.RS256, "r", k.rsa2, good()),
		"no signature":              part[0] + "." + part[1] + ".",
		"changed claims":            part[0] + "." + b64(good().with(claims{"sub": "admin"})) + "." + part[2],
		"four parts":                right + ".x",
		"JSON form":                 `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`,
		"another issuer":            sign(claims{"iss": "https://evil.example.com"}),
		"issuer with a slash":       sign(claims{"iss": issuer + "/"}),
		"no issuer":                 sign(claims{"iss": nil}),
		"another audience":          sign(claims{"aud": "other"}),
		"no audience":               sign(claims{"aud": nil}),
		"among audiences, no party": sign(claims{"aud": []string{"other", "skein"}}),
		"another party":             sign(claims{"azp": "other"}),
		"another party, two":        sign(claims{"aud": []string{"other", "skein"}, "azp": "other"}),
		"expired":                   sign(claims{"exp": now.Add(-2 * Skew).Unix()}),
		"no expiry":                 sign(claims{"exp": nil}),
		"of the future":             sign(claims{"iat": now.Add(time.Hour).Unix()}),
		"not yet":                   sign(claims{"nbf": now.Add(time.Hour).Unix()}),
		"no time of issue":          sign(claims{"iat": nil}),
		"no subject":                sign(claims{"sub": nil}),
		"subject of two lines":      sign(claims{"sub": "u1\nadmin"}),
		"long subject":              sign(claims{"sub": strings.Repeat("u", MaxName+1)}),
		"subject that is a number":  sign(claims{"sub": 7}),
		"address with a bell":       sign(claims{"email": "a\a@example.com"}),
		"groups that are numbers":   sign(claims{"groups": []int{1}}),
		"groups in groups":          sign(claims{"groups": map[string]any{"a": 1}}),
		"too many groups":           sign(claims{"groups": make([]string, MaxGroups+1)}),
	} {
		who, err := v.Verify(t.Context(), []Provider{provider}, raw)
		if !errors.Is(err, ErrToken) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
		if name == "expired" != errors.Is(err, ErrExpired) && name != "no expiry" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.Verify(t.Context(), []Provider{provider}, right); err != nil {
		t.Errorf("the token that the others were made of: %v", err)
	}
	for name, list := range map[string][]Provider{"none": nil, "another": {{Issuer: "https://other.example.com", ClientID: "skein"}},
		"another program": {{Issuer: issuer, ClientID: "other"}}} {
		if _, err := v.Verify(t.Context(), list, right); !errors.Is(err, ErrToken) {
			t.Errorf("providers: %s: %v", name, err)
		}
	}
}

// A nonce binds a token to the login that asked for it.
func TestNonce(t *testing.T) {
	k := keysOnce()
	v := newForeign(public("r", "RS256", k.rsa)).verifier()
	raw := signed(t, jose.RS256, "r", k.rsa, good().with(claims{"nonce": "n1"}))
	if _, err := v.check(t.Context(), provider, raw, "n1"); err != nil {
		t.Error(err)
	}
	for _, nonce := range []string{"n2", "n"} {
		if _, err := v.check(t.Context(), provider, raw, nonce); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %v", nonce, err)
		}
	}
	if _, err := v.check(t.Context(), provider, signed(t, jose.RS256, "r", k.rsa, good()), "n1"); !errors.Is(err, ErrToken) {
		t.Errorf("no nonce: %v", err)
	}
}

// A provider that changes its keys is asked again, but not more than once in a while, whatever tokens come.
func TestRotation(t *testing.T) {
	k := keysOnce()
	synctest.Test(t, func(t *testing.T) {
		f := newForeign(public("old", "RS256", k.rsa))
		v := f.verifier()
		verify := func(id string, key *rsa.PrivateKey) error {
			_, err := v.Verify(t.Context(), []Provider{provider}, signed(t, jose.RS256, id, key, good()))
			return err
		}
		if err := verify("old", k.rsa); err != nil {
			t.Fatal(err)
		}
		f.set(func() { f.keys = []any{public("new", "RS256", k.rsa2)} })
		if err := verify("new", k.rsa2); !errors.Is(err, ErrToken) {
			t.Errorf("asked again at once: %v", err)
		}
		time.Sleep(AskEvery)
		if err := verify("new", k.rsa2); err != nil {
			t.Errorf("after %s: %v", AskEvery, err)
		}
		if err := verify("old", k.rsa); !errors.Is(err, ErrToken) {
			t.Errorf("the old key: %v", err)
		}
		before := f.asks()
		for i := range 1000 { // somebody makes up key ids
			if err := verify(fmt.Sprint("x", i), k.rsa); !errors.Is(err, ErrToken) {
				t.Fatal(err)
			}
			time.Sleep(AskEvery / 100)
		}
		if n := f.asks() - before; n < 5 || n > 11 {
			t.Errorf("the provider was asked %d times in %s", n, 10*AskEvery)
		}
		// A key that is taken away is not believed for longer than KeysFor.
		time.Sleep(AskEvery)
		f.set(func() { f.keys = []any{public("third", "RS256", k.rsa)} })
		time.Sleep(KeysFor)
		_ = verify("new", k.rsa2)
		synctest.Wait()
		if err := verify("new", k.rsa2); !errors.Is(err, ErrToken) {
			t.Errorf("a key that was taken away: %v", err)
		}
	})
}

// A provider that is away or slow holds nobody up who has a token under a known key, up to StaleFor; others wait AskFor at most.
func TestAway(t *testing.T) {
	k := keysOnce()
	synctest.Test(t, func(t *testing.T) {
		f := newForeign(public("r", "RS256", k.rsa))
		v := f.verifier()
		verify := func() (time.Duration, error) {
			start := time.Now()
			_, err := v.Verify(t.Context(), []Provider{provider}, signed(t, jose.RS256, "r", k.rsa, good()))
			return time.Since(start), err
		}
		release := make(chan struct{})
		hang := func(http.ResponseWriter, *http.Request) bool { <-release; return true }
		f.set(func() { f.body = hang })
		if d, err := verify(); !errors.Is(err, ErrAway) || d != AskFor {
			t.Errorf("a provider that never answered: %v after %s", err, d)
		}
		if d, err := verify(); !errors.Is(err, ErrAway) || d != 0 {
			t.Errorf("once more: %v after %s", err, d)
		}
		close(release)
		f.set(func() { f.body = nil })
		time.Sleep(AskEvery)
		if _, err := verify(); err != nil {
			t.Fatal(err)
		}
		f.set(func() { f.status = http.StatusServiceUnavailable })
		for time.Since(v.source(provider).last.at) < StaleFor-time.Hour {
			time.Sleep(time.Hour)
			if d, err := verify(); err != nil || d != 0 {
				t.Fatalf("a known key while the provider is away: %v after %s", err, d)
			}
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		if _, err := verify(); !errors.Is(err, ErrAway) {
			t.Errorf("keys older than %s: %v", StaleFor, err)
		}
		time.Sleep(AskEvery)
		f.set(func() { f.status = 0 })
		if _, err := verify(); err != nil {
			t.Errorf("back: %v", err)
		}
	})
}

// Many who wait for the same provider ask it once, and one who gives up does not take the answer from the others.
func TestTogether(t *testing.T) {
	k := keysOnce()
	synctest.Test(t, func(t *testing.T) {
		f := newForeign(public("r", "RS256", k.rsa))
		v := f.verifier()
		slow := make(chan struct{})
		f.set(func() { f.body = func(http.ResponseWriter, *http.Request) bool { <-slow; return false } })
		raw := signed(t, jose.RS256, "r", k.rsa, good())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		errs := make([]error, 20)
		for i := range errs {
			wg.Go(func() {
				c := t.Context()
				if i == 0 {
					c = ctx
				}
				_, errs[i] = v.Verify(c, []Provider{provider}, raw)
			})
			synctest.Wait() // the first one asks, and gives up
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(slow)
		wg.Wait()
		if !errors.Is(errs[0], context.Canceled) {
			t.Errorf("who gave up: %v", errs[0])
		}
		for _, err := range errs[1:] {
			if err != nil {
				t.Error(err)
			}
		}
		if f.asks() != 1 {
			t.Errorf("asked %d times", f.asks())
		}
	})
}

// A provider that lies, or somebody between, gets nothing believed and little read.
func TestLies(t *testing.T) {
	k := keysOnce()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	redirect := func(to string) func(*foreign) {
		return func(f *foreign) {
			f.body = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Host == "login.example.com" && r.URL.Path == "/realm/keys" {
					http.Redirect(w, r, to, http.StatusFound)
					return true
				}
				return false
			}
		}
	}
	for name, lie := range map[string]func(*foreign){
		"another issuer":          func(f *foreign) { f.describe["issuer"] = "https://evil.example.com" },
		"keys without TLS":        func(f *foreign) { f.describe["jwks_uri"] = "http://login.example.com/realm/keys" },
		"keys in a file":          func(f *foreign) { f.describe["jwks_uri"] = "file:///etc/passwd" },
		"keys on this machine":    func(f *foreign) { f.describe["jwks_uri"] = "http://127.0.0.1/realm/keys" },
		"no keys' address":        func(f *foreign) { delete(f.describe, "jwks_uri") },
		"a page that is a script": func(f *foreign) { f.describe["authorization_endpoint"] = "javascript:alert(1)" },
		"tokens without TLS":      func(f *foreign) { f.describe["token_endpoint"] = "http://login.example.com/token" },
		"redirect inside":         redirect("http://169.254.169.254/realm/keys"),
		"redirect elsewhere":      redirect("https://other.example.com/realm/keys"),
		"not JSON": func(f *foreign) {
			f.body = func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "<html>"); return true }
		},
		"long": func(f *foreign) {
			f.body = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "application/json")
				w.Write(bytes.Repeat([]byte(" "), MaxAnswer)) // then a good answer
				return false
			}
		},
		"no keys":           func(f *foreign) { f.keys = nil },
		"a secret as a key": func(f *foreign) { f.keys = []any{map[string]any{"kty": "oct", "kid": "r", "k": b64([]byte("secret"))}} },
		"a private key":     func(f *foreign) { f.keys = []any{jose.JSONWebKey{Key: k.rsa, KeyID: "r"}} },
		"a weak key":        func(f *foreign) { f.keys = []any{public("r", "RS256", weak)} },
		"for encryption":    func(f *foreign) { f.keys = []any{jose.JSONWebKey{Key: k.rsa.Public(), KeyID: "r", Use: "enc"}} },
		"keys that are none": func(f *foreign) {
			f.keys = []any{7, "x", map[string]any{"kty": "RSA", "kid": "r", "n": "AA", "e": "AQAB"}}
		},
		"too many keys": func(f *foreign) {
			f.keys = append(slices.Repeat([]any{7}, MaxKeys), public("r", "RS256", k.rsa))
		},
	} {
		f := newForeign(public("r", "RS256", k.rsa))
		lie(f)
		_, err := f.verifier().Verify(t.Context(), []Provider{provider}, signed(t, jose.RS256, "r", k.rsa, good()))
		if !errors.Is(err, ErrAway) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	f := newForeign(7, map[string]any{"kty": "oct", "kid": "r", "k": b64([]byte("secret"))}, public("r", "RS256", k.rsa))
	v := f.verifier()
	if _, err := v.Verify(t.Context(), []Provider{provider}, signed(t, jose.RS256, "r", k.rsa, good())); err != nil {
		t.Errorf("a good key among others: %v", err)
	}
	if _, err := v.Verify(t.Context(), []Provider{provider}, handmade(map[string]any{"alg": "HS256", "kid": "r"}, good(), hs256([]byte("secret")))); !errors.Is(err, ErrToken) {
		t.Errorf("the secret in the key set: %v", err)
	}
}

func TestProviderValidate(t *testing.T) {
	for issuer, ok := range map[string]bool{
		"https://login.example.com": true, "https://login.example.com/a/b": true, "http://127.0.0.1:5556/dex": true, "http://[::1]:80": true, "http://localhost": true,
		"": false, "login.example.com": false, "http://login.example.com": false, "http://localhost.example.com": false, "https://u:p@login.example.com": false,
		"https://login.example.com?x": false, "https://login.example.com#x": false, "ftp://login.example.com": false, "https:///x": false,
		"https://" + strings.Repeat("x", 300): false, "http://10.0.0.1": false, "file:///etc": false,
	} {
		if err := (Provider{Issuer: issuer, ClientID: "skein"}).Validate(); (err == nil) != ok || err != nil && !errors.Is(err, ErrProvider) {
			t.Errorf("%q: %v", issuer, err)
		}
	}
	for _, p := range []Provider{{Issuer: issuer}, {Issuer: issuer, ClientID: "a\nb"}, {Issuer: issuer, ClientID: "a", Groups: strings.Repeat("x", 300)}} {
		if err := p.Validate(); !errors.Is(err, ErrProvider) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// Nothing that is presented as a token makes the verifier panic, or believe it.
func FuzzToken(f *testing.F) {
	k := keysOnce()
	other := newForeign(public("r", "RS256", k.rsa2))
	v := other.verifier()
	f.Add(signed(f, jose.RS256, "r", k.rsa, good()))
	f.Add(handmade(map[string]any{"alg": "none"}, good(), func([]byte) []byte { return nil }))
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, raw string) {
		if who, err := v.Verify(t.Context(), []Provider{provider}, raw); err == nil {
			t.Fatalf("%q is %s", raw, who)
		}
	})
}

// Nothing that is said to be a key set gives keys that a provider may not have.
func FuzzKeys(f *testing.F) {
	k := keysOnce()
	b, err := json.Marshal(map[string]any{"keys": []any{public("r", "RS256", k.rsa), public("e", "ES256", k.ec)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"},{"kty":"RSA","n":"","e":""},null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		other := newForeign()
		other.body = func(w http.ResponseWriter, _ *http.Request) bool { w.Write(body); return true }
		keys, err := fetchKeys(t.Context(), issuer+"/keys", bounded(&http.Client{Transport: other}))
		if err != nil {
			return
		}
		for _, key := range keys {
			if !key.IsPublic() || !slices.ContainsFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return signs(key.Key, a) }) {
				t.Fatalf("%q gives a key %T", body, key.Key)
			}
		}
	})
}
