package wire

import (
	"container/list"
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

// Limits of strangers: connections of which nobody has proved yet that a member is at the other end.
const (
	maxStrangers = 256              // at once on one listener; the oldest makes room for the next
	strangerLife = 30 * time.Second // of a connection without a valid certificate: enough for one call of Join or Renew
)

// Listener is the one port of a member: it tells Raft connections from HTTP by ALPN, after mutual TLS.
type Listener struct {
	creds *Credentials
	tcp   net.Listener
	raft  chan net.Conn
	http  chan net.Conn
	done  chan struct{}
	once  sync.Once
	log   *slog.Logger

	mu        sync.Mutex
	strangers list.List // of *accepted, oldest first
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
	cfg := l.creds.server()
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
		c := l.welcome(conn)
		go l.sort(c, tls.Server(c, cfg))
	}
}

// accepted is a connection with the time at which it ends: soon for a stranger, with the certificate for a member.
type accepted struct {
	net.Conn
	listener *Listener
	end      *time.Timer
	place    *list.Element // among the strangers; nil for a member
	closed   bool
}

// welcome takes a connection among the strangers. A flood of them pushes out its own: a member proves itself within milliseconds.
func (l *Listener) welcome(conn net.Conn) *accepted {
	c := &accepted{Conn: conn, listener: l}
	l.mu.Lock()
	c.end = time.AfterFunc(handshakeTimeout, func() { c.Close() })
	c.place = l.strangers.PushBack(c)
	var oldest *accepted
	if l.strangers.Len() > maxStrangers {
		oldest = l.strangers.Front().Value.(*accepted)
	}
	l.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return c
}

// Close implements net.Conn.
func (c *accepted) Close() error {
	c.listener.mu.Lock()
	c.closed = true
	c.end.Stop()
	c.listener.creds.parted(c)
	c.leaveStrangers()
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

func (c *accepted) leaveStrangers() {
	if c.place != nil {
		c.listener.strangers.Remove(c.place)
		c.place = nil
	}
}

// introduce gives the connection its end: that of the certificate which was verified, if there is one. ok is false where it was a
// removed member's by the time.
func (c *accepted) introduce(cs tls.ConnectionState) (ok bool) {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	if c.closed {
		return false
	}
	life := strangerLife
	if len(cs.PeerCertificates) > 0 {
		if who, err := peer(&cs); err != nil || !c.listener.creds.met(c, who.ID) {
			return false
		}
		if end := cs.PeerCertificates[0].NotAfter; time.Now().Before(end) {
			life = time.Until(end)
			c.leaveStrangers()
		}
	}
	c.end.Reset(life)
	return true
}

func (l *Listener) sort(c *accepted, conn *tls.Conn) {
	if err := conn.Handshake(); err != nil { // it ends with c at the latest
		l.log.Debug("handshake refused", "peer", conn.RemoteAddr().String(), "err", err)
		conn.Close()
		return
	}
	cs := conn.ConnectionState()
	if !c.introduce(cs) {
		conn.Close()
		return
	}
	to := l.http
	if cs.NegotiatedProtocol == alpnRaft {
		to = l.raft
	}
	select {
	case to <- conn:
	case <-time.After(handshakeTimeout): // nobody serves this protocol here
		conn.Close()
	case <-l.done:
		conn.Close()
	}
}

// part is one protocol's share of a Listener, as a net.Listener.
type part struct {
	*Listener
	conns   chan net.Conn
	stopped <-chan struct{} // nil = it ends with the Listener only
}

func (p part) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.stopped:
	case <-p.done:
	}
	return nil, net.ErrClosed
}

// httpLayer is the share of HTTP: the port belongs to the Listener, and Raft may need it longer.
type httpLayer struct{ part }

func (httpLayer) Close() error { return nil }

// raftLayer is Raft's share; it dials too, and closes the port.
type raftLayer struct{ part }

func (r raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return r.creds.dial(ctx, string(addr), r.creds.client([]string{alpnRaft}, cluster.RoleCoordinator))
}

// Raft is the stream layer for Raft's transport: coordinators only, on both ends.
func (l *Listener) Raft() raft.StreamLayer { return raftLayer{part{l, l.raft, nil}} }

// Limits of the HTTP server.
const (
	headerTimeout  = 10 * time.Second
	maxHeaderBytes = 64 << 10
	idleTimeout    = 5 * time.Minute
	serverPing     = 5 * time.Second // a client that is gone without a word is noticed within twice this
)

// Serve answers HTTP until the listener or ctx ends. The port stays open.
func (l *Listener) Serve(ctx context.Context, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug), HTTP2: &http.HTTP2Config{SendPingTimeout: serverPing, PingTimeout: serverPing}}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	// The handshake is done already; the server finds the protocol in the connection's state.
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(httpLayer{part{l, l.http, ctx.Done()}}); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
