// Package spool keeps records on a gateway's disk until a database has them: files that are only appended to, with a checksum for each record.
package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Config of a spool.
type Config struct {
	Dir     string // folder; it is made. No default
	Max     int64  // bytes of all files; what finds no room is refused. No default
	Segment int64  // bytes after which another file is begun; default 8 MiB
}

const defaultSegment = 8 << 20

// Frames: the payload's length and its CRC-32C, both little-endian uint32, and the payload.
const headerSize = 8

// MaxPayload bounds a record in bytes.
const MaxPayload = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFull says that records found no room.
var ErrFull = errors.New("spool: full")

const (
	segmentSuffix = ".log"
	brokenSuffix  = ".broken"
	ackedFile     = "acked"
)

// Position is a place between two records.
type Position struct {
	Segment uint64
	Off     int64 // bytes
}

// Spool is an open spool. Its methods may be called from several goroutines; Next and Ack belong to one reader.
type Spool struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	segments []segment // oldest first; the last is appended to
	active   *os.File
	synced   int64 // bytes of the last segment that are on the disk for sure
	acked    Position
	lost     uint64 // files whose rest could not be read
}

// segment is a file.
type segment struct {
	number  uint64
	size    int64 // bytes
	records int   // that are not acknowledged
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
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return s, nil
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
		s.acked = Position{Segment: max(s.acked.Segment, 1)}
		return s.begin(s.acked.Segment)
	}
	if first := s.segments[0]; first.number > s.acked.Segment || s.acked.Off > first.size {
		s.acked = Position{Segment: first.number}
	}
	last := s.segments[len(s.segments)-1]
	s.active, err = os.OpenFile(s.path(last.number), os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		err = s.active.Sync() // what the process before wrote and did not sync
	}
	s.synced = last.size
	return err
}

// scan counts the records of a segment. The last one ends where its last whole record does.
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
	r := bufio.NewReaderSize(f, 1<<20)
	at := int64(0)
	for {
		payload, err := readFrame(r)
		if err != nil {
			break // the end, or what is no record
		}
		if at += headerSize + int64(len(payload)); at > from {
			g.records++
		}
	}
	if last && at < g.size {
		g.size = at
		return os.Truncate(s.path(g.number), at)
	}
	return nil
}

// errFrame says that bytes are no frame.
var errFrame = errors.New("spool: not a record")

// readFrame reads one record; io.EOF at the end.
func readFrame(r io.Reader) ([]byte, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errFrame
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n == 0 || n > MaxPayload {
		return nil, errFrame
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, errFrame
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(h[4:]) {
		return nil, errFrame
	}
	return payload, nil
}

func appendFrame(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
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
		case err != nil: // a damaged file: what is behind the damage is not found again
			s.setAside(from)
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

// setAside notes a damaged segment.
func (s *Spool) setAside(at Position) {
	s.mu.Lock()
	s.lost++
	last := s.segments[len(s.segments)-1].number == at.Segment
	s.mu.Unlock()
	s.log.Error("the rest of a file of records is damaged", "file", s.path(at.Segment), "from_byte", at.Off)
	if last {
		return // it is appended to: rotate leaves it first
	}
	if err := os.Link(s.path(at.Segment), s.path(at.Segment)+brokenSuffix); err != nil {
		s.log.Error("the damaged file is not set aside", "err", err)
	}
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
	return s.move(end)
}

// move sets the place of what is acknowledged, and removes files that are before it. The caller holds the lock.
func (s *Spool) move(to Position) error {
	s.acked = to
	tmp := filepath.Join(s.cfg.Dir, ackedFile+".tmp")
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

// Stats says how full a spool is.
type Stats struct {
	Records int    // that wait
	Bytes   int64  // of all files
	Max     int64  // bytes
	Damaged uint64 // files that could not be read to their end, since the start
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
