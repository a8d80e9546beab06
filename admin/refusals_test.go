package admin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/admin"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/fleettest"
)

// serves serves the operator's API by one handler that the test can ask too.
func (r *rig) serves(c *fleettest.Coordinator, behind func(*http.Request) netip.Addr) (*admin.Handler, *client.Client) {
	r.t.Helper()
	h, mux := handler(c), http.NewServeMux()
	if behind != nil {
		h.Behind(behind)
	}
	h.Register(mux)
	s := httptest.NewServer(mux)
	r.t.Cleanup(s.Close)
	cl, err := client.New(client.Profile{URL: s.URL, Key: r.Key})
	if err != nil {
		r.t.Fatal(err)
	}
	return h, cl
}

// Calls that were refused are in the audit log, summed up: who, from where, what, why and how often. Nobody fills the log with them,
// and what would only have read is not in it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	h, c := r.serves(r.Leader(), nil)
	_, viewer := r.key(c, &adminv1.CreateKeyRequest{Name: "viewer", Roles: []string{"viewer"}})
	_, caller := r.key(c, &adminv1.CreateKeyRequest{Name: "caller"})
	h.NoteRefusals()
	before := r.Leader().Live().Now().Audit().Seq
	for range 5 {
		want(t, connect.CodePermissionDenied, viewer.Nodes.Drain, &adminv1.DrainRequest{Node: "n"})
	}
	want(t, connect.CodePermissionDenied, caller.Cluster.ListKeys, &adminv1.ListKeysRequest{})
	for i := range 200 { // nobody's key is in the log, nor are there as many rows
		as, err := client.New(client.Profile{URL: c.Profile.URL, Key: fmt.Sprintf("sk-%08d-secret-of-nobody", i)})
		if err != nil {
			t.Fatal(err)
		}
		want(t, connect.CodeUnauthenticated, as.Nodes.Drain, &adminv1.DrainRequest{Node: "n"})
	}
	// One address has so many rows, whatever it tries; the rest is counted.
	nobody, err := client.New(client.Profile{URL: c.Profile.URL, Key: "nothing"})
	if err != nil {
		t.Fatal(err)
	}
	want(t, connect.CodeUnauthenticated, nobody.Nodes.Resume, &adminv1.ResumeRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Nodes.Lift, &adminv1.LiftRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Nodes.RemoveNode, &adminv1.RemoveNodeRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Nodes.CreateJoinToken, &adminv1.CreateJoinTokenRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Cluster.RevokeKey, &adminv1.RevokeKeyRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Cluster.RotateKey, &adminv1.RotateKeyRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Cluster.CreateKey, &adminv1.CreateKeyRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Models.SetAlias, &adminv1.SetAliasRequest{})
	want(t, connect.CodeUnauthenticated, nobody.Models.DeleteAlias, &adminv1.DeleteAliasRequest{})
	h.NoteRefusals()
	h.NoteRefusals()
	if got := r.Leader().Live().Now().Audit().Seq; got != before+1 {
		t.Errorf("%d records, want 1", got-before)
	}
	log := records(t, c)
	for _, word := range []string{`"note_refusals"`, "lacks the permission nodes_write", "NodeService/Drain", `"calls":5`, `"calls":200`, `"more":2`, "127.0.0.1", string(cluster.KeyUnknown)} {
		if !strings.Contains(log, word) {
			t.Errorf("no %s in %s", word, log)
		}
	}
	for _, word := range []string{"keys_read", "secret-of-nobody"} {
		if strings.Contains(log, word) {
			t.Errorf("%s in %s", word, log)
		}
	}
}
