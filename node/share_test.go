package node_test

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/node"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/telemetry"
)

// figure reads a metric without labels of a part of the fleet.
func figure(t *testing.T, source telemetry.Source, name telemetry.Name) float64 {
	t.Helper()
	r := telemetry.NewRegistry("test")
	r.Add(source)
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	m := regexp.MustCompile("(?m)^" + string(name) + " (.*)$").FindStringSubmatch(w.Body.String())
	if m == nil {
		t.Fatalf("no %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// spread publishes examples/calc with its tensors far apart in one blob of many chunks, and returns the size of that.
func spread(t *testing.T, f *fleettest.Fleet, small cluster.Version, replicas int) (v cluster.Version, size int64) {
	t.Helper()
	leader := f.Leader()
	put := func(data []byte) blob.Digest {
		x := blob.Of(data)
		missing, err := leader.BeginBlob(x)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range missing {
			if err := leader.WriteChunk(x.Digest(), i, data[i*blob.ChunkSize:min(len(data), (i+1)*blob.ChunkSize)]); err != nil {
				t.Fatal(err)
			}
		}
		return x.Digest()
	}
	text, err := os.ReadFile(filepath.Join(leader.Config.Dir, "blobs", "blobs", small.Manifest.String()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	const apart = 1 << 20 // more than any tensor has
	data := make([]byte, len(m.Tensors)*apart)
	rand.NewChaCha8(sha256.Sum256(binary.BigEndian.AppendUint64(nil, 7))).Read(data)
	d := put(data)
	for i := range m.Tensors {
		if m.Tensors[i].Ref.Len > apart {
			t.Fatalf("%s has %d bytes", m.Tensors[i].Name, m.Tensors[i].Ref.Len)
		}
		m.Tensors[i].Ref = blob.Ref{Digest: d, Off: int64(i) * apart, Len: m.Tensors[i].Ref.Len}
	}
	m.Sort()
	v = cluster.Version{VersionID: cluster.VersionID{Model: "spread", Number: 1}, Manifest: put(model.Encode(m)), Profile: shard.ProfileOf(m), Holders: []cluster.NodeID{f.ID(leader)}}
	f.Do(leader, cluster.PutVersion{Version: v},
		cluster.PutDeployment{Deployment: cluster.Deployment{Version: v.VersionID, Replicas: replicas, Serving: shard.Serving{Slots: 1, Context: 32}}})
	return v, int64(len(data))
}

// Four nodes begin at once to fetch a model that nobody has yet: the coordinator gives each byte about once, at most a quarter more.
func TestFetchTogether(t *testing.T) {
	f := fleettest.New(t, 1, "")
	var nodes []*node.Server
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		s, _ := start(t, f, name, "host:64MiB")
		defer s.Close()
		nodes = append(nodes, s)
	}
	leader := f.Leader()
	fleettest.Within(t, "the nodes are there", func() bool {
		n := 0
		for x := range leader.Live().Now().Nodes() {
			if x.Status == cluster.NodeReady {
				n++
			}
		}
		return n == len(nodes)
	})
	small := publish(t, f)
	d, _ := leader.Live().Now().Deployment(small.VersionID)
	f.Do(leader, cluster.DeleteDeployment{Version: small.VersionID, Was: d.Rev})
	fleettest.Within(t, "nothing else is served", func() bool {
		for range leader.Live().Now().ReplicasOf(small.VersionID) {
			return false
		}
		return true
	})
	before := figure(t, leader.Collect, telemetry.BlobsServed)
	v, size := spread(t, f, small, len(nodes))
	fleettest.Within(t, "every replica is ready", func() bool { return routable(leader, v) == len(nodes) })
	share := (figure(t, leader.Collect, telemetry.BlobsServed) - before) / float64(size)
	var came, gave float64
	for _, s := range nodes {
		came += figure(t, s.Collect, telemetry.BlobsFetched)
		gave += figure(t, s.Collect, telemetry.BlobsServed)
	}
	t.Logf("the coordinator gave %.2f times %d MiB, the nodes %.2f times", share, size>>20, gave/float64(size))
	if share < 1 || share > 1.25 {
		t.Errorf("the coordinator gave the model %.2f times", share)
	}
	if times := came / float64(size); times < float64(len(nodes)) {
		t.Errorf("the nodes got the model %.2f times", times)
	}
}
