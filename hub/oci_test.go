package hub_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/servertest"
)

// layer is one of an artifact's.
type layer struct {
	media, path string
	data        []byte
}

// pack makes the manifest of an artifact.
func pack(layers []layer) (manifest []byte, blobs map[digest.Digest][]byte) {
	config := []byte("{}")
	blobs = map[digest.Digest][]byte{digest.FromBytes(config): config}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.cncf.model.manifest.v1+json",
		Config: content.NewDescriptorFromBytes("application/vnd.cncf.model.config.v1+json", config)}
	for _, l := range layers {
		d := content.NewDescriptorFromBytes("application/vnd.cncf.model."+l.media, l.data)
		if l.path != "" {
			d.Annotations = map[string]string{"org.cncf.model.filepath": l.path}
		}
		blobs[d.Digest] = l.data
		m.Layers = append(m.Layers, d)
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return manifest, blobs
}

// exampleLayers packs the example as raw layers, with a document and code that no model needs.
func exampleLayers(t *testing.T) (out []layer) {
	t.Helper()
	for _, name := range []string{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join(example, name))
		if err != nil {
			t.Fatal(err)
		}
		media := "weight.config.v1.raw"
		if strings.HasSuffix(name, ".safetensors") {
			media = "weight.v1.raw"
		}
		out = append(out, layer{media, name, data})
	}
	return append(out, layer{"doc.v1.raw", "README.md", []byte("read me")}, layer{"code.v1.tar", "", []byte("no archive at all")})
}

// A model comes from a real registry, by tag or digest.
func TestPullFromRegistry(t *testing.T) {
	t.Parallel()
	host := servertest.Registry(t)
	manifest, blobs := pack(exampleLayers(t))
	repo, err := remote.NewRepository(host + "/team/calc")
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	for d, data := range blobs {
		if err := repo.Push(t.Context(), ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(data))}, strings.NewReader(string(data))); err != nil {
			t.Fatal(err)
		}
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	if err := repo.PushReference(t.Context(), desc, strings.NewReader(string(manifest)), "v1"); err != nil {
		t.Fatal(err)
	}
	cfg := hub.Config{OCIPlain: []string{host}}
	want := "oci:" + host + "/team/calc@" + desc.Digest.String()
	for _, text := range []string{"oci:" + host + "/team/calc:v1", want} {
		s := store(t)
		got, err := pull(t, cfg, text, s)
		if err != nil {
			t.Fatal(err)
		}
		same(t, s, got, example)
		if got.Source != want {
			t.Errorf("source %s, want %s", got.Source, want)
		}
	}
	var status *hub.Status
	if _, err := pull(t, cfg, "oci:"+host+"/team/calc:v2", store(t)); err == nil {
		t.Error("no such tag: pulled")
	}
	if _, err := pull(t, hub.Config{}, "oci:"+host+"/team/calc:v1", store(t)); err == nil || errors.As(err, &status) {
		t.Errorf("https was not tried: %v", err)
	}
}

// registry serves one artifact, and may want a password or serve something else.
type registry struct {
	host     string
	mu       sync.Mutex
	manifest []byte
	blobs    map[digest.Digest][]byte
	realm    string // of the tokens it wants; "" = none
}

func newRegistry(t *testing.T, layers []layer) *registry {
	t.Helper()
	r := &registry{}
	r.manifest, r.blobs = pack(layers)
	r.host = strings.TrimPrefix(serveAt(t, "127.0.0.1:0", r), "http://")
	return r
}

