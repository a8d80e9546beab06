package onnxgraph

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// Wholes makes a constant of whole numbers (I64).
func Wholes(name string, shape []int64, v ...int64) Initializer {
	raw := []byte{}
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(x))
	}
	return Initializer{Name: name, DType: model.I64, Shape: shape, Raw: raw}
}

// Reals makes a constant of numbers (F32).
func Reals(name string, shape []int64, v ...float32) Initializer {
	raw := []byte{}
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return Initializer{Name: name, DType: model.F32, Shape: shape, Raw: raw}
}

// stored is what a TensorProto says about where its elements are.
type stored struct {
	Initializer
	raw      *message // raw_data, float_data or double_data: the elements' own bytes
	rawType  model.DType
	coded    *message // int32_data, int64_data or uint64_data: varints
	sources  int      // how many of the fields above there are
	external bool
	entries  map[string]string // external_data
}

// tensor reads a TensorProto.
func (r *reader) tensor(m message, kind string) Initializer {
	t := stored{entries: map[string]string{}}
	var code int64
	t.Shape = []int64{}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			t.Shape = f.numbers(kind, t.Shape, model.MaxRank)
		case 2:
			code = f.number()
			if t.DType = onnx.DType(code); t.DType.Size() == 0 {
				r.fail(t.what(kind), "element type %d is not supported", code)
			}
		case 4:
			t.bytes(&f, model.F32)
		case 9:
			t.bytes(&f, "")
		case 10:
			t.bytes(&f, model.F64)
		case 5, 7, 11:
			t.varints(&f)
		case 8:
			t.Name = f.string(kind, MaxName)
		case 13:
			r.entry(f.message(), &t, kind)
		case 14:
			t.external = f.number() == 1
		case 3:
			r.fail(t.what(kind), "tensors in segments are not supported")
		case 6:
			r.fail(t.what(kind), "tensors of text are not supported")
		case 12, 16:
		default:
			f.unknown()
		}
	}
	if r.wrong == nil {
		r.place(&t, kind)
	}
	return t.Initializer
}

func (t *stored) what(kind string) string {
	if t.Name == "" {
		return kind
	}
	return fmt.Sprintf("%s %.80q", kind, t.Name)
}

// bytes notes a field that holds the elements as they are.
func (t *stored) bytes(f *field, typ model.DType) {
	if !f.is(protowire.BytesType) {
		return
	}
	if f.body.len() > 0 || f.num == 9 {
		t.sources++
	}
	t.raw, t.rawType = &f.body, typ
}

// varints notes a field that holds the elements as varints.
func (t *stored) varints(f *field) {
	if f.is(protowire.BytesType) {
		t.sources++
		t.coded = &f.body
	}
}

// entry reads one key of external_data.
func (r *reader) entry(m message, t *stored, kind string) {
	var key, value string
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			key = f.string(kind, MaxName)
		case 2:
			value = f.string(kind, 2*MaxName)
		default:
			f.unknown()
		}
	}
	if !slices.Contains([]string{"location", "offset", "length", "checksum"}, key) {
		r.fail(t.what(kind), "external data has the key %.60q, which is not known", key)
	} else if _, twice := t.entries[key]; twice {
		r.fail(t.what(kind), "external data has the key %q twice", key)
	}
	t.entries[key] = value
}

// place finds the tensor's elements: Raw where they are few or coded, else Ref.
func (r *reader) place(t *stored, kind string) {
	what := t.what(kind)
	n := t.Bytes()
	switch {
	case n < 0:
		r.fail(what, "shape %.100s of %.20s gives no number of bytes", fmt.Sprint(t.Shape), t.DType)
	case t.external != (len(t.entries) > 0):
		r.fail(what, "says both that its data is inside the file and that it is not")
	case t.external && t.sources > 0, t.sources > 1:
		r.fail(what, "has its data more than once")
	case t.external:
		r.placeExternal(t, what, n)
	case t.coded != nil:
		r.decode(t, what)
	case t.raw == nil && n == 0:
		t.Raw = []byte{}
	case t.raw == nil || t.rawType != "" && t.rawType != t.DType || t.raw.len() != n:
		var have int64
		if t.raw != nil {
			have = t.raw.len()
		}
		r.fail(what, "%d bytes of data do not hold %v of %s", have, t.Shape, t.DType)
	default:
		r.keep(t, what, r.src, t.raw.pos, n)
	}
}

// keep makes a range of a file the tensor's bytes, or copies them where they are few.
func (r *reader) keep(t *stored, what string, src Source, off, n int64) {
	if n >= MaxInline {
		t.Ref = blob.Ref{Digest: src.Digest, Off: off, Len: n}
		return
	}
	if r.text += n; r.text > maxKeptText {
		r.fail(what, "names, texts and small tensors have more than %d bytes", maxKeptText)
		return
	}
	t.Raw = make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(src, off, n), t.Raw); err != nil && r.wrong == nil {
		r.wrong = fmt.Errorf("onnxgraph: read: %w", err)
	}
}

// placeExternal finds a tensor in a file beside the model (ONNX, External Data).
func (r *reader) placeExternal(t *stored, what string, n int64) {
	location := t.entries["location"]
	if !plain(location) {
		r.fail(what, "external data at %.100q: want the plain name of a file in the model's folder", location)
		return
	}
	src, ok := r.beside(location)
	if !ok {
		r.fail(what, "external data is in %.100q, which is not in the folder", location)
		return
	}
	off, ok := decimal(t.entries, "offset", 0)
	length, fits := decimal(t.entries, "length", n)
	switch {
	case !ok || !fits:
		r.fail(what, "external data: offset and length are not whole numbers of bytes")
	case length != n:
		r.fail(what, "%d bytes of external data do not hold %v of %s", length, t.Shape, t.DType)
	case src.Digest == r.src.Digest:
		r.fail(what, "external data is in the model file itself")
	case off > src.Size || n > src.Size-off:
		r.fail(what, "external data: %d bytes at %d do not fit %.100q of %d bytes", n, off, location, src.Size)
	default:
		r.keep(t, what, src, off, n)
	}
}

// decimal reads a whole number in plain digits.
func decimal(entries map[string]string, key string, fallback int64) (int64, bool) {
	s, ok := entries[key]
	if !ok {
		return fallback, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && n <= blob.MaxSize && strconv.FormatInt(n, 10) == s
}

// decode unpacks varints.
func (r *reader) decode(t *stored, what string) {
	size, n := t.DType.Size(), t.Bytes()
	if r.unpacked += n; r.unpacked > MaxUnpacked {
		r.fail(what, "more than %d bytes of tensors are stored number by number: save them with raw_data", MaxUnpacked)
		return
	}
	if t.DType == model.F32 || t.DType == model.F64 {
		r.fail(what, "its data is not of type %s", t.DType)
		return
	}
	t.Raw = make([]byte, 0, n)
	var buf [8]byte
	for m := *t.coded; m.pos < m.end && r.wrong == nil; {
		if int64(len(t.Raw)) >= n {
			r.fail(what, "has more elements than %v", t.Shape)
			break
		}
		binary.LittleEndian.PutUint64(buf[:], m.varint())
		t.Raw = append(t.Raw, buf[:size]...)
	}
	if int64(len(t.Raw)) != n && r.wrong == nil {
		r.fail(what, "%d bytes of data do not hold %v of %s", len(t.Raw), t.Shape, t.DType)
	}
}
