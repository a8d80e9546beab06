package node_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/gpu/host"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/node"
	"github.com/skein-project/skein/shard"
)

// publish puts examples/calc into the library and the state, without a second copy and a converter's process.
func publish(t *testing.T, f *fleettest.Fleet) cluster.Version {
	t.Helper()
	put := func(data []byte) blob.Digest {
		x := blob.Of(data)
		missing, err := f.Leader().BeginBlob(x)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range missing {
			if err := f.Leader().WriteChunk(x.Digest(), i, data[i*blob.ChunkSize:min(len(data), (i+1)*blob.ChunkSize)]); err != nil {
				t.Fatal(err)
			}
		}
		return x.Digest()
	}
	sources := map[string]convert.Source{}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join("../examples/calc", name))
		if err != nil {
			t.Fatal(err)
		}
		sources[name] = convert.Source{ReaderAt: bytes.NewReader(data), Size: int64(len(data)), Digest: put(data)}
	}
	made, err := convert.Folder(sources)
	if err != nil {
		t.Fatal(err)
	}
	m := made.Manifest
	v := cluster.Version{VersionID: cluster.VersionID{Model: "calc", Number: 1}, Manifest: put(model.Encode(m)), Profile: shard.ProfileOf(m), Holders: []cluster.NodeID{f.ID(f.Leader())}}
	f.Do(f.Leader(), cluster.PutVersion{Version: v},
		cluster.PutDeployment{Deployment: cluster.Deployment{Version: v.VersionID, Replicas: 1, Serving: shard.Serving{Slots: 1, Context: 32}}})
	return v
}

// start starts a node with devices.
func start(t *testing.T, f *fleettest.Fleet, name string, devices ...string) (s *node.Server, id cluster.NodeID) {
	t.Helper()
	return startWith(t, f, name, func(*node.Config) {}, devices...)
}

// startWith starts a node with other settings.
func startWith(t *testing.T, f *fleettest.Fleet, name string, set func(*node.Config), devices ...string) (s *node.Server, id cluster.NodeID) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	m := f.Enrol(cluster.RoleNode, name)
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	inventory, err := host.Devices(name, devices)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	at := f.Addr()
	cfg := node.Config{Dir: dir, Name: name, Listen: at + ":7000", Gossip: at + ":7946", Library: "none", Executable: exe, Software: "test"}
	set(&cfg)
	if s, err = node.Start(cfg, host.New(inventory), fleettest.Log()); err != nil {
		t.Fatal(err)
	}
	return s, m.ID
}

