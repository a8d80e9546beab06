package node

import (
	"errors"
	"fmt"
	"net"
)

// Config of a node.
type Config struct {
	Dir        string   // data directory; no default
	Name       string   // for people; default: the host's name
	Zone       string   // failure domain; default "": none
	Listen     string   // host:port of the internal mTLS listener, as others dial it; no default
	Gossip     string   // host:port of gossip, UDP and TCP; no default
	Seeds      []string // host:port of coordinators' gossip; no default
	Devices    []string // "host:2GiB" for a share of this machine, "nvml" for its NVIDIA GPUs; default: nvml
	Library    string   // path of libonnxruntime; no default
	Executable string   // this program, run again as "worker"; no default
	Software   string   // version of this program; default "dev"
}

// Validate checks addresses and paths.
func (c Config) Validate() error {
	var errs []error
	for what, s := range map[string]string{"a data directory": c.Dir, "the path of libonnxruntime": c.Library, "the program's own path": c.Executable} {
		if s == "" {
			errs = append(errs, fmt.Errorf("%s is needed", what))
		}
	}
	for what, addr := range map[string]string{"listen": c.Listen, "gossip": c.Gossip} {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "0" {
			errs = append(errs, fmt.Errorf("%s address %q: want host:port that others can dial", what, addr))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("node config: %w", err)
	}
	return nil
}
