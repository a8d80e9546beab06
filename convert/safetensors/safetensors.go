// Package safetensors reads and writes the header of the safetensors format: which tensors a file has, and where their bytes are.
//
// A file is 8 bytes of header length (little endian), the header in JSON, and the tensors' bytes without a gap
// (https://huggingface.co/docs/safetensors, section "Format").
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sort"

	"github.com/skein-project/skein/internal/strictjson"
)

// Limits of a header.
const (
	MaxHeader  = 100_000_000 // bytes; the format's own limit
	MaxTensors = 1 << 17
	MaxName    = 512 // bytes
	MaxDims    = 8
	maxDepth   = 3
	maxValues  = MaxTensors * 16
)

// sizes is the number of bits of an element by type.
var sizes = map[string]int64{
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16,
	"I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}

// Invalid says what of a file is wrong, and why.
type Invalid struct {
	What string // "header length", `tensor "wte.weight"`
	Why  string
}

// Error implements error.
func (e Invalid) Error() string { return "safetensors: " + e.What + ": " + e.Why }

// Tensor is one entry of the header.
type Tensor struct {
	Name  string
	DType string // "F32", "BF16", …
	Shape []int64
	Off   int64 // bytes from the start of the file
	Len   int64 // bytes
}

// Read reads the header of a file of size bytes and checks it against the size: the tensors cover everything after the header
// exactly once. The tensors come in the order of their offsets. Errors are of type Invalid, or those of r.
func Read(r io.ReaderAt, size int64) ([]Tensor, error) {
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return nil, Invalid{"file", fmt.Sprintf("%d bytes are too short", size)}
	}
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, fmt.Errorf("safetensors: read header length: %w", err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > MaxHeader {
		return nil, Invalid{"header length", fmt.Sprintf("%d bytes are more than %d", n, MaxHeader)}
	}
	if int64(n) > size-int64(len(prefix)) {
		return nil, Invalid{"header length", fmt.Sprintf("%d bytes do not fit a file of %d", n, size)}
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, int64(len(prefix)), int64(n)), header); err != nil {
		return nil, fmt.Errorf("safetensors: read header: %w", err)
	}
	start := int64(len(prefix)) + int64(n)
	return parse(header, start, size-start)
}

// parse reads a header; the tensors' bytes are length bytes from offset start of the file.
func parse(header []byte, start, length int64) ([]Tensor, error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, Invalid{"header", "does not start with {"}
	}
	if err := strictjson.Check(header, strictjson.Limits{Bytes: MaxHeader, Depth: maxDepth, Values: maxValues}); err != nil {
		return nil, Invalid{"header", err.Error()}
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		return nil, Invalid{"header", err.Error()}
	}
	if meta, ok := entries["__metadata__"]; ok {
		var texts map[string]string
		if err := json.Unmarshal(meta, &texts); err != nil {
			return nil, Invalid{"__metadata__", "is not a map of texts"}
		}
		delete(entries, "__metadata__")
	}
	if len(entries) > MaxTensors {
		return nil, Invalid{"header", fmt.Sprintf("%d tensors are more than %d", len(entries), MaxTensors)}
	}
	tensors := make([]Tensor, 0, len(entries))
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		t, err := entry(name, entries[name], length)
		if err != nil {
			return nil, err
		}
		tensors = append(tensors, t)
	}
	return contiguous(tensors, start, length)
}

