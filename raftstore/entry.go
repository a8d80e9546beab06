package raftstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// A log entry on disk, all big endian: term u64, type u8, appendedAt i64 (unix ns, 0 none), extLen u32, extensions,
// command. Pebble's blocks and WAL records carry the checksums.
const entryHeader = 8 + 1 + 8 + 4

func entrySize(l *raft.Log) int { return entryHeader + len(l.Extensions) + len(l.Data) }

// putEntry fills v, which is entrySize(l) bytes.
func putEntry(v []byte, l *raft.Log) {
	binary.BigEndian.PutUint64(v, l.Term)
	v[8] = byte(l.Type)
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	binary.BigEndian.PutUint64(v[9:], uint64(at))
	binary.BigEndian.PutUint32(v[17:], uint32(len(l.Extensions)))
	copy(v[entryHeader:], l.Extensions)
	copy(v[entryHeader+len(l.Extensions):], l.Data)
}

// getEntry sets *l from v and copies what it keeps.
func getEntry(v []byte, index uint64, l *raft.Log) error {
	if len(v) < entryHeader {
		return fmt.Errorf("log entry %d of %d bytes: %w", index, len(v), ErrCorrupt)
	}
	ext := uint64(binary.BigEndian.Uint32(v[17:]))
	if ext > uint64(len(v)-entryHeader) {
		return fmt.Errorf("log entry %d: extensions of %d bytes in %d: %w", index, ext, len(v), ErrCorrupt)
	}
	*l = raft.Log{Index: index, Term: binary.BigEndian.Uint64(v), Type: raft.LogType(v[8])}
	if at := int64(binary.BigEndian.Uint64(v[9:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	if ext > 0 {
		l.Extensions = append([]byte(nil), v[entryHeader:entryHeader+ext]...)
	}
	l.Data = append([]byte(nil), v[entryHeader+ext:]...)
	return nil
}
