package disk

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skein-project/skein/blob"
)

// scratch is a file that lives until it is closed, or until the next start after a crash.
type scratch struct {
	vfs.File
	store *Store
	path  string
	size  int64 // bytes that were claimed
	wrote int64
}

// Scratch makes a file for at most size bytes that are no blob. Closing it removes it.
func (s *Store) Scratch(size int64) (blob.Scratch, error) {
	if size < 0 || size > blob.MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", blob.ErrIndex, size)
	}
	if err := s.claim(size); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.imports++
	path := s.path(incomingDir, strconv.FormatUint(s.imports, 10))
	s.mu.Unlock()
	f, err := s.fs.Create(path, category)
	if err != nil {
		s.release(size)
		return nil, fmt.Errorf("disk: scratch: %w", err)
	}
	return &scratch{File: f, store: s, path: path, size: size}, nil
}

// Write implements io.Writer.
func (f *scratch) Write(p []byte) (int, error) {
	if int64(len(p)) > f.size-f.wrote {
		return 0, fmt.Errorf("%w: goes on after %d bytes", ErrSource, f.size)
	}
	n, err := f.File.WriteAt(p, f.wrote)
	f.wrote += int64(n)
	return n, err
}

// Close implements io.Closer.
func (f *scratch) Close() error {
	f.store.release(f.size)
	return errors.Join(f.File.Close(), f.store.fs.Remove(f.path))
}
