package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skein-project/skein/blob"
)

// What is received lies in partialDir: as partSuffix while nobody writes to it and everything in it is on the disk, as openSuffix
// otherwise. After a crash the second kind is removed: how much of it reached the disk is not known.
const (
	partialDir = "partial"
	partSuffix = ".part"
	openSuffix = ".open"
)

// ErrBusy says that the same thing is being received already.
var ErrBusy = errors.New("disk: the same is being received already")

// receiving is a file whose digest is not known before its last byte.
type receiving struct {
	store *Store
	name  string // of the file in partialDir, without its suffix
	size  int64  // bytes
	file  vfs.File
	index blob.Index
	claim blob.Claim
}

// Receive stores what comes from elsewhere, which must be size bytes: open begins to read at an offset, claim sees every byte in order
// and says at the end whether they are what was promised. Only then the blob exists. What came before a cut is kept under key, which must
// name the content, and the next Receive goes on from there; what turned out to be wrong is removed. Errors: Full, ErrSource, ErrBusy,
// those of open and of claim.
func (s *Store) Receive(ctx context.Context, key string, size int64, open func(ctx context.Context, off int64) (io.ReadCloser, error), claim blob.Claim) (blob.Index, error) {
	if size < 0 || size > blob.MaxSize {
		return blob.Index{}, fmt.Errorf("%w: %d bytes", blob.ErrIndex, size)
	}
	sum := sha256.Sum256([]byte(key))
	r := &receiving{store: s, name: hex.EncodeToString(sum[:]), size: size, index: blob.Index{Size: size}, claim: claim}
	if !s.occupy(r.name) {
		return blob.Index{}, ErrBusy
	}
	defer s.vacate(r.name)
	here, err := r.begin()
	if err != nil {
		return blob.Index{}, fmt.Errorf("disk: receive: %w", err)
	}
	if err := s.claim(size - here); err != nil {
		return blob.Index{}, errors.Join(err, r.file.Close(), r.keep())
	}
	defer s.release(size - here)
	if err := r.finish(ctx, here, open); err != nil {
		return blob.Index{}, err
	}
	if err := s.adopt(r.index, r.path(openSuffix)); err != nil {
		return blob.Index{}, errors.Join(err, s.fs.RemoveAll(r.path(openSuffix)))
	}
	return r.index, nil
}

func (s *Store) occupy(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received[name] {
		return false
	}
	s.received[name] = true
	return true
}

func (s *Store) vacate(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.received, name)
}

func (r *receiving) path(suffix string) string { return r.store.path(partialDir, r.name+suffix) }

// begin opens the file, and tells how many bytes of it are there: whole chunks, or all.
func (r *receiving) begin() (here int64, err error) {
	fs := r.store.fs
	if stat, err := fs.Stat(r.path(partSuffix)); err == nil && stat.Mode().IsRegular() && stat.Size() <= r.size {
		if here = stat.Size(); here < r.size {
			here -= here % blob.ChunkSize
		}
	}
	if here == 0 {
		if err := fs.RemoveAll(r.path(partSuffix)); err != nil {
			return 0, err
		}
		r.file, err = fs.Create(r.path(openSuffix), category)
		return 0, err
	}
	if err := fs.Rename(r.path(partSuffix), r.path(openSuffix)); err != nil {
		return 0, err
	}
	if err := r.store.syncDir(r.store.path(partialDir)); err != nil {
		return 0, err
	}
	r.file, err = fs.OpenReadWrite(r.path(openSuffix), category)
	return here, err
}

