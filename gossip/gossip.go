// Package gossip finds members and notices silence: a hint that makes the leader ask, never a decision.
package gossip

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/skein-project/skein/cluster"
)

// Limits.
const (
	MaxMeta     = 300 // bytes of a member's static description; memberlist panics beyond 512
	RejoinEvery = 5 * time.Second
	leaveWithin = 2 * time.Second
	idDigits    = 32              // hexadecimal digits of a member's id
	streamWait  = 2 * time.Second // for a seed that does not answer, and for one exchange of everything
	maxMet      = 64              // coordinators that are remembered as seeds
)

// Meta is what a member tells of itself: static facts only. Load and memory travel in reports.
type Meta struct {
	Role     cluster.Role `json:"r"`
	Addr     string       `json:"a"` // host:port of the internal mTLS listener
	Name     string       `json:"n"`
	Zone     string       `json:"z,omitempty"`
	Software string       `json:"v,omitempty"`
	Devices  int          `json:"d,omitempty"`
	Model    string       `json:"m,omitempty"` // name of the first device
	Feature  int          `json:"f,omitempty"` // highest feature level that the program understands
}

// Config of a member.
type Config struct {
	ID        cluster.NodeID
	ClusterID string   // label: two clusters never merge
	Bind      string   // host:port, UDP and TCP
	Key       []byte   // 16, 24 or 32 bytes, AES-GCM
	Seeds     []string // host:port of members to join, again and again: a long partition never heals by itself
	Meta      Meta
	Known     func(cluster.NodeID) bool // who may be a member: the key authorises, it does not identify; nil = every id
	Transport memberlist.Transport      // nil = UDP and TCP on Bind
}

// Validate checks sizes. There is no gossip without a key.
func (c Config) Validate() error {
	if b, err := json.Marshal(c.Meta); err != nil || len(b) > MaxMeta {
		return fmt.Errorf("gossip: description of %d bytes, at most %d", len(b), MaxMeta)
	}
	if n := len(c.Key); n != 16 && n != 24 && n != 32 {
		return fmt.Errorf("gossip: key of %d bytes, want 16, 24 or 32", n)
	}
	if !isID(string(c.ID)) || c.ClusterID == "" {
		return fmt.Errorf("gossip: needs the member's id and the cluster's id")
	}
	return nil
}

func isID(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == idDigits
}

// Member is somebody who is believed to be there.
type Member struct {
	ID   cluster.NodeID
	Meta Meta
	Seed string // host:port of its gossip
}

// Members is the gossip of one process.
type Members struct {
	list *memberlist.Memberlist
	log  *slog.Logger
	stop context.CancelFunc
	done sync.WaitGroup

	seeds []string
	left  chan cluster.NodeID

	mu      sync.Mutex
	present map[cluster.NodeID]Member
	met     map[cluster.NodeID]string // gossip addresses of the coordinators that were ever members: seeds too
}

