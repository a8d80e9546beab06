package raftstore

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// network carries streams in memory, so that servers can run in a synctest bubble. A link that is cut swallows what is
// sent on it, as a lost route does; a connection that lost bytes stays dead. A server that is killed resets its
// connections, as a dead process does.
type network struct {
	mu        sync.Mutex
	listeners map[string]*endpoint
	conns     map[*wire]bool
	cut       map[[2]string]bool // directed
}

func newNetwork() *network {
	return &network{listeners: map[string]*endpoint{}, conns: map[*wire]bool{}, cut: map[[2]string]bool{}}
}

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

// endpoint is the StreamLayer of one server.
type endpoint struct {
	net      *network
	addr     string
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (n *network) listen(addr string) *endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := &endpoint{net: n, addr: addr, incoming: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[addr] = e
	return e
}

func (e *endpoint) Addr() net.Addr { return memAddr(e.addr) }

func (e *endpoint) Accept() (net.Conn, error) {
	select {
	case c := <-e.incoming:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

func (e *endpoint) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

var errNoRoute = errors.New("no route")

func (e *endpoint) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	e.net.mu.Lock()
	target := e.net.listeners[string(to)]
	cut := e.net.cut[[2]string{e.addr, string(to)}] || e.net.cut[[2]string{string(to), e.addr}]
	e.net.mu.Unlock()
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	if cut {
		select {
		case <-limit.C:
		case <-e.closed:
		}
		return nil, errNoRoute
	}
	if target == nil {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	near := &wire{Conn: a, net: e.net, from: e.addr, to: string(to)}
	far := &wire{Conn: b, net: e.net, from: string(to), to: e.addr}
	near.peer, far.peer = far, near
	select {
	case target.incoming <- far:
	case <-target.closed:
		return nil, errors.New("connection refused")
	case <-e.closed:
		return nil, net.ErrClosed
	case <-limit.C:
		return nil, errors.New("dial timed out")
	}
	e.net.mu.Lock()
	e.net.conns[near], e.net.conns[far] = true, true
	e.net.mu.Unlock()
	return near, nil
}

// wire is one end of a connection.
type wire struct {
	net.Conn
	net      *network
	from, to string
	peer     *wire
	dead     bool // guarded by net.mu
}

func (w *wire) Write(p []byte) (int, error) {
	w.net.mu.Lock()
	if w.net.cut[[2]string{w.from, w.to}] {
		w.dead = true
	}
	dead := w.dead
	w.net.mu.Unlock()
	if dead {
		return len(p), nil
	}
	return w.Conn.Write(p)
}

func (w *wire) Close() error {
	w.net.mu.Lock()
	delete(w.net.conns, w)
	w.net.mu.Unlock()
	return w.Conn.Close()
}

// kill ends every connection of addr and refuses new ones until it listens again.
func (n *network) kill(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.listeners, addr)
	for c := range n.conns {
		if c.from == addr || c.to == addr {
			_ = c.Conn.Close()
			delete(n.conns, c)
		}
	}
}

// split cuts or mends the links between a and b, both ways.
func (n *network) split(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}], n.cut[[2]string{b, a}] = cut, cut
}

// split1 cuts or mends what a sends to b.
func (n *network) split1(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}] = cut
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}
