package wire

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

type source map[blob.Digest][]byte

func (s source) Index(d blob.Digest) (blob.Index, error) {
	if b, ok := s[d]; ok {
		return blob.Of(b), nil
	}
	return blob.Index{}, blob.ErrUnknown
}

func (s source) ReadChunk(d blob.Digest, i int) ([]byte, error) {
	if b, ok := s[d]; ok && i < blob.Chunks(int64(len(b))) {
		return b[i*blob.ChunkSize : min(len(b), (i+1)*blob.ChunkSize)], nil
	}
	return nil, blob.ErrUnknown
}

// Blobs are verified where they arrive: a source that lies is found.
func TestBlobs(t *testing.T) {
	ca := authority(t)
	data := make([]byte, blob.ChunkSize+1000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	x := blob.Of(data)
	lie := blob.Of([]byte("what is asked for"))
	m := NewMux()
	HandleBlobs(m, source{x.Digest(): data, lie.Digest(): []byte("what is sent here")}, new(atomic.Int64))
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	got, err := FetchIndex(t.Context(), d, addr, x.Digest())
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Chunks {
		b, err := FetchChunk(t.Context(), d, addr, got, i)
		if err != nil || string(b) != string(data[i*blob.ChunkSize:min(len(data), (i+1)*blob.ChunkSize)]) {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
	if _, err := FetchIndex(t.Context(), d, addr, lie.Digest()); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("a false index: %v", err)
	}
	if _, err := FetchChunk(t.Context(), d, addr, lie, 0); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("a false chunk: %v", err)
	}
	var ref *Refused
	if _, err := FetchIndex(t.Context(), d, addr, blob.Of([]byte("nowhere")).Digest()); !errors.As(err, &ref) || ref.Code != connect.CodeNotFound {
		t.Errorf("a blob that is not there: %v", err)
	}
}
