package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/admin"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/people"
	"github.com/skein-project/skein/shard"
)

// rig is a fleet with the operator's API on every coordinator.
type rig struct {
	*fleettest.Fleet
	t *testing.T
}

func newRig(t *testing.T, coordinators int) *rig {
	t.Helper()
	r := &rig{fleettest.New(t, coordinators, ""), t}
	for _, c := range r.Running() {
		c.Forwarded(handler(c).Forwarded())
	}
	return r
}

// handler answers keys and people.
func handler(c *fleettest.Coordinator) *admin.Handler {
	h := admin.New(c.Server, c.Monitor(), fleettest.Log())
	h.LetPeopleIn(people.NewVerifier(&http.Client{}))
	return h
}

// api serves the operator's API of a coordinator, and makes a client of it.
func (r *rig) api(c *fleettest.Coordinator) *client.Client {
	r.t.Helper()
	mux := http.NewServeMux()
	handler(c).Register(mux)
	s := httptest.NewServer(mux)
	r.t.Cleanup(s.Close)
	cl, err := client.New(client.Profile{URL: s.URL, Key: r.Key})
	if err != nil {
		r.t.Fatal(err)
	}
	return cl
}

// publish puts a version of a decoder of 4 blocks of 10 MiB into the state. Nobody fetches its blobs.
func (r *rig) publish(model string, number int) cluster.VersionID {
	r.t.Helper()
	return r.publishOf(model, number, 10*gpu.MiB)
}

func (r *rig) publishOf(model string, number int, block gpu.Bytes) cluster.VersionID {
	r.t.Helper()
	p := shard.Profile{Decoder: true, Hidden: 64, Vocab: 1000, Positions: 64, Heads: 4, Inner: 256, Expand: 100, BlockCost: 1000, TailCost: 500,
		Blocks: []gpu.Bytes{block, block, block, block}}
	id := cluster.VersionID{Model: model, Number: number}
	r.Do(r.Leader(), cluster.PutVersion{Version: cluster.Version{VersionID: id, Manifest: blob.Digest{byte(number), model[0]}, Profile: p, Holders: r.holders()}})
	return id
}

func (r *rig) holders() (ids []cluster.NodeID) {
	for _, c := range r.Coordinators {
		ids = append(ids, r.ID(c))
	}
	return ids[:min(2, len(ids))]
}

// ready waits until n replicas of a version answer.
func (r *rig) ready(v cluster.VersionID, n int) {
	r.t.Helper()
	fleettest.Within(r.t, v.String()+" is served", func() bool {
		got, s := 0, r.Running()[0].Live().Now()
		for p := range s.ReplicasOf(v) {
			if s.Routable(p) {
				got++
			}
		}
		return got == n
	})
}

func serve(t *testing.T, c *client.Client, model string, replicas int32) {
	t.Helper()
	if _, err := c.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: model, Replicas: replicas})); err != nil {
		t.Fatal(err)
	}
}

// call makes a call and gives its code, 0 for success.
func call[Req, Res any](t *testing.T, f func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), req *Req) (connect.Code, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
	defer cancel()
	_, err := f(ctx, connect.NewRequest(req))
	var ce *connect.Error
	if err != nil && !errors.As(err, &ce) {
		t.Fatal(err)
	}
	if ce == nil {
		return 0, nil
	}
	return ce.Code(), err
}

// want checks the code of a call.
func want[Req, Res any](t *testing.T, code connect.Code, f func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), req *Req) {
	t.Helper()
	if got, err := call(t, f, req); got != code {
		t.Errorf("%T %+v: %v, want code %v", req, req, err, code)
	}
}
