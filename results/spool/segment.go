package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	segmentSuffix = ".log"
	brokenSuffix  = ".broken"
	ackedFile     = "acked"
	tmpSuffix     = ".tmp"
)

// A file that was damaged is kept for people, and no longer than that: what is in it has a time of its own, which the spool does not know.
const (
	brokenFor  = 7 * 24 * time.Hour
	sweepEvery = time.Hour
)

// segment is a file.
type segment struct {
	number  uint64
	size    int64 // bytes
	records int   // that are not acknowledged
	damaged bool  // it had records behind what is none when it was opened
}

func (s *Spool) path(number uint64) string {
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("%016x%s", number, segmentSuffix))
}

func (s *Spool) load() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	s.acked = s.readAcked()
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), segmentSuffix)
		var number uint64
		if n, err := fmt.Sscanf(name, "%016x", &number); !ours || n != 1 || err != nil || len(name) != 16 {
			continue
		}
		if number < s.acked.Segment {
			if err := os.Remove(s.path(number)); err != nil {
				return err
			}
			continue
		}
		s.segments = append(s.segments, segment{number: number})
	}
	slices.SortFunc(s.segments, func(a, b segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	for i := range s.segments {
		if err := s.scan(&s.segments[i], i == len(s.segments)-1); err != nil {
			return err
		}
	}
	if len(s.segments) == 0 {
		if err := s.begin(s.acked.Segment + 1); err != nil {
			return err
		}
	}
	if first := s.segments[0]; first.number > s.acked.Segment || s.acked.Off > first.size {
		// Somebody removed what was there. A place that is still noted would hide what is written there now.
		if err := s.move(Position{Segment: first.number}); err != nil {
			return err
		}
	}
	last := s.segments[len(s.segments)-1]
	if s.active != nil {
		return nil
	}
	s.active, err = os.OpenFile(s.path(last.number), os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		err = s.active.Sync() // what the process before wrote and did not sync
	}
	s.synced = last.size
	if err == nil && last.damaged {
		err = s.rotate()
	}
	return err
}

// scan counts the records of a segment. The last one ends where its last whole record does; but where records are behind what is none, that
// is damage, and stays for Next to find.
func (s *Spool) scan(g *segment, last bool) error {
	f, err := os.Open(s.path(g.number))
	if err != nil {
		return err
	}
	defer f.Close()
	from := int64(0)
	if g.number == s.acked.Segment {
		from = s.acked.Off
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	g.size = st.Size()
	for at := int64(0); at < g.size; {
		end, n, err := count(f, at, g.size, from)
		if g.records += n; err != nil {
			return err
		}
		next, found, err := behind(f, end, g.size)
		if err != nil {
			return err
		}
		if at = next; found || end == g.size {
			g.damaged = g.damaged || found
			continue
		}
		if last && !g.damaged {
			s.log.Warn("the end of a file of records was not written whole, and is cut off", "file", f.Name(), "from_byte", end, "bytes", g.size-end)
			g.size = end
			return os.Truncate(s.path(g.number), end)
		}
	}
	return nil
}

// count reads records from a place on until there is none, which is at end, and counts those that end behind from.
func count(f *os.File, at, limit, from int64) (end int64, n int, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, limit-at), 1<<20)
	for {
		payload, err := readFrame(r)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errFrame):
			return at, n, nil
		case err != nil:
			return at, n, err
		}
		if at += headerSize + int64(len(payload)); at > from {
			n++
		}
	}
}

// behind finds the next record behind a place where none begins; limit if there is none.
func behind(f *os.File, at, limit int64) (next int64, found bool, err error) {
	if at+1 >= limit {
		return limit, false, nil
	}
	b := make([]byte, limit-at-1)
	if _, err := f.ReadAt(b, at+1); err != nil {
		return limit, false, err
	}
	n, found := nextFrame(b)
	return at + 1 + int64(n), found, nil
}

// setAside notes a damaged segment, keeps a copy of it, and goes to the next record in it, if there is one.
func (s *Spool) setAside(at Position) (more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.segments[len(s.segments)-1].number == at.Segment { // it is appended to, and its copy must not be
		if err := s.rotate(); err != nil {
			return false, fmt.Errorf("spool: %w", err)
		}
	}
	f, err := os.Open(s.path(at.Segment))
	if err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	limit, _ := s.readable(at.Segment)
	next, more, err := behind(f, at.Off, limit)
	if err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	s.lost++
	s.log.Error("a file of records is damaged", "file", f.Name(), "from_byte", at.Off, "bytes", next-at.Off, "copy", f.Name()+brokenSuffix)
	if err := os.Link(f.Name(), f.Name()+brokenSuffix); err != nil && !errors.Is(err, os.ErrExist) {
		s.log.Error("the damaged file is not set aside", "err", err)
	}
	if !more {
		return false, nil
	}
	return true, s.move(Position{at.Segment, next})
}

// sweep removes copies of damaged files that are too old. The caller holds the lock, or is alone.
func (s *Spool) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	list, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*"+segmentSuffix+brokenSuffix)) // an error is of the pattern
	for _, name := range list {
		if st, err := os.Stat(name); err == nil && now.Sub(st.ModTime()) > brokenFor {
			s.log.Info("the copy of a damaged file of records is removed", "file", name, "err", os.Remove(name))
		}
	}
}
