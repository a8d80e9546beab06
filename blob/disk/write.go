package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skein-project/skein/blob"
)

// Begin announces that chunks of a blob will be written: those that the ranges touch, or all of them where no range is given. It
// returns the numbers of the chunks that are still missing, sorted. Writers of one blob join: each may write any chunk. Where the disk has
// no room for what is missing, Begin fails with Full and nothing is left behind.
func (s *Store) Begin(x blob.Index, refs ...blob.Ref) ([]int, error) {
	if err := x.Validate(); err != nil {
		return nil, fmt.Errorf("disk: begin: %w", err)
	}
	s.change.Lock()
	defer s.change.Unlock()
	d := x.Digest()
	e, err := s.entry(d)
	fresh := err != nil
	if fresh {
		x.Chunks = slices.Clone(x.Chunks)
		e = newEntry(x)
	}
	if len(refs) == 0 {
		refs = []blob.Ref{{Digest: d, Len: x.Size}}
	}
	var missing []int
	for _, ref := range refs {
		if ref.Digest != d {
			return nil, fmt.Errorf("%w: of %s, not of %s", blob.ErrRange, ref.Digest.Short(), d.Short())
		}
		list, err := e.missing(ref)
		if err != nil {
			return nil, err
		}
		missing = append(missing, list...)
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	e.touch()
	if err := s.promise(e, missing); err != nil {
		return nil, err
	}
	if fresh {
		if err := s.create(e); err != nil {
			s.release(e.retire())
			return nil, err
		}
	}
	return missing, nil
}

// promise keeps space for chunks, or fails with Full.
func (s *Store) promise(e *entry, chunks []int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var need int64
	for _, i := range chunks {
		if !e.promised.has(i) {
			need += e.index.ChunkLen(i)
		}
	}
	if err := s.claim(need); err != nil {
		return err
	}
	for _, i := range chunks {
		e.promised.set(i)
	}
	return nil
}

// claim promises bytes of disk space.
func (s *Store) claim(need int64) error {
	if need == 0 {
		return nil
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return fmt.Errorf("disk: free space of %s: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free := s.free(usage)
	if need > free {
		return Full{Need: need, Free: free}
	}
	s.promised += need
	return nil
}

// free is what is left of a disk. s.mu is held.
func (s *Store) free(usage vfs.DiskUsage) int64 {
	return max(int64(min(usage.AvailBytes, math.MaxInt64))-s.reserve-s.promised, 0)
}

func (s *Store) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promised -= n
}

// create makes the files of a blob without any chunk, and the blob itself. s.change is held.
func (s *Store) create(e *entry) error {
	path := s.path(blobsDir, e.digest.String())
	f, err := s.fs.Create(path, category)
	if err != nil {
		return fmt.Errorf("disk: create %s: %w", e.digest.Short(), err)
	}
	err = f.Close()
	if err == nil && e.index.Size > 0 {
		// One byte at the end gives the file its length, and costs one block.
		err = s.writeAt(path, []byte{0}, e.index.Size-1, true)
	}
	if err == nil {
		err = s.syncDir(s.path(blobsDir))
	}
	if err == nil {
		err = s.install(e)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("disk: create %s: %w", e.digest.Short(), err), s.fs.Remove(path))
	}
	return nil
}

// install writes the index of a blob whose file is in its place, and shows the blob. s.change is held.
func (s *Store) install(e *entry) error {
	// A bitmap that a failed Delete left behind must be gone for good before the index is there again.
	switch err := s.fs.Remove(s.path(metaDir, e.digest.String()+haveSuffix)); {
	case err == nil:
		if err := s.syncDir(s.path(metaDir)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("disk: remove a leftover: %w", err)
	}
	if err := s.writeFile(s.path(metaDir), e.digest.String()+indexSuffix, e.index.Encode()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[e.digest] = e
	return nil
}

// writeAt writes into a file that exists.
func (s *Store) writeAt(path string, p []byte, off int64, sync bool) error {
	f, err := s.fs.OpenReadWrite(path, category)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, off)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// WriteChunk writes chunk i of a blob that was begun, after checking it against its hash. When it was the last one missing, the
// blob is durable before WriteChunk returns. A chunk that is there already is left alone.
func (s *Store) WriteChunk(d blob.Digest, i int, data []byte) error {
	e, err := s.entry(d)
	if err != nil {
		return err
	}
	if err := e.index.Check(i, data); err != nil {
		return fmt.Errorf("disk: write: %w", err)
	}
	n, err := s.writeNoted(e, i, data)
	if err != nil {
		return err
	}
	s.release(n.released)
	if n.due {
		return s.save(e)
	}
	return nil
}

// writeNoted writes and notes a chunk while the blob cannot be deleted.
func (s *Store) writeNoted(e *entry, i int, data []byte) (noted, error) {
	e.io.RLock()
	defer e.io.RUnlock()
	if e.retired() {
		return noted{}, fmt.Errorf("%w: %s", ErrNotFound, e.digest.Short())
	}
	if !e.has(i) {
		if err := s.writeAt(s.path(blobsDir, e.digest.String()), data, int64(i)*blob.ChunkSize, false); err != nil {
			return noted{}, fmt.Errorf("disk: write chunk %d of %s: %w", i, e.digest.Short(), err)
		}
	}
	return e.note(i, s.flush), nil
}

// Flush makes durable which chunks of a blob are there.
func (s *Store) Flush(d blob.Digest) error {
	e, err := s.entry(d)
	if err != nil {
		return err
	}
	return s.save(e)
}

// Put stores a small blob whole.
func (s *Store) Put(data []byte) (blob.Digest, error) {
	x := blob.Of(data)
	missing, err := s.Begin(x)
	if err != nil {
		return blob.Digest{}, err
	}
	d := x.Digest()
	for _, i := range missing {
		off := i * blob.ChunkSize
		if err := s.WriteChunk(d, i, data[off:min(off+blob.ChunkSize, len(data))]); err != nil {
			return blob.Digest{}, err
		}
	}
	return d, s.Flush(d)
}

// ImportFile stores a copy of a local regular file. The bytes that are hashed are the bytes that are stored: a file that is swapped or
// rewritten meanwhile makes another blob, never a wrong one. (A hard link would let its owner change the blob later.)
func (s *Store) ImportFile(ctx context.Context, path string) (blob.Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return blob.Index{}, fmt.Errorf("disk: import: %w", err)
	}
	defer f.Close() // opened for reading
	stat, err := f.Stat()
	if err != nil {
		return blob.Index{}, fmt.Errorf("disk: import %s: %w", path, err)
	}
	if !stat.Mode().IsRegular() {
		return blob.Index{}, fmt.Errorf("%w: %s is not a regular file", ErrSource, path)
	}
	return s.Import(ctx, f, stat.Size())
}

// Import stores what r yields, which must be size bytes.
func (s *Store) Import(ctx context.Context, r io.Reader, size int64) (x blob.Index, err error) {
	if size < 0 || size > blob.MaxSize {
		return x, fmt.Errorf("%w: %d bytes", blob.ErrIndex, size)
	}
	if err := s.claim(size); err != nil {
		return x, err
	}
	defer s.release(size)
	s.mu.Lock()
	s.imports++
	temp := s.path(incomingDir, strconv.FormatUint(s.imports, 10))
	s.mu.Unlock()
	x, err = s.copyHashed(ctx, temp, r, size)
	if err == nil {
		err = s.adopt(x, temp)
	}
	if err != nil {
		return blob.Index{}, errors.Join(err, s.fs.RemoveAll(temp))
	}
	return x, nil
}

// copyHashed writes r to a file and makes its index.
func (s *Store) copyHashed(ctx context.Context, path string, r io.Reader, size int64) (blob.Index, error) {
	f, err := s.fs.Create(path, category)
	if err != nil {
		return blob.Index{}, fmt.Errorf("disk: import: %w", err)
	}
	x := blob.Index{Size: size}
	buf := make([]byte, blob.ChunkSize)
	for i := range blob.Chunks(size) {
		chunk := buf[:x.ChunkLen(i)]
		if err = ctx.Err(); err != nil {
			break
		}
		if _, err = io.ReadFull(r, chunk); err != nil {
			err = fmt.Errorf("%w: ends before %d bytes: %w", ErrSource, size, err)
			break
		}
		x.Chunks = append(x.Chunks, sha256.Sum256(chunk))
		if _, err = f.Write(chunk); err != nil {
			break
		}
	}
	if err == nil {
		if n, _ := io.ReadFull(r, buf[:1]); n > 0 {
			err = fmt.Errorf("%w: goes on after %d bytes", ErrSource, size)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return blob.Index{}, fmt.Errorf("disk: import: %w", err)
	}
	return x, nil
}

// adopt makes a complete file the blob's file.
func (s *Store) adopt(x blob.Index, temp string) error {
	s.change.Lock()
	defer s.change.Unlock()
	d := x.Digest()
	e, err := s.entry(d)
	fresh := err != nil
	if fresh {
		e = newEntry(x)
	} else if e.stat().Complete {
		e.touch()
		return s.fs.Remove(temp)
	}
	e.io.Lock()
	err = s.fs.Rename(temp, s.path(blobsDir, d.String()))
	if err == nil {
		err = s.syncDir(s.path(blobsDir))
	}
	e.io.Unlock()
	if err == nil && fresh {
		if err = s.install(e); err != nil {
			err = errors.Join(err, s.fs.Remove(s.path(blobsDir, d.String())))
		}
	}
	if err != nil {
		return fmt.Errorf("disk: import %s: %w", d.Short(), err)
	}
	var released int64
	for i := range x.Chunks {
		released += e.note(i, math.MaxInt64).released
	}
	s.release(released)
	return s.save(e)
}
