package hub_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/internal/hubtest"
)

const example = "../examples/calc"

var rules = hub.Rules{Name: convert.CheckName, Select: convert.Select}

// client calls the loopback network only.
func client() *http.Client {
	return egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
}

func store(t *testing.T) *disk.Store {
	t.Helper()
	s, err := disk.Open(t.TempDir(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pull pulls, and checks that a failed pull leaves no blob that is not whole, and no file beside the blobs and the parts.
func pull(t *testing.T, cfg hub.Config, source string, s *disk.Store) (hub.Pulled, error) {
	t.Helper()
	src, err := hub.New(cfg, client()).Open(t.Context(), source)
	if err != nil {
		return hub.Pulled{}, err
	}
	var last hub.Progress
	got, err := hub.Pull(t.Context(), src, s, rules, func(p hub.Progress) {
		if p.Here > p.Size || p.Done > p.All {
			t.Errorf("progress %+v", p)
		}
		last = p
	})
	if err == nil && last.Done != last.All {
		t.Errorf("the last progress is %+v", last)
	}
	for _, st := range s.List() {
		if !st.Complete {
			t.Errorf("%s is there in part", st.Digest)
		}
	}
	return got, err
}

// same compares what was pulled with a folder.
func same(t *testing.T, s *disk.Store, got hub.Pulled, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if names, err = convert.Select(names); err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != len(names) {
		t.Errorf("pulled %d files, want %v", len(got.Files), names)
	}
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if d := blob.Of(want).Digest(); got.Files[name] != d {
			t.Errorf("%s is %s, want %s", name, got.Files[name].Short(), d.Short())
		} else if st, err := s.Stat(d); err != nil || !st.Complete {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
}

func lied(err error, file, why string) bool {
	var l *hub.Lied
	return errors.As(err, &l) && l.File == file && strings.Contains(l.Why, why)
}

// A model comes from a hub: its revision pinned, its token at the hub and nowhere else, and only the files that it needs.
func TestPullFromHub(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
	h.Add(t, "org/calc", example)
	h.Need("hf_secret")
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("hf_secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := store(t)
	got, err := pull(t, hub.Config{URL: h.URL, TokenFile: secret}, "hf:org/calc", s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, got, example)
	if want := "hf:org/calc@" + hubtest.Commit; got.Source != want {
		t.Errorf("source %s, want %s", got.Source, want)
	}
	if len(h.Stored()) == 0 || slices.ContainsFunc(h.Stored(), func(header http.Header) bool { return header.Get("Authorization") != "" }) {
		t.Errorf("the store saw %v", h.Stored())
	}
	var status *hub.Status
	if _, err := pull(t, hub.Config{URL: h.URL, Token: "wrong"}, "hf:org/calc", s); !errors.As(err, &status) || status.Code != http.StatusUnauthorized || strings.Contains(err.Error(), "wrong") {
		t.Errorf("a wrong token: %v", err)
	}
	if _, err := pull(t, hub.Config{URL: h.URL, Token: "hf_secret"}, "hf:org/none", s); !errors.As(err, &status) || status.Code != http.StatusNotFound {
		t.Errorf("no such model: %v", err)
	}
	for _, text := range []string{"", "calc", "hf:", "hf:a/b/c", "hf:../x", "hf:org/calc@../../x", "hf:org/calc@", "hf:org/ca%2flc", "hf:org/calc?x", "file:///etc", "hf:" + strings.Repeat("x", 600),
		"s3:bucket", "s3://", "s3://B_/x", "oci:", "oci:host/repo", "oci:host/../repo:tag", "folder:x"} {
		if _, err := pull(t, hub.Config{URL: h.URL}, text, s); !errors.Is(err, hub.ErrSource) && !errors.Is(err, hub.ErrFolder) {
			t.Errorf("%.50q: %v", text, err)
		}
	}
}

// The Internet's address of a hub may name a machine inside: the client refuses, whatever the hub's name or its redirects say.
func TestPullFromInside(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
	h.Add(t, "org/calc", example)
	var refused *egress.Refused
	if _, err := hub.New(hub.Config{URL: h.URL}, egress.New(egress.Config{})).Open(t.Context(), "hf:org/calc"); !errors.As(err, &refused) {
		t.Errorf("a hub inside: %v", err)
	}
	half := egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	src, err := hub.New(hub.Config{URL: h.URL}, half).Open(t.Context(), "hf:org/calc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Pull(t.Context(), src, store(t), rules, func(hub.Progress) {}); !errors.As(err, &refused) || len(h.Stored()) != 0 || strings.Contains(err.Error(), "signature") {
		t.Errorf("a redirect inside: %v", err)
	}
}

// sibling changes what the hub says of a file.
func sibling(file string, to func(map[string]any)) func(map[string]any) {
	return func(answer map[string]any) {
		for _, s := range answer["siblings"].([]any) {
			if s := s.(map[string]any); s["rfilename"] == file {
				to(s)
			}
		}
	}
}

// A hub that lies, in every way that it can, is named with the file; nothing of it becomes a blob.
func TestHubLies(t *testing.T) {
	t.Parallel()
	const weights, config = "model.safetensors", "config.json"
	whole, err := os.ReadFile(filepath.Join(example, weights))
	if err != nil {
		t.Fatal(err)
	}
	type serve = func(w http.ResponseWriter, r *http.Request, file string) bool
	instead := func(of string, answer func(w http.ResponseWriter)) serve {
		return func(w http.ResponseWriter, _ *http.Request, file string) bool {
			if file == of {
				answer(w)
			}
			return file == of
		}
	}
	body := func(b []byte) func(w http.ResponseWriter) { return func(w http.ResponseWriter) { w.Write(b) } }
	chunked := func(b []byte) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Write(b[:1])
			w.(http.Flusher).Flush()
			w.Write(b[1:])
		}
	}
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		change func(map[string]any)
		serve  serve
		file   string
		why    string
	}{
		"larger than announced":    {sibling(weights, func(s map[string]any) { s["lfs"].(map[string]any)["size"] = len(whole) - 1 }), nil, weights, "bytes"},
		"smaller than announced":   {sibling(weights, func(s map[string]any) { s["lfs"].(map[string]any)["size"] = len(whole) + 1 }), nil, weights, "bytes"},
		"another hash":             {sibling(weights, func(s map[string]any) { s["lfs"].(map[string]any)["sha256"] = strings.Repeat("0", 64) }), nil, weights, "was announced"},
		"a hash that is none":      {sibling(weights, func(s map[string]any) { s["lfs"].(map[string]any)["sha256"] = "abc" }), nil, weights, "malformed"},
		"a negative size":          {sibling(config, func(s map[string]any) { s["size"] = -5 }), nil, config, "malformed"},
		"a size beyond any blob":   {sibling(weights, func(s map[string]any) { s["lfs"].(map[string]any)["size"] = int64(1) << 50 }), nil, weights, "limit"},
		"a large small file":       {sibling(config, func(s map[string]any) { s["size"], s["blobId"] = 1<<30, "" }), nil, config, "no weights"},
		"a small file's hash":      {sibling(config, func(s map[string]any) { s["blobId"] = strings.Repeat("0", 40) }), nil, config, "was announced"},
		"a path":                   {sibling(config, func(s map[string]any) { s["rfilename"] = "../config.json" }), nil, "../config.json", "no name"},
		"the same file twice":      {func(a map[string]any) { a["siblings"] = append(a["siblings"].([]any), a["siblings"].([]any)[0]) }, nil, "*", "twice"},
		"too many files":           {func(a map[string]any) { a["siblings"] = make([]map[string]any, hub.MaxFiles+1) }, nil, "", "limit"},
		"no commit":                {func(a map[string]any) { a["sha"] = "main" }, nil, "", "commit"},
		"a list too large":         {func(a map[string]any) { a["more"] = strings.Repeat("x", 17<<20) }, nil, "", "larger"},
		"a list of another shape":  {func(a map[string]any) { a["siblings"] = "none" }, nil, "", "list"},
		"other bytes":              {nil, instead("store/"+weights, body(flipped)), weights, "was announced"},
		"more bytes":               {nil, instead("store/"+weights, body(append(slices.Clone(whole), 0))), weights, "announced"},
		"more bytes, unannounced":  {nil, instead("store/"+weights, chunked(append(slices.Clone(whole), 0))), weights, "goes on"},
		"fewer bytes":              {nil, instead("store/"+weights, body(whole[:1000])), weights, "announced"},
		"an answer in another way": {nil, instead("store/"+weights, func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); w.Write(whole) }), weights, "encoded"},
		"another range":            {nil, instead("store/"+weights, func(w http.ResponseWriter) { w.Header().Set("Content-Range", "bytes 5-9/10"); w.WriteHeader(206) }), weights, "comes as"},
		"no content":               {nil, instead("store/"+weights, func(w http.ResponseWriter) { w.WriteHeader(204) }), weights, "status 204"},
		"another commit": {nil, instead(config, func(w http.ResponseWriter) {
			w.Header().Set("X-Repo-Commit", strings.Repeat("9", 40))
			io.WriteString(w, "{}")
		}), config, "comes from commit"},
		"another size by redirect": {nil, instead(weights, func(w http.ResponseWriter) {
			w.Header().Set("X-Linked-Size", "7")
			w.Header().Set("Location", "/x")
			w.WriteHeader(302)
		}), weights, "by its own answer"},
		"another hash by redirect": {nil, instead(weights, func(w http.ResponseWriter) {
			w.Header().Set("X-Linked-Etag", strings.Repeat("0", 64))
			w.Header().Set("Location", "http://127.0.0.2:1/x")
			w.WriteHeader(302)
		}), weights, "by its own answer"},
		"redirects for ever": {nil, instead(config, func(w http.ResponseWriter) {
			w.Header().Set("Location", "/org/calc/resolve/"+hubtest.Commit+"/config.json")
			w.WriteHeader(302)
		}), "", "redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
			h.Add(t, "org/calc", example)
			h.Lie(c.change, c.serve)
			s := store(t)
			_, err := pull(t, hub.Config{URL: h.URL}, "hf:org/calc", s)
			var l *hub.Lied
			switch {
			case c.file == "*":
				if !errors.As(err, &l) || !strings.Contains(l.Why, c.why) {
					t.Error(err)
				}
			case !lied(err, c.file, c.why):
				t.Error(err)
			}
			if _, err := s.Stat(blob.Of(whole).Digest()); c.file == weights && err == nil {
				t.Error("the weights are there")
			}
			if _, err := s.Stat(blob.Of(flipped).Digest()); err == nil {
				t.Error("wrong weights are there")
			}
		})
	}
}