// Start joins the gossip and keeps joining its seeds until Leave.
func Start(cfg Config, logger *slog.Logger) (*Members, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(cfg.Bind)
	if err != nil {
		return nil, fmt.Errorf("gossip: bind address %q: %w", cfg.Bind, err)
	}
	m := &Members{log: logger, seeds: cfg.Seeds, present: map[cluster.NodeID]Member{}, met: map[cluster.NodeID]string{}, left: make(chan cluster.NodeID, 64)}
	meta, err := json.Marshal(cfg.Meta)
	if err != nil {
		return nil, err
	}
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.SecretKey = string(cfg.ID), cfg.ClusterID, cfg.Key
	c.BindAddr = host
	if c.BindPort, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("gossip: bind address %q: %w", cfg.Bind, err)
	}
	c.AdvertisePort = c.BindPort
	c.EnableCompression = false // costs three times the CPU under churn
	c.DeadNodeReclaimTime = 30 * time.Second
	c.TCPTimeout = streamWait
	c.Delegate, c.Events, c.Alive = delegate{meta}, events{m}, alive{cfg.ID, cfg.Known}
	c.Transport = cfg.Transport
	c.Logger = log.New(lineWriter{logger}, "", 0)
	if m.list, err = memberlist.Create(c); err != nil {
		return nil, fmt.Errorf("gossip: start on %s: %w", cfg.Bind, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.done.Go(func() { m.rejoin(ctx) })
	return m, nil
}

// rejoin contacts the seeds that are not members now, for as long as the process lives.
func (m *Members) rejoin(ctx context.Context) {
	tick := time.NewTicker(RejoinEvery)
	defer tick.Stop()
	for {
		for _, seed := range m.missing() {
			if ctx.Err() != nil {
				return
			}
			if _, err := m.list.Join([]string{seed}); err != nil {
				m.log.Debug("gossip: a seed does not answer", "seed", seed, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Members) missing() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	seeds := slices.AppendSeq(slices.Clone(m.seeds), maps.Values(m.met))
	slices.Sort(seeds)
	here := m.membersLocked()
	return slices.DeleteFunc(slices.Compact(seeds), func(seed string) bool {
		return slices.ContainsFunc(here, func(x Member) bool { return x.Seed == seed })
	})
}

// List is everybody who is believed to be there, by id.
func (m *Members) List() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.membersLocked()
}

func (m *Members) membersLocked() []Member {
	out := make([]Member, 0, len(m.present))
	for _, x := range m.present {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

// Silent gives the ids of members that fell silent or left, as they do. Ids are dropped when nobody reads.
func (m *Members) Silent() <-chan cluster.NodeID { return m.left }

// Leave says goodbye and stops.
func (m *Members) Leave() error {
	m.stop()
	if err := m.list.Leave(leaveWithin); err != nil {
		m.log.Debug("gossip: leave", "err", err)
	}
	m.done.Wait()
	return m.list.Shutdown()
}

// delegate carries the static description; nothing else is gossiped.
type delegate struct{ meta []byte }

func (d delegate) NodeMeta(int) []byte             { return d.meta }
func (d delegate) NotifyMsg([]byte)                {}
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d delegate) LocalState(bool) []byte          { return nil }
func (d delegate) MergeRemoteState([]byte, bool)   {}

func memberOf(n *memberlist.Node) (Member, error) {
	x := Member{ID: cluster.NodeID(n.Name), Seed: net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))}
	return x, json.Unmarshal(n.Meta, &x.Meta)
}

// alive refuses members whose name is no id, who are not known, or whose description cannot be read.
type alive struct {
	self  cluster.NodeID
	known func(cluster.NodeID) bool
}

func (a alive) NotifyAlive(n *memberlist.Node) error {
	if !isID(n.Name) || len(n.Meta) > MaxMeta {
		return fmt.Errorf("gossip: %.40q is no member", n.Name)
	}
	x, err := memberOf(n)
	if err == nil && x.ID != a.self && a.known != nil && !a.known(x.ID) {
		err = fmt.Errorf("gossip: %s is not enrolled", x.ID)
	}
	return err
}

type events struct{ m *Members }

func (e events) NotifyJoin(n *memberlist.Node) { e.NotifyUpdate(n) }

func (e events) NotifyUpdate(n *memberlist.Node) {
	if x, err := memberOf(n); err == nil {
		e.m.mu.Lock()
		e.m.present[x.ID] = x
		if _, again := e.m.met[x.ID]; x.Meta.Role == cluster.RoleCoordinator && (again || len(e.m.met) < maxMet) {
			e.m.met[x.ID] = x.Seed
		}
		e.m.mu.Unlock()
	}
}

func (e events) NotifyLeave(n *memberlist.Node) {
	id := cluster.NodeID(n.Name)
	e.m.mu.Lock()
	delete(e.m.present, id)
	e.m.mu.Unlock()
	select {
	case e.m.left <- id:
	default:
	}
}

// lineWriter passes memberlist's lines on at debug level: they are hints like the rest.
type lineWriter struct{ log *slog.Logger }

var _ io.Writer = lineWriter{}

func (w lineWriter) Write(b []byte) (int, error) {
	w.log.Debug("gossip: " + strings.TrimSpace(string(b)))
	return len(b), nil
}
