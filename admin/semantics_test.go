package admin_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
)

// What a deployment is told to do shows in where its replicas are, and what cannot be is refused with the reason.
func TestServePinAvoidDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	m1, m2 := r.Machine("m1", gpu.GiB, 8*gpu.MiB), r.Machine("m2", gpu.GiB)
	c := r.api(r.Leader())
	v := r.publish("calc", 1)

	plan, err := c.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: "calc", Replicas: 2, ValidateOnly: true}))
	if err != nil || len(plan.Msg.Replicas) != 2 || len(plan.Msg.Refused) != 0 {
		t.Fatalf("plan %v, %v", plan, err)
	}
	if _, ok := r.Leader().Live().Now().Deployment(v); ok {
		t.Error("a plan changed something")
	}
	serve(t, c, "calc", 2)
	r.ready(v, 2)
	for _, m := range []*fleettest.Machine{m1, m2} {
		if n := len(m.Desired().Assignments); n != 1 {
			t.Errorf("%d assignments", n)
		}
	}

	for what, bad := range map[string]*adminv1.ServeRequest{
		"replicas": {Model: "calc", Replicas: 1<<31 - 1}, "slots": {Model: "calc", Slots: 1 << 30}, "context": {Model: "calc", Context: 65},
	} {
		if got, err := call(t, c.Deployments.Serve, bad); got != connect.CodeResourceExhausted {
			t.Errorf("too many %s: %v", what, err)
		}
	}
	want(t, connect.CodeInvalidArgument, c.Deployments.Serve, &adminv1.ServeRequest{Model: "calc", Replicas: -1})
	want(t, connect.CodeNotFound, c.Deployments.Serve, &adminv1.ServeRequest{Model: "nothing", Replicas: 1})

	got, err := call(t, c.Deployments.Pin, &adminv1.PinRequest{Model: "calc", Device: "m1-b"})
	if got != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "8.0 MiB") {
		t.Errorf("a pin that does not fit: %v", err)
	}
	want(t, connect.CodeNotFound, c.Deployments.Pin, &adminv1.PinRequest{Model: "calc", Device: "moon"})
	want(t, connect.CodeResourceExhausted, c.Deployments.Pin, &adminv1.PinRequest{Model: "calc", Device: "m1-a", Replica: -1})
	at := func() gpu.DeviceID { // where its one replica answers
		s := r.Leader().Live().Now()
		for p := range s.ReplicasOf(v) {
			if s.Routable(p) {
				return p.Stages[0].Device
			}
		}
		return ""
	}
	serve(t, c, "calc", 1)
	r.ready(v, 1)
	other := gpu.DeviceID("m1-a")
	if at() == other {
		other = "m2-a"
	}
	want(t, 0, c.Deployments.Pin, &adminv1.PinRequest{Model: "calc", Device: string(other)})
	fleettest.Within(t, "the pin is kept", func() bool { return at() == other })
	r.ready(v, 1)
	got, err = call(t, c.Deployments.Avoid, &adminv1.AvoidRequest{Model: "calc", Devices: []string{string(other)}})
	if got != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "pinned and avoided") {
		t.Errorf("avoiding what is pinned: %v", err)
	}
	want(t, 0, c.Deployments.Pin, &adminv1.PinRequest{Model: "calc"})
	want(t, 0, c.Deployments.Avoid, &adminv1.AvoidRequest{Model: "calc", Devices: []string{string(other)}})
	fleettest.Within(t, "the device is avoided", func() bool { return at() != other && at() != "" })
	r.ready(v, 1)
	want(t, 0, c.Deployments.Avoid, &adminv1.AvoidRequest{Model: "calc"})

	here := at()
	owner, _ := r.Leader().Live().Now().Owner(here)
	want(t, 0, c.Nodes.Drain, &adminv1.DrainRequest{Node: string(owner), Why: "repair"})
	fleettest.Within(t, "the node is empty", func() bool { return at() != here && at() != "" })
	r.ready(v, 1)
	want(t, connect.CodeFailedPrecondition, c.Nodes.RemoveNode, &adminv1.RemoveNodeRequest{Node: string(owner)}) // it reports
	want(t, 0, c.Nodes.Resume, &adminv1.ResumeRequest{Node: string(owner)})
	want(t, connect.CodeNotFound, c.Nodes.Drain, &adminv1.DrainRequest{Node: "nobody"})

	for _, m := range []*fleettest.Machine{m1, m2} {
		if m.ID == owner {
			m.Stop()
		}
	}
	fleettest.Within(t, "the node that stopped is lost", func() bool {
		n, _ := r.Leader().Live().Now().Node(owner)
		return n.Status == cluster.NodeLost
	})
	fleettest.Within(t, "it can be removed", func() bool {
		got, _ := call(t, c.Nodes.RemoveNode, &adminv1.RemoveNodeRequest{Node: string(owner)})
		return got == 0
	})

	list, err := c.Deployments.List(t.Context(), connect.NewRequest(&adminv1.ListRequest{}))
	if err != nil || len(list.Msg.Deployments) != 1 || list.Msg.Deployments[0].Ready != 1 {
		t.Errorf("list %v, %v", list, err)
	}
	want(t, connect.CodeFailedPrecondition, c.Models.DeleteVersion, &adminv1.DeleteVersionRequest{Version: "calc@1"})
	want(t, 0, c.Deployments.Unserve, &adminv1.UnserveRequest{Model: "calc"})
	r.ready(v, 0)
	want(t, connect.CodeNotFound, c.Deployments.Unserve, &adminv1.UnserveRequest{Model: "calc"})
}

