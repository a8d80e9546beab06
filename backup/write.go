package backup

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// Format is the version of what is inside of a sealed stream.
const Format = 1

// Header says what a backup is of.
type Header struct {
	Format   int           `json:"format"`
	Cluster  string        `json:"cluster"`
	Feature  int           `json:"feature"`
	Index    cluster.Index `json:"index"`   // of the state
	Created  int64         `json:"created"` // Unix time in milliseconds
	Software string        `json:"software"`
	Audit    audit.Head    `json:"audit"` // that the records lead to
	Blobs    bool          `json:"blobs"` // of models and files came along
}

// kind is that of a record. Records come in the order of their kinds; indexes, chunks and versions take turns.
type kind byte

const (
	kindHeader  kind = iota // JSON of Header
	kindState               // a piece of the state's snapshot
	kindAudit               // a piece of the audit log
	kindIndex               // of a blob
	kindChunk               // the next one of that blob
	kindVersion             // JSON of the id of a version: all its blobs came before
	kindEnd                 // empty: nothing is missing
)

// Limits of records.
const (
	maxHeader = 64 << 10                           // bytes, of a version's id too
	maxRecord = 8 + 32*blob.MaxSize/blob.ChunkSize // bytes: the index of the largest blob
	pieceSize = 256 << 10                          // bytes of a piece of the state
)

// Writer writes a backup: the state, the audit log, then blobs, each with all its chunks, and the versions that are complete by then. Blobs of
// files, which the state names, are among them.
type Writer struct {
	to   io.Writer
	open blob.Index // the blob whose chunks come
	next int        // of them
	err  error
}

// NewWriter begins a backup of a state and writes that.
func NewWriter(to io.Writer, h Header, s cluster.State) (*Writer, error) {
	h.Format, h.Cluster, h.Feature, h.Index, h.Audit = Format, s.Cluster().ID, s.Cluster().Feature, s.Index(), s.Audit()
	w := &Writer{to: to}
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if err := w.record(kindHeader, b); err != nil {
		return nil, err
	}
	_, err = s.WriteTo(pieces{w})
	return w, err
}

// pieces writes a stream as records.
type pieces struct{ w *Writer }

func (p pieces) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; rest = rest[min(len(rest), pieceSize):] {
		if err := p.w.record(kindState, rest[:min(len(rest), pieceSize)]); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Audit writes lines of the audit log.
func (w *Writer) Audit(lines []byte) error { return w.record(kindAudit, lines) }

// Blob begins a blob.
func (w *Writer) Blob(x blob.Index) error {
	w.open, w.next = x, 0
	return w.record(kindIndex, x.Encode())
}

// Chunk writes the blob's next chunk; one that is not what the index says is an error.
func (w *Writer) Chunk(data []byte) error {
	if err := w.open.Check(w.next, data); err != nil {
		return err
	}
	w.next++
	return w.record(kindChunk, data)
}

// Version says that all blobs of a version were written.
func (w *Writer) Version(id cluster.VersionID) error {
	b, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return w.record(kindVersion, b)
}

// Close ends the backup. It does not close what it is written to.
func (w *Writer) Close() error { return w.record(kindEnd, nil) }

func (w *Writer) record(k kind, body []byte) error {
	if w.err != nil {
		return w.err
	}
	head := binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(body)))
	if _, w.err = w.to.Write(head); w.err == nil {
		_, w.err = w.to.Write(body)
	}
	return w.err
}
