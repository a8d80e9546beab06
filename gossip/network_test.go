package gossip

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// network carries packets and streams between members in memory, so that they can live in a synctest bubble. Packets to a receiver that
// is full, cut off or gone are dropped, as UDP would.
type network struct {
	mu   sync.Mutex
	at   map[string]*port
	cuts map[[2]string]bool
}

func newNetwork() *network { return &network{at: map[string]*port{}, cuts: map[[2]string]bool{}} }

// port is one member's end: a memberlist.Transport.
type port struct {
	n       *network
	ip      net.IP
	packets chan *memberlist.Packet
	streams chan net.Conn

	mu   sync.Mutex
	dead bool
	open []net.Conn
}

const portNumber = 7946

func (n *network) port(i int) *port {
	p := &port{n: n, ip: net.IPv4(10, 0, byte(i>>8), byte(i)), packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 64)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[p.addr()] = p
	return p
}

func (p *port) addr() string { return fmt.Sprintf("%s:%d", p.ip, portNumber) }

// cut splits a from b, both ways, or joins them again.
func (n *network) cut(a, b *port, off bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{a.addr(), b.addr()}], n.cuts[[2]string{b.addr(), a.addr()}] = off, off
}

// path finds the other end, nil if nothing gets there.
func (n *network) path(from *port, to string) *port {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.at[to]
	if p == nil || n.cuts[[2]string{from.addr(), to}] || p.isDead() || from.isDead() {
		return nil
	}
	return p
}

func (p *port) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *port) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return p.ip, portNumber, nil }
func (p *port) PacketCh() <-chan *memberlist.Packet                 { return p.packets }
func (p *port) StreamCh() <-chan net.Conn                           { return p.streams }

// Shutdown cuts the power: nothing goes in or out any more.
func (p *port) Shutdown() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for _, c := range p.open {
		c.Close()
	}
	return nil
}

func (p *port) WriteTo(b []byte, to string) (time.Time, error) {
	now := time.Now()
	if other := p.n.path(p, to); other != nil {
		select {
		case other.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: &net.UDPAddr{IP: p.ip, Port: portNumber}, Timestamp: now}:
		default:
		}
	}
	return now, nil
}

func (p *port) DialTimeout(to string, _ time.Duration) (net.Conn, error) {
	other := p.n.path(p, to)
	if other == nil {
		return nil, errors.New("unreachable")
	}
	a, b := net.Pipe()
	for _, end := range []struct {
		p *port
		c net.Conn
	}{{p, a}, {other, b}} {
		end.p.mu.Lock()
		end.p.open = append(end.p.open, end.c)
		end.p.mu.Unlock()
	}
	select {
	case other.streams <- b:
		return a, nil
	default:
		return nil, errors.New("too many streams")
	}
}
