package coordinator

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/notify"
)

// Config of a coordinator. Its tags name the settings and describe them to people.
type Config struct {
	Dir        string        `yaml:"dir" help:"data directory"`                                                                                                                                                              // no default
	Name       string        `yaml:"name" help:"name for people (default: the host's name)"`                                                                                                                                 // default: the host's name
	Listen     string        `yaml:"listen" help:"host:port of the internal mTLS listener, as other members dial it"`                                                                                                        // no default
	API        string        `yaml:"api" help:"host:port of the client API, told to others; empty = none"`                                                                                                                   // default none
	Gossip     string        `yaml:"gossip" help:"host:port of gossip, UDP and TCP"`                                                                                                                                         // no default
	Seeds      []string      `yaml:"seeds" help:"host:port of more coordinators' gossip; those known when joining are kept"`                                                                                                 // default none
	Executable string        `yaml:"-"`                                                                                                                                                                                      // this program, run again as "convert"; no default
	Software   string        `yaml:"-"`                                                                                                                                                                                      // version of this program; default "dev"
	Election   time.Duration `yaml:"election" help:"silence of the leader after which a follower stands for election (default 2s)"`                                                                                          // default 2 s
	Keep       time.Duration `yaml:"keep" help:"time that uploads nobody finished, and blobs that no version names, are kept (default 24h)"`                                                                                 // default 24 h
	Absent     time.Duration `yaml:"absent" help:"silence of a coordinator after which what it holds is copied to another (default 5m)"`                                                                                     // default 5 min
	Bucket     string        `yaml:"bucket" help:"s3://BUCKET/PREFIX that keeps a copy of every version, at hub_s3_url with hub_s3_keys (default none)"`                                                                     // default none
	Results    string        `yaml:"results" help:"where records of requests are kept: sqlite = a file in the data directory of this coordinator, or postgres://USER@HOST/DATABASE, which several may share (default none)"` // default none
	Answers    int64         `yaml:"kept_answers" help:"bytes of responses that this coordinator keeps on its disk to be asked for again; where there is no room the oldest go of whoever has most (default 1073741824)"`    // default 1 GiB
	Library    string        `yaml:"ort_lib" help:"path of libonnxruntime.so.1, with which versions are tried on publishing (default: the one installed beside this program)"`                                               // default: where ort.Find finds it; "" = versions are not tried
	Prove      int64         `yaml:"prove_bytes" help:"bytes of weights up to which a version is tried on publishing, -1 = none is (default 1073741824)"`                                                                    // default 1 GiB
	Hub        hub.Config    `yaml:",inline"`
	Backups    `yaml:",inline"`
	AlertAllow []string      `yaml:"alert_allow" help:"networks of the inside that receivers of alerts may be in, as 10.1.0.0/16 (default none)"`              // default none
	AlertKeys  string        `yaml:"alert_keys" help:"folder with a file per receiver of alerts that has a secret, named by its id (default none)"`            // default none
	AlertEvery time.Duration `yaml:"alert_every" help:"time between two evaluations of the alert rules (default 15s)"`                                         // default 15 s
	CallAllow  []string      `yaml:"callback_allow" help:"networks of the inside that callbacks of batches may go to, as 10.1.0.0/16 (default none)"`          // default none
	External   string        `yaml:"external_url" help:"URL of this cluster for people, in notifications (default none)"`                                      // default none
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
	errs = append(errs, dialable("listen", c.Listen), dialable("gossip", c.Gossip))
	if c.Executable == "" {
		errs = append(errs, errors.New("the program's own path is needed"))
	}
	if c.AlertEvery < 0 {
		errs = append(errs, fmt.Errorf("alert_every %s is negative", c.AlertEvery))
	}
	if c.Election < 0 {
		errs = append(errs, fmt.Errorf("election timeout %s is negative", c.Election))
	}
	if c.Answers < 0 {
		errs = append(errs, fmt.Errorf("kept_answers %d is negative", c.Answers))
	}
	if c.Keep < 0 || c.Absent < 0 || c.Hold < 0 || c.Idle < 0 {
		errs = append(errs, errors.New("keep, absent, hold and idle are times, not negative"))
	}
	if c.Bucket != "" {
		if _, err := c.bucket(); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, validResults(c.Results))
	for _, n := range c.AlertAllow {
		if _, err := netip.ParsePrefix(n); err != nil {
			errs = append(errs, fmt.Errorf("alert_allow: %q is no network: want an address and a length, as 10.1.0.0/16", n))
		}
	}
	for _, n := range c.CallAllow {
		if _, err := netip.ParsePrefix(n); err != nil {
			errs = append(errs, fmt.Errorf("callback_allow: %q is no network: want an address and a length, as 10.1.0.0/16", n))
		}
	}
	errs = append(errs, c.Hub.Validate(), c.Backups.Validate())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("coordinator config: %w", err)
	}
	return nil
}

// dialable refuses what others cannot dial.
func dialable(what, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host == "" || port == "0" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%s address %q: want host:port that others can dial", what, addr)
	}
	return nil
}

// maxAlertKey bounds the secret of a receiver in bytes.
const maxAlertKey = 4096

// sender tells receivers of alerts; they are outside, unless the configuration names where else they may be.
func (c Config) sender(log *slog.Logger) *notify.Sender {
	out := egress.Config{Redirects: -1}
	for _, n := range c.AlertAllow {
		if p, err := netip.ParsePrefix(n); err == nil { // Validate has looked at it
			out.Allow = append(out.Allow, p)
		}
	}
	refused := func(err error) bool { return errors.As(err, new(*egress.Refused)) }
	return notify.New(notify.Config{Client: egress.New(out), Secret: c.alertKey, Refused: refused, External: c.External, Log: log})
}

// alertKey reads the secret of a receiver, each time anew so that it can be changed; nil if it has none.
func (c Config) alertKey(receiver string) []byte {
	if c.AlertKeys == "" || receiver != filepath.Base(receiver) || strings.HasPrefix(receiver, ".") {
		return nil
	}
	f, err := os.Open(filepath.Join(c.AlertKeys, receiver))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAlertKey))
	if err != nil {
		return nil
	}
	return []byte(strings.TrimSpace(string(b)))
}
