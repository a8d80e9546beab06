package cluster

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/strictjson"
	"github.com/skein-project/skein/internal/table"
	"github.com/skein-project/skein/quota"
)

// SnapshotFormat is the version of the snapshot's format.
const SnapshotFormat = 1

// MaxRecord is the longest line of a snapshot in bytes.
const MaxRecord = 2 << 20

// A snapshot is text: a header line, one line per record, an end line.
//
//	{"format":1,"index":42,"at":1700000000000}
//	{"k":"node","r":{…}}
//	{"end":{"records":1,"sha256":"…"}}
//
// Records come in the order of sections, and inside a section in key order, so equal states are equal bytes.
type (
	header struct {
		Format int    `json:"format"`
		Index  Index  `json:"index"`
		At     Millis `json:"at"`
	}
	line struct {
		K string          `json:"k"`
		R json.RawMessage `json:"r"`
	}
	footer struct {
		End sum `json:"end"`
	}
	sum struct {
		Records int    `json:"records"`
		SHA256  string `json:"sha256"` // of all lines before this one, their line ends included
	}
)

// section is one kind of record.
type section struct {
	kind    string
	records func(State) iter.Seq[any]
	read    func(*State, []byte) error // adds a record, which must come after all that are there
}

// sections lists the kinds of records in the order in which a snapshot has them.
var sections = []section{
	{
		"cluster",
		func(s State) iter.Seq[any] {
			return func(yield func(any) bool) { _ = s.cluster.Rev == 0 || yield(s.cluster) }
		},
		func(s *State, b []byte) error {
			if s.cluster.Rev != 0 {
				return errors.New("a second cluster record")
			}
			if err := strict(b, &s.cluster); err != nil {
				return err
			}
			if s.cluster.Rev == 0 {
				return errors.New("a cluster record without revision")
			}
			if s.cluster.Feature > Feature {
				return &UnknownTag{"feature", s.cluster.Feature}
			}
			return nil
		},
	},
	rows("member", func(s *State) *table.Table[NodeID, Member] { return &s.members }, func(m Member) NodeID { return m.ID }),
	rows("node", func(s *State) *table.Table[NodeID, Node] { return &s.nodes }, func(n Node) NodeID { return n.ID }),
	rows("join_token", func(s *State) *table.Table[text, JoinToken] { return &s.tokens }, func(t JoinToken) text { return text(t.Hash) }),
	rows("key", func(s *State) *table.Table[text, Key] { return &s.keys }, func(k Key) text { return text(k.ID) }),
	rows("lineage", func(s *State) *table.Table[text, lineage] { return &s.lineages }, func(l lineage) text { return text(l.Model) }),
	rows("version", func(s *State) *table.Table[VersionID, Version] { return &s.versions }, func(v Version) VersionID { return v.VersionID }),
	rows("alias", func(s *State) *table.Table[text, Alias] { return &s.aliases }, func(a Alias) text { return text(a.Name) }),
	rows("deployment", func(s *State) *table.Table[VersionID, Deployment] { return &s.deployments }, func(d Deployment) VersionID { return d.Version }),
	rows("epoch", func(s *State) *table.Table[ReplicaID, mark] { return &s.marks }, func(m mark) ReplicaID { return m.Replica }),
	rows("replica", func(s *State) *table.Table[ReplicaID, Replica] { return &s.replicas }, func(r Replica) ReplicaID { return r.ReplicaID }),
	rows("tenant", func(s *State) *table.Table[text, Tenant] { return &s.tenants }, func(t Tenant) text { return text(t.ID) }),
	rows("application", func(s *State) *table.Table[AppID, Application] { return &s.apps }, func(a Application) AppID { return a.AppID }),
	rows("limits", func(s *State) *table.Table[text, LimitSet] { return &s.limits }, func(l LimitSet) text { return text(l.Subject) }),
	rows("balance", func(s *State) *table.Table[quota.ID, quota.Balance] { return &s.balances }, func(b quota.Balance) quota.ID { return b.ID }),
	rows("settled", func(s *State) *table.Table[NodeID, Settled] { return &s.settled }, func(x Settled) NodeID { return x.Gateway }),
	rows("usage", func(s *State) *table.Table[UsageID, Usage] { return &s.usage }, func(u Usage) UsageID { return u.UsageID }),
	rows("model", func(s *State) *table.Table[text, Model] { return &s.models }, func(m Model) text { return text(m.Name) }),
	rows("gone", func(s *State) *table.Table[NodeID, Gone] { return &s.gone }, func(g Gone) NodeID { return g.ID }),
	rows("document", func(s *State) *table.Table[DocumentID, Document] { return &s.documents }, func(d Document) DocumentID { return d.DocumentID }),
	rows("quarantine", func(s *State) *table.Table[QuarantineID, Quarantine] { return &s.quarantines }, func(q Quarantine) QuarantineID { return q.QuarantineID }),
	{
		"audit",
		func(s State) iter.Seq[any] {
			return func(yield func(any) bool) { _ = s.audit.Seq == 0 || yield(s.audit) }
		},
		func(s *State, b []byte) error {
			if s.audit.Seq != 0 {
				return errors.New("a second head of the audit chain")
			}
			return json.Unmarshal(b, &s.audit)
		},
	},
}

// rows is the section of one table.
func rows[K table.Key[K], V any](kind string, of func(*State) *table.Table[K, V], key func(V) K) section {
	return section{
		kind,
		func(s State) iter.Seq[any] {
			return func(yield func(any) bool) {
				for v := range of(&s).Values() {
					if !yield(v) {
						return
					}
				}
			}
		},
		func(s *State, b []byte) error {
			var v V
			if err := strict(b, &v); err != nil {
				return err
			}
			t := of(s)
			for later := range t.From(key(v)) {
				return fmt.Errorf("%v comes after %v", key(v), later)
			}
			*t = t.Set(key(v), v)
			return nil
		},
	}
}