// entry reads one tensor; Off is still relative to the end of the header.
func entry(name string, raw json.RawMessage, length int64) (Tensor, error) {
	what := fmt.Sprintf("tensor %.80q", name)
	if name == "" || len(name) > MaxName {
		return Tensor{}, Invalid{what, fmt.Sprintf("the name is not 1..%d bytes long", MaxName)}
	}
	// A map, not a struct: the json package would match the keys of a struct without regard to case.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || len(fields) != 3 {
		return Tensor{}, Invalid{what, "is not an object of dtype, shape and data_offsets"}
	}
	t := Tensor{Name: name}
	var offsets []int64
	for _, f := range []struct {
		key string
		to  any
	}{{"dtype", &t.DType}, {"shape", &t.Shape}, {"data_offsets", &offsets}} {
		// The json package reads null as zero.
		if raw, ok := fields[f.key]; !ok || raw[0] != '"' && bytes.Contains(raw, []byte("null")) || json.Unmarshal(raw, f.to) != nil {
			return Tensor{}, Invalid{what, f.key + " is missing or of the wrong type"}
		}
	}
	bits, ok := sizes[t.DType]
	if !ok {
		return Tensor{}, Invalid{what, fmt.Sprintf("unknown type %.20q", t.DType)}
	}
	if len(offsets) != 2 || offsets[0] < 0 || offsets[1] < offsets[0] || offsets[1] > length {
		return Tensor{}, Invalid{what, fmt.Sprintf("offsets %.60s are not within the %d bytes of the file", fields["data_offsets"], length)}
	}
	t.Off, t.Len = offsets[0], offsets[1]-offsets[0]
	want, ok := bytesOf(t.Shape, bits)
	if !ok {
		return Tensor{}, Invalid{what, fmt.Sprintf("shape %.80s is not possible", fields["shape"])}
	}
	if want != t.Len {
		return Tensor{}, Invalid{what, fmt.Sprintf("%d bytes do not hold %s of %.80s, which needs %d", t.Len, t.DType, fields["shape"], want)}
	}
	return t, nil
}

// bytesOf is the size of a tensor; ok is false for a negative dimension, too many, a product over 2^63 bits, or a part of a byte.
func bytesOf(shape []int64, bits int64) (size int64, ok bool) {
	if len(shape) > MaxDims {
		return 0, false
	}
	n := bits
	for _, d := range shape {
		if d < 0 || d > 0 && n > math.MaxInt64/d {
			return 0, false
		}
		n *= d
	}
	return n / 8, n%8 == 0
}

// contiguous sorts by offset, refuses overlaps and gaps, and makes the offsets those of the file.
func contiguous(tensors []Tensor, start, length int64) ([]Tensor, error) {
	sort.Slice(tensors, func(i, j int) bool {
		a, b := tensors[i], tensors[j]
		if a.Off != b.Off {
			return a.Off < b.Off
		}
		if a.Len != b.Len {
			return a.Len < b.Len
		}
		return a.Name < b.Name
	})
	end := int64(0)
	for i := range tensors {
		t := &tensors[i]
		switch what := fmt.Sprintf("tensor %.80q", t.Name); {
		case t.Off < end:
			return nil, Invalid{what, fmt.Sprintf("overlaps another: starts at %d, before %d", t.Off, end)}
		case t.Off > end:
			return nil, Invalid{what, fmt.Sprintf("leaves a gap: starts at %d, after %d", t.Off, end)}
		}
		end = t.Off + t.Len
		t.Off += start
	}
	if end != length {
		return nil, Invalid{"file", fmt.Sprintf("%d bytes of tensors, but %d bytes after the header", end, length)}
	}
	return tensors, nil
}

// Header writes the 8 bytes of length and the header of a file with these tensors in this order, one after the other; Off is not
// read. The header is padded with spaces so that the tensors' bytes start at a multiple of 64.
func Header(tensors []Tensor) []byte {
	entries := make(map[string]any, len(tensors))
	off := int64(0)
	for _, t := range tensors {
		entries[t.Name] = map[string]any{"dtype": t.DType, "shape": append([]int64{}, t.Shape...), "data_offsets": [2]int64{off, off + t.Len}}
		off += t.Len
	}
	entries["__metadata__"] = map[string]string{"format": "pt"}
	header, err := json.Marshal(entries)
	if err != nil {
		panic("safetensors: maps of texts and numbers always encode: " + err.Error())
	}
	for (8+len(header))%64 != 0 {
		header = append(header, ' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
}
