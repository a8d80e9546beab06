// Package tfbundle reads TensorFlow's tensor bundles: which tensors a checkpoint has, and where their bytes are.
//
// A bundle is a table of keys (NAME.index) and files of raw little-endian elements (NAME.data-00000-of-00001). Formats:
// tensorflow/core/protobuf/tensor_bundle.proto and LevelDB's doc/table_format.md.
package tfbundle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
)

// Limits of a bundle.
const (
	MaxIndex   = 64 << 20 // bytes of the index, and of its unpacked blocks
	MaxEntries = 1 << 18
	MaxKey     = 4 << 10 // bytes
	MaxShards  = 4096    // data files
	MaxObjects = 16 << 20
)

// Invalid says what of a bundle is wrong, and why.
type Invalid struct {
	What string // "variables/variables.index", `tensor "a/b"`
	Why  string
}

// Error implements error.
func (e Invalid) Error() string { return "tfbundle: " + e.What + ": " + e.Why }

// Entry is one tensor.
type Entry struct {
	DType  model.DType // "" where it is of a type without a fixed size or unknown here, such as variants
	Shape  []int64
	Sliced bool // its parts are tensors of their own, under keys that are no names
	Ref    blob.Ref
	shard  int
	crc    uint32
}

// Bundle is an opened bundle.
type Bundle struct {
	entries map[string]Entry
	shards  []onnxgraph.Source
}

// Read reads the index NAME.index and checks it against the sizes of the data files: every tensor lies within its file, has as many bytes
// as its shape and type need, and overlaps no other. Errors are of type Invalid, or those of reading.
func Read(files map[string]onnxgraph.Source, name string) (*Bundle, error) {
	what := name + ".index"
	index, ok := files[what]
	if !ok {
		return nil, Invalid{what, "is missing"}
	}
	if index.Size > MaxIndex {
		return nil, Invalid{what, fmt.Sprintf("%d bytes are more than %d", index.Size, MaxIndex)}
	}
	file := make([]byte, index.Size)
	if _, err := io.ReadFull(io.NewSectionReader(index, 0, index.Size), file); err != nil {
		return nil, fmt.Errorf("tfbundle: read %s: %w", what, err)
	}
	b := &Bundle{entries: map[string]Entry{}}
	header := false
	err := entries(what, file, func(key, value []byte) error {
		if !header {
			header = true
			if len(key) > 0 {
				return Invalid{what, "has no header"}
			}
			return b.open(files, name, what, value)
		}
		e, err := b.entry(fmt.Sprintf("tensor %.80q", key), value)
		if err != nil {
			return err
		}
		b.entries[string(key)] = e
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !header {
		return nil, Invalid{what, "is empty"}
	}
	return b, b.apart()
}

// open reads the header and finds the data files.
func (b *Bundle) open(files map[string]onnxgraph.Source, name, what string, value []byte) error {
	h, err := readHeader(what, value)
	if err != nil {
		return err
	}
	switch {
	case h.bigEndian:
		return Invalid{what, "its tensors are big-endian; save it on a little-endian machine"}
	case h.shards < 1 || h.shards > MaxShards:
		return Invalid{what, fmt.Sprintf("%d data files are not in 1..%d", h.shards, MaxShards)}
	}
	for i := range h.shards {
		file := fmt.Sprintf("%s.data-%05d-of-%05d", name, i, h.shards)
		src, ok := files[file]
		if !ok {
			return Invalid{file, fmt.Sprintf("is missing; the index says that there are %d data files", h.shards)}
		}
		b.shards = append(b.shards, src)
	}
	return nil
}

// entry reads a tensor's entry and checks it by itself.
func (b *Bundle) entry(what string, value []byte) (Entry, error) {
	p, err := readEntry(what, value)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{DType: DType(p.dtype), Shape: p.shape, Sliced: p.sliced, shard: int(p.shard), crc: p.crc}
	if p.shard < 0 || p.shard >= int64(len(b.shards)) {
		return e, Invalid{what, fmt.Sprintf("data file %d is not one of %d", p.shard, len(b.shards))}
	}
	src := b.shards[e.shard]
	if p.offset < 0 || p.size < 0 || p.offset > src.Size || p.size > src.Size-p.offset {
		return e, Invalid{what, fmt.Sprintf("%d bytes at %d are not within a data file of %d", p.size, p.offset, src.Size)}
	}
	n := model.Elements(p.shape)
	if n < 0 || len(p.shape) > model.MaxRank {
		return e, Invalid{what, fmt.Sprintf("shape %.80s is not possible", fmt.Sprint(p.shape))}
	}
	e.Ref = blob.Ref{Digest: src.Digest, Off: p.offset, Len: p.size}
	switch size := e.DType.Size(); {
	case e.Sliced: // its bytes are those of its parts
	case size > 0 && (n > blob.MaxSize/size || n*size != p.size):
		return e, Invalid{what, fmt.Sprintf("%d bytes do not hold %.80s of %s", p.size, fmt.Sprint(p.shape), e.DType)}
	case e.DType == model.Bytes && p.size < n: // each has a length of at least a byte
		return e, Invalid{what, fmt.Sprintf("%d bytes do not hold %d texts", p.size, n)}
	}
	return e, nil
}

// apart refuses tensors that overlap.
func (b *Bundle) apart() error {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(b.entries)), func(k string) bool { return b.entries[k].Ref.Len == 0 })
	slices.SortStableFunc(keys, func(x, y string) int {
		a, c := b.entries[x], b.entries[y]
		return cmp.Or(cmp.Compare(a.shard, c.shard), cmp.Compare(a.Ref.Off, c.Ref.Off))
	})
	for i := 1; i < len(keys); i++ {
		a, c := b.entries[keys[i-1]], b.entries[keys[i]]
		if a.shard == c.shard && c.Ref.Off < a.Ref.Off+a.Ref.Len {
			return Invalid{fmt.Sprintf("tensor %.80q", keys[i]), fmt.Sprintf("its bytes overlap those of %.80q", keys[i-1])}
		}
	}
	return nil
}

