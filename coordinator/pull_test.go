package coordinator_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/internal/hubtest"
	"github.com/skein-project/skein/internal/servertest"
	"github.com/skein-project/skein/library"
)

// with starts every coordinator of a fleet again, with other settings.
func with(f *fleettest.Fleet, set func(*fleettest.Coordinator)) {
	for _, c := range slices.Clone(f.Coordinators) {
		f.Stop(c)
		set(c)
		f.Start(c)
	}
}

var nobody = cluster.Asker{}

func hush(hub.Progress) {}

// A model is pulled from a hub, is a version like any other, and can be got back byte for byte.
func TestPull(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
	h.Add(t, "Org/Calc", example)
	h.Need("secret")
	f := fleettest.New(t, 2, converter(t))
	with(f, func(c *fleettest.Coordinator) {
		c.Config.Hub = hub.Config{URL: h.URL, Token: "secret", Allow: []string{"127.0.0.1/32", "127.0.0.2/32"}}
	})
	leader := f.Leader()
	var steps []string
	var bytesSeen int64
	id, source, err := leader.Pull(t.Context(), nobody, "", "hf:Org/Calc", "", func(p hub.Progress) {
		if p.Step != "" {
			steps = append(steps, p.Step)
		}
		bytesSeen = max(bytesSeen, p.Done)
	})
	if err != nil {
		t.Fatal(err)
	}
	if id.String() != "calc@1" || source != "hf:Org/Calc@"+hubtest.Commit || len(steps) < 3 || bytesSeen < 5_000_000 {
		t.Errorf("%s from %s, steps %q, %d bytes", id, source, steps, bytesSeen)
	}
	v, ok := leader.Live().Now().Version(id)
	if !ok || v.Source != source || len(v.Holders) != 2 {
		t.Fatalf("version %+v", v)
	}
	files, err := leader.Files(t.Context(), v)
	if err != nil || len(files) != 5 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, file := range files {
		want, err := os.ReadFile(filepath.Join(example, file.Name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := leader.ReadBlob(t.Context(), blob.Ref{Digest: file.Digest, Len: file.Size})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", file.Name, len(got), err)
		}
	}
	if again, _, err := leader.Pull(t.Context(), nobody, "", "hf:Org/Calc", "", hush); err != nil || again != id {
		t.Errorf("pulled again: %s, %v", again, err)
	}

	// What is refused leaves no version.
	h.Lie(nil, func(w http.ResponseWriter, _ *http.Request, file string) bool {
		if file == "config.json" {
			w.Write([]byte("{}"))
		}
		return file == "config.json"
	})
	h.Add(t, "Org/Other", example)
	var lied *hub.Lied
	for what, c := range map[string]struct {
		owner, source, name string
		is                  func(error) bool
	}{
		"a hub that lies": {"", "hf:Org/Other", "other", func(err error) bool { return errors.As(err, &lied) && lied.File == "config.json" }},
		"another's secrets": {"acme", "hf:Org/Calc", "new", func(err error) bool {
			var s *hub.Status
			return errors.As(err, &s) && s.Code == http.StatusUnauthorized
		}},
		"no source":            {"", "calc", "other", func(err error) bool { return errors.Is(err, hub.ErrSource) }},
		"a bad name":           {"", "hf:Org/Calc", "no name", func(err error) bool { return refusedAs(err, connect.CodeInvalidArgument) }},
		"somebody else's name": {"acme", "hf:Org/Calc", "calc", func(err error) bool { return refusedAs(err, connect.CodePermissionDenied) }},
	} {
		if _, _, err := leader.Pull(t.Context(), nobody, c.owner, c.source, c.name, hush); !c.is(err) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := len(slices.Collect(leader.Live().Now().Versions())); n != 1 {
		t.Errorf("%d versions exist", n)
	}
}

// blobsIn counts the files in a coordinator's store.
func blobsIn(t *testing.T, c *fleettest.Coordinator) (n int) {
	t.Helper()
	for _, dir := range []string{"blobs", "partial"} {
		err := filepath.WalkDir(filepath.Join(c.Config.Dir, "blobs", dir), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				n++
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return n
}

// Blobs that nothing names go after a while, on every coordinator: uploads that nobody finished, and those of versions that were deleted.
func TestTidy(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, converter(t))
	with(f, func(c *fleettest.Coordinator) { c.Config.Keep = 2 * time.Second })
	leader := f.Leader()
	id, err := leader.Publish(t.Context(), nobody, "", "calc", upload(t, leader, example, 0), false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	const whole = 5 + 2 // files, manifest, list of files
	if _, err := leader.BeginBlob(blob.Of(bytes.Repeat([]byte("unfinished"), 1000))); err != nil {
		t.Fatal(err)
	}
	fleettest.Within(t, "the unfinished upload goes, the version stays", func() bool { return blobsIn(t, f.Coordinators[0]) == whole && blobsIn(t, f.Coordinators[1]) == whole })
	v, _ := leader.Live().Now().Version(id)
	state := leader.Live().Now()
	if a, ok := state.Alias("calc"); ok {
		f.Do(leader, cluster.DeleteAlias{Name: "calc", Was: a.Rev})
	}
	f.Do(leader, cluster.DeleteVersion{Version: id, Was: v.Rev})
	fleettest.Within(t, "the deleted version's blobs go", func() bool { return blobsIn(t, f.Coordinators[0]) == 0 && blobsIn(t, f.Coordinators[1]) == 0 })
}

// A coordinator that is silent for long, or lost its disk, is no copy: another one makes it.
func TestSpread(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, converter(t))
	with(f, func(c *fleettest.Coordinator) { c.Config.Absent = 2 * time.Second })
	leader := f.Leader()
	id, err := leader.Publish(t.Context(), nobody, "", "calc", upload(t, leader, example, 0), false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := leader.Live().Now().Version(id)
	other := f.Coordinators[slices.IndexFunc(f.Coordinators, func(c *fleettest.Coordinator) bool { return c != leader && slices.Contains(v.Holders, f.ID(c)) })]
	third := f.Coordinators[slices.IndexFunc(f.Coordinators, func(c *fleettest.Coordinator) bool { return !slices.Contains(v.Holders, f.ID(c)) })]
	holds := func(c *fleettest.Coordinator) bool {
		v, _ := f.Leader().Live().Now().Version(id)
		return slices.Contains(v.Holders, f.ID(c))
	}
	f.Stop(other)
	fleettest.Within(t, "the third coordinator holds the version", func() bool { return holds(third) && blobsIn(t, third) == 7 })
	if !holds(other) {
		t.Error("who may come back is forgotten")
	}
	// It comes back with an empty disk.
	if err := os.RemoveAll(filepath.Join(other.Config.Dir, "blobs")); err != nil {
		t.Fatal(err)
	}
	f.Start(other)
	fleettest.Within(t, "the lost copy is noticed", func() bool { return !holds(other) })
}

// A bucket counts as a copy, and gives back what no coordinator has any more.
func TestBucket(t *testing.T) {
	t.Parallel()
	at, keys := servertest.S3(t), filepath.Join(t.TempDir(), "keys")
	servertest.MakeBucket(t, at, "library")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = "+servertest.AccessKey+"\naws_secret_access_key = "+servertest.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := fleettest.New(t, 3, converter(t))
	with(f, func(c *fleettest.Coordinator) {
		c.Config.Bucket, c.Config.Absent = "s3://library/skein", 2*time.Second
		c.Config.Hub = hub.Config{S3URL: at, S3Keys: keys, Allow: []string{"127.0.0.0/8"}}
	})
	leader := f.Leader()
	id, err := leader.Publish(t.Context(), nobody, "", "calc", upload(t, leader, example, 0), false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := leader.Live().Now().Version(id)
	if !v.Bucket {
		t.Fatalf("version %+v", v)
	}
	for _, c := range f.Coordinators {
		f.Stop(c)
		if err := os.RemoveAll(filepath.Join(c.Config.Dir, "blobs")); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range f.Coordinators {
		f.Start(c)
	}
	want, err := os.ReadFile(filepath.Join(example, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := f.Leader().Files(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	weights := files[slices.IndexFunc(files, func(f library.File) bool { return f.Name == "model.safetensors" })]
	if got, err := f.Leader().ReadBlob(t.Context(), blob.Ref{Digest: weights.Digest, Len: weights.Size}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the weights: %d bytes, %v", len(got), err)
	}
	fleettest.Within(t, "two coordinators hold the version again", func() bool {
		v, _ := f.Leader().Live().Now().Version(id)
		n := 0
		for _, c := range f.Running() {
			if slices.Contains(v.Holders, f.ID(c)) && blobsIn(t, c) == 7 {
				n++
			}
		}
		return n >= 2
	})
}
