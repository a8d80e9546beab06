package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Position is a place between two records.
type Position struct {
	Segment uint64
	Off     int64 // bytes
}

// Next reads the oldest records that are safe and not acknowledged: at most n, and as many as fit into max bytes, but at least one if there
// is one. end is the place behind them.
func (s *Spool) Next(n int, max int64) (payloads [][]byte, end Position, err error) {
	for {
		s.mu.Lock()
		from := s.acked
		limit, more := s.readable(from.Segment)
		s.mu.Unlock()
		payloads, end, err = s.read(from, limit, n, max)
		switch {
		case err == nil && len(payloads) > 0, err != nil && !errors.Is(err, errFrame):
			return payloads, end, err
		case err != nil:
			found, err := s.setAside(from)
			if err != nil {
				return nil, from, err
			}
			if found {
				continue
			}
		case !more:
			return nil, from, nil
		}
		if err := s.skip(from.Segment); err != nil {
			return nil, from, err
		}
	}
}

// readable is how many bytes of a segment can be read, and whether there is another behind it. The caller holds the lock.
func (s *Spool) readable(number uint64) (limit int64, more bool) {
	for i, g := range s.segments {
		if g.number == number {
			if i == len(s.segments)-1 {
				return s.synced, false
			}
			return g.size, true
		}
	}
	return 0, len(s.segments) > 0
}

func (s *Spool) read(from Position, limit int64, n int, max int64) (payloads [][]byte, end Position, err error) {
	end = from
	if from.Off >= limit {
		return nil, end, nil
	}
	f, err := os.Open(s.path(from.Segment))
	if err != nil {
		return nil, end, fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.NewSectionReader(f, from.Off, limit-from.Off), 256<<10)
	size := int64(0)
	for len(payloads) < n {
		p, err := readFrame(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if len(payloads) > 0 {
				break // first what is whole
			}
			return nil, end, err
		}
		if size += int64(len(p)); size > max && len(payloads) > 0 {
			break
		}
		payloads = append(payloads, p)
		end.Off += headerSize + int64(len(p))
	}
	return payloads, end, nil
}

// skip goes to the next segment.
func (s *Spool) skip(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.segments[len(s.segments)-1].number == number {
		if err := s.rotate(); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	for _, g := range s.segments {
		if g.number > number {
			return s.move(Position{Segment: g.number})
		}
	}
	return nil
}

// Ack says that everything before a place, which held so many records, is kept elsewhere.
func (s *Spool) Ack(end Position, records int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.segments {
		if s.segments[i].number == end.Segment {
			s.segments[i].records -= records
		}
	}
	s.sweep(time.Now())
	return s.move(end)
}

// move sets the place of what is acknowledged, and removes files that are before it. The caller holds the lock.
func (s *Spool) move(to Position) error {
	s.acked = to
	tmp := filepath.Join(s.cfg.Dir, ackedFile+tmpSuffix)
	// Not synced: after a crash some records are sent again, which changes nothing.
	err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %d\n", to.Segment, to.Off), 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(s.cfg.Dir, ackedFile))
	}
	for err == nil && s.segments[0].number < to.Segment {
		err = os.Remove(s.path(s.segments[0].number))
		s.segments = s.segments[1:]
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// readAcked is the place up to which records were acknowledged; the zero Position if that is not known.
func (s *Spool) readAcked() (p Position) {
	b, err := os.ReadFile(filepath.Join(s.cfg.Dir, ackedFile))
	if err != nil {
		return Position{}
	}
	if n, err := fmt.Sscanf(string(b), "%d %d\n", &p.Segment, &p.Off); n != 2 || err != nil || p.Off < 0 {
		return Position{}
	}
	return p
}
