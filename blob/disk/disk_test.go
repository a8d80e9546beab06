package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skein-project/skein/blob"
)

// noise makes n bytes that depend on the seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

func chunk(data []byte, i int) []byte {
	return data[i*blob.ChunkSize : min((i+1)*blob.ChunkSize, len(data))]
}

func open(t testing.TB, dir string, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files lists everything under a directory but the format and the lock.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != formatName && d.Name() != "LOCK" {
			names = append(names, path)
		}
		return err
	}))
	return names
}

// An upload that is cut after every chunk, each time by closing the store, resumes and ends with the same bytes.
func TestUploadCutAtEveryChunkResumes(t *testing.T) {
	dir := t.TempDir()
	data := noise(1, 3*blob.ChunkSize+17)
	x := blob.Of(data)
	d := x.Digest()
	for left := 4; left > 0; left-- {
		s, err := Open(dir, Options{})
		must(t, err)
		missing, err := s.Begin(x)
		must(t, err)
		if len(missing) != left {
			t.Fatalf("missing %v, want %d chunks", missing, left)
		}
		if st, err := s.Stat(d); err != nil || st.Complete {
			t.Fatalf("visible as complete with %d chunks missing: %v, %v", left, st, err)
		}
		i := missing[len(missing)/2]
		must(t, s.WriteChunk(d, i, chunk(data, i)))
		must(t, s.Close())
	}
	s := open(t, dir, Options{})
	if st, err := s.Stat(d); err != nil || !st.Complete || st.Present != int64(len(data)) {
		t.Fatalf("%v, %v", st, err)
	}
	path, err := s.Path(d)
	must(t, err)
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatal("other bytes than were uploaded")
	}
	must(t, s.Delete(d))
	if left := files(t, dir); len(left) > 0 {
		t.Fatalf("Delete leaves %v", left)
	}
}

func TestWrongChunkIsNeverVisible(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	data := noise(2, blob.ChunkSize+9)
	x := blob.Of(data)
	d := x.Digest()
	_, err := s.Begin(x)
	must(t, err)
	flipped := bytes.Clone(chunk(data, 0))
	flipped[77] ^= 4
	for _, c := range []struct {
		i    int
		data []byte
	}{{0, flipped}, {0, chunk(data, 1)}, {1, chunk(data, 0)}, {1, nil}, {2, nil}, {-1, nil}, {0, data}} {
		if err := s.WriteChunk(d, c.i, c.data); !errors.Is(err, blob.ErrCorrupt) {
			t.Errorf("chunk %d of %d bytes: %v", c.i, len(c.data), err)
		}
	}
	if st, _ := s.Stat(d); st.Present != 0 {
		t.Errorf("%d bytes became visible", st.Present)
	}
	if err := s.WriteChunk(blob.Of(nil).Digest(), 0, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a blob that was not begun: %v", err)
	}
}

func TestTwoUploadsOfOneBlobJoin(t *testing.T) {
	s := open(t, t.TempDir(), Options{Flush: 1})
	data := noise(5, 6*blob.ChunkSize+1)
	x := blob.Of(data)
	d := x.Digest()
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			missing, err := s.Begin(x)
			if err != nil {
				t.Error(err)
			}
			rand.New(rand.NewPCG(uint64(w), 0)).Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
			for _, i := range missing {
				if err := s.WriteChunk(d, i, chunk(data, i)); err != nil {
					t.Error(err)
				}
			}
			if st, err := s.Stat(d); err != nil || !st.Complete {
				t.Errorf("a writer that wrote all it had to finds the blob incomplete: %+v, %v", st, err)
			}
		})
	}
	wait.Wait()
	must(t, s.Verify(context.Background(), blob.Ref{Digest: d, Len: x.Size}))
	if s.promised != 0 {
		t.Errorf("%d bytes stay promised", s.promised)
	}
}

