package gossip

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/skein-project/skein/cluster"
)

var clusterKey = bytes.Repeat([]byte{7}, 32)

func id(i int) cluster.NodeID { return cluster.NodeID(fmt.Sprintf("%032x", i)) }

// member starts the i-th member of a fleet whose first one is everybody's seed.
func member(t *testing.T, p *port, i int, seed *port, change func(*Config)) *Members {
	t.Helper()
	role := cluster.RoleNode
	if i == 0 {
		role = cluster.RoleCoordinator
	}
	c := Config{ID: id(i), ClusterID: "c1", Bind: p.addr(), Key: clusterKey, Transport: p, Meta: Meta{Role: role, Addr: fmt.Sprintf("10.1.0.%d:7000", i), Name: fmt.Sprint("m", i)}}
	if seed != nil {
		c.Seeds = []string{seed.addr()}
	}
	if change != nil {
		change(&c)
	}
	m, err := Start(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// stop ends members and lets memberlist's own timers run out, which the bubble waits for.
func stop(t *testing.T, ms ...*Members) {
	t.Helper()
	for _, m := range ms {
		if err := m.Leave(); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(2 * time.Minute)
}

// within waits until what holds, and fails after limit.
func within(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("%s: not after %v", what, limit)
		}
	}
}

func sees(m *Members, want ...int) bool {
	var ids []cluster.NodeID
	for _, x := range m.List() {
		ids = append(ids, x.ID)
	}
	var all []cluster.NodeID
	for _, i := range want {
		all = append(all, id(i))
	}
	return fmt.Sprint(ids) == fmt.Sprint(all)
}

func TestJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		seed := n.port(0)
		a := member(t, seed, 0, nil, nil)
		b := member(t, n.port(1), 1, seed, func(c *Config) { c.Meta.Zone, c.Meta.Devices, c.Meta.Model = "rack 4", 8, "H100" })
		c := member(t, n.port(2), 2, seed, nil)
		for _, m := range []*Members{a, b, c} {
			within(t, 5*time.Second, "three members", func() bool { return sees(m, 0, 1, 2) })
		}
		got := c.List()[1]
		if want := (Member{ID: id(1), Meta: Meta{Role: cluster.RoleNode, Addr: "10.1.0.1:7000", Name: "m1", Zone: "rack 4", Devices: 8, Model: "H100"}, Seed: "10.0.0.1:7946"}); got != want {
			t.Errorf("member %+v, want %+v", got, want)
		}
		if err := b.Leave(); err != nil {
			t.Error(err)
		}
		within(t, 3*time.Second, "a goodbye", func() bool { return sees(a, 0, 2) && sees(c, 0, 2) })
		if left := <-a.Silent(); left != id(1) {
			t.Errorf("%s left", left)
		}
		stop(t, a, c)
	})
}

func TestPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		seed, gone := n.port(0), n.port(1)
		a, b, c := member(t, seed, 0, nil, nil), member(t, gone, 1, seed, nil), member(t, n.port(2), 2, seed, nil)
		within(t, 5*time.Second, "three members", func() bool { return sees(a, 0, 1, 2) })
		gone.Shutdown()
		within(t, 20*time.Second, "silence is noticed", func() bool { return sees(a, 0, 2) && sees(c, 0, 2) })
		if left := <-a.Silent(); left != id(1) {
			t.Errorf("%s fell silent", left)
		}
		stop(t, a, b, c)
	})
}

// A member that was away for longer than the others remember the dead comes back because seeds are joined again and again. Without that it
// stays alone for good (memberlist#222): the plant shows that the test would see it.
func TestLongCutHeals(t *testing.T) {
	for _, plant := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			ports := []*port{n.port(0), n.port(1), n.port(2), n.port(3)}
			var ms []*Members
			for i, p := range ports {
				ms = append(ms, member(t, p, i, ports[0], nil))
			}
			for _, m := range ms {
				within(t, 5*time.Second, "four members", func() bool { return sees(m, 0, 1, 2, 3) })
			}
			for _, p := range ports[:3] {
				n.cut(ports[3], p, true)
			}
			time.Sleep(70 * time.Second)
			if !sees(ms[0], 0, 1, 2) || !sees(ms[3], 3) {
				t.Fatal("the cut does not cut")
			}
			if plant {
				for _, m := range ms {
					m.stop()
				}
			}
			for _, p := range ports[:3] {
				n.cut(ports[3], p, false)
			}
			time.Sleep(15 * time.Second)
			for i, m := range ms {
				if whole := sees(m, 0, 1, 2, 3); whole == plant {
					t.Errorf("member %d, 15 s after the cut: whole %v, joined again and again: %v", i, whole, !plant)
				}
			}
			stop(t, ms...)
		})
	}
}

