// Package disk keeps blobs in a directory, whole or in part, and shows nothing that was not verified.
//
// Each blob is one file at its original offsets, sparse where chunks are missing, so that a runtime can map it; all files lie in
// one folder. Beside it are its index, and the bitmap of the chunks that were verified and have reached the disk. A chunk is
// written, then synced, then noted in the bitmap, which is replaced in one step: after a crash the bitmap never says too much.
package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skein-project/skein/blob"
)

// Limits of a store.
const (
	DefaultReserve = 256 << 20 // bytes
	DefaultFlush   = 64 << 20  // bytes
	MaxRead        = 64 << 20  // bytes that Read returns at once
)

// Options are the settings of a store.
type Options struct {
	FS      vfs.FS // file system; default: the operating system's
	Reserve int64  // bytes that stay free on the disk; 0 = DefaultReserve, negative = none
	Flush   int64  // bytes written to a blob after which what is verified is made durable; 0 = DefaultFlush
}

// Store is a directory of blobs. It is safe for concurrent use; one process at a time may have it open. Other processes may read
// the files that Path names, in the ranges that Have confirms.
type Store struct {
	fs      vfs.FS
	dir     string
	reserve int64
	flush   int64
	lock    io.Closer

	change sync.Mutex // held while blobs come and go, so that the two maps of what exists agree: entries and the directory

	mu       sync.RWMutex // guards what follows, never held during I/O
	entries  map[blob.Digest]*entry
	promised int64 // bytes promised to writers and not yet written
	imports  uint64
	received map[string]bool // files of partialDir that somebody works on
}

const (
	blobsDir    = "blobs"
	metaDir     = "meta"
	incomingDir = "incoming"
	formatName  = "FORMAT"
	formatText  = "skein-blobs 1\n"
	indexSuffix = ".index"
	haveSuffix  = ".have"
	tempSuffix  = ".tmp"
	category    = vfs.WriteCategoryUnspecified
)

// Open opens or makes a store in dir. What a crash left half done is removed.
func Open(dir string, opt Options) (*Store, error) {
	s := &Store{fs: opt.FS, dir: dir, reserve: opt.Reserve, flush: opt.Flush, entries: map[blob.Digest]*entry{}, received: map[string]bool{}}
	if s.reserve == 0 {
		s.reserve = DefaultReserve
	}
	if s.flush <= 0 {
		s.flush = DefaultFlush
	}
	s.reserve = max(s.reserve, 0)
	if err := s.prepare(); err != nil {
		return nil, err
	}
	lock, err := s.fs.Lock(s.path("LOCK"))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLocked, dir, err)
	}
	s.lock = lock
	if err = s.checkFormat(); err == nil {
		err = s.recover()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// prepare makes the directories. A runtime that is given the files refuses symbolic links, so the path is made real.
func (s *Store) prepare() error {
	osFS := s.fs == nil
	if osFS {
		s.fs = vfs.Default
		abs, err := filepath.Abs(s.dir)
		if err != nil {
			return fmt.Errorf("disk: open %s: %w", s.dir, err)
		}
		s.dir = abs
	}
	for _, d := range []string{s.dir, s.path(blobsDir), s.path(metaDir), s.path(incomingDir), s.path(partialDir)} {
		if err := s.fs.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("disk: open: %w", err)
		}
	}
	if osFS {
		real, err := filepath.EvalSymlinks(s.dir)
		if err != nil {
			return fmt.Errorf("disk: open %s: %w", s.dir, err)
		}
		s.dir = real
	}
	return errors.Join(s.syncDir(s.fs.PathDir(s.dir)), s.syncDir(s.dir))
}

// checkFormat refuses a directory of another version.
func (s *Store) checkFormat() error {
	text, err := s.readFile(s.path(formatName), int64(len(formatText))+64)
	if errors.Is(err, fs.ErrNotExist) {
		return s.writeFile(s.dir, formatName, []byte(formatText))
	}
	if err != nil {
		return err
	}
	if string(text) != formatText {
		return fmt.Errorf("%w: %s says %q, want %q", ErrFormat, s.path(formatName), text, formatText)
	}
	return nil
}

// recover loads the blobs and removes what belongs to none.
func (s *Store) recover() error {
	names, err := s.fs.List(s.path(metaDir))
	if err != nil {
		return fmt.Errorf("disk: open: %w", err)
	}
	for _, name := range names {
		hex, ok := strings.CutSuffix(name, indexSuffix)
		d, err := blob.ParseDigest(hex)
		if !ok || err != nil {
			continue // swept away below
		}
		if err := s.load(d); err != nil {
			return err
		}
	}
	keep := func(suffix string) func(string) bool {
		return func(name string) bool {
			hex, ok := strings.CutSuffix(name, suffix)
			d, err := blob.ParseDigest(hex)
			return ok && err == nil && s.entries[d] != nil
		}
	}
	isIndex, isHave := keep(indexSuffix), keep(haveSuffix)
	return errors.Join(
		s.sweep(incomingDir, func(string) bool { return false }),
		s.sweep(partialDir, func(name string) bool { return strings.HasSuffix(name, partSuffix) }),
		s.sweep(metaDir, func(name string) bool { return isIndex(name) || isHave(name) }),
		s.sweep(blobsDir, keep("")))
}