// A replica that has no place, pin or not, is no reason to refuse the pin of another.
func TestPinBesideRefusal(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.Machine("m1", gpu.GiB)
	r.Machine("m2", gpu.GiB)
	c := r.api(r.Leader())
	v := r.publishOf("big", 1, 200*gpu.MiB)
	serve(t, c, "big", 3)
	r.ready(v, 2)
	list, err := c.Deployments.List(t.Context(), connect.NewRequest(&adminv1.ListRequest{}))
	if err != nil || len(list.Msg.Deployments) != 1 || len(list.Msg.Deployments[0].Refused) == 0 {
		t.Errorf("nothing says why a replica is missing: %v, %v", list, err)
	}
	for p := range r.Leader().Live().Now().ReplicasOf(v) {
		want(t, 0, c.Deployments.Pin, &adminv1.PinRequest{Model: "big", Replica: int32(p.Ordinal), Device: string(p.Stages[0].Device)})
		break
	}
}

// A name moves to a version that answers only, unless forced; it moves back; both in one entry.
func TestAlias(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.Machine("m1", gpu.GiB)
	c := r.api(r.Leader())
	one, two := r.publish("calc", 1), r.publish("calc", 2)
	serve(t, c, "calc@1", 1)
	r.ready(one, 1)
	target := func() cluster.VersionID {
		a, _ := r.Leader().Live().Now().Alias("calc")
		return a.Target
	}
	got, err := call(t, c.Models.SetAlias, &adminv1.SetAliasRequest{Name: "calc", Version: "calc@2"})
	if got != connect.CodeFailedPrecondition || target() != one {
		t.Errorf("a flip to a version without replica: %v, target %s", err, target())
	}
	serve(t, c, "calc@2", 1)
	r.ready(two, 1)
	want(t, 0, c.Models.SetAlias, &adminv1.SetAliasRequest{Name: "calc", Version: "calc@2"})
	if target() != two {
		t.Errorf("target %s", target())
	}
	want(t, 0, c.Models.RollbackAlias, &adminv1.RollbackAliasRequest{Name: "calc"})
	if target() != one {
		t.Errorf("target %s", target())
	}
	want(t, connect.CodeNotFound, c.Models.RollbackAlias, &adminv1.RollbackAliasRequest{Name: "calc"}) // no earlier one
	want(t, connect.CodeNotFound, c.Models.RollbackAlias, &adminv1.RollbackAliasRequest{Name: "nothing"})
	want(t, connect.CodeNotFound, c.Models.SetAlias, &adminv1.SetAliasRequest{Name: "calc", Version: "calc@9"})
	want(t, connect.CodeInvalidArgument, c.Models.SetAlias, &adminv1.SetAliasRequest{Name: "no name", Version: "calc@1"})
	r.publish("calc", 3)
	want(t, 0, c.Models.SetAlias, &adminv1.SetAliasRequest{Name: "calc", Version: "calc@3", Force: true})
	want(t, connect.CodeFailedPrecondition, c.Models.DeleteVersion, &adminv1.DeleteVersionRequest{Version: "calc@3"}) // the name points at it
	want(t, 0, c.Models.DeleteAlias, &adminv1.DeleteAliasRequest{Name: "calc"})
	want(t, 0, c.Models.DeleteVersion, &adminv1.DeleteVersionRequest{Version: "calc@3"})
	want(t, connect.CodeInvalidArgument, c.Models.DeleteVersion, &adminv1.DeleteVersionRequest{Version: "calc"})
	want(t, connect.CodeNotFound, c.Models.DeleteVersion, &adminv1.DeleteVersionRequest{Version: "calc@3"})
}