// A mirror that knows neither sizes nor hashes is asked file by file.
func TestPullFromPlainMirror(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
	h.Add(t, "org/calc", example)
	h.Lie(func(a map[string]any) {
		for _, s := range a["siblings"].([]any) {
			delete(s.(map[string]any), "size")
			delete(s.(map[string]any), "lfs")
			delete(s.(map[string]any), "blobId")
		}
	}, nil)
	s := store(t)
	got, err := pull(t, hub.Config{URL: h.URL}, "hf:org/calc@v1.0", s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, got, example)
}

// A connection that is cut goes on where it was; a pull that was cut does not fetch again what it has.
func TestPullGoesOn(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	weights := filepath.Join(dir, "model.safetensors")
	if err := os.Truncate(weights, 3*blob.ChunkSize+5); err != nil {
		t.Fatal(err)
	}
	h.Add(t, "org/calc", dir)
	data, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	at := blob.ChunkSize + 1000
	cut := func(w http.ResponseWriter, r *http.Request, file string) bool {
		if file != "store/model.safetensors" {
			return false
		}
		asked = append(asked, r.Header.Get("Range"))
		if at >= len(data) {
			return false
		}
		off := 0
		if r := r.Header.Get("Range"); r != "" {
			off = int(number(r))
			w.Header().Set("Content-Range", "bytes "+strings.TrimPrefix(r, "bytes=")+decimal(len(data)-1)+"/"+decimal(len(data)))
			w.Header().Set("Content-Length", decimal(len(data)-off))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", decimal(len(data)))
		}
		w.Write(data[off:at])
		at += blob.ChunkSize
		panic(http.ErrAbortHandler)
	}
	h.Lie(nil, cut)
	s := store(t)
	got, err := pull(t, hub.Config{URL: h.URL}, "hf:org/calc", s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, got, dir)
	if len(asked) != 3 && len(asked) != 4 || asked[0] != "" || number(asked[1]) > blob.ChunkSize+1000 {
		t.Errorf("asked for %q", asked)
	}

	// The caller goes away in the middle.
	if err := s.Delete(got.Files["model.safetensors"]); err != nil {
		t.Fatal(err)
	}
	h.Lie(nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	src, err := hub.New(hub.Config{URL: h.URL}, client()).Open(ctx, "hf:org/calc")
	if err != nil {
		t.Fatal(err)
	}
	_, err = hub.Pull(ctx, src, s, rules, func(p hub.Progress) {
		if p.File == "model.safetensors" && p.Here >= 2*blob.ChunkSize {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller is gone: %v", err)
	}
	asked = nil
	at = 1 << 40
	h.Lie(nil, cut)
	if got, err = pull(t, hub.Config{URL: h.URL}, "hf:org/calc", s); err != nil {
		t.Fatal(err)
	}
	same(t, s, got, dir)
	if len(asked) != 1 || number(asked[0]) < 2*blob.ChunkSize {
		t.Errorf("after the caller came back: asked for %q", asked)
	}
}

// Pickled weights are never pulled, with the way to convert them.
func TestPullNoPickles(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, "127.0.0.1", "127.0.0.2")
	h.Put("org/old", map[string][]byte{"config.json": []byte("{}"), "pytorch_model.bin": []byte("\x80\x02")})
	var refused convert.Refused
	if _, err := pull(t, hub.Config{URL: h.URL}, "hf:org/old", store(t)); !errors.As(err, &refused) || refused.File != "pytorch_model.bin" || h.Fetched("pytorch_model.bin") != 0 {
		t.Errorf("%v", err)
	}
}
