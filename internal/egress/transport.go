package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// transport sends a request by http or https, and bounds the answer in time and size.
type transport struct {
	guard         guard
	proxied       bool
	plain, sealed *http.Transport
	firstByte     time.Duration
	stall         time.Duration
	body          int64
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	by, err := t.choose(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	clock := time.AfterFunc(t.firstByte, func() { cancel(ErrStalled) })
	res, err := by.RoundTrip(r.WithContext(ctx))
	if !clock.Stop() && err == nil {
		// The clock struck just as the answer came: reading it would fail.
		res.Body.Close()
		err = ErrStalled
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), ErrStalled) {
			err = ErrStalled
		}
		cancel(nil)
		return nil, err
	}
	res.Body = &watched{ReadCloser: Limit(res.Body, t.body, "body"), cause: func() error { return context.Cause(ctx) }, cancel: cancel, stall: t.stall, left: t.stall}
	return res, nil
}

// choose checks what the address of the connection will not tell.
func (t *transport) choose(r *http.Request) (*http.Transport, error) {
	plain := r.URL.Scheme == "http"
	if !plain && r.URL.Scheme != "https" {
		return nil, &Refused{What: r.URL.Scheme + " URL", Why: "only https, and http where the operator named the network"}
	}
	if r.URL.User != nil {
		return nil, &Refused{What: r.URL.Redacted(), Why: "the URL has a password in it"}
	}
	if err := t.guard.checkHost(r.URL.Hostname(), plain, t.proxied); err != nil {
		return nil, err
	}
	if plain && t.proxied {
		// The dialer sees the proxy's address only.
		if a, err := netip.ParseAddr(r.URL.Hostname()); err != nil || !t.guard.named(a) {
			return nil, &Refused{What: r.URL.Redacted(), Why: "plain http through a proxy"}
		}
	}
	if plain {
		return t.plain, nil
	}
	return t.sealed, nil
}

// CloseIdleConnections closes connections that nobody uses.
func (t *transport) CloseIdleConnections() {
	t.plain.CloseIdleConnections()
	t.sealed.CloseIdleConnections()
}

// watched is a body that must keep coming. The time that its reader takes for itself does not count.
type watched struct {
	io.ReadCloser
	cause  func() error            // that ended the exchange
	cancel context.CancelCauseFunc // ends it
	stall  time.Duration
	left   time.Duration // of waiting
	got    int           // bytes since left was whole
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	began := time.Now()
	clock := time.AfterFunc(w.left, func() { w.cancel(ErrStalled) })
	n, err := w.ReadCloser.Read(p)
	clock.Stop()
	if w.got += n; w.got >= StallBytes {
		w.left, w.got = w.stall, 0
	} else {
		w.left = max(w.left-time.Since(began), 0)
	}
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(w.cause(), ErrStalled) {
		err = ErrStalled
	}
	return n, err
}

// Close implements io.Closer.
func (w *watched) Close() error {
	defer w.cancel(nil)
	return w.ReadCloser.Close()
}

// Limit makes a body fail with TooLarge when it goes on beyond limit bytes. what names it to people.
func Limit(body io.ReadCloser, limit int64, what string) io.ReadCloser {
	return &limited{body, limit, &TooLarge{what, limit}}
}

type limited struct {
	io.ReadCloser
	left int64
	err  *TooLarge
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, l.err
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1] // one more byte tells whether it goes on
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, l.err
	}
	return n, err
}
