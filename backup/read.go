package backup

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// ErrInconsistent says that the parts of a backup do not belong together, which no damage explains: it was made so.
var ErrInconsistent = errors.New("backup: its parts do not belong together")

// Into is what a backup is read into; what is nil is checked and dropped. All calls come in the order in which the parts are written.
type Into struct {
	Header  func(Header) error
	State   func(cluster.State) error
	Record  func(before audit.Head, encoded []byte) error // of the audit log; encoded is valid until it returns
	Blob    func(blob.Index) error
	Chunk   func(x blob.Index, i int, data []byte) error // data is valid until it returns
	Version func(cluster.VersionID) error                // all its blobs came
}

// Read reads a backup from an unsealed stream to its end, and checks everything on the way: the state against its sum, the audit log
// against the head in the state, every chunk against its blob's digest. It needs memory for the state and one chunk. Errors: ErrDamaged,
// ErrInconsistent, *cluster.UnknownTag, audit.Broken, those of the stream and of into.
func Read(from io.Reader, into Into) (Header, error) {
	r := &reader{from: from, into: into, seen: map[blob.Digest]bool{}}
	for _, part := range []func() error{r.header, r.state, r.audit, r.blobs} {
		if err := part(); err != nil {
			return r.head, err
		}
	}
	return r.head, nil
}

type reader struct {
	from  io.Reader
	into  Into
	head  Header
	found cluster.State
	seen  map[blob.Digest]bool

	kind kind // of the record whose body comes
	left int  // bytes of it
	body bytes.Buffer
}

// record reads the head of the next record.
func (r *reader) record() error {
	var head [5]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return short(err, ErrDamaged)
	}
	r.kind, r.left = kind(head[0]), int(binary.BigEndian.Uint32(head[1:]))
	if r.kind > kindEnd || r.left > maxRecord {
		return fmt.Errorf("%w: a record of kind %d and %d bytes", ErrDamaged, r.kind, r.left)
	}
	return nil
}

// whole reads the body of a record; it is valid until the next one.
func (r *reader) whole(limit int) ([]byte, error) {
	if r.left > limit {
		return nil, fmt.Errorf("%w: a record of kind %d and %d bytes", ErrDamaged, r.kind, r.left)
	}
	r.body.Reset()
	_, err := io.CopyN(&r.body, r.from, int64(r.left)) // grows with what comes
	r.left = 0
	return r.body.Bytes(), short(err, ErrDamaged)
}

func (r *reader) header() error {
	if err := r.record(); err != nil {
		return err
	}
	b, err := r.whole(maxHeader)
	if err != nil {
		return err
	}
	if r.kind != kindHeader || json.Unmarshal(b, &r.head) != nil {
		return fmt.Errorf("%w: no header", ErrDamaged)
	}
	if r.head.Format != Format {
		return fmt.Errorf("%w: format %d", ErrNotBackup, r.head.Format)
	}
	if err := r.record(); err != nil {
		return err
	}
	if r.into.Header != nil {
		return r.into.Header(r.head)
	}
	return nil
}

// section is the stream in consecutive records of one kind.
type section struct {
	r *reader
	k kind
}

func (s section) Read(p []byte) (int, error) {
	for s.r.kind == s.k && s.r.left == 0 {
		if err := s.r.record(); err != nil {
			return 0, err
		}
	}
	if s.r.kind != s.k {
		return 0, io.EOF
	}
	n, err := s.r.from.Read(p[:min(len(p), s.r.left)])
	s.r.left -= n
	return n, short(err, ErrDamaged)
}

func (r *reader) state() error {
	s, err := cluster.Read(section{r, kindState})
	if err != nil {
		if errors.Is(err, cluster.ErrMalformed) {
			return fmt.Errorf("%w: %w", ErrInconsistent, err)
		}
		return err
	}
	if s.Cluster().ID != r.head.Cluster || s.Index() != r.head.Index || s.Audit() != r.head.Audit || s.Cluster().Rev == 0 {
		return fmt.Errorf("%w: the state is another one than the header says", ErrInconsistent)
	}
	r.found = s
	if r.into.State != nil {
		return r.into.State(s)
	}
	return nil
}

