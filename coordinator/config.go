package coordinator

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/skein-project/skein/hub"
)

// Config of a coordinator. Its tags name the settings and describe them to people.
type Config struct {
	Dir        string        `yaml:"dir" help:"data directory"`                                                                                          // no default
	Name       string        `yaml:"name" help:"name for people (default: the host's name)"`                                                             // default: the host's name
	Listen     string        `yaml:"listen" help:"host:port of the internal mTLS listener, as other members dial it"`                                    // no default
	API        string        `yaml:"api" help:"host:port of the client API, told to others; empty = none"`                                               // default none
	Gossip     string        `yaml:"gossip" help:"host:port of gossip, UDP and TCP"`                                                                     // no default
	Seeds      []string      `yaml:"seeds" help:"host:port of more coordinators' gossip; those known when joining are kept"`                             // default none
	Executable string        `yaml:"-"`                                                                                                                  // this program, run again as "convert"; no default
	Software   string        `yaml:"-"`                                                                                                                  // version of this program; default "dev"
	Election   time.Duration `yaml:"election" help:"silence of the leader after which a follower stands for election (default 2s)"`                      // default 2 s
	Keep       time.Duration `yaml:"keep" help:"time that uploads nobody finished, and blobs that no version names, are kept (default 24h)"`             // default 24 h
	Absent     time.Duration `yaml:"absent" help:"silence of a coordinator after which what it holds is copied to another (default 5m)"`                 // default 5 min
	Bucket     string        `yaml:"bucket" help:"s3://BUCKET/PREFIX that keeps a copy of every version, at hub_s3_url with hub_s3_keys (default none)"` // default none
	Hub        hub.Config    `yaml:",inline"`
	Hold       time.Duration `yaml:"hold" help:"demand that is looked back at where replicas follow it, and that a step down waits; at least 6s (default 1m)"` // default 60 s
	Idle       time.Duration `yaml:"idle" help:"without a request, before a deployment with a minimum of 0 has no replica (default 5m)"`                       // default 5 min
}

// Times that hold unless a Config says otherwise.
const (
	defaultKeep   = 24 * time.Hour
	defaultAbsent = 5 * time.Minute
)

// Validate checks addresses.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("a data directory is needed"))
	}
	for what, addr := range map[string]string{"listen": c.Listen, "gossip": c.Gossip} {
		host, port, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || host == "" || port == "0" || ip != nil && ip.IsUnspecified() {
			errs = append(errs, fmt.Errorf("%s address %q: want host:port that others can dial", what, addr))
		}
	}
	if c.Executable == "" {
		errs = append(errs, errors.New("the program's own path is needed"))
	}
	if c.Election < 0 {
		errs = append(errs, fmt.Errorf("election timeout %s is negative", c.Election))
	}
	if c.Keep < 0 || c.Absent < 0 || c.Hold < 0 || c.Idle < 0 {
		errs = append(errs, errors.New("keep, absent, hold and idle are times, not negative"))
	}
	if c.Bucket != "" {
		if _, err := c.bucket(); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, c.Hub.Validate())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("coordinator config: %w", err)
	}
	return nil
}
