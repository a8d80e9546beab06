// Package shelf keeps sealed answers on a disk, for a time and while there is room.
package shelf

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/skein-project/skein/results"
)

// Errors of a shelf.
var (
	ErrLarge   = errors.New("shelf: larger than all that may be kept")
	ErrDropped = errors.New("shelf: its owner had it dropped")
	errBusy    = errors.New("shelf: a box of that name comes or goes")
)

// Bounds.
const (
	MaxBoxes  = 1 << 17 // of a shelf; each costs some hundred bytes of memory
	maxHeader = 1 << 10 // bytes of the first line of a file
	batch     = 256     // files that are removed between two looks at the lock
	newSuffix = ".new"
)

// Shelf is a folder of boxes, a file each, up to a number of bytes and of boxes. Where there is no room, the oldest box goes of the tenant that
// has most of what is short, and there of the application that has most, so that nobody pushes out another's. What was put there within the last
// seconds may be lost with a machine, not with a process; what was written in part is dropped; what its owner dropped stays away.
//
// The lock is about what is known, and is never held while a file is read, written or removed; a written one gets its name under it.
type Shelf struct {
	dir   string
	most  int64 // bytes
	boxes int   // at most
	log   *slog.Logger

	mu      sync.Mutex
	byName  map[string]*entry
	tenants map[string]*share
	leaving map[string]bool // names whose files are still to be removed: no new file may come there
	dropped tombstones
	bytes   int64
	order   uint64 // of the entry that came last
}

// header is the first line of a file.
type header struct {
	V int `json:"v"`
	results.Box
	Bytes int64 `json:"bytes"`
	At    int64 `json:"at"` // when it was put there, Unix time in milliseconds
}

// Open opens the shelf in a folder, as the process before left it, for at most a number of bytes.
func Open(dir string, most int64, log *slog.Logger) (*Shelf, error) {
	s := &Shelf{
		dir: dir, most: most, boxes: MaxBoxes, log: log,
		byName: map[string]*entry{}, tenants: map[string]*share{}, leaving: map[string]bool{}, dropped: tombstones{until: map[grave]int64{}},
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("shelf: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("shelf: %w", err)
	}
	type found struct {
		header
		size int64
	}
	var all []found
	for _, f := range files {
		if strings.HasSuffix(f.Name(), newSuffix) || len(all) >= MaxBoxes {
			_ = s.remove(f.Name()) // it is logged
			continue
		}
		h, sealed, err := s.open(f.Name())
		if err != nil {
			s.log.Warn("a kept answer cannot be read, and is dropped", "file", f.Name(), "err", err)
			_ = s.remove(f.Name()) // it is logged
			continue
		}
		_ = sealed.Close() // it was only read
		all = append(all, found{h, h.Bytes})
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Name, b.Name)) })
	for _, f := range all {
		s.add(&entry{name: f.Name, owner: f.Owner, expires: f.Expires, size: f.size})
	}
	_ = s.unlink(s.evictFor(0, 0)) // it is logged
	return s, nil
}

// open opens a file behind its header.
func (s *Shelf) open(name string) (h header, sealed io.ReadCloser, err error) {
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return h, nil, err
	}
	fail := func(err error) (header, io.ReadCloser, error) { return h, nil, errors.Join(err, f.Close()) }
	r := bufio.NewReaderSize(f, maxHeader)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return fail(fmt.Errorf("no header: %w", err))
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return fail(err)
	}
	st, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if h.V != 1 || h.Name != name || !results.ValidBoxName(name) || h.Bytes != st.Size()-int64(len(line)) || h.Bytes > results.MaxBox {
		return fail(errors.New("it is not as it was written"))
	}
	return h, struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// Put keeps a box; one that is there already stays as it is, and one that was dropped stays away (ErrDropped).
func (s *Shelf) Put(b results.Box, now int64) error {
	size := int64(len(b.Sealed))
	if !b.Valid() {
		return errors.New("shelf: a malformed box")
	}
	if size > s.most {
		return ErrLarge
	}
	h := header{V: 1, Box: b, Bytes: size, At: now}
	h.Sealed = nil
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("shelf: %w", err)
	}
	if len(line) >= maxHeader {
		return errors.New("shelf: a malformed box")
	}
	e := &entry{name: b.Name, owner: b.Owner, expires: b.Expires, size: size, coming: true}
	gone, there, err := s.reserve(e, now)
	_ = s.unlink(gone) // it is logged
	if there || err != nil {
		return err
	}
	path, err := s.write(b.Name, line, b.Sealed)
	if settled := s.settle(e, path, err == nil, now); settled != nil {
		err = errors.Join(err, settled)
	}
	return err
}

