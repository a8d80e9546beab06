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

// ErrLarge says that a box is larger than the shelf.
var ErrLarge = errors.New("shelf: larger than all that may be kept")

// Bounds.
const (
	MaxBoxes  = 1 << 17 // of a shelf; each costs some hundred bytes of memory
	maxHeader = 1 << 10 // bytes of the first line of a file
	newSuffix = ".new"
)

// Shelf is a folder of boxes, a file each, up to a number of bytes. Where there is no room, the box goes that was put there first by whoever
// has most, so that nobody pushes out another's. Files are not synced: what was put there within the last seconds may be lost with a
// machine, not with a process; what was written in part is dropped.
type Shelf struct {
	dir  string
	most int64 // bytes
	log  *slog.Logger

	mu     sync.Mutex
	byName map[string]*entry
	owners map[results.Owner]*holding
	bytes  int64
	order  uint64 // of the entry that came last
}

// entry is what is known of a box without reading it.
type entry struct {
	name    string
	owner   results.Owner
	expires int64
	size    int64 // of what is sealed
	order   uint64
}

// holding is what an owner has on the shelf.
type holding struct {
	entries []*entry // the oldest first
	bytes   int64
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
	s := &Shelf{dir: dir, most: most, log: log, byName: map[string]*entry{}, owners: map[results.Owner]*holding{}}
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
	for s.bytes > s.most {
		s.evict()
	}
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

// Put keeps a box; one that is there already stays as it is.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.byName[b.Name]; there {
		return nil
	}
	for s.bytes+size > s.most || len(s.byName) >= MaxBoxes {
		s.evict()
	}
	path := filepath.Join(s.dir, b.Name)
	err = os.WriteFile(path+newSuffix, slices.Concat(line, []byte("\n"), b.Sealed), 0o600)
	if err == nil {
		err = os.Rename(path+newSuffix, path)
	}
	if err != nil {
		_ = s.remove(b.Name + newSuffix) // it is logged
		return fmt.Errorf("shelf: %w", err)
	}
	s.add(&entry{name: b.Name, owner: b.Owner, expires: b.Expires, size: size})
	return nil
}

// Get finds an owner's box; nil = there is none of that name whose time is not over.
func (s *Shelf) Get(name string, who results.Owner, now int64) (*results.Box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byName[name]
	if e == nil || e.owner != who || now >= e.expires {
		return nil, nil
	}
	h, sealed, err := s.open(name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shelf: %w", err), s.drop(e))
	}
	defer sealed.Close()
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, sealed, h.Bytes); err != nil {
		return nil, fmt.Errorf("shelf: %w", err)
	}
	h.Box.Sealed = buf.Bytes()
	return &h.Box, nil
}

// Drop forgets an owner's box, and says whether it was there.
func (s *Shelf) Drop(name string, who results.Owner) (there bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byName[name]
	if e == nil || e.owner != who {
		return false, nil
	}
	return true, s.drop(e)
}

// Sweep forgets what is out of date, and what belongs to those who are no more.
func (s *Shelf) Sweep(now int64, there func(results.Owner) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who, h := range s.owners {
		stays := there(who)
		for _, e := range slices.Clone(h.entries) {
			if !stays || now >= e.expires {
				_ = s.drop(e) // it is logged
			}
		}
	}
}

// Held is how much is on the shelf.
func (s *Shelf) Held() (boxes int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byName), s.bytes
}

// add notes a box that is on the disk. The caller holds the lock, or has the shelf alone.
func (s *Shelf) add(e *entry) {
	h := s.owners[e.owner]
	if h == nil {
		h = &holding{}
		s.owners[e.owner] = h
	}
	s.order++
	e.order = s.order
	s.byName[e.name] = e
	h.entries = append(h.entries, e)
	h.bytes += e.size
	s.bytes += e.size
}

// evict makes room. The caller holds the lock.
func (s *Shelf) evict() {
	var most *holding
	for _, h := range s.owners {
		if most == nil || h.bytes > most.bytes || h.bytes == most.bytes && h.entries[0].order < most.entries[0].order {
			most = h
		}
	}
	_ = s.drop(most.entries[0]) // it is logged
}

// drop removes a box. The caller holds the lock.
func (s *Shelf) drop(e *entry) error {
	h := s.owners[e.owner]
	h.entries = slices.DeleteFunc(h.entries, func(x *entry) bool { return x == e })
	h.bytes -= e.size
	s.bytes -= e.size
	delete(s.byName, e.name)
	if len(h.entries) == 0 {
		delete(s.owners, e.owner)
	}
	return s.remove(e.name)
}

func (s *Shelf) remove(name string) error {
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("a kept answer cannot be removed from the disk", "file", name, "err", err)
		return fmt.Errorf("shelf: %w", err)
	}
	return nil
}