func serveAt(t *testing.T, addr string, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.realm != "" && !strings.HasPrefix(q.Header.Get("Authorization"), "Bearer ") {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"x\"", r.realm))
		http.Error(w, "log in", http.StatusUnauthorized)
		return
	}
	data := r.manifest
	if _, ref, isBlob := strings.Cut(q.URL.Path, "/blobs/"); isBlob {
		data = r.blobs[digest.Digest(ref)]
	} else {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	}
	if data == nil {
		http.Error(w, "{}", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", decimal(len(data)))
	w.Write(data)
}

// edit changes the manifest.
func (r *registry) edit(t *testing.T, change func(*ocispec.Manifest)) {
	t.Helper()
	var m ocispec.Manifest
	if err := json.Unmarshal(r.manifest, &m); err != nil {
		t.Fatal(err)
	}
	change(&m)
	var err error
	if r.manifest, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
}

// A registry that lies is named with the file.
func TestRegistryLies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*ocispec.Manifest)
		file   string
		why    string
	}{
		"no model":           {func(m *ocispec.Manifest) { m.ArtifactType, m.Config.MediaType = "", ocispec.MediaTypeImageConfig }, "", "is no model"},
		"an unknown layer":   {func(m *ocispec.Manifest) { m.Layers[0].MediaType = ocispec.MediaTypeImageLayer }, "*", "unknown type"},
		"an unknown packing": {func(m *ocispec.Manifest) { m.Layers[0].MediaType = "application/vnd.cncf.model.weight.v1.zip" }, "config.json", "packed as"},
		"another algorithm":  {func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha512:" + digest.Digest(strings.Repeat("0", 128)) }, "config.json", "want sha256"},
		"no digest":          {func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../x" }, "config.json", "want sha256"},
		"no name":            {func(m *ocispec.Manifest) { m.Layers[0].Annotations = nil }, "*", "without a name"},
		"a name twice":       {func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }, "config.json", "twice"},
		"too many layers":    {func(m *ocispec.Manifest) { m.Layers = make([]ocispec.Descriptor, hub.MaxFiles+1) }, "", "limit"},
		"a negative size":    {func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }, "config.json", "limit"},
	} {
		r := newRegistry(t, exampleLayers(t))
		r.edit(t, c.change)
		_, err := pull(t, hub.Config{OCIPlain: []string{r.host}}, "oci:"+r.host+"/a/b:c", store(t))
		var l *hub.Lied
		if !errors.As(err, &l) || !strings.Contains(l.Why, c.why) || c.file != "*" && l.File != c.file {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := newRegistry(t, exampleLayers(t))
	for d, data := range r.blobs {
		if len(data) > 1<<20 {
			data[len(data)/2] ^= 1
			r.blobs[d] = data
		}
	}
	if _, err := pull(t, hub.Config{OCIPlain: []string{r.host}}, "oci:"+r.host+"/a/b:c", store(t)); !lied(err, "model.safetensors", "was announced") {
		t.Errorf("other bytes: %v", err)
	}
}

// A registry that says that tokens come from somewhere else does not get the password sent there; the operator can allow it.
func TestRealms(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	realm := serveAt(t, "127.0.0.2:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		got = append(got, q.Header.Get("Authorization"))
		mu.Unlock()
		fmt.Fprint(w, `{"token":"t"}`)
	}))
	r := newRegistry(t, exampleLayers(t))
	r.realm = realm + "/token"
	secret := filepath.Join(t.TempDir(), "config.json")
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, base64.StdEncoding.EncodeToString([]byte("user:password")))
	if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	source := "oci:" + r.host + "/a/b:c"
	cfg := hub.Config{OCIPlain: []string{r.host}, OCIAuth: secret}
	if _, err := pull(t, cfg, source, store(t)); !errors.Is(err, hub.ErrSecret) || strings.Contains(err.Error(), "password") || len(got) != 0 {
		t.Errorf("the password went to %q: %v", got, err)
	}
	cfg.OCIRealms = []string{strings.TrimPrefix(realm, "http://")}
	if _, err := pull(t, cfg, source, store(t)); err != nil || len(got) == 0 || !strings.HasPrefix(got[0], "Basic ") {
		t.Errorf("where it was allowed: %q, %v", got, err)
	}
	got = nil
	if _, err := pull(t, hub.Config{OCIPlain: []string{r.host}}, source, store(t)); err != nil || len(got) == 0 || got[0] != "" {
		t.Errorf("without a password: %q, %v", got, err)
	}
}

// lyingSource says what it likes.
type lyingSource struct {
	files []hub.File
	data  map[string][]byte
}

func (s lyingSource) String() string                           { return "test" }
func (s lyingSource) List(context.Context) ([]hub.File, error) { return s.files, nil }

func sumOf(data []byte) hub.Sum {
	return hub.Sum{Kind: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
}
