package client_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/admin"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/coordinator"
)

// server is a coordinator of a cluster of one, with a client API in front of which a test stands.
type server struct {
	*client.Client
	writes atomic.Int64                               // WriteChunk calls that arrived
	before atomic.Pointer[func(n int64) (status int)] // of the n-th call; 0 = let it pass
	kept   chan struct{}                              // one for each chunk that was kept
}

func start(t *testing.T) *server {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	if err := coordinator.Found(dir, "one"); err != nil {
		t.Fatal(err)
	}
	cfg := coordinator.Config{Dir: dir, Name: "one", Listen: freePort(t), Gossip: freePort(t), Executable: "none", Election: 200 * time.Millisecond}
	c, err := coordinator.Start(cfg, func(err error) { t.Error(err) }, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &server{kept: make(chan struct{}, 64)}
	s.each(func(int64) int { return 0 })
	mux := http.NewServeMux()
	admin.New(c, c.Monitor(), log).Register(mux)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/WriteChunk") {
			if status := (*s.before.Load())(s.writes.Add(1)); status != 0 {
				http.Error(w, "cut", status)
				return
			}
		}
		mux.ServeHTTP(w, r)
		if strings.HasSuffix(r.URL.Path, "/WriteChunk") {
			s.kept <- struct{}{}
		}
	}))
	t.Cleanup(web.Close)
	deadline := time.After(time.Minute)
	for c.Live().Now().Cluster().ID == "" || !c.Leads() {
		_, changed := c.Live().Load()
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("the cluster was not founded")
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, coordinator.AdminKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if s.Client, err = client.New(client.Profile{URL: web.URL, Key: strings.TrimSpace(string(key))}); err != nil {
		t.Fatal(err)
	}
	return s
}

// each says what becomes of a WriteChunk call.
func (s *server) each(f func(n int64) (status int)) { s.before.Store(&f) }

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// weights is a file of five chunks, the last one short.
func weights(t *testing.T) []client.File {
	t.Helper()
	dir := t.TempDir()
	data := make([]byte, 4*blob.ChunkSize+1000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("not needed"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := client.Folder(dir, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || !bytes.Equal(files[0].Index.Encode(), blob.Of(data).Encode()) {
		t.Fatalf("the folder is %v", files)
	}
	return files
}

// An upload that was cut goes on where it stopped, and a finished one sends nothing.
func TestUploadResumes(t *testing.T) {
	s, files := start(t), weights(t)
	two := sync.OnceFunc(func() { <-s.kept; <-s.kept })
	s.each(func(n int64) int {
		if n <= 2 {
			return 0
		}
		two() // the others are cut when two are kept, not while those are under way
		return http.StatusInternalServerError
	})
	if _, err := s.Upload(t.Context(), files, func(client.File, int64, int64) {}); err == nil {
		t.Fatal("a cut upload succeeds")
	}
	s.each(func(int64) int { return 0 })
	for _, least := range []int64{blob.ChunkSize + 1000, files[0].Index.Size} {
		first, last := int64(-1), int64(0)
		blobs, err := s.Upload(t.Context(), files, func(_ client.File, here, _ int64) {
			if first < 0 {
				first = here
			}
			last = here
		})
		if err != nil || blobs["model.safetensors"] != files[0].Index.Digest().String() {
			t.Fatalf("%v, %v", blobs, err)
		}
		if first < least || last != files[0].Index.Size {
			t.Errorf("it goes on at %d, want at least %d; it ends at %d of %d bytes", first, least, last, files[0].Index.Size)
		}
	}
}

// What fails for the moment is tried again.
func TestUploadWaitsForALeader(t *testing.T) {
	s, files := start(t), weights(t)
	s.each(func(n int64) int {
		if n%2 == 1 {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	if _, err := s.Upload(t.Context(), files, func(client.File, int64, int64) {}); err != nil {
		t.Fatal(err)
	}
}

// A file that changes while it is uploaded is noticed before anything of it is sent.
func TestUploadOfAChangedFile(t *testing.T) {
	s, files := start(t), weights(t)
	if err := os.WriteFile(files[0].Path, make([]byte, files[0].Index.Size), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Upload(t.Context(), files, func(client.File, int64, int64) {}); !errors.Is(err, blob.ErrCorrupt) || s.writes.Load() != 0 {
		t.Fatalf("%d chunks were sent: %v", s.writes.Load(), err)
	}
}
