package disk

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skein-project/skein/blob"
)

// Have says whether every byte of the range is here and was verified.
func (s *Store) Have(ref blob.Ref) bool {
	missing, err := s.Missing(ref)
	return err == nil && len(missing) == 0
}

// Missing lists the chunks of a range that are not here, sorted.
func (s *Store) Missing(ref blob.Ref) ([]int, error) {
	e, err := s.entry(ref.Digest)
	if err != nil {
		return nil, err
	}
	return e.missing(ref)
}

// ReadChunk reads chunk i and checks it again. A chunk that has changed on the disk fails with Corrupt and is missing from then on.
func (s *Store) ReadChunk(d blob.Digest, i int) ([]byte, error) {
	e, err := s.entry(d)
	if err != nil {
		return nil, err
	}
	if i < 0 || i >= len(e.index.Chunks) {
		return nil, fmt.Errorf("%w: chunk %d of %s", blob.ErrRange, i, d.Short())
	}
	f, err := s.Reader(d)
	if err != nil {
		return nil, err
	}
	b := make([]byte, e.index.ChunkLen(i))
	_, err = f.ReadAt(b, int64(i)*blob.ChunkSize)
	cut := errors.Is(err, io.EOF) // the file was cut short behind our back
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err != nil && !cut {
		return nil, err
	}
	if e.index.Check(i, b) != nil {
		if e.retired() { // deleted, and perhaps begun anew, since the file was opened
			return nil, fmt.Errorf("%w: %s", ErrNotFound, d.Short())
		}
		return nil, errors.Join(Corrupt{d, []int{i}}, s.drop(e, []int{i}))
	}
	return b, nil
}

// Read reads a range of at most MaxRead bytes, checking every chunk it touches.
func (s *Store) Read(ref blob.Ref) ([]byte, error) {
	if ref.Len > MaxRead {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLong, ref.Len, MaxRead)
	}
	if missing, err := s.Missing(ref); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return nil, absent(ref.Digest, missing[0])
	}
	out := make([]byte, 0, ref.Len)
	for i, to := ref.Chunks(); i < to; i++ {
		b, err := s.ReadChunk(ref.Digest, i)
		if err != nil {
			return nil, err
		}
		start := int64(i) * blob.ChunkSize
		out = append(out, b[max(ref.Off-start, 0):min(ref.Off+ref.Len-start, int64(len(b)))]...)
	}
	return out, nil
}

// Verify reads a range's chunks and checks them again. It fails with Corrupt, naming all that have changed; they are missing from
// then on.
func (s *Store) Verify(ctx context.Context, ref blob.Ref) error {
	if missing, err := s.Missing(ref); err != nil {
		return err
	} else if len(missing) > 0 {
		return absent(ref.Digest, missing[0])
	}
	var bad []int
	for i, to := ref.Chunks(); i < to; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch _, err := s.ReadChunk(ref.Digest, i); {
		case errors.Is(err, blob.ErrCorrupt):
			bad = append(bad, i)
		case err != nil:
			return err
		}
	}
	if len(bad) > 0 {
		return Corrupt{ref.Digest, bad}
	}
	return nil
}

// Reader reads a blob at any offset without checking it again. Close it after use.
type Reader struct {
	file  vfs.File
	entry *entry
}

// Reader opens a blob, complete or not; parts that are not here are ErrAbsent.
func (s *Store) Reader(d blob.Digest) (*Reader, error) {
	e, err := s.entry(d)
	if err != nil {
		return nil, err
	}
	f, err := s.fs.Open(s.path(blobsDir, d.String()))
	if err != nil {
		return nil, fmt.Errorf("disk: read %s: %w", d.Short(), err)
	}
	return &Reader{f, e}, nil
}

// Size is the length of the whole blob in bytes.
func (r *Reader) Size() int64 { return r.entry.index.Size }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", blob.ErrRange, off)
	}
	n := max(min(int64(len(p)), r.Size()-off), 0)
	if n > 0 {
		missing, err := r.entry.missing(blob.Ref{Digest: r.entry.digest, Off: off, Len: n})
		if err != nil {
			return 0, err
		}
		if len(missing) > 0 {
			return 0, absent(r.entry.digest, missing[0])
		}
		if got, err := r.file.ReadAt(p[:n], off); int64(got) < n {
			return got, fmt.Errorf("disk: read %s at %d: %w", r.entry.digest.Short(), off, err)
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// Close lets go of the file.
func (r *Reader) Close() error { return r.file.Close() }

func absent(d blob.Digest, chunk int) error {
	return fmt.Errorf("%w: chunk %d of %s", ErrAbsent, chunk, d.Short())
}
