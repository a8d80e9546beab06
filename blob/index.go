package blob

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Index lists the hashes of a blob's chunks.
type Index struct {
	Size   int64               // bytes
	Chunks [][sha256.Size]byte // SHA-256 of each chunk of ChunkSize bytes (the last may be shorter)
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

// Scan makes the index of everything that r yields, in one pass and in ChunkSize bytes of memory.
func Scan(r io.Reader) (Index, error) {
	var x Index
	buf := make([]byte, ChunkSize)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			x.Size += int64(n)
			x.Chunks = append(x.Chunks, sha256.Sum256(buf[:n]))
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return x, nil
		case err != nil:
			return Index{}, fmt.Errorf("blob: scan at byte %d: %w", x.Size, err)
		case x.Size > MaxSize:
			return Index{}, fmt.Errorf("%w: more than %d bytes", ErrIndex, int64(MaxSize))
		}
	}
}

// Claim is what is said of bytes that come from elsewhere. It sees all of them in order, and then says whether they are what was said.
type Claim interface {
	io.Writer
	Check() error
}

// Scratch is a file that is gone once it is closed.
type Scratch interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// Encode writes the index as 8 bytes of size (big endian) and the chunk hashes.
func (x Index) Encode() []byte {
	b := make([]byte, 0, 8+len(x.Chunks)*sha256.Size)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Size))
	for _, c := range x.Chunks {
		b = append(b, c[:]...)
	}
	return b
}

// DecodeIndex reads what Encode wrote; the length must fit the size.
func DecodeIndex(b []byte) (Index, error) {
	if len(b) < 8 {
		return Index{}, fmt.Errorf("%w: %d bytes", ErrIndex, len(b))
	}
	size := binary.BigEndian.Uint64(b)
	b = b[8:]
	if size > MaxSize || len(b) != Chunks(int64(size))*sha256.Size {
		return Index{}, fmt.Errorf("%w: %d bytes of hashes for %d bytes", ErrIndex, len(b), size)
	}
	x := Index{Size: int64(size), Chunks: make([][sha256.Size]byte, len(b)/sha256.Size)}
	for i := range x.Chunks {
		x.Chunks[i] = [sha256.Size]byte(b[i*sha256.Size:])
	}
	return x, nil
}

// MarshalJSON writes the encoding as one base64 string, a tenth of the size of arrays of numbers.
func (x Index) MarshalJSON() ([]byte, error) { return json.Marshal(x.Encode()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (x *Index) UnmarshalJSON(b []byte) error {
	var raw []byte
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("%w: %w", ErrIndex, err)
	}
	v, err := DecodeIndex(raw)
	if err == nil {
		*x = v
	}
	return err
}