// finish reads what is there and what is missing, and closes the file: whole and durable, kept for another time, or removed.
func (r *receiving) finish(ctx context.Context, here int64, open func(context.Context, int64) (io.ReadCloser, error)) error {
	err := r.again(ctx, here)
	if err == nil {
		err = r.rest(ctx, here, open)
	}
	var cut *cutShort
	switch {
	case err == nil:
		if err = r.claim.Check(); err == nil {
			err = r.file.Sync()
		}
	case errors.As(err, &cut):
		return errors.Join(cut.why, r.file.Sync(), r.file.Close(), r.keep())
	}
	if err = errors.Join(err, r.file.Close()); err != nil {
		return errors.Join(fmt.Errorf("disk: receive: %w", err), r.store.fs.RemoveAll(r.path(openSuffix)))
	}
	return nil
}

// cutShort says that the source failed, not what came from it.
type cutShort struct{ why error }

// Error implements error.
func (e *cutShort) Error() string { return e.why.Error() }

// again shows the claim what an earlier Receive wrote.
func (r *receiving) again(ctx context.Context, here int64) error {
	buf := make([]byte, blob.ChunkSize)
	for off := int64(0); off < here; off += blob.ChunkSize {
		if err := ctx.Err(); err != nil {
			return &cutShort{err}
		}
		chunk := buf[:min(blob.ChunkSize, here-off)]
		if _, err := r.file.ReadAt(chunk, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := r.see(chunk); err != nil {
			return err
		}
	}
	return nil
}

// see notes the next chunk.
func (r *receiving) see(chunk []byte) error {
	r.index.Chunks = append(r.index.Chunks, sha256.Sum256(chunk))
	_, err := r.claim.Write(chunk)
	return err
}

// rest reads from the source, and checks that it ends where it should.
func (r *receiving) rest(ctx context.Context, here int64, open func(context.Context, int64) (io.ReadCloser, error)) error {
	if here == r.size && r.size > 0 {
		return nil
	}
	body, err := open(ctx, here)
	if err != nil {
		return &cutShort{err}
	}
	defer body.Close() // opened for reading
	buf := make([]byte, blob.ChunkSize)
	for off := here; off < r.size; off += blob.ChunkSize {
		if err := ctx.Err(); err != nil {
			return &cutShort{err}
		}
		chunk := buf[:min(blob.ChunkSize, r.size-off)]
		switch _, err := io.ReadFull(body, chunk); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w: ends before %d bytes", ErrSource, r.size)
		case err != nil:
			return &cutShort{err}
		}
		if _, err := r.file.WriteAt(chunk, off); err != nil {
			return err
		}
		if err := r.see(chunk); err != nil {
			return err
		}
	}
	switch n, err := io.ReadFull(body, buf[:1]); {
	case n > 0:
		return fmt.Errorf("%w: goes on after %d bytes", ErrSource, r.size)
	case !errors.Is(err, io.EOF):
		return &cutShort{err}
	}
	return nil
}

// keep leaves the file for another Receive.
func (r *receiving) keep() error {
	if stat, err := r.store.fs.Stat(r.path(openSuffix)); err == nil && stat.Size() == 0 {
		return r.store.fs.Remove(r.path(openSuffix))
	}
	if err := r.store.fs.Rename(r.path(openSuffix), r.path(partSuffix)); err != nil {
		return fmt.Errorf("disk: keep a part: %w", err)
	}
	return r.store.syncDir(r.store.path(partialDir))
}

// Expire removes what was received in part and not touched since a time. It tells how many bytes that were.
func (s *Store) Expire(before time.Time) (freed int64, err error) {
	names, err := s.fs.List(s.path(partialDir))
	if err != nil {
		return 0, fmt.Errorf("disk: expire: %w", err)
	}
	for _, file := range names {
		name, ok := strings.CutSuffix(file, partSuffix)
		if !ok || !s.occupy(name) {
			continue
		}
		stat, err := s.fs.Stat(s.path(partialDir, file))
		if err == nil && stat.ModTime().Before(before) {
			if err = s.fs.Remove(s.path(partialDir, file)); err == nil {
				freed += stat.Size()
			}
		}
		s.vacate(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, fmt.Errorf("disk: expire: %w", err)
		}
	}
	return freed, nil
}