// sweep removes the files of a directory that are not to be kept.
func (s *Store) sweep(dir string, keep func(name string) bool) error {
	names, err := s.fs.List(s.path(dir))
	if err != nil {
		return fmt.Errorf("disk: open: %w", err)
	}
	for _, name := range names {
		if keep(name) {
			continue
		}
		if err := s.fs.Remove(s.fs.PathJoin(s.path(dir), name)); err != nil {
			return fmt.Errorf("disk: remove a leftover: %w", err)
		}
	}
	return s.syncDir(s.path(dir))
}

// load reads one blob's index and bitmap. A blob whose files do not fit together is left out, and swept away.
func (s *Store) load(d blob.Digest) error {
	hex := d.String()
	raw, err := s.readFile(s.path(metaDir, hex+indexSuffix), maxIndexFile)
	if err != nil {
		return err
	}
	x, ok := indexOf(d, raw)
	if !ok {
		return nil
	}
	stat, err := s.fs.Stat(s.path(blobsDir, hex))
	if errors.Is(err, fs.ErrNotExist) || err == nil && (stat.Size() != x.Size || !stat.Mode().IsRegular()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("disk: open: %w", err)
	}
	e := newEntry(x)
	e.touched = stat.ModTime()
	have, err := s.readFile(s.path(metaDir, hex+haveSuffix), maxHaveFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if saved, ok := decodeHave(d, have, len(x.Chunks)); ok {
		e.saved, e.have = saved, slices.Clone(saved)
	}
	s.entries[d] = e
	return nil
}

// indexOf reads the index of a blob; ok is false for anything else.
func indexOf(d blob.Digest, raw []byte) (x blob.Index, ok bool) {
	x, err := blob.DecodeIndex(raw)
	return x, err == nil && x.Digest() == d
}

// Close makes durable what is verified and lets go of the directory.
func (s *Store) Close() error {
	var errs []error
	for _, st := range s.List() {
		errs = append(errs, s.Flush(st.Digest))
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// Stat is what the store has of a blob.
type Stat struct {
	Digest   blob.Digest
	Size     int64     // bytes of the whole blob
	Present  int64     // bytes in verified chunks
	Complete bool      // every chunk is verified and durable
	Touched  time.Time // when somebody last began or went on to write it, also when there was nothing left to write
}

// Stat says what the store has of a blob, or ErrNotFound.
func (s *Store) Stat(d blob.Digest) (Stat, error) {
	e, err := s.entry(d)
	if err != nil {
		return Stat{}, err
	}
	return e.stat(), nil
}

// List says what the store has of all its blobs, in the order of their digests.
func (s *Store) List() []Stat {
	s.mu.RLock()
	all := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		all = append(all, e)
	}
	s.mu.RUnlock()
	stats := make([]Stat, 0, len(all))
	for _, e := range all {
		stats = append(stats, e.stat())
	}
	slices.SortFunc(stats, func(a, b Stat) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	return stats
}

// Index is the blob's list of chunk hashes.
func (s *Store) Index(d blob.Digest) (blob.Index, error) {
	e, err := s.entry(d)
	if err != nil {
		return blob.Index{}, err
	}
	return e.index, nil
}

// Folder is the real folder that holds a file per blob, named by its digest.
func (s *Store) Folder() string { return s.path(blobsDir) }

// Path is the real path of the blob's file. Only the ranges that Have confirms hold the blob's bytes.
func (s *Store) Path(d blob.Digest) (string, error) {
	if _, err := s.entry(d); err != nil {
		return "", err
	}
	return s.path(blobsDir, d.String()), nil
}

// Touch notes that somebody is about to rely on a blob that is here; see DeleteUntouched.
func (s *Store) Touch(d blob.Digest) error {
	s.change.Lock()
	defer s.change.Unlock()
	e, err := s.entry(d)
	if err == nil {
		e.touch()
	}
	return err
}

// DeleteUntouched removes a blob that no writer touched after a time; else it does nothing.
func (s *Store) DeleteUntouched(d blob.Digest, after time.Time) (deleted bool, err error) {
	s.change.Lock()
	defer s.change.Unlock()
	e, err := s.entry(d)
	if err != nil || e.stat().Touched.After(after) {
		return false, err
	}
	return true, s.remove(e)
}

// Free is how many bytes can be written: free on the disk, less the reserve and what was promised.
func (s *Store) Free() (int64, error) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return 0, fmt.Errorf("disk: free space of %s: %w", s.dir, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.free(usage), nil
}

// Delete removes a blob, also one that is still being written.
func (s *Store) Delete(d blob.Digest) error {
	s.change.Lock()
	defer s.change.Unlock()
	e, err := s.entry(d)
	if err != nil {
		return err
	}
	return s.remove(e)
}

// remove takes a blob away. s.change is held.
func (s *Store) remove(e *entry) error {
	d := e.digest
	e.io.Lock()
	defer e.io.Unlock()
	s.mu.Lock()
	delete(s.entries, d)
	s.promised -= e.retire()
	s.mu.Unlock()
	// Without its index the rest is swept away, should the process end here.
	for _, path := range []string{s.path(metaDir, d.String()+indexSuffix), s.path(metaDir, d.String()+haveSuffix), s.path(blobsDir, d.String())} {
		if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("disk: delete %s: %w", d.Short(), err)
		}
		if err := s.syncDir(s.fs.PathDir(path)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) entry(d blob.Digest) (*entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e, ok := s.entries[d]; ok {
		return e, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, d.Short())
}

func (s *Store) path(elem ...string) string {
	return s.fs.PathJoin(append([]string{s.dir}, elem...)...)
}
