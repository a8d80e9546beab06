package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skein-project/skein/blob"
)

// digestClaim says that bytes are those that are wanted.
type digestClaim struct{ want, got []byte }

var errClaim = errors.New("not what was promised")

func (c *digestClaim) Write(p []byte) (int, error) {
	c.got = append(c.got, p...)
	return len(p), nil
}

func (c *digestClaim) Check() error {
	if !bytes.Equal(c.got, c.want) {
		return errClaim
	}
	return nil
}

// from opens data, and fails after n bytes from the start of the data with err; nil = ends there.
func from(data []byte, n int, err error) func(context.Context, int64) (io.ReadCloser, error) {
	return func(_ context.Context, off int64) (io.ReadCloser, error) {
		end := min(n, len(data))
		r := io.Reader(bytes.NewReader(data[min(off, int64(end)):end]))
		if err != nil {
			r = io.MultiReader(r, failing{err})
		}
		return io.NopCloser(r), nil
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// What came before a cut is not fetched again, also by another process; what is wrong leaves nothing behind.
func TestReceive(t *testing.T) {
	t.Parallel()
	dir, data, size := t.TempDir(), noise(1, 2*blob.ChunkSize+100), int64(2*blob.ChunkSize+100)
	s, err := Open(dir, Options{})
	must(t, err)
	cut := errors.New("cut")
	receive := func(off int64, n int, err error, want []byte) error {
		t.Helper()
		_, err = s.Receive(t.Context(), "key", size, func(ctx context.Context, at int64) (io.ReadCloser, error) {
			if at != off {
				t.Errorf("opened at %d, want %d", at, off)
			}
			return from(data, n, err)(ctx, at)
		}, &digestClaim{want: want})
		return err
	}
	if err := receive(0, 100, cut, data); !errors.Is(err, cut) {
		t.Errorf("a cut: %v", err)
	}
	if err := receive(0, blob.ChunkSize+100, cut, data); !errors.Is(err, cut) {
		t.Errorf("a cut in the second chunk: %v", err)
	}
	must(t, s.Close())
	s = open(t, dir, Options{})
	if err := receive(blob.ChunkSize, 2*blob.ChunkSize, cut, data); !errors.Is(err, cut) {
		t.Errorf("a cut at the border of a chunk: %v", err)
	}
	if free := s.promised; free != 0 {
		t.Errorf("%d bytes stay promised", free)
	}
	must(t, receive(2*blob.ChunkSize, len(data), nil, data))
	d := blob.Of(data).Digest()
	if got, err := s.Read(blob.Ref{Digest: d, Len: size}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	must(t, receive(0, len(data), nil, data)) // it is there already
	must(t, s.Delete(d))

	for name, c := range map[string]struct {
		n    int
		want []byte
		err  error
	}{
		"short":       {len(data) - 1, data, ErrSource},
		"other bytes": {len(data), noise(2, len(data)), errClaim},
	} {
		if err := receive(0, c.n, nil, c.want); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	size--
	if err := receive(0, len(data), nil, data[:size]); !errors.Is(err, ErrSource) {
		t.Errorf("too long: %v", err)
	}
	if _, err := s.Receive(t.Context(), "key", blob.MaxSize+1, nil, nil); !errors.Is(err, blob.ErrIndex) {
		t.Errorf("larger than any blob: %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// One at a time under one key; a full disk is found before anything is opened; old parts go.
func TestReceiveLimits(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	data := noise(1, blob.ChunkSize+1)
	inside, outside := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.Receive(t.Context(), "key", int64(len(data)), func(ctx context.Context, off int64) (io.ReadCloser, error) {
			close(inside)
			<-outside
			return from(data, blob.ChunkSize, errors.New("cut"))(ctx, off)
		}, &digestClaim{})
		if err == nil {
			t.Error("a cut was not noticed")
		}
	})
	<-inside
	if _, err := s.Receive(t.Context(), "key", 1, from(data, 1, nil), &digestClaim{}); !errors.Is(err, ErrBusy) {
		t.Errorf("twice at once: %v", err)
	}
	close(outside)
	wg.Wait()
	if freed, err := s.Expire(time.Now().Add(-time.Hour)); err != nil || freed != 0 {
		t.Errorf("a young part: %d bytes, %v", freed, err)
	}
	if freed, err := s.Expire(time.Now().Add(time.Hour)); err != nil || freed != blob.ChunkSize {
		t.Errorf("an old part: %d bytes, %v", freed, err)
	}
	var full Full
	if _, err := s.Receive(t.Context(), "key", blob.MaxSize, nil, &digestClaim{}); !errors.As(err, &full) || full.Need != blob.MaxSize {
		t.Errorf("a full disk: %v", err)
	}
	if left := files(t, s.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	// What a crash left open is not trusted.
	must(t, os.WriteFile(filepath.Join(s.dir, partialDir, "x"+openSuffix), data, 0o600))
	dir := s.dir
	other := t.TempDir()
	must(t, os.CopyFS(other, os.DirFS(dir)))
	if again := open(t, other, Options{FS: vfs.Default}); len(files(t, again.dir)) != 0 {
		t.Error("an open part survived")
	}
}

// Touched moves with every writer, also one that finds nothing to write.
func TestTouched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	must(t, err)
	d, err := s.Put([]byte("text"))
	must(t, err)
	must(t, s.Close())
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(filepath.Join(dir, blobsDir, d.String()), old, old))
	s = open(t, dir, Options{})
	if st, err := s.Stat(d); err != nil || !st.Touched.Equal(old) {
		t.Errorf("after a start: %v, %v", st.Touched, err)
	}
	if _, err := s.Begin(blob.Of([]byte("text"))); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Stat(d); err != nil || time.Since(st.Touched) > time.Minute {
		t.Errorf("after an announcement: %v, %v", st.Touched, err)
	}
	before := time.Now()
	must(t, s.Touch(d))
	if deleted, err := s.DeleteUntouched(d, before); deleted || err != nil {
		t.Errorf("what was touched: %v, %v", deleted, err)
	}
	if deleted, err := s.DeleteUntouched(d, time.Now()); !deleted || err != nil {
		t.Errorf("what was not: %v, %v", deleted, err)
	}
	if _, err := s.DeleteUntouched(d, time.Now()); !errors.Is(err, blob.ErrUnknown) {
		t.Errorf("what is gone: %v", err)
	}
	if free, err := s.Free(); err != nil || free <= 0 {
		t.Errorf("%d bytes free, %v", free, err)
	}
}

// A scratch file takes what it was made for, and leaves nothing.
func TestScratch(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	f, err := s.Scratch(10)
	must(t, err)
	for i, text := range []string{"12345", "67890"} {
		if _, err := f.Write([]byte(text)); err != nil {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, ErrSource) {
		t.Errorf("beyond its size: %v", err)
	}
	buf := make([]byte, 4)
	if _, err := f.ReadAt(buf, 3); err != nil || string(buf) != "4567" {
		t.Errorf("read %q, %v", buf, err)
	}
	must(t, f.Close())
	if left := files(t, s.dir); len(left) != 0 || s.promised != 0 {
		t.Errorf("left behind: %v, %d bytes promised", left, s.promised)
	}
	var full Full
	if _, err := s.Scratch(blob.MaxSize); !errors.As(err, &full) {
		t.Errorf("a full disk: %v", err)
	}
}
