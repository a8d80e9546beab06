package admin_test

import (
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

// Files of a model are for those who may publish it, and pulls say with a code why they fail.
func TestLibraryOfATenant(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	r.publish("ours", 1)
	acme, globex := r.publisher(c, "acme"), r.publisher(c, "globex")
	want(t, 0, c.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: "ours", Owner: "acme"}, UpdateMask: mask("owner")})
	want(t, connect.CodeNotFound, globex.Library.ListFiles, &adminv1.ListFilesRequest{Model: "ours"})
	want(t, connect.CodeNotFound, c.Library.ListFiles, &adminv1.ListFilesRequest{Model: "nobody"})
	pull := func(c *client.Client, source, model string) connect.Code {
		_, err := c.Pull(t.Context(), source, model, func(*adminv1.PullResponse) {})
		return connect.CodeOf(err)
	}
	for name, got := range map[string][2]connect.Code{
		"no source":            {pull(acme, "calc", "x"), connect.CodeInvalidArgument},
		"no folder":            {pull(c, "folder:calc", "x"), connect.CodeInvalidArgument},
		"no name":              {pull(acme, "hf:org/calc", "no name"), connect.CodeInvalidArgument},
		"somebody else's name": {pull(globex, "hf:org/calc", "ours"), connect.CodePermissionDenied},
		"inside":               {pull(c, "oci:127.0.0.1:5000/a/b:c", "x"), connect.CodeFailedPrecondition},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %v, want %v", name, got[0], got[1])
		}
	}
}
