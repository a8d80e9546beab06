package coordinator_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/wire"
)

// example is a model's folder.
const example = "../examples/calc"

// converter is the program that converts models: the one in SKEIN_BIN, or built here.
func converter(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("SKEIN_BIN"); bin != "" {
		return filepath.Join(bin, "skein-coordinator")
	}
	path := filepath.Join(t.TempDir(), "skein-coordinator")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/skein-project/skein/cmd/coordinator").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// upload brings the files of a folder to a coordinator, but for the last n chunks of each.
func upload(t *testing.T, c *fleettest.Coordinator, dir string, without int) map[string]blob.Digest {
	t.Helper()
	files := map[string]blob.Digest{}
	for _, name := range []string{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		x := blob.Of(data)
		missing, err := c.BeginBlob(x)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range missing {
			if i >= len(x.Chunks)-without {
				continue
			}
			if err := c.WriteChunk(x.Digest(), i, data[i*blob.ChunkSize:min(len(data), (i+1)*blob.ChunkSize)]); err != nil {
				t.Fatal(err)
			}
		}
		files[name] = x.Digest()
	}
	return files
}

// A version exists once two coordinators hold all of it: either of them may go.
func TestPublish(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, converter(t))
	leader := f.Leader()
	say := func(string) {}
	if _, err := leader.Publish(t.Context(), cluster.Asker{}, "", "calc", upload(t, leader, example, 1), false, say); !errors.Is(err, blob.ErrUnknown) || !strings.Contains(err.Error(), "were uploaded") {
		t.Errorf("half an upload: %v", err)
	}
	files := upload(t, leader, example, 0)
	if _, err := leader.Publish(t.Context(), cluster.Asker{}, "", "no name", files, false, say); !refusedAs(err, connect.CodeInvalidArgument) {
		t.Errorf("a bad name: %v", err)
	}
	bad := map[string]blob.Digest{"config.json": files["tokenizer.json"], "model.safetensors": files["model.safetensors"]}
	var refused convert.Refused
	if _, err := leader.Publish(t.Context(), cluster.Asker{}, "", "calc", bad, false, say); !errors.As(err, &refused) {
		t.Errorf("a folder that is no model: %v", err)
	}
	if n := len(slices.Collect(leader.Live().Now().Versions())); n != 0 {
		t.Errorf("%d versions exist", n)
	}

	// Two at once: one version, and both know it.
	ids := make([]cluster.VersionID, 2)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = leader.Publish(t.Context(), cluster.Asker{}, "", "calc", files, false, say); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if ids[0] != ids[1] {
		t.Errorf("versions %v", ids)
	}
	v, ok := leader.Live().Now().Version(ids[0])
	if !ok || len(v.Holders) != 2 || !slices.Contains(v.Holders, f.ID(leader)) {
		t.Fatalf("version %+v", v)
	}
	if v.Traits == nil || v.Traits.Context != 256 || len(v.Traits.Template) != 64 {
		t.Errorf("traits %+v", v.Traits)
	}

	// A tenant's new model is that tenant's with its first version; what others have is not theirs to publish.
	f.Do(leader, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 100}})
	if id, err := leader.Publish(t.Context(), cluster.Asker{}, "acme", "sums", files, false, say); err != nil || leader.Live().Now().Model(id.Model).Owner != "acme" {
		t.Errorf("%v of %q, %v", id, leader.Live().Now().Model("sums").Owner, err)
	}
	for tenant, name := range map[string]string{"acme": "calc", "globex": "sums"} {
		if _, err := leader.Publish(t.Context(), cluster.Asker{}, tenant, name, files, false, say); !refusedAs(err, connect.CodePermissionDenied) {
			t.Errorf("%s publishes %s: %v", tenant, name, err)
		}
	}

	holder := f.Coordinators[slices.IndexFunc(f.Coordinators, func(c *fleettest.Coordinator) bool { return c != leader && slices.Contains(v.Holders, f.ID(c)) })]
	third := f.Coordinators[slices.IndexFunc(f.Coordinators, func(c *fleettest.Coordinator) bool { return !slices.Contains(v.Holders, f.ID(c)) })]
	f.Stop(leader)
	want, err := os.ReadFile(filepath.Join(example, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	weights := blob.Ref{Digest: files["model.safetensors"], Off: blob.ChunkSize - 3, Len: 1000} // over the border of two chunks
	for _, c := range []*fleettest.Coordinator{holder, third} {
		got, err := c.ReadBlob(t.Context(), weights)
		if err != nil || string(got) != string(want[weights.Off:weights.Off+weights.Len]) {
			t.Errorf("%s reads %d bytes, %v", c.Config.Name, len(got), err)
		}
		if n, err := c.BlobSize(t.Context(), v.Manifest); err != nil || n == 0 {
			t.Errorf("%s: manifest of %d bytes, %v", c.Config.Name, n, err)
		}
	}
	d := f.Dialer(f.Enrol(cluster.RoleGateway, "g"))
	if b, err := wire.ReadAny(t.Context(), d, []string{leader.Config.Listen, holder.Config.Listen}, weights); err != nil || int64(len(b)) != weights.Len {
		t.Errorf("a gateway reads %d bytes, %v", len(b), err)
	}
}

// Where no other coordinator takes a copy, there is no version.
func TestPublishAlone(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, converter(t))
	leader := f.Leader()
	files := upload(t, leader, example, 0)
	for _, c := range f.Running() {
		if c != leader {
			f.Stop(c)
		}
	}
	if _, err := leader.Publish(t.Context(), cluster.Asker{}, "", "calc", files, false, func(string) {}); !refusedAs(err, connect.CodeUnavailable) || !strings.Contains(err.Error(), "c2") {
		t.Errorf("published alone: %v", err)
	}
}
