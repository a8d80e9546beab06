package disk

import (
	"errors"
	"fmt"

	"github.com/skein-project/skein/blob"
)

// Errors of this package.
var (
	ErrNotFound = fmt.Errorf("disk: no such blob: %w", blob.ErrUnknown)
	ErrAbsent   = fmt.Errorf("disk: a part of the blob that is not here: %w", blob.ErrUnknown)
	ErrLocked   = errors.New("disk: the directory is in use by another store")
	ErrFormat   = errors.New("disk: the directory has another version's format")
	ErrSource   = errors.New("disk: the source is not what was announced")
	ErrTooLong  = errors.New("disk: range too long to read at once")
)

// Full says that a write would not fit: it was refused before a byte was written.
type Full struct {
	Need int64 // bytes
	Free int64 // bytes that may be used: free on the disk, less the reserve and what was promised to others
}

// Error implements error.
func (e Full) Error() string {
	return fmt.Sprintf("disk: full: %d bytes needed, %d free", e.Need, e.Free)
}

// Corrupt names the chunks whose bytes no longer have their hash. They are no longer shown and can be written again.
type Corrupt struct {
	Digest blob.Digest
	Chunks []int
}

// Error implements error.
func (e Corrupt) Error() string {
	return fmt.Sprintf("disk: %d chunks of %s are corrupt, the first is %d", len(e.Chunks), e.Digest.Short(), e.Chunks[0])
}

// Unwrap makes errors.Is find blob.ErrCorrupt.
func (e Corrupt) Unwrap() error { return blob.ErrCorrupt }
