package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/skein-project/skein/blob"
)

// A node's cache holds only what a stage needs, at the original offsets, in a file that takes no more space.
func TestPartialBlob(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	data := noise(3, 5*blob.ChunkSize+100)
	x := blob.Of(data)
	d := x.Digest()
	want := []blob.Ref{{Digest: d, Off: blob.ChunkSize + 5, Len: 10}, {Digest: d, Off: 4*blob.ChunkSize - 1, Len: 2}}
	missing, err := s.Begin(x, want...)
	must(t, err)
	if !slices.Equal(missing, []int{1, 3, 4}) {
		t.Fatalf("missing %v", missing)
	}
	for _, i := range missing {
		if s.Have(want[1]) && i <= 3 {
			t.Error("Have is true too early")
		}
		must(t, s.WriteChunk(d, i, chunk(data, i)))
	}
	path, err := s.Path(d)
	must(t, err)
	raw, err := os.ReadFile(path)
	must(t, err)
	for _, ref := range want {
		if !s.Have(ref) || !bytes.Equal(raw[ref.Off:ref.Off+ref.Len], data[ref.Off:ref.Off+ref.Len]) {
			t.Errorf("%v is not there", ref)
		}
		got, err := s.Read(ref)
		if err != nil || !bytes.Equal(got, data[ref.Off:ref.Off+ref.Len]) {
			t.Errorf("%v reads %d bytes, %v", ref, len(got), err)
		}
	}
	whole := blob.Ref{Digest: d, Len: x.Size}
	if list, err := s.Missing(whole); err != nil || !slices.Equal(list, []int{0, 2, 5}) || s.Have(whole) {
		t.Errorf("missing %v, %v", list, err)
	}
	if _, err := s.ReadChunk(d, 0); !errors.Is(err, ErrAbsent) {
		t.Errorf("an absent chunk: %v", err)
	}
	r, err := s.Reader(d)
	must(t, err)
	if _, err := r.ReadAt(make([]byte, 2), blob.ChunkSize-1); !errors.Is(err, ErrAbsent) {
		t.Errorf("a range that begins in an absent chunk: %v", err)
	}
	must(t, r.Close())
	for _, ref := range []blob.Ref{{Digest: d, Off: -1, Len: 1}, {Digest: d, Off: x.Size, Len: 1}, {Digest: d, Len: x.Size + 1}, {Digest: d, Off: 1, Len: 1<<63 - 1}} {
		if _, err := s.Begin(x, ref); !errors.Is(err, blob.ErrRange) {
			t.Errorf("%v: %v", ref, err)
		}
	}
	if st, _ := s.Stat(d); st.Complete || st.Present != 3*blob.ChunkSize {
		t.Errorf("%+v", st)
	}
	if used := allocated(t, path); used > 3*blob.ChunkSize+64<<10 {
		t.Errorf("the file takes %d bytes for 3 chunks", used)
	}
}

func TestReaderEnds(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	data := noise(9, 1000)
	d, err := s.Put(data)
	must(t, err)
	r, err := s.Reader(d)
	must(t, err)
	got, err := io.ReadAll(io.NewSectionReader(r, 0, 1<<40))
	if err != nil || !bytes.Equal(got, data) || r.Size() != 1000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n, err := r.ReadAt(make([]byte, 5), 998); n != 2 || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := r.ReadAt(make([]byte, 5), 5000); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := r.ReadAt(make([]byte, 5), -1); !errors.Is(err, blob.ErrRange) {
		t.Error(err)
	}
	must(t, r.Close())
}

func TestBitFlipIsFoundAndRepaired(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	data := noise(4, 2*blob.ChunkSize+50)
	d, err := s.Put(data)
	must(t, err)
	path, err := s.Path(d)
	must(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	for _, at := range []int64{3, 2*blob.ChunkSize + 49} {
		_, err = f.WriteAt([]byte{data[at] ^ 0x10}, at)
		must(t, err)
	}
	must(t, f.Close())
	whole := blob.Ref{Digest: d, Len: int64(len(data))}
	var bad Corrupt
	if err := s.Verify(context.Background(), whole); !errors.As(err, &bad) || !slices.Equal(bad.Chunks, []int{0, 2}) || !errors.Is(err, blob.ErrCorrupt) {
		t.Fatalf("Verify: %v", err)
	}
	if st, _ := s.Stat(d); st.Complete || st.Present != blob.ChunkSize || s.Have(whole) {
		t.Fatalf("still visible: %+v", st)
	}
	missing, err := s.Begin(blob.Of(data))
	must(t, err)
	for _, i := range missing {
		must(t, s.WriteChunk(d, i, chunk(data, i)))
	}
	must(t, s.Verify(context.Background(), whole))
	must(t, os.Truncate(path, blob.ChunkSize+1))
	if _, err := s.ReadChunk(d, 1); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("a file that was cut short: %v", err)
	}
	if _, err := s.Read(whole); !errors.Is(err, ErrAbsent) {
		t.Errorf("after the chunk was dropped: %v", err)
	}
}
