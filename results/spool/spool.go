// Package spool keeps records on a gateway's disk until a database has them: files that are only appended to, with a checksum for each record.
package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Config of a spool.
type Config struct {
	Dir     string // folder; it is made. No default
	Max     int64  // bytes of all files; what finds no room is refused. No default
	Segment int64  // bytes after which another file is begun; default 8 MiB
}

const defaultSegment = 8 << 20

// ErrFull says that records found no room.
var ErrFull = errors.New("spool: full")

// Spool is an open spool. Its methods may be called from several goroutines; Next and Ack belong to one reader.
type Spool struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	segments []segment // oldest first; the last is appended to
	active   *os.File
	synced   int64 // bytes of the last segment that are on the disk for sure
	acked    Position
	lost     uint64 // places that could not be read
	swept    time.Time
}

// Open opens the spool in a folder, as the process before left it. What that one had not written whole is dropped.
func Open(cfg Config, log *slog.Logger) (*Spool, error) {
	if cfg.Segment == 0 {
		cfg.Segment = defaultSegment
	}
	s := &Spool{cfg: cfg, log: log}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s.sweep(time.Now())
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return s, nil
}

// begin makes another segment the last. The caller holds the lock, or is alone.
func (s *Spool) begin(number uint64) error {
	f, err := os.OpenFile(s.path(number), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := syncFolder(s.cfg.Dir); err != nil {
		return errors.Join(err, f.Close(), os.Remove(s.path(number)))
	}
	s.active, s.synced = f, 0
	s.segments = append(s.segments, segment{number: number})
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Append writes records, in order: n of them, and an error where that is not all. Only after Sync are they safe, and only then does Next give them.
func (s *Spool) Append(payloads [][]byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b []byte
	room := s.cfg.Max - s.size()
	for _, p := range payloads {
		if len(p) == 0 || len(p) > MaxPayload {
			return 0, fmt.Errorf("spool: a record of %d bytes", len(p))
		}
		if int64(len(b)+headerSize+len(p)) > room {
			err = ErrFull
			break
		}
		b, n = appendFrame(b, p), n+1
	}
	if n == 0 {
		return 0, err
	}
	last := &s.segments[len(s.segments)-1]
	if last.size > 0 && last.size+int64(len(b)) > s.cfg.Segment {
		if err := s.rotate(); err != nil {
			return 0, fmt.Errorf("spool: %w", err)
		}
		last = &s.segments[len(s.segments)-1]
	}
	if _, err := s.active.Write(b); err != nil {
		err = errors.Join(err, s.active.Truncate(last.size)) // a part may be there
		return 0, fmt.Errorf("spool: %w", err)
	}
	last.size += int64(len(b))
	last.records += n
	return n, err
}

// rotate ends the last segment and begins another. The caller holds the lock.
func (s *Spool) rotate() error {
	if err := s.active.Sync(); err != nil {
		return err
	}
	old, number := s.active, s.segments[len(s.segments)-1].number
	if err := s.begin(number + 1); err != nil {
		return err
	}
	return old.Close()
}

// size is the number of bytes of all segments. The caller holds the lock.
func (s *Spool) size() (n int64) {
	for _, g := range s.segments {
		n += g.size
	}
	return n
}

// Sync makes what was appended safe.
func (s *Spool) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.segments[len(s.segments)-1]
	if s.synced == last.size {
		return nil
	}
	if err := s.active.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.synced = last.size
	return nil
}

// Stats says how full a spool is.
type Stats struct {
	Records int    // that wait
	Bytes   int64  // of all files
	Max     int64  // bytes
	Damaged uint64 // places in files that could not be read, since the start: at least so many records
}

// Stats counts.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{Bytes: s.size(), Max: s.cfg.Max, Damaged: s.lost}
	for _, g := range s.segments {
		out.Records += g.records
	}
	return out
}

// Close closes the spool. What was appended is safe then.
func (s *Spool) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.active.Close())
}
