package people

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// What the loopback listener takes.
const (
	callbackPath   = "/callback"
	maxCallback    = 16 << 10 // bytes of a request's header, with the code
	callbackHeader = 5 * time.Second
)

// answer is what came back from the provider by way of the browser.
type answer struct {
	code string
	err  error
}

// callback receives one answer: the first that knows the state. Everything else that finds the port is refused and changes nothing.
type callback struct {
	host, issuer, state string
	once                sync.Once
	got                 chan answer // of one
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	q, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case r.Method != http.MethodGet || r.URL.Path != callbackPath || err != nil:
		http.Error(w, "nothing is here", http.StatusNotFound)
		return
	case r.Host != c.host: // a name that was made to lead here
		http.Error(w, "nothing is here under this name", http.StatusMisdirectedRequest)
		return
	case len(q["state"]) != 1 || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1:
		http.Error(w, "this is not the answer to the login that waits here", http.StatusBadRequest)
		return
	}
	first := false
	c.once.Do(func() {
		first = true
		c.got <- c.read(q)
	})
	if !first {
		http.Error(w, "this login was answered before", http.StatusGone)
		return
	}
	fmt.Fprintln(w, "Skein has the answer: the terminal says what came of it. This window can be closed.")
}

// read takes the answer of a query whose state is right (RFC 6749, section 4.1.2; RFC 9207).
func (c *callback) read(q url.Values) answer {
	switch {
	case q.Has("iss") && q.Get("iss") != c.issuer:
		return answer{err: fmt.Errorf("%w: another provider answered: %.255q", ErrLogin, q.Get("iss"))}
	case q.Has("error"):
		return answer{err: fmt.Errorf("%w: the provider says %.64q", ErrLogin, q.Get("error"))}
	case len(q["code"]) != 1 || q.Get("code") == "":
		return answer{err: fmt.Errorf("%w: the provider gave no code", ErrLogin)}
	}
	return answer{code: q.Get("code")}
}

// Browser logs in by the person's browser (RFC 8252 with PKCE, RFC 7636): open is told the page to show. The answer comes to a port of
// this machine that is open no longer than that.
func (l Login) Browser(ctx context.Context, open func(page string) error) (s Session, err error) {
	ctx, cancel := context.WithTimeout(ctx, LoginFor)
	defer cancel()
	c, _, err := l.config(ctx)
	if err != nil {
		return Session{}, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return Session{}, fmt.Errorf("listen for the browser's answer: %w", err)
	}
	in := &callback{host: ln.Addr().String(), issuer: l.Provider.Issuer, state: nonceOf(), got: make(chan answer, 1)}
	server := &http.Server{Handler: in, ReadHeaderTimeout: callbackHeader, MaxHeaderBytes: maxCallback, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	defer func() { // the browser gets its page before the port closes
		wait, stop := context.WithTimeout(context.WithoutCancel(ctx), callbackHeader)
		defer stop()
		if server.Shutdown(wait) != nil {
			err = errors.Join(err, server.Close())
		}
		<-ended
	}()

	c.RedirectURL = "http://" + in.host + callbackPath
	nonce, verifier := nonceOf(), oauth2.GenerateVerifier()
	if err := open(c.AuthCodeURL(in.state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))); err != nil {
		return Session{}, err
	}
	var a answer
	select {
	case <-ctx.Done():
		return Session{}, fmt.Errorf("%w: nobody answered: %w", ErrLogin, context.Cause(ctx))
	case err := <-ended:
		ended <- err
		return Session{}, fmt.Errorf("listen for the browser's answer: %w", err)
	case a = <-in.got:
	}
	if a.err != nil {
		return Session{}, a.err
	}
	t, err := c.Exchange(l.through(ctx), a.code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Session{}, l.failed(err)
	}
	return l.session(ctx, t, nonce)
}
