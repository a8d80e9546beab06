package raftstore

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestForeignDirectories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, nil)
		f.start(0)
		f.propose(put("k", "1"))
		f.crash(0, 0, nil)
		s := f.servers[0]
		open := func(id string) error {
			c := f.config(0)
			c.ID, c.Bootstrap = id, nil
			c.StreamLayer = f.net.listen("elsewhere")
			store, err := Open(c, newRegisters(), quiet())
			if err == nil {
				t.Error("opened")
				_ = store.Close()
			}
			return err
		}
		var mismatch DirMismatch
		if err := open("another"); !errors.As(err, &mismatch) || mismatch.Field != "server id" || mismatch.Got != s.id || mismatch.Want != "another" {
			t.Errorf("another server: %v", err)
		}
		writeFile(t, s.fs, "data/"+versionFile, []byte("skein-raftstore 2\nid "+s.id+"\nmore\n"))
		if err := open(s.id); !errors.As(err, &mismatch) || mismatch.Field != "format version" || mismatch.Got != "2" || mismatch.Want != formatVersion {
			t.Errorf("another version: %v", err)
		}
		if err := s.fs.Remove("data/" + versionFile); err != nil {
			t.Fatal(err)
		}
		if err := open(s.id); !errors.As(err, &mismatch) || mismatch.Field != "format version" {
			t.Errorf("no version: %v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	good := func() Config {
		return Config{ID: "a", Dir: "d", StreamLayer: newNetwork().listen("x"), OnFatal: func(error) {}, Bootstrap: []Server{{"a", "x"}, {"b", "y"}}}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{"ID is empty", func(c *Config) { c.ID = "" }},
		{"ID is longer", func(c *Config) { c.ID = strings.Repeat("x", maxIDBytes+1) }},
		{"ID contains", func(c *Config) { c.ID = "a\nb" }},
		{"Dir is empty", func(c *Config) { c.Dir = "" }},
		{"StreamLayer", func(c *Config) { c.StreamLayer = nil }},
		{"OnFatal", func(c *Config) { c.OnFatal = nil }},
		{"HeartbeatTimeout", func(c *Config) { c.HeartbeatTimeout = 1 }},
		{"ElectionTimeout", func(c *Config) { c.ElectionTimeout = time.Second }},
		{"LeaseTimeout", func(c *Config) { c.LeaseTimeout = time.Minute }},
		{"CommitTimeout", func(c *Config) { c.CommitTimeout = 1 }},
		{"RPCTimeout", func(c *Config) { c.RPCTimeout = -1 }},
		{"StallLimit", func(c *Config) { c.StallLimit = 2 * time.Second }},
		{"SnapshotAge", func(c *Config) { c.SnapshotAge = -1 }},
		{"SnapshotBytes", func(c *Config) { c.SnapshotBytes = -1 }},
		{"ReserveBytes", func(c *Config) { c.ReserveBytes = -1 }},
		{"without id", func(c *Config) { c.Bootstrap[1].ID = "" }},
		{"id b twice", func(c *Config) { c.Bootstrap = append(c.Bootstrap, Server{"b", "z"}) }},
		{"address y twice", func(c *Config) { c.Bootstrap = append(c.Bootstrap, Server{"c", "y"}) }},
		{"does not name this server", func(c *Config) { c.Bootstrap = c.Bootstrap[1:] }},
	} {
		conf := good()
		c.change(&conf)
		if err := conf.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q: %v", c.want, err)
		}
		if _, err := Open(conf, newRegisters(), quiet()); err == nil {
			t.Errorf("want %q: opened", c.want)
		}
	}
}
