package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Protocols told apart on the one port (TLS ALPN).
const (
	alpnRaft = "skein-raft/1"
	alpnH2   = "h2"
	alpnH1   = "http/1.1"
)

// handshakeTimeout bounds a TLS handshake, so that half-open connections go away.
const handshakeTimeout = 5 * time.Second

// Credentials hold a member's papers and make TLS configurations of them. Papers can be replaced while connections are open.
type Credentials struct {
	mu     sync.RWMutex
	papers Papers
	cert   tls.Certificate
	ca     *x509.Certificate
	who    Identity

	gone  atomic.Pointer[func(cluster.NodeID) bool] // nil = nobody was removed
	conns sync.Mutex
	open  map[io.Closer]cluster.NodeID // connections to members, by who is at the other end
}

// ErrRemoved says that a certificate is a removed member's.
var ErrRemoved = errors.New("wire: the member was removed")

// Refuse makes certificates of removed members count for nothing from now on, on connections in both directions: gone is asked with every
// handshake. Connections that are open are ended by Expel.
func (c *Credentials) Refuse(gone func(cluster.NodeID) bool) { c.gone.Store(&gone) }

// RefuseAll is Refuse for a list, and ends the connections of who is on it: for a process that is told who was removed.
func (c *Credentials) RefuseAll(ids []cluster.NodeID) {
	gone := make(map[cluster.NodeID]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	c.Refuse(func(id cluster.NodeID) bool { return gone[id] })
	c.Expel()
}

func (c *Credentials) removed(id cluster.NodeID) bool {
	gone := c.gone.Load()
	return gone != nil && (*gone)(id)
}

// Expel ends the connections of removed members. It is to be called whenever one may have been removed.
func (c *Credentials) Expel() {
	c.conns.Lock()
	var out []io.Closer
	for conn, id := range c.open {
		if c.removed(id) {
			out = append(out, conn)
		}
	}
	c.conns.Unlock()
	for _, conn := range out {
		conn.Close()
	}
}

// met notes who is at the other end of a connection. ok is false if that one was removed since the handshake.
func (c *Credentials) met(conn io.Closer, id cluster.NodeID) (ok bool) {
	c.conns.Lock()
	defer c.conns.Unlock()
	if c.open == nil {
		c.open = map[io.Closer]cluster.NodeID{}
	}
	c.open[conn] = id
	return !c.removed(id)
}

func (c *Credentials) parted(conn io.Closer) {
	c.conns.Lock()
	defer c.conns.Unlock()
	delete(c.open, conn)
}

// NewCredentials checks papers and holds them.
func NewCredentials(p Papers) (*Credentials, error) {
	c := &Credentials{}
	return c, c.Replace(p)
}

// Replace takes newer papers of the same member.
func (c *Credentials) Replace(p Papers) error {
	cert, ca, who, err := p.parse()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert.Leaf != nil && c.who != who {
		return fmt.Errorf("%w: papers of %s, want %s", ErrIdentity, who.url(), c.who.url())
	}
	c.papers, c.cert, c.ca, c.who = p, cert, ca, who
	return nil
}

// Papers gives what is held, for a worker process or a file.
func (c *Credentials) Papers() Papers { c.mu.RLock(); defer c.mu.RUnlock(); return c.papers }

// Identity is who the member is.
func (c *Credentials) Identity() Identity { c.mu.RLock(); defer c.mu.RUnlock(); return c.who }

// CA is the authority that everybody's certificate must come from.
func (c *Credentials) CA() *x509.Certificate { c.mu.RLock(); defer c.mu.RUnlock(); return c.ca }

// RenewAt is when the certificate should be replaced: at half its life.
func (c *Credentials) RenewAt() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l := c.cert.Leaf
	return l.NotBefore.Add(l.NotAfter.Sub(l.NotBefore) / 2)
}

// Ends is when the certificate ends.
func (c *Credentials) Ends() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.cert.Leaf.NotAfter
}

func (c *Credentials) certificate() (*tls.Certificate, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	cert := c.cert
	return &cert, nil
}

// RenewGrace is how long after its end a certificate still opens one door, Renew: a machine that was off for a while comes back by itself.
const RenewGrace = 30 * 24 * time.Hour

// ErrUnreachable says that a member could not be connected to: nothing was sent to it.
var ErrUnreachable = errors.New("wire: unreachable")

// verify checks a peer's chain against the authority and its identity against this cluster and the roles. Names of hosts do not
// count: members move. A certificate may have ended up to grace ago.
func (c *Credentials) verify(cs tls.ConnectionState, roles []cluster.Role, grace time.Duration) error {
	if len(cs.PeerCertificates) == 0 {
		return fmt.Errorf("%w: no certificate", ErrIdentity)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.CA())
	leaf, at := cs.PeerCertificates[0], time.Now()
	if late := at.Sub(leaf.NotAfter); late > 0 && late <= grace {
		at = leaf.NotAfter
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	who, err := identityOf(leaf)
	if err != nil {
		return err
	}
	if who.Cluster != c.Identity().Cluster {
		return fmt.Errorf("%w: of another cluster", ErrIdentity)
	}
	if c.removed(who.ID) {
		return fmt.Errorf("%w: %s", ErrRemoved, who.ID)
	}
	if len(roles) > 0 && !slices.Contains(roles, who.Role) {
		return fmt.Errorf("%w: %s", ErrRole, who.Role)
	}
	return nil
}

// server makes the configuration of a listener. A certificate is asked for; joining is the only thing that works without one, and
// renewing the only thing that works with one that ended.
func (c *Credentials) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpnRaft, alpnH2, alpnH1}, ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate() },
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol == alpnRaft {
				return c.verify(cs, []cluster.Role{cluster.RoleCoordinator}, 0)
			}
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			return c.verify(cs, nil, RenewGrace)
		},
	}
}

// client makes the configuration of a dialer that talks only to members of the given roles.
func (c *Credentials) client(alpn []string, roles ...cluster.Role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: alpn,
		InsecureSkipVerify:   true, // host names mean nothing here; VerifyConnection checks chain, cluster and role instead
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate() },
		VerifyConnection:     func(cs tls.ConnectionState) error { return c.verify(cs, roles, 0) },
	}
}

// dialed is the TCP connection under one that was dialled.
type dialed struct {
	net.Conn
	creds *Credentials
}

// Close implements net.Conn.
func (d *dialed) Close() error {
	d.creds.parted(d)
	return d.Conn.Close()
}

func (c *Credentials) dial(ctx context.Context, addr string, cfg *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	tcp, err := (&net.Dialer{Timeout: handshakeTimeout, KeepAlive: 15 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: dial %s: %w", ErrUnreachable, addr, err)
	}
	d := &dialed{tcp, c}
	conn := tls.Client(d, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("%w: dial %s: %w", ErrUnreachable, addr, err)
	}
	cs := conn.ConnectionState()
	if who, err := peer(&cs); err == nil && !c.met(d, who.ID) {
		conn.Close()
		return nil, fmt.Errorf("%w: dial %s: %w", ErrUnreachable, addr, ErrRemoved)
	}
	return conn, nil
}
