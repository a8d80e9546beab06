// Package journal keeps the records of the audit log in files, and knows which are missing.
package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/skein-project/skein/audit"
)

const (
	segmentBytes = 64 << 20 // of a file, before the next one is begun
	suffix       = ".jsonl"
)

// Journal is a folder of files, each of consecutive records and named by the number of its first. A coordinator that was away longer
// than the log reaches back gets the state without the records that led there: then there is a gap until Fill closes it.
type Journal struct {
	dir string

	mu       sync.Mutex
	segments []segment // by first record; the last one is written to
	file     *os.File  // of the last segment; nil = none yet
	size     int64     // of that file
}

// segment is one file.
type segment struct {
	first uint64
	last  audit.Head // after its last record
}

// Gap is a run of records that are not here. Before is the head that the first of them follows on.
type Gap struct {
	Before audit.Head
	Until  uint64 // the last record that is missing
}

// Open opens a journal, and takes a torn last line away: its record comes again with the log.
func Open(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	j := &Journal{dir: dir}
	for _, e := range names {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || name(first) != e.Name() {
			continue
		}
		last, err := j.end(first)
		if err != nil {
			return nil, fmt.Errorf("open the audit log: %s: %w", e.Name(), err)
		}
		if last.Seq == 0 { // nothing whole in it
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open the audit log: %w", err)
			}
			continue
		}
		j.segments = append(j.segments, segment{first, last})
	}
	slices.SortFunc(j.segments, func(a, b segment) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return j, nil
}

func name(first uint64) string { return fmt.Sprintf("%020d%s", first, suffix) }

// end finds the head after the last whole record of a file, and cuts off what follows it.
func (j *Journal) end(first uint64) (last audit.Head, err error) {
	path := filepath.Join(j.dir, name(first))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return last, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return last, err
	}
	for tail := int64(64 << 10); ; tail *= 4 {
		from := max(0, size-tail)
		b := make([]byte, size-from)
		if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
			return last, err
		}
		end := bytes.LastIndexByte(b, '\n')
		begin := bytes.LastIndexByte(b[:max(0, end)], '\n') + 1
		if end < 0 || begin == 0 && from > 0 {
			if from > 0 {
				continue // a longer line
			}
			if end < 0 {
				return audit.Head{}, nil
			}
		}
		line, err := audit.ParseLine(b[begin:end])
		if err != nil {
			return last, err
		}
		if whole := from + int64(end) + 1; whole < size {
			if err := f.Truncate(whole); err != nil {
				return last, err
			}
		}
		return audit.Head{Seq: line.Record.Seq, Hash: line.Hash}, nil
	}
}

// Append adds the records that follow on a head. What is here already is not written again; what comes after records that are missing
// begins a new file.
func (j *Journal) Append(before audit.Head, encoded [][]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	head, out := before, []byte(nil)
	for _, record := range encoded {
		next := head.Next(record)
		if next.Seq > j.newest().Seq {
			if len(out) == 0 && (j.file == nil || head != j.newest() || j.size > segmentBytes) {
				if err := j.begin(next.Seq); err != nil {
					return err
				}
			}
			out = audit.AppendLine(out, record, next)
			j.segments[len(j.segments)-1].last = next
		}
		head = next
	}
	if len(out) == 0 {
		return nil
	}
	if _, err := j.file.Write(out); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	j.size += int64(len(out))
	return nil
}

// newest is the head after the last record that is here.
func (j *Journal) newest() audit.Head {
	if len(j.segments) == 0 {
		return audit.Head{}
	}
	return j.segments[len(j.segments)-1].last
}

