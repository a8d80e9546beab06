package coordinator_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/wire"
)

// What files consist of is on two coordinators before the file exists, is copied again where one is lost, and goes when nothing names it.
func TestDepot(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, "")
	with(f, func(c *fleettest.Coordinator) { c.Config.Absent, c.Config.Keep = 2*time.Second, 4*time.Second })
	leader := f.Leader()
	fleettest.Within(t, "files are known to the cluster", func() bool {
		return !slices.ContainsFunc(f.Running(), func(c *fleettest.Coordinator) bool { return c.Live().Now().Cluster().Feature < 3 })
	})
	data := []byte(strings.Repeat("what is in a file ", 1000))
	d, err := leader.Deposit(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	id := cluster.DocumentID{Kind: cluster.File, ID: "default/file-1"}
	body, err := json.Marshal(job.File{ID: "file-1", Parts: []job.Part{{Digest: d, Bytes: int64(len(data))}}, Expires: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	put := cluster.PutDocument{Document: cluster.Document{DocumentID: id, Body: body}}
	other := f.Follower()
	res, err := other.Commit(t.Context(), &wire.CommitRequest{Blobs: []blob.Digest{d}, Put: []cluster.PutDocument{put}, Secret: "default/batch-1"})
	if err != nil || res.Rejected != nil || !strings.HasPrefix(res.Secret, "whsec_") {
		t.Fatalf("%+v, %v", res, err)
	}
	copies := func() (n int) {
		for _, c := range f.Running() {
			n += blobsIn(t, c)
		}
		return n
	}
	if n := copies(); n < 2 {
		t.Errorf("%d copies", n)
	}
	lost := f.Coordinators[0]
	for _, c := range f.Coordinators {
		if c != f.Leader() && blobsIn(t, c) == 1 {
			lost = c
		}
	}
	f.Stop(lost)
	if err := os.RemoveAll(filepath.Join(lost.Config.Dir, "blobs")); err != nil {
		t.Fatal(err)
	}
	fleettest.Within(t, "those that are left hold it", func() bool { return copies() == 2 })
	f.Start(lost)
	fleettest.Within(t, "it has caught up", func() bool { _, there := lost.Live().Now().Document(id); return there })
	if got, err := lost.ReadBlob(t.Context(), blob.Ref{Digest: d, Len: int64(len(data))}); err != nil || string(got) != string(data) {
		t.Errorf("read: %d bytes, %v", len(got), err)
	}

	now, _ := f.Leader().Live().Now().Document(id)
	now.Body, _ = json.Marshal(job.File{ID: "file-1", Parts: []job.Part{{Digest: d, Bytes: int64(len(data))}}, Expires: 1})
	f.Do(f.Leader(), cluster.PutDocument{Document: now, Was: now.Rev})
	fleettest.Within(t, "the file goes, and then what it consisted of", func() bool {
		_, there := f.Leader().Live().Now().Document(id)
		return !there && copies() == 0
	})
}

// A gateway changes files and batches, and nothing else.
func TestDepotRefuses(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	d := f.Dialer(f.Enrol(cluster.RoleGateway, "g"))
	addr := f.Leader().Config.Listen
	doc := func(k cluster.Kind, body string) cluster.PutDocument {
		return cluster.PutDocument{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: k, ID: "default/x"}, Body: []byte(body)}}
	}
	for name, r := range map[string]*wire.CommitRequest{
		"nothing":       {},
		"a rule":        {Put: []cluster.PutDocument{doc(cluster.AlertRule, `{}`)}},
		"roles":         {Put: []cluster.PutDocument{doc(cluster.File, `{}`), doc(cluster.RoleBinding, `{}`)}},
		"no file":       {Put: []cluster.PutDocument{doc(cluster.File, `{"parts": ["../../etc/passwd"]}`)}},
		"no batch":      {Put: []cluster.PutDocument{doc(cluster.Batch, `{"status": 7}`)}},
		"rule deleted":  {Delete: []cluster.DeleteDocument{{ID: cluster.DocumentID{Kind: cluster.AlertRule, ID: "x"}}}},
		"too many":      {Put: make([]cluster.PutDocument, cluster.MaxCommands+1)},
		"many blobs":    {Put: []cluster.PutDocument{doc(cluster.File, `{}`)}, Blobs: make([]blob.Digest, wire.MaxCommit+1)},
		"missing bytes": {Put: []cluster.PutDocument{doc(cluster.File, `{}`)}, Blobs: []blob.Digest{{1}}},
	} {
		_, err := wire.Call[wire.CommitRequest, wire.CommitResponse](t.Context(), d, cluster.RoleCoordinator, addr, wire.Commit, r)
		var refused *wire.Refused
		if want := connect.CodeInvalidArgument; !errors.As(err, &refused) || refused.Code != want && name != "missing bytes" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := wire.Call[wire.DepositRequest, wire.DepositResponse](t.Context(), d, cluster.RoleCoordinator, addr, wire.Deposit, &wire.DepositRequest{Data: make([]byte, blob.ChunkSize+1)}); err == nil {
		t.Error("a blob of more than a chunk is taken")
	}
}