// Changes of one record at the same time all happen: whoever was overtaken reads again.
func TestConcurrentChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.publish("calc", 1)
	r.publish("calc", 2)
	clients := []func() error{}
	for i, c := range r.Running() {
		cl := r.api(c)
		for j := range 2 {
			req := &adminv1.SetAliasRequest{Name: "calc", Version: fmt.Sprintf("calc@%d", 1+(i+j)%2)}
			clients = append(clients, func() error { _, err := cl.Models.SetAlias(t.Context(), connect.NewRequest(req)); return err })
		}
	}
	for range 5 {
		var wg sync.WaitGroup
		for _, change := range clients {
			wg.Go(func() {
				if err := change(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// The last admin key stays: without one nobody could make another.
func TestKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	list := func() []*adminv1.KeyView {
		res, err := c.Cluster.ListKeys(t.Context(), connect.NewRequest(&adminv1.ListKeysRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Keys
	}
	first := list()[0].Id
	want(t, connect.CodeFailedPrecondition, c.Cluster.RevokeKey, &adminv1.RevokeKeyRequest{Id: first})
	want(t, connect.CodeNotFound, c.Cluster.RevokeKey, &adminv1.RevokeKeyRequest{Id: "sk-nothing"})
	second, other := r.key(c, &adminv1.CreateKeyRequest{Name: "second", Admin: true})
	want(t, connect.CodeResourceExhausted, c.Cluster.CreateKey, &adminv1.CreateKeyRequest{Name: strings.Repeat("n", 1000)})
	// Each of two admins takes the other's key at once: one of them is too late, whoever asked first.
	var wg sync.WaitGroup
	codes := make([]connect.Code, 2)
	for i, revoked := range []string{second, first} {
		as := []*client.Client{c, other}[i]
		wg.Go(func() { codes[i], _ = call(t, as.Cluster.RevokeKey, &adminv1.RevokeKeyRequest{Id: revoked}) })
	}
	wg.Wait()
	valid := 0
	for k := range r.Leader().Live().Now().Keys() {
		if !k.Revoked {
			valid++
		}
	}
	if valid != 1 || (codes[0] == 0) == (codes[1] == 0) {
		t.Errorf("%d keys are valid: %v", valid, codes)
	}
	gone := []*client.Client{other, c}[slices.Index(codes, 0)]
	if got, _ := call(t, gone.Cluster.ListKeys, &adminv1.ListKeysRequest{}); got != connect.CodeUnauthenticated {
		t.Errorf("with the revoked key: %v", got)
	}
}

// While there is no leader, calls wait or say so; they do not hang, and work again afterwards.
func TestElection(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	leader := r.Leader()
	var rest []*fleettest.Coordinator
	for _, c := range r.Running() {
		if c != leader {
			rest = append(rest, c)
		}
	}
	one, two := r.api(rest[0]), r.api(rest[1])
	r.Stop(leader)
	began := time.Now()
	for range 3 {
		got, err := call(t, one.Cluster.CreateKey, &adminv1.CreateKeyRequest{Name: "k"})
		if got != 0 && got != connect.CodeUnavailable {
			t.Errorf("during the election: %v", err)
		}
	}
	if d := time.Since(began); d > 45*time.Second {
		t.Errorf("the calls took %v", d)
	}
	for _, c := range []func() bool{
		func() bool {
			got, _ := call(t, one.Cluster.CreateKey, &adminv1.CreateKeyRequest{Name: "k"})
			return got == 0
		},
		func() bool { got, _ := call(t, two.Nodes.ListNodes, &adminv1.ListNodesRequest{}); return got == 0 },
	} {
		fleettest.Within(t, "it answers again", c)
	}
	status, err := two.Cluster.GetStatus(t.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	leads := slices.DeleteFunc(status.Msg.Members, func(m *adminv1.MemberView) bool { return !m.Leader })
	if len(status.Msg.Members) == 0 || len(leads) != 1 || leads[0].Addr != r.Leader().Config.Listen {
		t.Errorf("status %v", status.Msg)
	}
}

// Uploads are checked piece by piece, and their errors have codes of their own.
func TestUploads(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	want(t, connect.CodeInvalidArgument, c.Models.BeginBlob, &adminv1.BeginBlobRequest{Size: 1 << 50, Chunks: [][]byte{make([]byte, 32)}})
	want(t, connect.CodeInvalidArgument, c.Models.BeginBlob, &adminv1.BeginBlobRequest{Size: 10, Chunks: [][]byte{make([]byte, 31)}})
	want(t, connect.CodeInvalidArgument, c.Models.BeginBlob, &adminv1.BeginBlobRequest{Size: -1})
	chunks := make([][]byte, 1<<16)
	for i := range chunks {
		chunks[i] = make([]byte, 32)
	}
	want(t, connect.CodeResourceExhausted, c.Models.BeginBlob, &adminv1.BeginBlobRequest{Size: 1 << 38, Chunks: chunks}) // the disk is smaller
	res, err := c.Models.BeginBlob(t.Context(), connect.NewRequest(&adminv1.BeginBlobRequest{Size: 5, Chunks: [][]byte{make([]byte, 32)}}))
	if err != nil || len(res.Msg.Missing) != 1 {
		t.Fatal(res, err)
	}
	for i, bad := range []*adminv1.WriteChunkRequest{
		{Digest: res.Msg.Digest, Data: []byte("wrong")}, {Digest: res.Msg.Digest, Chunk: -1, Data: []byte("wrong")}, {Digest: res.Msg.Digest, Chunk: 1}, {Digest: "../../etc/passwd"},
	} {
		if got, err := call(t, c.Models.WriteChunk, bad); got != connect.CodeInvalidArgument {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
	want(t, connect.CodeNotFound, c.Models.WriteChunk, &adminv1.WriteChunkRequest{Digest: strings.Repeat("ab", 32)})
	publish := func(files map[string]string) connect.Code {
		s, err := c.Models.Publish(t.Context(), connect.NewRequest(&adminv1.PublishRequest{Model: "m", Files: files}))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for s.Receive() {
		}
		return connect.CodeOf(s.Err())
	}
	for what, p := range map[string]struct {
		files map[string]string
		want  connect.Code
	}{
		"no files":        {nil, connect.CodeInvalidArgument},
		"a path":          {map[string]string{"../config.json": res.Msg.Digest}, connect.CodeInvalidArgument},
		"no digest":       {map[string]string{"config.json": "x"}, connect.CodeInvalidArgument},
		"an unknown blob": {map[string]string{"config.json": strings.Repeat("ab", 32)}, connect.CodeNotFound},
		"half a blob":     {map[string]string{"config.json": res.Msg.Digest}, connect.CodeNotFound},
	} {
		if got := publish(p.files); got != p.want {
			t.Errorf("publish %s: %v, want %v", what, got, p.want)
		}
	}
}