// Deleting while others write ends either way, but never with a blob that is wrong or files without a blob.
func TestDeleteWhileWriting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Flush: 1})
	data := noise(6, 2*blob.ChunkSize)
	x := blob.Of(data)
	d := x.Digest()
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			for range 8 {
				missing, err := s.Begin(x)
				if err != nil {
					t.Error(err)
				}
				for _, i := range missing {
					if err := s.WriteChunk(d, i, chunk(data, i)); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
				if err := s.Verify(context.Background(), blob.Ref{Digest: d, Len: x.Size}); errors.Is(err, blob.ErrCorrupt) {
					t.Error(err)
				}
			}
		})
	}
	wait.Go(func() {
		for range 16 {
			if err := s.Delete(d); err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
	})
	wait.Wait()
	if err := s.Delete(d); err != nil && !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if left := files(t, dir); len(left) > 0 || s.promised != 0 {
		t.Errorf("left behind: %v, promised %d", left, s.promised)
	}
}

func TestFullIsRefusedBeforeWriting(t *testing.T) {
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 10 << 20})
	s := open(t, "/store", Options{FS: mem, Reserve: 1 << 20})
	refuse := func(need, free int64, err error) {
		t.Helper()
		var full Full
		if !errors.As(err, &full) || full != (Full{need, free}) {
			t.Fatalf("%v, want %d needed and %d free", err, need, free)
		}
	}
	big := blob.Of(make([]byte, 9<<20+1))
	_, err := s.Begin(big)
	refuse(9<<20+1, 9<<20, err)
	if len(s.List()) != 0 {
		t.Fatal("a refused upload is listed")
	}
	if names, _ := mem.List("/store/blobs"); len(names) != 0 {
		t.Fatalf("a refused upload leaves %v", names)
	}
	// Only what is asked for counts, once; what is promised to one is not promised to another.
	part := blob.Ref{Digest: big.Digest(), Len: 1}
	for range 2 {
		_, err = s.Begin(big, part)
		must(t, err)
	}
	_, err = s.Begin(blob.Of(make([]byte, 6<<20)))
	refuse(6<<20, 5<<20, err)
	_, err = s.Import(context.Background(), bytes.NewReader(make([]byte, 6<<20)), 6<<20)
	refuse(6<<20, 5<<20, err)
	must(t, s.Delete(big.Digest()))
	_, err = s.Begin(blob.Of(make([]byte, 6<<20)))
	must(t, err)
}

