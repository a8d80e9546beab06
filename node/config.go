package node

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Config of a node. Its tags name the settings and describe them to people.
type Config struct {
	Dir        string        `yaml:"dir" help:"data directory"`                                                                 // no default
	Name       string        `yaml:"name" help:"name for people (default: the host's name)"`                                    // default: the host's name
	Zone       string        `yaml:"zone" help:"failure domain, for example a rack"`                                            // default "": none
	Listen     string        `yaml:"listen" help:"host:port of the internal mTLS listener, as other members dial it"`           // no default
	Gossip     string        `yaml:"gossip" help:"host:port of gossip, UDP and TCP"`                                            // no default
	Seeds      []string      `yaml:"seeds" help:"host:port of more coordinators' gossip; those known when joining are kept"`    // default none
	Devices    []string      `yaml:"device" help:"a device: host:SIZE for a share of this machine's memory, nvml for its GPUs"` // default: nvml
	Library    string        `yaml:"ort_lib" help:"path of libonnxruntime.so.1 (default: searched beside this program)"`        // no default
	Keep       time.Duration `yaml:"keep" help:"time that blobs are kept which no stage here needs (default 168h)"`             // default 7 days
	Executable string        `yaml:"-"`                                                                                         // this program, run again as "worker"; no default
	Software   string        `yaml:"-"`                                                                                         // version of this program; default "dev"
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
		host, port, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || host == "" || port == "0" || ip != nil && ip.IsUnspecified() {
			errs = append(errs, fmt.Errorf("%s address %q: want host:port that others can dial", what, addr))
		}
	}
	if c.Keep < 0 {
		errs = append(errs, fmt.Errorf("keep %s is negative", c.Keep))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("node config: %w", err)
	}
	return nil
}
