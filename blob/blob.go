// Package blob names immutable bytes by what they contain.
package blob

import (
	"crypto/sha256"
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
	ErrRange   = errors.New("blob: range outside the blob")
	ErrUnknown = errors.New("blob: not here")
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

// Validate checks that the range names a blob and lies within what a blob can be.
func (r Ref) Validate() error {
	if r.Digest.IsZero() || r.Off < 0 || r.Len < 0 || r.Off > MaxSize || r.Len > MaxSize-r.Off {
		return fmt.Errorf("%w: %d bytes at %d of %s", ErrRange, r.Len, r.Off, r.Digest.Short())
	}
	return nil
}

// Chunks is the range [from, to) of chunk numbers that the range touches; it is empty for an empty range.
func (r Ref) Chunks() (from, to int) {
	if r.Len <= 0 {
		return 0, 0
	}
	return int(r.Off / ChunkSize), Chunks(r.Off + r.Len)
}
