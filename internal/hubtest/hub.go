// Package hubtest serves models the way a Hugging Face hub does, and lies on demand.
package hubtest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git names its blobs so
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Commit is the only commit of every model.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// Hub is a server of models and, under another address, the store that it keeps large files in.
type Hub struct {
	URL, StoreURL string

	mu      sync.Mutex
	token   string                                                                // that is needed; "" = none
	models  map[string]map[string][]byte                                          // files by name, by model
	change  func(answer map[string]any)                                           // of the list of files
	serve   func(w http.ResponseWriter, r *http.Request, file string) (done bool) // instead of a file
	stored  []http.Header                                                         // that arrived at the store
	fetched map[string]int                                                        // requests for files
}

// New starts a hub on two addresses of the loopback network, such as "127.0.0.1".
func New(t testing.TB, addr, storeAddr string) *Hub {
	t.Helper()
	h := &Hub{models: map[string]map[string][]byte{}, fetched: map[string]int{}}
	start := func(addr string, f http.HandlerFunc) string {
		l, err := net.Listen("tcp", addr+":0")
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(f)
		s.Listener.Close()
		s.Listener = l
		s.Start()
		t.Cleanup(s.Close)
		return s.URL
	}
	h.URL, h.StoreURL = start(addr, h.hub), start(storeAddr, h.store)
	return h
}

// Add serves the files of a folder as a model "org/name".
func (h *Hub) Add(t testing.TB, id, dir string) {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = os.ReadFile(dir + "/" + name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Put(id, files)
}

// Put serves files as a model.
func (h *Hub) Put(id string, files map[string][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.models[id] = files
}

// Lie makes the hub change its list of files, or serve something instead of one; nil = the truth again.
func (h *Hub) Lie(change func(answer map[string]any), serve func(w http.ResponseWriter, r *http.Request, file string) (done bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change, h.serve = change, serve
}

// Need makes the hub ask for a token.
func (h *Hub) Need(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.token = token
}

// Stored are the headers of the requests that arrived at the store.
func (h *Hub) Stored() []http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stored
}

// Fetched is how often a file was asked for, at the hub or at the store.
func (h *Hub) Fetched(file string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fetched[file]
}

func (h *Hub) hub(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	token := h.token
	h.mu.Unlock()
	if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, "a token is needed", http.StatusUnauthorized)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	if rest, ok := strings.CutPrefix(path, "api/models/"); ok {
		id, _, _ := strings.Cut(rest, "/revision/")
		h.list(w, id)
		return
	}
	id, rest, _ := strings.Cut(path, "/resolve/")
	commit, file, _ := strings.Cut(rest, "/")
	data, ok := h.file(id, file)
	if !ok || commit != Commit {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	w.Header().Set("X-Repo-Commit", Commit)
	if h.other(w, r, file) {
		return
	}
	if isLarge(file) {
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(data)))
		w.Header().Set("X-Linked-Etag", `"`+sha(data)+`"`)
		http.Redirect(w, r, h.StoreURL+"/"+id+"/"+file+"?signature=x", http.StatusFound)
		return
	}
	w.Header().Set("ETag", `"`+git(data)+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// store serves large files.
func (h *Hub) store(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	h.mu.Lock()
	h.stored = append(h.stored, r.Header.Clone())
	h.mu.Unlock()
	if len(parts) != 3 || r.URL.Query().Get("signature") != "x" {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	data, ok := h.file(parts[0]+"/"+parts[1], parts[2])
	if !ok {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	if h.other(w, r, "store/"+parts[2]) {
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (h *Hub) file(id, name string) ([]byte, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	data, ok := h.models[id][name]
	return data, ok
}

// other lets a test answer.
func (h *Hub) other(w http.ResponseWriter, r *http.Request, file string) bool {
	h.mu.Lock()
	h.fetched[file]++
	serve := h.serve
	h.mu.Unlock()
	return serve != nil && serve(w, r, file)
}

func (h *Hub) list(w http.ResponseWriter, id string) {
	h.mu.Lock()
	files, change := h.models[id], h.change
	h.mu.Unlock()
	if files == nil {
		http.Error(w, "no such model", http.StatusNotFound)
		return
	}
	siblings := []any{}
	for name, data := range files {
		sib := map[string]any{"rfilename": name, "size": len(data), "blobId": git(data)}
		if isLarge(name) {
			sib["lfs"] = map[string]any{"sha256": sha(data), "size": len(data), "pointerSize": 130}
		}
		siblings = append(siblings, sib)
	}
	answer := map[string]any{"id": id, "sha": Commit, "siblings": siblings}
	if change != nil {
		change(answer)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func isLarge(name string) bool {
	return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".bin")
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func git(data []byte) string {
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
	return hex.EncodeToString(sum[:])
}
