package devfleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// ports are the addresses of a fleet, on loopback. They are kept, because members know each other by them.
type ports struct {
	Coordinators []address `json:"coordinators"`
	Nodes        []address `json:"nodes"`
	Gateway      string    `json:"gateway"`
}

type address struct {
	Listen string `json:"listen"`
	Gossip string `json:"gossip"`
	API    string `json:"api,omitempty"`
}

const portsFile = "ports.json"

// loadPorts reads the addresses of the fleet in dir, or gives free ones to a new fleet.
func loadPorts(dir string, coordinators, nodes int) (ports, error) {
	var p ports
	text, err := os.ReadFile(filepath.Join(dir, portsFile))
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &p); err != nil {
			return p, fmt.Errorf("read %s: %w", filepath.Join(dir, portsFile), err)
		}
		if len(p.Coordinators) != coordinators || len(p.Nodes) != nodes {
			return p, fmt.Errorf("the fleet in %s has %d coordinators and %d nodes: ask for as many, or name another --dir", dir, len(p.Coordinators), len(p.Nodes))
		}
		return p, nil
	case !errors.Is(err, os.ErrNotExist):
		return p, err
	}
	var taken free
	defer taken.close()
	for range coordinators {
		p.Coordinators = append(p.Coordinators, address{Listen: taken.port(), Gossip: taken.port(), API: taken.port()})
	}
	for range nodes {
		p.Nodes = append(p.Nodes, address{Listen: taken.port(), Gossip: taken.port()})
	}
	p.Gateway = taken.port()
	if taken.err != nil {
		return p, fmt.Errorf("find free ports: %w", taken.err)
	}
	if text, err = json.MarshalIndent(p, "", " "); err != nil {
		return p, err
	}
	return p, os.WriteFile(filepath.Join(dir, portsFile), text, 0o600)
}

// free finds ports that nobody uses, for TCP and UDP. They are held until all are found, so that they differ.
type free struct {
	held []interface{ Close() error }
	err  error
}

// portTries bounds the search for a port that is free for both.
const portTries = 100

func (f *free) port() string {
	for range portTries {
		// Below the ports that the kernel gives to outgoing connections: one of those could take the address before its owner does.
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(12000))))
		if err != nil {
			continue
		}
		f.held = append(f.held, l)
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			f.held = append(f.held, u)
			return l.Addr().String()
		}
	}
	f.err = errors.New("no port is free for TCP and UDP")
	return ""
}

func (f *free) close() {
	for _, h := range f.held {
		h.Close()
	}
}
