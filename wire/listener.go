package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skein-project/skein/cluster"
)

// maxHandshakes bounds the connections that are in their TLS handshake at once on one listener.
const maxHandshakes = 256

// Listener is the one port of a member: it tells Raft connections from HTTP by ALPN, after mutual TLS.
type Listener struct {
	creds *Credentials
	tcp   net.Listener
	raft  chan net.Conn
	http  chan net.Conn
	done  chan struct{}
	once  sync.Once
	log   *slog.Logger
}

// Listen opens the port. addr is host:port; port 0 takes a free one.
func Listen(addr string, creds *Credentials, log *slog.Logger) (*Listener, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	l := &Listener{creds: creds, tcp: tcp, raft: make(chan net.Conn), http: make(chan net.Conn), done: make(chan struct{}), log: log}
	go l.accept()
	return l, nil
}

// Addr is the address that is bound.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Close closes the port; connections that were handed out stay open. It may be called again.
func (l *Listener) Close() (err error) {
	l.once.Do(func() {
		close(l.done)
		err = l.tcp.Close()
	})
	return err
}

func (l *Listener) accept() {
	cfg, slots := l.creds.server(), make(chan struct{}, maxHandshakes)
	for {
		conn, err := l.tcp.Accept()
		if err != nil {
			select {
			case <-l.done:
				return
			case <-time.After(10 * time.Millisecond): // out of file descriptors, say: go on
				continue
			}
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			l.sort(tls.Server(conn, cfg))
		}()
	}
}

func (l *Listener) sort(conn *tls.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	err := conn.HandshakeContext(ctx)
	cancel()
	if err != nil {
		l.log.Debug("handshake refused", "peer", conn.RemoteAddr().String(), "err", err)
		conn.Close()
		return
	}
	to := l.http
	if conn.ConnectionState().NegotiatedProtocol == alpnRaft {
		to = l.raft
	}
	select {
	case to <- conn:
	case <-l.done:
		conn.Close()
	}
}

// part is one protocol's share of a Listener, as a net.Listener.
type part struct {
	*Listener
	conns chan net.Conn
}

func (p part) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// raftLayer is Raft's share; it dials too.
type raftLayer struct{ part }

func (r raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return r.creds.dial(ctx, string(addr), r.creds.client([]string{alpnRaft}, cluster.RoleCoordinator))
}

// Raft is the stream layer for Raft's transport: coordinators only, on both ends.
func (l *Listener) Raft() raft.StreamLayer { return raftLayer{part{l, l.raft}} }

// Limits of the HTTP server.
const (
	headerTimeout  = 10 * time.Second
	maxHeaderBytes = 64 << 10
)

// Serve answers HTTP until the listener or ctx ends.
func (l *Listener) Serve(ctx context.Context, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	// The handshake is done already; the server finds the protocol in the connection's state.
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(part{l, l.http}); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
