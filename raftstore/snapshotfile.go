package raftstore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// A snapshot file, integers big endian: magic "skeinsnp", headLen u32, head (JSON), payload, CRC-32C u32 of everything
// before it.
const (
	snapshotMagic   = "skeinsnp"
	snapshotSuffix  = ".snapshot"
	maxSnapshotHead = 1 << 20 // bytes; a head holds the configuration of a few servers
	crcBytes        = 4
)

// snapshotHead is what the library wants to know of a snapshot.
type snapshotHead struct {
	Version            int    `json:"version"`
	Index              uint64 `json:"index"`
	Term               uint64 `json:"term"`
	Seq                uint64 `json:"seq"`      // tells snapshots of one index apart
	TakenAt            int64  `json:"taken_at"` // unix ns
	Configuration      []byte `json:"configuration"`
	ConfigurationIndex uint64 `json:"configuration_index"`
}

func (h snapshotHead) name() string {
	return fmt.Sprintf("%020d-%020d-%d%s", h.Index, h.Term, h.Seq, snapshotSuffix)
}

// snapshotFile is a finished snapshot.
type snapshotFile struct {
	path string
	head snapshotHead
	size int64 // of the payload in bytes
}

func (f snapshotFile) meta() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersion(f.head.Version), ID: f.head.name(), Index: f.head.Index, Term: f.head.Term,
		Configuration: raft.DecodeConfiguration(f.head.Configuration), ConfigurationIndex: f.head.ConfigurationIndex,
		Size: f.size,
	}
}

func castagnoli() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// readSnapshotFile reads the head of the file at path, and the offset of its payload.
func readSnapshotFile(fs vfs.FS, path string) (snapshotFile, int64, error) {
	f, err := fs.Open(path)
	if err != nil {
		return snapshotFile{}, 0, fmt.Errorf("open snapshot: %w", err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return snapshotFile{}, 0, fmt.Errorf("open snapshot: %w", err)
	}
	head, payload, err := parseSnapshotHead(f)
	if err != nil {
		return snapshotFile{}, 0, fmt.Errorf("snapshot %s: %w", path, err)
	}
	size := stat.Size() - payload - crcBytes
	if size < 0 {
		return snapshotFile{}, 0, fmt.Errorf("snapshot %s: cut short: %w", path, ErrCorrupt)
	}
	return snapshotFile{path: path, head: head, size: size}, payload, nil
}

// parseSnapshotHead reads a head and the offset of the payload behind it.
func parseSnapshotHead(r io.Reader) (snapshotHead, int64, error) {
	var fixed [len(snapshotMagic) + 4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return snapshotHead{}, 0, errors.Join(ErrCorrupt, err)
	}
	n := binary.BigEndian.Uint32(fixed[len(snapshotMagic):])
	if string(fixed[:len(snapshotMagic)]) != snapshotMagic || n > maxSnapshotHead {
		return snapshotHead{}, 0, fmt.Errorf("not a snapshot: %w", ErrCorrupt)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return snapshotHead{}, 0, errors.Join(ErrCorrupt, err)
	}
	var h snapshotHead
	if err := json.Unmarshal(text, &h); err != nil {
		return snapshotHead{}, 0, errors.Join(ErrCorrupt, err)
	}
	return h, int64(len(fixed)) + int64(n), nil
}

// verify reads the whole file and compares its checksum.
func (f snapshotFile) verify(fs vfs.FS) error {
	file, err := fs.Open(f.path, vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("open snapshot: %w", err)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open snapshot: %w", err)
	}
	sum := castagnoli()
	if _, err := io.CopyN(sum, file, stat.Size()-crcBytes); err != nil {
		return fmt.Errorf("read snapshot %s: %w", f.path, err)
	}
	var stored [crcBytes]byte
	if _, err := io.ReadFull(file, stored[:]); err != nil {
		return fmt.Errorf("read snapshot %s: %w", f.path, err)
	}
	if binary.BigEndian.Uint32(stored[:]) != sum.Sum32() {
		return fmt.Errorf("snapshot %s: checksum: %w", f.path, ErrCorrupt)
	}
	return nil
}

// open verifies the file and returns its payload.
func (f snapshotFile) open(fs vfs.FS) (io.ReadCloser, error) {
	found, payload, err := readSnapshotFile(fs, f.path)
	if err != nil {
		return nil, err
	}
	if err := found.verify(fs); err != nil {
		return nil, err
	}
	file, err := fs.Open(f.path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, payload, found.size), file}, nil
}

// snapshotWriter writes a snapshot file.
type snapshotWriter struct {
	file    vfs.File
	sum     hash.Hash32
	payload int64 // bytes written
}

func newSnapshotWriter(fs vfs.FS, path string, head snapshotHead) (*snapshotWriter, error) {
	text, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("snapshot head: %w", err)
	}
	if len(text) > maxSnapshotHead {
		return nil, fmt.Errorf("snapshot head of %d bytes is over %d", len(text), maxSnapshotHead)
	}
	file, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	w := &snapshotWriter{file: file, sum: castagnoli()}
	b := binary.BigEndian.AppendUint32([]byte(snapshotMagic), uint32(len(text)))
	if _, err := w.Write(append(b, text...)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	w.payload = 0
	return w, nil
}

func (w *snapshotWriter) Write(p []byte) (int, error) {
	_, _ = w.sum.Write(p) // before the file: vfs.File.Write may change p
	n, err := w.file.Write(p)
	w.payload += int64(n)
	if err != nil {
		return n, fmt.Errorf("write snapshot: %w", err)
	}
	return n, nil
}

// finish writes the checksum, syncs and closes.
func (w *snapshotWriter) finish() error {
	_, err := w.file.Write(binary.BigEndian.AppendUint32(nil, w.sum.Sum32()))
	if err == nil {
		err = w.file.Sync()
	}
	if err := errors.Join(err, w.file.Close()); err != nil {
		return fmt.Errorf("finish snapshot: %w", err)
	}
	return nil
}
