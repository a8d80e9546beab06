package admin_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/library"
	"github.com/skein-project/skein/shard"
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
	// A name that has no version left is still whose it was.
	gone := r.publish("gone", 1)
	want(t, 0, c.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: "gone", Owner: "acme"}, UpdateMask: mask("owner")})
	want(t, 0, acme.Models.DeleteAlias, &adminv1.DeleteAliasRequest{Name: "gone"})
	want(t, 0, acme.Models.DeleteVersion, &adminv1.DeleteVersionRequest{Version: gone.String()})
	want(t, 0, acme.Models.SetAlias, &adminv1.SetAliasRequest{Name: "live", Version: "ours"})
	want(t, connect.CodeNotFound, globex.Models.SetAlias, &adminv1.SetAliasRequest{Name: "gone", Version: "ours"})
	want(t, 0, acme.Models.SetAlias, &adminv1.SetAliasRequest{Name: "gone", Version: "ours"})
	want(t, 0, acme.Models.DeleteAlias, &adminv1.DeleteAliasRequest{Name: "gone"})
	said := map[string]bool{}
	for _, name := range []string{"ours", "gone", "live"} {
		_, pulled := globex.Pull(t.Context(), "hf:org/calc", name, func(*adminv1.PullResponse) {})
		_, published := r.Leader().Publish(t.Context(), cluster.Asker{}, "globex", name, nil, false, func(string) {})
		for _, err := range []error{pulled, published} {
			_, words, _ := strings.Cut(err.Error(), "model "+name+": ")
			said[words] = true
		}
	}
	if len(said) != 1 || !said[cluster.NotYours] {
		t.Errorf("names that are not globex's: %v", said)
	}
	if _, err := r.Leader().Publish(t.Context(), cluster.Asker{}, "acme", "gone", nil, false, func(string) {}); err == nil || strings.Contains(err.Error(), cluster.NotYours) { // there is no converter in this fleet
		t.Errorf("its own name: %v", err)
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

// Who takes files of a version is in the audit log, once for many files, before the first byte is theirs.
func TestDownloadIsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	put := func(b []byte) blob.Digest {
		x := blob.Of(b)
		if _, err := r.Leader().BeginBlob(x); err != nil {
			t.Fatal(err)
		}
		if err := r.Leader().WriteChunk(x.Digest(), 0, b); err != nil {
			t.Fatal(err)
		}
		return x.Digest()
	}
	files := map[string]library.File{}
	for _, name := range []string{"a.txt", "b.txt"} {
		files[name] = library.File{Digest: put([]byte(name)), Size: int64(len(name))}
	}
	list, err := library.FolderOf("", files).Encode()
	if err != nil {
		t.Fatal(err)
	}
	v := cluster.Version{VersionID: cluster.VersionID{Model: "calc", Number: 1}, Manifest: blob.Digest{1}, Holders: r.holders(), Folder: put(list),
		Profile: shard.Profile{Positions: 64, Blocks: []gpu.Bytes{1}}}
	r.Do(r.Leader(), cluster.PutVersion{Version: v})
	_, publisher := r.key(c, &adminv1.CreateKeyRequest{Name: "p", Roles: []string{"publisher"}})
	take := func(c *client.Client, file string) (got string) {
		in, err := c.Library.Download(t.Context(), connect.NewRequest(&adminv1.DownloadRequest{Version: "calc@1", File: file}))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		for in.Receive() {
			got += string(in.Msg().Data)
		}
		if in.Err() != nil {
			got = connect.CodeOf(in.Err()).String()
		}
		return got
	}
	if got := take(c, "nothing") + strings.Join(strings.Split(records(t, c), "note_download")[1:], ""); got != "not_found" {
		t.Errorf("a file that does not exist: %s", got)
	}
	for _, by := range []*client.Client{c, publisher, c} {
		if a, b := take(by, "a.txt"), take(by, "b.txt"); a != "a.txt" || b != "b.txt" {
			t.Errorf("files %q and %q", a, b)
		}
	}
	log := records(t, c)
	for _, line := range strings.Split(log, "\n") {
		if strings.Contains(line, "note_download") && (!strings.Contains(line, `"by":"key sk-`) || !strings.Contains(line, `"calc"`)) {
			t.Errorf("the record says not who and what: %s", line)
		}
	}
	if n := strings.Count(log, "note_download"); n != 2 {
		t.Errorf("%d records, want one for each of two: %s", n, log)
	}
}