// errTake carries an error of the reader's user through audit.Verify.
type errTake struct{ error }

func (e errTake) Unwrap() error { return e.error }

func (r *reader) audit() error {
	head, err := audit.Verify(audit.Head{}, r.records())
	if err == nil {
		err = audit.Compare(head, r.found.Audit())
	}
	var broken *audit.Broken
	if errors.As(err, &broken) || errors.Is(err, audit.ErrLonger) || errors.Is(err, audit.ErrTorn) {
		return fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	return err
}

// records yields the audit log's lines, and gives each on once it was verified.
func (r *reader) records() iter.Seq2[audit.Line, error] {
	return func(yield func(audit.Line, error) bool) {
		at := audit.Head{}
		for line, err := range audit.Lines(section{r, kindAudit}) {
			if !yield(line, err) {
				return
			}
			if err != nil {
				return
			}
			if r.into.Record != nil {
				if err := r.into.Record(at, line.Encoded); err != nil {
					yield(audit.Line{}, errTake{err})
					return
				}
			}
			at = audit.Head{Seq: line.Record.Seq, Hash: line.Hash}
		}
	}
}

func (r *reader) blobs() error {
	for {
		var err error
		switch r.kind {
		case kindIndex:
			err = r.blob()
		case kindVersion:
			if err = r.version(); err == nil {
				err = r.record()
			}
		case kindEnd:
			return r.end()
		default:
			err = fmt.Errorf("%w: a record of kind %d where a blob belongs", ErrDamaged, r.kind)
		}
		if err != nil {
			return err
		}
	}
}

// blob reads an index and all its chunks, and the head of the record behind them.
func (r *reader) blob() error {
	b, err := r.whole(maxRecord)
	if err != nil {
		return err
	}
	x, err := blob.DecodeIndex(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	if d := x.Digest(); r.seen[d] {
		return fmt.Errorf("%w: blob %s comes twice", ErrInconsistent, d.Short())
	}
	if r.into.Blob != nil {
		if err := r.into.Blob(x); err != nil {
			return err
		}
	}
	for i := range x.Chunks {
		if err := r.record(); err != nil {
			return err
		}
		data, err := r.whole(blob.ChunkSize)
		if err != nil {
			return err
		}
		if r.kind != kindChunk {
			return fmt.Errorf("%w: a record of kind %d where a chunk belongs", ErrDamaged, r.kind)
		}
		if err := x.Check(i, data); err != nil {
			return fmt.Errorf("%w: %w", ErrInconsistent, err)
		}
		if r.into.Chunk != nil {
			if err := r.into.Chunk(x, i, data); err != nil {
				return err
			}
		}
	}
	r.seen[x.Digest()] = true
	return r.record()
}

func (r *reader) version() error {
	b, err := r.whole(maxHeader)
	if err != nil {
		return err
	}
	var id cluster.VersionID
	if err := json.Unmarshal(b, &id); err != nil {
		return fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	v, ok := r.found.Version(id)
	if !ok || !r.seen[v.Manifest] || !v.Folder.IsZero() && !r.seen[v.Folder] {
		return fmt.Errorf("%w: version %.160s is not whole", ErrInconsistent, id)
	}
	if r.into.Version != nil {
		return r.into.Version(id)
	}
	return nil
}

// end reads to the end of the stream: only then it is known that nothing follows, and that nothing was cut off.
func (r *reader) end() error {
	if r.left != 0 {
		return fmt.Errorf("%w: its end has %d bytes", ErrDamaged, r.left)
	}
	var more [1]byte
	_, err := io.ReadFull(r.from, more[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: it goes on after its end", ErrDamaged)
}