// reserve takes the room of a box that is to be written, and says who goes for it.
func (s *Shelf) reserve(e *entry, now int64) (gone []*entry, there bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byName[e.name]
	switch {
	case s.dropped.has(grave{e.name, e.owner}, now):
		return nil, false, ErrDropped
	case old != nil && old.coming || s.leaving[e.name]:
		return nil, false, errBusy
	case old != nil:
		return nil, true, nil
	}
	gone = s.evictFor(e.size, 1)
	s.add(e)
	return gone, false, nil
}

// write puts a box into a file of its own, which has not yet the box's name.
func (s *Shelf) write(name string, line, sealed []byte) (path string, err error) {
	f, err := os.CreateTemp(s.dir, name+"-*"+newSuffix)
	if err != nil {
		return "", fmt.Errorf("shelf: %w", err)
	}
	_, err = f.Write(slices.Concat(line, []byte("\n"), sealed))
	if err = errors.Join(err, f.Close()); err != nil {
		return f.Name(), fmt.Errorf("shelf: %w", err)
	}
	return f.Name(), nil
}

// settle gives a written file its name, if the box did not go in the meantime; else the file goes too.
func (s *Shelf) settle(e *entry, path string, written bool, now int64) (err error) {
	s.mu.Lock()
	stays := s.byName[e.name] == e
	switch {
	case stays && written:
		if err = os.Rename(path, filepath.Join(s.dir, e.name)); err == nil {
			e.coming = false
			s.mu.Unlock()
			return nil
		}
		err = fmt.Errorf("shelf: %w", err)
		s.take(e)
	case stays:
		s.take(e)
	case s.dropped.has(grave{e.name, e.owner}, now):
		err = ErrDropped
	}
	s.mu.Unlock()
	if path != "" {
		_ = s.remove(filepath.Base(path)) // it is logged
	}
	return err
}

// Get finds an owner's box; nil = there is none of that name whose time is not over.
func (s *Shelf) Get(name string, who results.Owner, now int64) (*results.Box, error) {
	e := s.find(name, who, now)
	if e == nil {
		return nil, nil
	}
	b, err := s.read(name)
	if s.find(name, who, now) != e { // it went while it was read
		return nil, nil
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shelf: %w", err), s.unlink(s.takeIf(e)))
	}
	return b, nil
}

// Has says whether an owner's box is there.
func (s *Shelf) Has(name string, who results.Owner, now int64) bool {
	return s.find(name, who, now) != nil
}

func (s *Shelf) find(name string, who results.Owner, now int64) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byName[name]
	if e == nil || e.coming || e.owner != who || now >= e.expires {
		return nil
	}
	return e
}

func (s *Shelf) read(name string) (*results.Box, error) {
	h, sealed, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer sealed.Close()
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, sealed, h.Bytes); err != nil {
		return nil, err
	}
	h.Box.Sealed = buf.Bytes()
	return &h.Box, nil
}

// Drop forgets an owner's box, and says whether it was there. It stays away even if the power fails; for DroppedFor none of that name and owner is
// taken, whether it was there or not.
func (s *Shelf) Drop(name string, who results.Owner, now int64) (there bool, err error) {
	if !(results.Box{Name: name, Owner: who, Sealed: []byte{0}}).Valid() {
		return false, nil
	}
	s.mu.Lock()
	s.dropped.add(grave{name, who}, now)
	e := s.byName[name]
	if e == nil || e.owner != who {
		s.mu.Unlock()
		return false, nil
	}
	s.take(e)
	s.mu.Unlock()
	if err := s.unlink([]*entry{e}); err != nil {
		return true, err
	}
	return true, s.sync()
}

// sync brings to the disk which files are in the folder.
func (s *Shelf) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("shelf: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("shelf: %w", err)
	}
	return nil
}

// Sweep forgets what is out of date, and what belongs to those who are no more.
func (s *Shelf) Sweep(now int64, there func(results.Owner) bool) {
	s.mu.Lock()
	gone := s.takeAll(func(who results.Owner) func(*entry) bool {
		stays := there(who)
		return func(e *entry) bool { return !stays || now >= e.expires }
	})
	s.mu.Unlock()
	_ = s.unlink(gone) // it is logged
}

// Held is how much is on the shelf.
func (s *Shelf) Held() (boxes int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byName), s.bytes
}

// unlink removes the files of boxes that were taken from the shelf. The caller does not hold the lock.
func (s *Shelf) unlink(gone []*entry) (err error) {
	for some := range slices.Chunk(gone, batch) {
		for _, e := range some {
			err = errors.Join(err, s.remove(e.name))
		}
		s.mu.Lock()
		for _, e := range some {
			delete(s.leaving, e.name)
		}
		s.mu.Unlock()
	}
	return err
}

func (s *Shelf) remove(name string) error {
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("a kept answer cannot be removed from the disk", "file", name, "err", err)
		return fmt.Errorf("shelf: %w", err)
	}
	return nil
}