// A node reports, fetches what it should hold, loads it, and does so again after its worker was killed. It stops quickly.
func TestNode(t *testing.T) {
	f := fleettest.New(t, 1, "")
	s, id := start(t, f, "n1", "host:1GiB", "host:64MiB")
	stopped := false
	defer func() {
		if !stopped {
			s.Close()
		}
	}()
	leader := f.Leader()
	fleettest.Within(t, "the node is admitted", func() bool {
		n, ok := leader.Live().Now().Node(id)
		return ok && n.Status == cluster.NodeReady && len(n.Devices) == 2
	})
	v := publish(t, f)
	ready := func() (endpoint string) {
		fleettest.Within(t, "the replica is ready", func() bool {
			for r := range leader.Live().Now().ReplicasOf(v.VersionID) {
				if leader.Live().Now().Routable(r) {
					endpoint = r.Stages[0].Endpoint
				}
			}
			return endpoint != ""
		})
		return endpoint
	}
	old := ready()
	r, _, ok := leader.Report(id)
	if !ok || len(r.Held) != 1 || r.Held[0].Fetched != r.Held[0].Fetch || r.Held[0].Used != 1 {
		t.Errorf("report %+v", r)
	}
	var a, b, c int // the double of a worker has its process id there
	if _, err := fmt.Sscanf(old, "127.%d.%d.%d:1", &a, &b, &c); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(a<<16|b<<8|c, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	fleettest.Within(t, "another worker holds it", func() bool {
		r, _, _ := leader.Report(id)
		return slices.ContainsFunc(r.Held, func(h cluster.Held) bool { return h.Status == cluster.HeldReady && h.Endpoint != old })
	})
	began := time.Now()
	stopped = true
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second { // 0.3 s on a quiet machine
		t.Errorf("the node stops after %v", d)
	}
	fleettest.Within(t, "the node is lost", func() bool {
		n, _ := leader.Live().Now().Node(id)
		return n.Status == cluster.NodeLost
	})
}

// What cannot work is said before anything starts.
func TestConfig(t *testing.T) {
	good := node.Config{Dir: "d", Listen: "127.0.0.1:7000", Gossip: "127.0.0.1:7946", Library: "l", Executable: "e"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*node.Config){
		"no directory": func(c *node.Config) { c.Dir = "" },
		"no port":      func(c *node.Config) { c.Listen = "127.0.0.1" },
		"port 0":       func(c *node.Config) { c.Gossip = "127.0.0.1:0" },
		"any address":  func(c *node.Config) { c.Listen = "0.0.0.0:7000" },
		"any of six":   func(c *node.Config) { c.Listen = "[::]:7000" },
		"no host":      func(c *node.Config) { c.Gossip = ":7946" },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Blobs that no stage needs any more go after a while; those of a stage that is held stay.
func TestTidy(t *testing.T) {
	f := fleettest.New(t, 1, "")
	var dir string
	s, _ := startWith(t, f, "n1", func(c *node.Config) { c.Keep, dir = 2*time.Second, c.Dir }, "host:1GiB")
	defer s.Close()
	leader := f.Leader()
	v := publish(t, f)
	fleettest.Within(t, "the replica is ready", func() bool { return routable(leader, v) == 1 })
	blobs := func() int {
		list, err := os.ReadDir(filepath.Join(dir, "blobs", "blobs"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	began, want := time.Now(), blobs()
	fleettest.Within(t, "it is long unneeded, were it so", func() bool { return time.Since(began) > 4*time.Second })
	if got := blobs(); got != want || want != 5 { // the manifest, the weights, and three files that say what tokens are
		t.Errorf("%d blobs of a stage that is held, before %d", got, want)
	}
	d, _ := leader.Live().Now().Deployment(v.VersionID)
	f.Do(leader, cluster.DeleteDeployment{Version: v.VersionID, Was: d.Rev})
	fleettest.Within(t, "the blobs go", func() bool { return blobs() == 0 })
}

func routable(c *fleettest.Coordinator, v cluster.Version) (n int) {
	state := c.Live().Now()
	for r := range state.ReplicasOf(v.VersionID) {
		if state.Routable(r) {
			n++
		}
	}
	return n
}

// A node fetches from another one that has the bytes: the coordinator need not have them any more.
func TestPeers(t *testing.T) {
	f := fleettest.New(t, 1, "")
	first, _ := start(t, f, "n1", "host:64MiB")
	defer first.Close()
	leader := f.Leader()
	v := publish(t, f)
	fleettest.Within(t, "the first replica is ready", func() bool { return routable(leader, v) == 1 })
	weights := blob.Digest{}
	list, err := os.ReadDir(filepath.Join(leader.Config.Dir, "blobs", "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if stat, err := e.Info(); err == nil && stat.Size() > blob.ChunkSize {
			if weights, err = blob.ParseDigest(e.Name()); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(leader.Config.Dir, "blobs", "blobs", e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if weights.IsZero() {
		t.Fatal("no weights to take away")
	}
	second, _ := start(t, f, "n2", "host:64MiB")
	defer second.Close()
	d, _ := leader.Live().Now().Deployment(v.VersionID)
	d.Replicas = 2
	f.Do(leader, cluster.PutDeployment{Deployment: d, Was: d.Rev})
	fleettest.Within(t, "the second replica is ready", func() bool { return routable(leader, v) == 2 })
}
