package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the client API's listener.
const (
	maxHeaderBytes = 64 << 10
	headerWithin   = 10 * time.Second
	idleFor        = 2 * time.Minute
	drainFor       = 15 * time.Second // open requests may end within this time when the program stops
	maxStreams     = 1000             // HTTP/2 streams of a connection
)

// TLS is the certificate of the client API.
type TLS struct {
	APICert string `yaml:"api_cert" help:"certificate file of the client API (PEM); needed beyond loopback"`
	APIKey  string `yaml:"api_key" help:"key file of the client API (PEM)"`
}

// Validate refuses a client API that others can reach without TLS: it carries keys.
func (t TLS) Validate(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return fmt.Errorf("api address %q: want host:port", addr)
	}
	if (t.APICert == "") != (t.APIKey == "") {
		return errors.New("--api-cert and --api-key go together")
	}
	if t.APICert == "" && !loopback(host) {
		return fmt.Errorf("the client API on %s can be reached by others and carries keys, so it needs TLS: name --api-cert and --api-key, or listen on 127.0.0.1", addr)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// API is the client API's listener.
type API struct {
	tcp    net.Listener
	secure *tls.Config // nil = plain HTTP on loopback
	log    *slog.Logger
}

// Listen opens the client API's port. Serve answers on it.
func (t TLS) Listen(addr string, log *slog.Logger) (*API, error) {
	if err := t.Validate(addr); err != nil {
		return nil, err
	}
	a := &API{log: log}
	if t.APICert != "" {
		cert, err := tls.LoadX509KeyPair(t.APICert, t.APIKey)
		if err != nil {
			return nil, fmt.Errorf("certificate of the client API: %w", err)
		}
		a.secure = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	var err error
	if a.tcp, err = net.Listen("tcp", addr); err != nil {
		return nil, fmt.Errorf("client API: %w", err)
	}
	return a, nil
}

// Addr is the address that is bound.
func (a *API) Addr() string { return a.tcp.Addr().String() }

// Close closes the port, for a program that never came to Serve.
func (a *API) Close() error { return a.tcp.Close() }

// Serve answers until ctx ends, and then lets open requests end. /healthz answers while the process lives, /readyz as ready says.
func (a *API) Serve(ctx context.Context, mux *http.ServeMux, ready func() error) error {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := ready()
		if ctx.Err() != nil {
			err = errors.New("stopping")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	s := &http.Server{Handler: stalled(stallFor, mux), ReadHeaderTimeout: headerWithin, IdleTimeout: idleFor, MaxHeaderBytes: maxHeaderBytes, TLSConfig: a.secure,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams}}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(a.secure != nil)
	s.Protocols.SetUnencryptedHTTP2(a.secure == nil) // gRPC clients on loopback
	ended := make(chan error, 1)
	go func() {
		if a.secure != nil {
			ended <- s.ServeTLS(a.tcp, "", "")
			return
		}
		ended <- s.Serve(a.tcp)
	}()
	a.log.Info("client API", "addr", a.Addr(), "tls", a.secure != nil)
	select {
	case err := <-ended:
		return fmt.Errorf("client API: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if err := s.Shutdown(drain); err != nil {
		a.log.Warn("requests were cut off", "err", err)
		return s.Close()
	}
	return nil
}