// begin makes the file of a record the one that is written to: the last one goes on if the record follows on it and there is room.
func (j *Journal) begin(first uint64) error {
	reopen := j.file == nil && len(j.segments) > 0 && j.newest().Seq+1 == first
	if err := j.closeFile(); err != nil {
		return err
	}
	if reopen {
		path := filepath.Join(j.dir, name(j.segments[len(j.segments)-1].first))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return fmt.Errorf("write the audit log: %w", err)
		}
		st, err := f.Stat()
		if err == nil && st.Size() <= segmentBytes {
			j.file, j.size = f, st.Size()
			return nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write the audit log: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(j.dir, name(first)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	j.file, j.size = f, 0
	j.segments = append(j.segments, segment{first: first})
	return syncDir(j.dir)
}

func (j *Journal) closeFile() error {
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.Sync(), j.file.Close())
	if j.file = nil; err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// Sync makes what was appended last: before the log entries that it came from are dropped.
func (j *Journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// Close closes the journal.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closeFile()
}

// Gaps are the runs of records that are missing up to a head.
func (j *Journal) Gaps(head audit.Head) (gaps []Gap) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var at audit.Head
	for _, s := range j.segments {
		if s.first > at.Seq+1 {
			gaps = append(gaps, Gap{at, s.first - 1})
		}
		at = s.last
	}
	if head.Seq > at.Seq {
		gaps = append(gaps, Gap{at, head.Seq})
	}
	return gaps
}

// ErrForged says that records were offered for a gap which do not fit into it.
var ErrForged = errors.New("journal: the records do not fit into the gap")

// Fill closes a gap with lines from elsewhere, whole and in order. head is the end of the chain as the state has it, which the lines
// must lead to where the gap is the last one. Nothing is kept of lines that do not fit.
func (j *Journal) Fill(g Gap, lines []byte, head audit.Head) error {
	last, err := audit.Verify(g.Before, audit.Lines(bytes.NewReader(lines)))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.segments, func(s segment) bool { return s.first > g.Before.Seq })
	if last.Seq != g.Until || i < 0 && last != head {
		return fmt.Errorf("%w: they end at record %d", ErrForged, last.Seq)
	}
	if i >= 0 {
		follows, err := j.follows(last, j.segments[i].first)
		if err != nil || !follows {
			return errors.Join(fmt.Errorf("%w: what follows does not fit", ErrForged), err)
		}
	}
	path := filepath.Join(j.dir, name(g.Before.Seq+1))
	if err := writeFile(path, lines); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	if i < 0 {
		if err := j.closeFile(); err != nil {
			return err
		}
		i = len(j.segments)
	}
	j.segments = slices.Insert(j.segments, i, segment{g.Before.Seq + 1, last})
	return nil
}

// follows says whether a file's first record follows on a head.
func (j *Journal) follows(on audit.Head, first uint64) (bool, error) {
	f, err := os.Open(filepath.Join(j.dir, name(first)))
	if err != nil {
		return false, err
	}
	defer f.Close()
	for line, err := range audit.Lines(f) {
		return err == nil && on.Next(line.Encoded).Hash == line.Hash, err
	}
	return false, nil
}

// Read gives lines from a record on, in pieces of about 256 KiB of whole lines, until take fails or the end. A piece is valid until take returns.
func (j *Journal) Read(from uint64, take func(lines []byte) error) error {
	j.mu.Lock()
	segments := slices.Clone(j.segments)
	j.mu.Unlock()
	for _, s := range segments {
		if s.last.Seq < from {
			continue
		}
		if err := j.readSegment(s, from, take); err != nil {
			return err
		}
	}
	return nil
}

const piece = 256 << 10

func (j *Journal) readSegment(s segment, from uint64, take func([]byte) error) error {
	f, err := os.Open(filepath.Join(j.dir, name(s.first)))
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	var out []byte
	for line, err := range audit.Lines(f) {
		if err != nil {
			return fmt.Errorf("read the audit log: record %d and later: %w", s.first, err)
		}
		if line.Record.Seq >= from {
			out = audit.AppendLine(out, line.Encoded, audit.Head{Seq: line.Record.Seq, Hash: line.Hash})
		}
		if len(out) >= piece || line.Record.Seq == s.last.Seq && len(out) > 0 {
			if err := take(out); err != nil {
				return err
			}
			out = out[:0]
		}
		if line.Record.Seq == s.last.Seq { // what is written meanwhile is for the next reader
			return nil
		}
	}
	return nil
}

// writeFile writes a file that is whole or not there.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
