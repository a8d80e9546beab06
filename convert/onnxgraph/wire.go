package onnxgraph

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of the reader.
const (
	window      = 64 << 10 // bytes read at once
	maxFields   = 1 << 22  // protobuf fields of a file
	maxUnknown  = 1 << 12  // fields of a file that onnx.proto does not have
	maxKeptText = 64 << 20 // bytes of all names, texts, numbers and small tensors of a file
)

// scanner walks protobuf messages within a file without reading what lies between. Every length is checked against the message around it
// before anything is read or allocated. What is wrong first is kept, and every message then ends.
type scanner struct {
	src     Source
	buf     []byte // window of the file
	at      int64  // where the window begins
	fields  int
	unknown int
	text    int64
	wrong   error
}

// message is a range of the file.
type message struct {
	s        *scanner
	pos, end int64
}

// field is one field of a message.
type field struct {
	s     *scanner
	start int64
	num   protowire.Number
	typ   protowire.Type
	value uint64  // varint, fixed32, fixed64
	body  message // bytes
}

func (s *scanner) fail(what, format string, args ...any) {
	if s.wrong == nil {
		s.wrong = Refused{what, fmt.Sprintf(format, args...)}
	}
}

// bytes gives n ≤ window bytes of the file at pos, which must be within it. They are valid until the next call.
func (s *scanner) bytes(pos int64, n int) []byte {
	if pos < s.at || pos+int64(n) > s.at+int64(len(s.buf)) {
		size := min(window, s.src.Size-pos)
		if cap(s.buf) < window {
			s.buf = make([]byte, window)
		}
		s.buf, s.at = s.buf[:size], pos
		if _, err := io.ReadFull(io.NewSectionReader(s.src, pos, size), s.buf); err != nil {
			if s.wrong == nil {
				s.wrong = fmt.Errorf("onnxgraph: read: %w", err)
			}
			s.buf = s.buf[:0]
			return make([]byte, n)
		}
	}
	return s.buf[pos-s.at:][:n]
}

// next reads the next field; ok is false at the message's end, and where something is wrong.
func (m *message) next() (f field, ok bool) {
	s := m.s
	if s.wrong != nil || m.pos >= m.end {
		return f, false
	}
	if s.fields++; s.fields > maxFields {
		s.fail("file", "has more than %d fields", maxFields)
		return f, false
	}
	start := m.pos
	tag := m.varint()
	num, typ := protowire.DecodeTag(tag)
	if s.wrong == nil && (num < protowire.MinValidNumber || tag>>3 > uint64(protowire.MaxValidNumber)) {
		s.fail(at(start), "field number is not valid")
	}
	f = field{s: s, start: start, num: num, typ: typ}
	switch typ {
	case protowire.VarintType:
		f.value = m.varint()
	case protowire.Fixed32Type:
		if b := m.take(4); b != nil {
			f.value = uint64(binary.LittleEndian.Uint32(b))
		}
	case protowire.Fixed64Type:
		if b := m.take(8); b != nil {
			f.value = binary.LittleEndian.Uint64(b)
		}
	case protowire.BytesType:
		n := m.varint()
		if s.wrong == nil && n > uint64(m.end-m.pos) {
			s.fail(at(start), "%d bytes do not fit a message of which %d are left", n, m.end-m.pos)
		}
		if s.wrong == nil {
			f.body = message{s, m.pos, m.pos + int64(n)}
			m.pos += int64(n)
		}
	default:
		s.fail(at(start), "wire type %d is not used by ONNX", typ)
	}
	return f, s.wrong == nil
}

func at(pos int64) string { return fmt.Sprintf("byte %d", pos) }

// varint reads a number of at most 10 bytes.
func (m *message) varint() uint64 {
	b := m.s.bytes(m.pos, int(min(m.end-m.pos, binary.MaxVarintLen64)))
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		m.s.fail(at(m.pos), "no whole number ends here")
		return 0
	}
	m.pos += int64(n)
	return v
}

func (m *message) take(n int64) []byte {
	if m.end-m.pos < n {
		m.s.fail(at(m.pos), "%d bytes do not fit a message of which %d are left", n, m.end-m.pos)
		return nil
	}
	b := m.s.bytes(m.pos, int(n))
	m.pos += n
	return b
}

func (m *message) len() int64 { return m.end - m.pos }

// keep counts bytes of what is copied.
func (s *scanner) keep(what string, n int64) {
	if s.text += n; s.text > maxKeptText {
		s.fail(what, "names, texts, numbers and small tensors have more than %d bytes", maxKeptText)
	}
}

// raw copies the message's bytes, which may be at most limit many.
func (m *message) raw(what string, limit int64) []byte {
	if m.len() > limit {
		m.s.fail(what, "%d bytes are more than %d", m.len(), limit)
	}
	m.s.keep(what, m.len())
	if m.s.wrong != nil {
		return nil
	}
	out := make([]byte, m.len())
	if _, err := io.ReadFull(io.NewSectionReader(m.s.src, m.pos, m.len()), out); err != nil {
		m.s.wrong = fmt.Errorf("onnxgraph: read: %w", err)
	}
	return out
}

// string reads the field's text of at most limit bytes.
func (f *field) string(what string, limit int64) string {
	if !f.is(protowire.BytesType) {
		return ""
	}
	b := f.body.raw(what, limit)
	if !utf8.Valid(b) {
		f.s.fail(what, "is not UTF-8")
	}
	return string(b)
}

// is refuses a known field of another wire type than the format gives it.
func (f *field) is(typ protowire.Type) bool {
	if f.typ != typ {
		f.s.fail(at(f.start), "field %d is of wire type %d, not %d", f.num, f.typ, typ)
	}
	return f.typ == typ
}

// number is the field's value where it is a varint.
func (f *field) number() int64 {
	if !f.is(protowire.VarintType) {
		return 0
	}
	return int64(f.value)
}

// message is the field's value where it is a message.
func (f *field) message() message {
	if !f.is(protowire.BytesType) {
		return message{s: f.s}
	}
	return f.body
}

// numbers appends a varint, or a packed list of them, to a list of at most limit.
func (f *field) numbers(what string, list []int64, limit int) []int64 {
	if f.typ != protowire.BytesType {
		f.s.keep(what, 8)
		list = append(list, f.number())
	} else {
		n := 0
		for m := f.body; m.pos < m.end && f.s.wrong == nil && len(list)+n <= limit; n++ {
			m.varint()
		}
		if f.s.keep(what, 8*int64(n)); f.s.wrong != nil {
			return list
		}
		list = slices.Grow(list, n)
		for m := f.body; m.pos < m.end && f.s.wrong == nil && len(list) <= limit; {
			list = append(list, int64(m.varint()))
		}
	}
	if len(list) > limit {
		f.s.fail(what, "has more than %d numbers", limit)
	}
	return list
}

// unknown passes over a field that onnx.proto does not have.
func (f *field) unknown() {
	if f.s.unknown++; f.s.unknown > maxUnknown {
		f.s.fail("file", "has more than %d fields that ONNX does not define", maxUnknown)
	}
}
