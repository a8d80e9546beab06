package client_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/convert"
)

// shelf gives out files, and may cut or lie.
type shelf struct {
	adminv1connect.UnimplementedLibraryServiceHandler
	mu    sync.Mutex
	files map[string][]byte
	lie   func(*adminv1.DownloadResponse, int)
	cut   int // chunks after which a call ends, once each; 0 = never
	froms []int32
}

func (s *shelf) ListFiles(context.Context, *connect.Request[adminv1.ListFilesRequest]) (*connect.Response[adminv1.ListFilesResponse], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := &adminv1.ListFilesResponse{Version: "m@1"}
	for name, data := range s.files {
		res.Files = append(res.Files, &adminv1.FileView{Name: name, Digest: blob.Of(data).Digest().String(), Size: int64(len(data))})
	}
	return connect.NewResponse(res), nil
}

func (s *shelf) Download(_ context.Context, r *connect.Request[adminv1.DownloadRequest], out *connect.ServerStream[adminv1.DownloadResponse]) error {
	s.mu.Lock()
	data, lie, cut := s.files[r.Msg.File], s.lie, s.cut
	s.froms = append(s.froms, r.Msg.From)
	s.mu.Unlock()
	x := blob.Of(data)
	if int(r.Msg.From) > len(x.Chunks) {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("no such chunk"))
	}
	first := &adminv1.DownloadResponse{Size: x.Size}
	for _, c := range x.Chunks {
		first.Chunks = append(first.Chunks, c[:])
	}
	if lie != nil {
		lie(first, -1)
	}
	if err := out.Send(first); err != nil {
		return err
	}
	for n, i := 0, int(r.Msg.From); i < len(x.Chunks); n, i = n+1, i+1 {
		if cut > 0 && n == cut {
			return connect.NewError(connect.CodeUnavailable, errors.New("cut"))
		}
		m := &adminv1.DownloadResponse{Data: slices.Clone(data[i*blob.ChunkSize : min((i+1)*blob.ChunkSize, len(data))])}
		if lie != nil {
			lie(m, i)
		}
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func browse(t *testing.T, s *shelf) *client.Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(adminv1connect.NewLibraryServiceHandler(s))
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	c, err := client.New(client.Profile{URL: web.URL, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func quiet(string, int64, int64) {}

// A download is byte for byte what is there, goes on where it was cut, and fetches nothing twice.
func TestDownload(t *testing.T) {
	t.Parallel()
	big := make([]byte, 3*blob.ChunkSize+10)
	rand.NewChaCha8([32]byte{1}).Read(big)
	s := &shelf{files: map[string][]byte{"config.json": []byte("{}"), "1_Pooling/config.json": {}, "model.safetensors": big}, cut: 2}
	c, dir := browse(t, s), t.TempDir()
	version, names, err := c.Download(t.Context(), "m", dir, quiet)
	if err != nil || version != "m@1" || len(names) != 3 {
		t.Fatalf("%s, %v, %v", version, names, err)
	}
	check := func() {
		t.Helper()
		for name, want := range s.files {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 3 {
			t.Errorf("%v, %v", entries, err)
		}
	}
	check()
	if !slices.Contains(s.froms, 2) {
		t.Errorf("began at %v", s.froms)
	}
	s.froms = nil
	if _, _, err := c.Download(t.Context(), "m", dir, quiet); err != nil || len(s.froms) != 0 {
		t.Errorf("again: began at %v, %v", s.froms, err)
	}
	// A part of another version, one that is longer than the file, and a file that was changed.
	for _, part := range [][]byte{make([]byte, 2*blob.ChunkSize), make([]byte, 9*blob.ChunkSize), big[:blob.ChunkSize+5]} {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "model.safetensors.part"), part, 0o600), os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Download(t.Context(), "m", dir, quiet); err != nil {
			t.Error(err)
		}
		check()
	}
}

// A server that lies makes no file.
func TestDownloadVerifies(t *testing.T) {
	t.Parallel()
	data := make([]byte, blob.ChunkSize+10)
	for name, lie := range map[string]func(*adminv1.DownloadResponse, int){
		"another byte": func(m *adminv1.DownloadResponse, i int) {
			if i == 1 {
				m.Data[3] ^= 1
			}
		},
		"a chunk too short": func(m *adminv1.DownloadResponse, i int) {
			if i == 0 {
				m.Data = m.Data[1:]
			}
		},
		"other hashes": func(m *adminv1.DownloadResponse, i int) {
			if i < 0 {
				m.Chunks[0][0] ^= 1
			}
		},
		"too few hashes": func(m *adminv1.DownloadResponse, i int) {
			if i < 0 {
				m.Chunks = m.Chunks[1:]
			}
		},
		"short hashes": func(m *adminv1.DownloadResponse, i int) {
			if i < 0 {
				m.Chunks[0] = m.Chunks[0][1:]
			}
		},
		"a size beyond all": func(m *adminv1.DownloadResponse, i int) {
			if i < 0 {
				m.Size = 1 << 60
			}
		},
	} {
		dir := t.TempDir()
		c := browse(t, &shelf{files: map[string][]byte{"model.safetensors": data}, lie: lie})
		if _, _, err := c.Download(t.Context(), "m", dir, quiet); !errors.Is(err, blob.ErrCorrupt) && !errors.Is(err, blob.ErrIndex) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "model.safetensors")); err == nil {
			t.Errorf("%s: made a file", name)
		}
	}
	// Names that lead out of the folder, and a folder with a link that does.
	var refused convert.Refused
	for _, name := range []string{"../x", "/x", "a/../../x", "C:x"} {
		c := browse(t, &shelf{files: map[string][]byte{name: {}}})
		if _, _, err := c.Download(t.Context(), "m", t.TempDir(), quiet); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "1_Pooling")); err != nil {
		t.Fatal(err)
	}
	c := browse(t, &shelf{files: map[string][]byte{"1_Pooling/config.json": []byte("{}")}})
	if _, _, err := c.Download(t.Context(), "m", dir, quiet); err == nil {
		t.Error("written through a link")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}