// WriteTo writes the snapshot. It implements io.WriterTo.
func (s State) WriteTo(w io.Writer) (int64, error) {
	l := &lines{to: bufio.NewWriter(w), sum: sha256.New()}
	l.write(header{SnapshotFormat, s.index, s.at})
	records := 0
	for _, sec := range sections {
		for r := range sec.records(s) {
			b, err := json.Marshal(r)
			if err != nil {
				return l.n, fmt.Errorf("write %s record of snapshot: %w", sec.kind, err)
			}
			l.write(line{sec.kind, b})
			records++
		}
	}
	l.write(footer{sum{records, hex.EncodeToString(l.sum.Sum(nil))}})
	if err := l.to.Flush(); l.err == nil {
		l.err = err
	}
	return l.n, l.err
}

// Hash is the SHA-256 of the snapshot: two coordinators at the same index that disagree on it have diverged.
func (s State) Hash() [sha256.Size]byte {
	h := sha256.New()
	if _, err := s.WriteTo(h); err != nil { // a hash never fails, and every record can be written
		panic(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// lines writes JSON lines until one fails.
type lines struct {
	to  *bufio.Writer
	sum hash.Hash
	n   int64
	err error
}

func (l *lines) write(v any) {
	if l.err != nil {
		return
	}
	var b []byte
	if b, l.err = json.Marshal(v); l.err != nil {
		return
	}
	b = append(b, '\n')
	l.sum.Write(b)
	var n int
	n, l.err = l.to.Write(b)
	l.n += int64(n)
}

// Read reads a snapshot and nothing after it. The error is an *UnknownTag, wraps ErrMalformed, or is the reader's own.
func Read(r io.Reader) (State, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	hashed := sha256.New()
	var s State
	b, err := readLine(in)
	if err != nil {
		return State{}, fmt.Errorf("read header of snapshot: %w", err)
	}
	if s.index, s.at, err = readHeader(b); err != nil {
		return State{}, fmt.Errorf("read header of snapshot: %w", err)
	}
	at := 0
	for records := 0; ; records++ {
		hashed.Write(b)
		if b, err = readLine(in); err != nil {
			return State{}, fmt.Errorf("read line %d of snapshot: %w", records+2, err)
		}
		if bytes.HasPrefix(b, []byte(`{"end":`)) {
			if err := readFooter(b, sum{records, hex.EncodeToString(hashed.Sum(nil))}); err != nil {
				return State{}, err
			}
			break
		}
		if at, err = s.readRecord(b, at); err != nil {
			return State{}, fmt.Errorf("read line %d of snapshot: %w", records+2, err)
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return State{}, fmt.Errorf("%w: bytes after the snapshot's end", ErrMalformed)
	}
	if err := s.checkSums(); err != nil {
		return State{}, err
	}
	s.derived = s.derive()
	return s, nil
}

func readHeader(b []byte) (Index, Millis, error) {
	// As with entries, the format is read first and leniently.
	var format struct{ Format int }
	if err := json.Unmarshal(b, &format); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if format.Format < 1 {
		return 0, 0, fmt.Errorf("%w: no format", ErrMalformed)
	}
	if format.Format != SnapshotFormat {
		return 0, 0, &UnknownTag{"snapshot", format.Format}
	}
	var h header
	if err := strict(b, &h); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return h.Index, h.At, nil
}

func readFooter(b []byte, want sum) error {
	var f footer
	if err := strict(b, &f); err != nil {
		return fmt.Errorf("%w: end of snapshot: %w", ErrMalformed, err)
	}
	if f.End != want {
		return fmt.Errorf("%w: snapshot has %d records with SHA-256 %s, and should have %d with %.64q",
			ErrMalformed, want.Records, want.SHA256, f.End.Records, f.End.SHA256)
	}
	return nil
}

// readRecord adds the record of a line. at is the section of the line before; the new one is returned.
func (s *State) readRecord(b []byte, at int) (int, error) {
	if err := strictjson.Check(b, strictjson.Limits{Bytes: MaxRecord, Depth: MaxDepth, Values: MaxRecord}); err != nil {
		return at, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var l line
	if err := strict(b, &l); err != nil {
		return at, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for i, sec := range sections {
		if sec.kind != l.K {
			continue
		}
		if i < at {
			return at, fmt.Errorf("%w: %s record after those of %s", ErrMalformed, l.K, sections[at].kind)
		}
		err := sec.read(s, l.R)
		if newer := (*UnknownTag)(nil); err != nil && !errors.As(err, &newer) {
			err = fmt.Errorf("%w: %s record: %w", ErrMalformed, l.K, err)
		}
		return i, err
	}
	return at, &UnknownTag{l.K, 1}
}

// checkSums makes sure that deriving the ledger cannot overflow.
func (s *State) checkSums() error {
	for r := range s.Replicas() {
		for _, at := range r.Stages {
			if at.Reserve < 0 || at.Reserve > gpu.MaxMemory || len(r.Stages) > MaxStages {
				return fmt.Errorf("%w: replica %s reserves %d bytes in one of %d stages", ErrMalformed, r.ReplicaID, int64(at.Reserve), len(r.Stages))
			}
		}
	}
	return nil
}

// readLine reads a line with its end. The slice is valid until the next call.
func readLine(in *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		b, err := in.ReadSlice('\n')
		if err == nil && long == nil {
			return b, nil
		}
		if long = append(long, b...); len(long) > MaxRecord {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrMalformed, MaxRecord)
		}
		switch {
		case err == nil:
			return long, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: %w", ErrMalformed, io.ErrUnexpectedEOF)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