// The seed that a member was given may be gone for good: every coordinator that it met is one from then on.
func TestCoordinatorsAreSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		first, second, third := n.port(0), n.port(1), n.port(2)
		a := member(t, first, 0, nil, nil)
		b := member(t, second, 1, first, func(c *Config) { c.Meta.Role = cluster.RoleCoordinator })
		c := member(t, third, 2, first, nil)
		within(t, 5*time.Second, "three members", func() bool { return sees(c, 0, 1, 2) && sees(b, 0, 1, 2) })
		first.Shutdown()
		n.cut(second, third, true)
		time.Sleep(70 * time.Second)
		n.cut(second, third, false)
		within(t, 20*time.Second, "the two that are left find each other", func() bool { return sees(b, 1, 2) && sees(c, 1, 2) })
		stop(t, a, b, c)
	})
}

// What has no right to be there never becomes a member, also with the right key. The strangers are bare memberlists: they keep to no rule
// of this package.
func TestStrangers(t *testing.T) {
	for name, change := range map[string]func(*memberlist.Config){
		"wrong key":   func(c *memberlist.Config) { c.SecretKey = bytes.Repeat([]byte{8}, 32) },
		"no key":      func(c *memberlist.Config) { c.SecretKey = nil },
		"wrong label": func(c *memberlist.Config) { c.Label = "c2" },
		"no label":    func(c *memberlist.Config) { c.Label = "" },
		"no id":       func(c *memberlist.Config) { c.Name = "stranger" },
		"no hex":      func(c *memberlist.Config) { c.Name = strings.Repeat("xy", 16) },
		"unknown id":  func(c *memberlist.Config) { c.Name = string(id(99)) },
		"no JSON":     func(c *memberlist.Config) { c.Delegate = delegate{[]byte("hello")} },
		"long": func(c *memberlist.Config) {
			c.Delegate = delegate{fmt.Appendf(nil, `{"n":%q}`, strings.Repeat("n", 400))}
		},
		"": func(*memberlist.Config) {}, // nothing is wrong with this one: the others would get in but for what is
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				seed := n.port(0)
				known := func(c *Config) {
					c.Known = func(x cluster.NodeID) bool { return x == id(0) || x == id(1) || x == id(2) }
				}
				a, b := member(t, seed, 0, nil, known), member(t, n.port(1), 1, seed, known)
				c := memberlist.DefaultLANConfig()
				c.Name, c.Label, c.SecretKey, c.Transport, c.LogOutput = string(id(2)), "c1", clusterKey, n.port(9), io.Discard
				c.Delegate = delegate{[]byte(`{"r":"node"}`)}
				change(c)
				x, err := memberlist.Create(c)
				if err != nil {
					t.Fatal(err)
				}
				x.Join([]string{seed.addr()})
				time.Sleep(30 * time.Second)
				in := sees(a, 0, 1, 2) && sees(b, 0, 1, 2)
				if out := sees(a, 0, 1) && sees(b, 0, 1); in == out || in != (name == "") {
					t.Errorf("members %v and %v", a.List(), b.List())
				}
				x.Shutdown()
				stop(t, a, b)
			})
		})
	}
}

func TestConfig(t *testing.T) {
	good := func() Config {
		return Config{ID: id(1), ClusterID: "c1", Bind: "127.0.0.1:7946", Key: clusterKey, Meta: Meta{Role: cluster.RoleNode, Addr: "127.0.0.1:7000", Name: "n"}}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"long description": func(c *Config) { c.Meta.Name = strings.Repeat("n", MaxMeta) },
		"no key":           func(c *Config) { c.Key = nil },
		"short key":        func(c *Config) { c.Key = c.Key[:15] },
		"no id":            func(c *Config) { c.ID = "" },
		"no cluster":       func(c *Config) { c.ClusterID = "" },
	} {
		c := good()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
		if m, err := Start(c, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s starts", name)
			m.Leave()
		}
	}
}