// Entry finds a tensor by its key.
func (b *Bundle) Entry(key string) (Entry, bool) {
	e, ok := b.entries[key]
	return e, ok
}

// ErrChecksum says that a tensor's bytes are not those that were saved.
var ErrChecksum = errors.New("tfbundle: the checksum of a tensor's bytes is wrong")

// Verify reads a tensor's bytes, in parts of 1 MiB, and compares their checksum. It is the only proof that the files are as they were
// saved; what comes after (an upload's digest) proves only that they stayed as they came.
func (b *Bundle) Verify(key string) error { return b.stream(key, io.Discard) }

// Bytes reads a tensor of at most limit bytes and compares its checksum.
func (b *Bundle) Bytes(key string, limit int64) ([]byte, error) {
	if n := b.entries[key].Ref.Len; n > limit {
		return nil, Invalid{fmt.Sprintf("tensor %.80q", key), fmt.Sprintf("%d bytes are more than %d", n, limit)}
	}
	var out bytes.Buffer
	err := b.stream(key, &out)
	return out.Bytes(), err
}

func (b *Bundle) stream(key string, to io.Writer) error {
	e, ok := b.entries[key]
	if !ok {
		return Invalid{fmt.Sprintf("tensor %.80q", key), "is not in the bundle"}
	}
	sum := crc32.New(castagnoli)
	part := make([]byte, min(1<<20, max(1, e.Ref.Len)))
	in := io.NewSectionReader(b.shards[e.shard], e.Ref.Off, e.Ref.Len)
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(sum, to)}, struct{ io.Reader }{in}, part); err != nil {
		return fmt.Errorf("tfbundle: read tensor %.80q: %w", key, err)
	} else if n != e.Ref.Len {
		return fmt.Errorf("tfbundle: read tensor %.80q: %w", key, io.ErrUnexpectedEOF)
	}
	if e.DType == model.Bytes || e.DType == "" { // checksums of texts cover their lengths in another form
		return nil
	}
	if mask(sum.Sum32()) != e.crc {
		return fmt.Errorf("%w: tensor %.80q", ErrChecksum, key)
	}
	return nil
}

// Text reads a tensor that is one text of at most limit bytes: its length, a checksum of the length, and its bytes.
func (b *Bundle) Text(key string, limit int64) ([]byte, error) {
	what := fmt.Sprintf("tensor %.80q", key)
	e, ok := b.entries[key]
	if !ok || e.DType != model.Bytes || len(e.Shape) != 0 {
		return nil, Invalid{what, "is no text"}
	}
	raw, err := b.Bytes(key, limit)
	if err != nil {
		return nil, err
	}
	length, n := binary.Uvarint(raw)
	const sum = 4
	if n <= 0 || len(raw) < n+sum || length != uint64(len(raw)-n-sum) {
		return nil, Invalid{what, "its length is not that of its bytes"}
	}
	return raw[n+sum:], nil
}

// Names gives the key of each variable by its full name, as the checkpoint's own object graph says (trackable_object_graph.proto). It is
// empty where the bundle has none; names that are there twice with different keys are left out.
func (b *Bundle) Names() (map[string]string, error) {
	const key = "_CHECKPOINTABLE_OBJECT_GRAPH"
	if _, ok := b.entries[key]; !ok {
		return nil, nil
	}
	text, err := b.Text(key, MaxObjects)
	if err != nil {
		return nil, err
	}
	names, twice := map[string]string{}, map[string]bool{}
	err = readObjects(fmt.Sprintf("tensor %q", key), text, func(full, key string) {
		if old, ok := names[full]; ok && old != key {
			twice[full] = true
		}
		if full != "" && utf8.ValidString(full) {
			names[full] = key
		}
	})
	maps.DeleteFunc(names, func(full, _ string) bool { return twice[full] })
	return names, err
}