func TestImportFile(t *testing.T) {
	dir, src := t.TempDir(), filepath.Join(t.TempDir(), "weights")
	s := open(t, dir, Options{})
	data := noise(7, blob.ChunkSize+3)
	must(t, os.WriteFile(src, data, 0o600))
	x, err := s.ImportFile(context.Background(), src)
	must(t, err)
	if x.Digest() != blob.Of(data).Digest() {
		t.Fatal("another digest than that of the bytes")
	}
	// Upload then swap: the file changes after it was hashed, the blob does not.
	must(t, os.WriteFile(src, noise(8, len(data)), 0o600))
	must(t, s.Verify(context.Background(), blob.Ref{Digest: x.Digest(), Len: x.Size}))
	if st, _ := s.Stat(x.Digest()); !st.Complete {
		t.Error("not complete")
	}
	before := len(files(t, dir))
	again, err := s.Import(context.Background(), bytes.NewReader(data), int64(len(data)))
	if err != nil || again.Digest() != x.Digest() || len(files(t, dir)) != before {
		t.Errorf("a second import: %v, %v", err, files(t, dir))
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for why, err := range map[string]error{
		"shorter":   second(s.Import(context.Background(), bytes.NewReader(data[1:]), int64(len(data)))),
		"longer":    second(s.Import(context.Background(), bytes.NewReader(data), int64(len(data)-1))),
		"cancelled": second(s.Import(canceled, bytes.NewReader(data), int64(len(data)))),
		"directory": second(s.ImportFile(context.Background(), dir)),
		"absent":    second(s.ImportFile(context.Background(), src+"x")),
		"negative":  second(s.Import(context.Background(), bytes.NewReader(nil), -1)),
	} {
		if err == nil || len(files(t, dir)) != before || s.promised != 0 {
			t.Errorf("%s: %v, leaves %v", why, err, files(t, dir))
		}
	}
}

func second[A any](_ A, err error) error { return err }

// A file that others upload in part becomes whole by an import.
func TestImportCompletesAPartialBlob(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	data := noise(10, 2*blob.ChunkSize)
	x := blob.Of(data)
	_, err := s.Begin(x)
	must(t, err)
	must(t, s.WriteChunk(x.Digest(), 1, chunk(data, 1)))
	_, err = s.Import(context.Background(), bytes.NewReader(data), x.Size)
	must(t, err)
	must(t, s.Verify(context.Background(), blob.Ref{Digest: x.Digest(), Len: x.Size}))
	if st, _ := s.Stat(x.Digest()); !st.Complete || s.promised != 0 {
		t.Errorf("%+v, promised %d", st, s.promised)
	}
}

func TestOpenRefusesWhatIsNotItsOwn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second store: %v", err)
	}
	other := t.TempDir()
	must(t, os.WriteFile(filepath.Join(other, formatName), []byte("skein-blobs 2\n"), 0o600))
	must(t, os.Mkdir(filepath.Join(other, blobsDir), 0o700))
	must(t, os.WriteFile(filepath.Join(other, blobsDir, "precious"), nil, 0o600))
	if _, err := Open(other, Options{}); !errors.Is(err, ErrFormat) || len(files(t, other)) != 1 {
		t.Errorf("another version: %v, %v", err, files(t, other))
	}
	if len(s.List()) != 0 {
		t.Error("not empty")
	}
}

// Files that fit no blob, or no longer fit theirs, are removed; the rest stays.
func TestOpenSweeps(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	must(t, err)
	var digests []blob.Digest
	for i := range 6 {
		d, err := s.Put(noise(uint64(20+i), 100+i))
		must(t, err)
		digests = append(digests, d)
	}
	must(t, s.Close())
	at := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	name := func(i int) string { return digests[i].String() }
	must(t, os.Truncate(at(blobsDir, name(1)), 50))
	must(t, os.Remove(at(blobsDir, name(2))))
	must(t, os.WriteFile(at(metaDir, name(3)+indexSuffix), blob.Of(nil).Encode(), 0o600))
	must(t, os.WriteFile(at(metaDir, name(4)+haveSuffix), []byte("garbage"), 0o600))
	for _, p := range []string{at(blobsDir, "x"), at(metaDir, "y"+indexSuffix), at(metaDir, "z"+tempSuffix), at(incomingDir, "1"),
		at(blobsDir, blob.Of([]byte("orphan")).Digest().String()), at(metaDir, blob.Of([]byte("orphan")).Digest().String()+haveSuffix)} {
		must(t, os.WriteFile(p, []byte("leftover"), 0o600))
	}
	s = open(t, dir, Options{})
	for i, want := range []string{"whole", "none", "none", "none", "empty", "whole"} {
		got := "none"
		if st, err := s.Stat(digests[i]); err == nil {
			got = map[bool]string{true: "whole", false: "empty"}[st.Complete]
			if !st.Complete && st.Present != 0 {
				got = "partial"
			}
		}
		if got != want {
			t.Errorf("blob %d is %s, want %s", i, got, want)
		}
	}
	if left := files(t, dir); len(left) != 3+3+3 {
		t.Errorf("left: %v", left)
	}
}

func TestEmptyBlobIsCompleteAtOnce(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	d, err := s.Put(nil)
	must(t, err)
	if st, err := s.Stat(d); err != nil || !st.Complete || !s.Have(blob.Ref{Digest: d}) {
		t.Errorf("%+v, %v", st, err)
	}
}

func ExampleFull() {
	fmt.Println(Full{Need: 5, Free: 3})
	// Output: disk: full: 5 bytes needed, 3 free
}
