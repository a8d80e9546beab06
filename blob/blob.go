// Package blob names immutable bytes by what they contain.
package blob

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ChunkSize is the unit of verification and of transfer in bytes: any range of a blob can be checked by hashing the chunks it touches.
const ChunkSize = 4 << 20

// MaxSize is the largest blob in bytes (1 TiB); it bounds the length of an Index.
const MaxSize = 1 << 40

// Errors of this package.
var (
	ErrDigest  = errors.New("blob: malformed digest")
	ErrIndex   = errors.New("blob: malformed index")
	ErrCorrupt = errors.New("blob: bytes do not match their digest")
)

// Digest names a blob: the SHA-256 of its Index (so that one name covers the chunk hashes, and through them every byte).
type Digest [sha256.Size]byte

// String prints the digest as 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short prints the first 12 digits, for people.
func (d Digest) Short() string { return d.String()[:12] }

// IsZero says that no blob is named.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	v, err := ParseDigest(string(b))
	if err == nil {
		*d = v
	}
	return err
}

// ParseDigest reads 64 lower-case hexadecimal digits; anything else, above all anything that could be a path, is refused.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) || strings.ToLower(s) != s {
		return d, fmt.Errorf("%w: %.80q", ErrDigest, s)
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, fmt.Errorf("%w: %.80q", ErrDigest, s)
	}
	return d, nil
}

// Ref is a range of a blob: Len bytes from offset Off.
type Ref struct {
	Digest Digest `json:"digest"`
	Off    int64  `json:"off,omitempty"`
	Len    int64  `json:"len"`
}

// Index lists the hashes of a blob's chunks.
type Index struct {
	Size   int64               `json:"size"`   // bytes
	Chunks [][sha256.Size]byte `json:"chunks"` // SHA-256 of each chunk of ChunkSize bytes (the last may be shorter)
}

// Chunks is the number of chunks of a blob of size bytes.
func Chunks(size int64) int { return int((size + ChunkSize - 1) / ChunkSize) }

// Digest is the name of the blob that the index describes: SHA-256("skein-blob-1\n" ‖ size as 8 bytes big endian ‖ chunk hashes).
func (x Index) Digest() Digest {
	h := sha256.New()
	h.Write([]byte("skein-blob-1\n"))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(x.Size)))
	for _, c := range x.Chunks {
		h.Write(c[:])
	}
	return Digest(h.Sum(nil))
}

// Validate checks that the number of chunks fits the size.
func (x Index) Validate() error {
	if x.Size < 0 || x.Size > MaxSize || len(x.Chunks) != Chunks(x.Size) {
		return fmt.Errorf("%w: %d chunks for %d bytes", ErrIndex, len(x.Chunks), x.Size)
	}
	return nil
}

// ChunkLen is the length of chunk i in bytes.
func (x Index) ChunkLen(i int) int64 { return min(ChunkSize, x.Size-int64(i)*ChunkSize) }

// Check says whether data is chunk i.
func (x Index) Check(i int, data []byte) error {
	if i < 0 || i >= len(x.Chunks) || int64(len(data)) != x.ChunkLen(i) || sha256.Sum256(data) != x.Chunks[i] {
		return fmt.Errorf("%w: chunk %d of %s", ErrCorrupt, i, x.Digest().Short())
	}
	return nil
}

// Of makes the index of data.
func Of(data []byte) Index {
	x := Index{Size: int64(len(data))}
	for off := 0; off < len(data); off += ChunkSize {
		x.Chunks = append(x.Chunks, sha256.Sum256(data[off:min(off+ChunkSize, len(data))]))
	}
	return x
}
