package job

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/skein-project/skein/blob"
)

// Part is a blob that holds a piece of a file.
type Part struct {
	Digest blob.Digest
	Bytes  int64 // at most blob.ChunkSize
}

var errPart = errors.New("job: malformed part")

// MarshalText implements encoding.TextMarshaler: documents are small, so the digest is in base64.
func (p Part) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(p.Digest[:]) + "." + strconv.FormatInt(p.Bytes, 36)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Part) UnmarshalText(b []byte) error {
	digest, size, ok := strings.Cut(string(b), ".")
	raw, err := base64.RawURLEncoding.DecodeString(digest)
	n, sizeErr := strconv.ParseInt(size, 36, 64)
	if !ok || err != nil || sizeErr != nil || len(raw) != len(p.Digest) || n < 0 || n > blob.ChunkSize {
		return fmt.Errorf("%w: %.80q", errPart, b)
	}
	copy(p.Digest[:], raw)
	p.Bytes = n
	return nil
}

// Size is how many bytes parts have together.
func Size(list []Part) (n int64) {
	for _, p := range list {
		n += p.Bytes
	}
	return n
}

// Keep says how many parts of a file stay as they are when more bytes come behind them; those after are written again, in one with what is
// new, because they are small. Sizes fall towards the end at least by half, so a file has few small parts, and every byte is written a few
// times at most, however often a little is added.
func Keep(list []Part, more int64) int {
	n := len(list)
	for n > 0 && list[n-1].Bytes < blob.ChunkSize && list[n-1].Bytes < 2*more {
		n--
		more += list[n].Bytes
	}
	return n
}
