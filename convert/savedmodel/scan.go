package savedmodel

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/convert/onnxgraph"
)

// window is how many bytes of the file are read at once.
const window = 64 << 10

// scanner walks the protobuf messages of a file without reading what is passed over, such as the weights of a frozen graph. Every length
// is checked against the message around it before anything is read or allocated. What goes wrong first is kept; all messages end then.
type scanner struct {
	src    onnxgraph.Source
	buf    []byte // window of the file
	at     int64  // offset of the window
	fields int
	nodes  int
	kept   int64 // bytes of names, texts, numbers and small tensors that were copied
	wrong  error
}

// message is a range of the file.
type message struct {
	s        *scanner
	pos, end int64
}

// field is one field of a message.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	value uint64 // of a number
	body  message
}

func (s *scanner) fail(what, format string, args ...any) {
	if s.wrong == nil {
		s.wrong = Refused{What: what, Why: fmt.Sprintf(format, args...)}
	}
}

// peek gives up to n bytes at pos, which is within the file; they are valid until the next call.
func (s *scanner) peek(pos int64, n int64) []byte {
	n = min(n, s.src.Size-pos)
	if pos < s.at || pos+n > s.at+int64(len(s.buf)) {
		size := min(window, s.src.Size-pos)
		if s.buf == nil {
			s.buf = make([]byte, min(window, s.src.Size))
		}
		s.buf, s.at = s.buf[:size], pos
		if _, err := io.ReadFull(io.NewSectionReader(s.src, pos, size), s.buf); err != nil {
			if s.wrong == nil {
				s.wrong = fmt.Errorf("savedmodel: read: %w", err)
			}
			s.buf = s.buf[:0]
			return nil
		}
	}
	return s.buf[pos-s.at:][:n]
}

// next reads the next field; ok is false at the end of the message, and where something is wrong.
func (m *message) next() (f field, ok bool) {
	s := m.s
	if s == nil || s.wrong != nil || m.pos >= m.end {
		return f, false
	}
	if s.fields++; s.fields > maxFields {
		s.fail("", "has more than %d fields", maxFields)
		return f, false
	}
	start := m.pos
	tag := m.varint()
	f.num, f.typ = protowire.Number(tag>>3), protowire.Type(tag&7)
	if tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		s.fail(place(start), "the number of a field is not valid")
	}
	f.body = message{s, m.pos, m.pos}
	switch f.typ {
	case protowire.VarintType:
		f.value = m.varint()
	case protowire.Fixed32Type:
		if b := m.fixed(4); b != nil {
			f.value = uint64(binary.LittleEndian.Uint32(b))
		}
	case protowire.Fixed64Type:
		if b := m.fixed(8); b != nil {
			f.value = binary.LittleEndian.Uint64(b)
		}
	case protowire.BytesType:
		n := m.varint()
		if n > uint64(m.end-m.pos) {
			s.fail(place(start), "%d bytes do not fit a message of which %d are left", n, m.end-m.pos)
			break
		}
		f.body = message{s, m.pos, m.pos + int64(n)}
		m.pos += int64(n)
	default:
		s.fail(place(start), "wire type %d is not used by TensorFlow", f.typ)
	}
	return f, s.wrong == nil
}

func place(pos int64) string { return fmt.Sprintf("byte %d", pos) }

func (m *message) varint() uint64 {
	b := m.s.peek(m.pos, min(m.end-m.pos, binary.MaxVarintLen64))
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		m.s.fail(place(m.pos), "no whole number ends here")
		return 0
	}
	m.pos += int64(n)
	return v
}

func (m *message) fixed(n int64) []byte {
	if m.end-m.pos < n {
		m.s.fail(place(m.pos), "%d bytes do not fit a message of which %d are left", n, m.end-m.pos)
		return nil
	}
	b := m.s.peek(m.pos, n)
	m.pos += n
	return b
}

func (m *message) len() int64 { return m.end - m.pos }

// keep counts bytes of what is copied.
func (s *scanner) keep(n int64) {
	if s.kept += n; s.kept > maxKept {
		s.fail("", "names, texts, numbers and small tensors have more than %d bytes", maxKept)
	}
}

// bytes copies the message, of at most limit bytes.
func (m *message) bytes(what string, limit int64) []byte {
	s := m.s
	if m.len() > limit {
		s.fail(what, "%d bytes are more than %d", m.len(), limit)
	}
	if s.keep(m.len()); s.wrong != nil {
		return nil
	}
	if m.len() <= window {
		return append([]byte{}, s.peek(m.pos, m.len())...)
	}
	out := make([]byte, m.len())
	if _, err := io.ReadFull(io.NewSectionReader(s.src, m.pos, m.len()), out); err != nil && s.wrong == nil {
		s.wrong = fmt.Errorf("savedmodel: read: %w", err)
	}
	return out
}

// is refuses a field that has another wire type than TensorFlow gives it.
func (f *field) is(typ protowire.Type) bool {
	if f.typ != typ {
		f.body.s.fail(place(f.body.pos), "field %d is of wire type %d, not %d", f.num, f.typ, typ)
	}
	return f.typ == typ
}

// text reads a field that is a name or another short text.
func (f *field) text(limit int64) string {
	if !f.is(protowire.BytesType) {
		return ""
	}
	b := f.body.bytes(place(f.body.pos), limit)
	if !utf8.Valid(b) {
		f.body.s.fail(place(f.body.pos), "a name is not UTF-8")
	}
	return string(b)
}

// sub is the message in the field, empty where it is none.
func (f *field) sub() message {
	if !f.is(protowire.BytesType) {
		return message{}
	}
	return f.body
}

// number is a varint field.
func (f *field) number() int64 {
	if !f.is(protowire.VarintType) {
		return 0
	}
	return int64(f.value)
}

// numbers appends the numbers of a repeated field of varints, which may be packed.
func (f *field) numbers(to []int64, limit int) []int64 {
	before := len(to)
	if f.typ != protowire.BytesType {
		to = append(to, f.number())
	} else {
		for m := f.body; m.s.wrong == nil && m.pos < m.end && len(to) <= limit; {
			to = append(to, int64(m.varint()))
		}
	}
	if len(to) > limit {
		f.body.s.fail(place(f.body.pos), "has more than %d numbers", limit)
	}
	f.body.s.keep(8 * int64(len(to)-before))
	return to
}

// reals appends the numbers of a repeated field of floats, which may be packed.
func (f *field) reals(to []float32, limit int) []float32 {
	before := len(to)
	if f.typ != protowire.BytesType {
		if f.is(protowire.Fixed32Type) {
			to = append(to, math.Float32frombits(uint32(f.value)))
		}
	} else {
		for m := f.body; m.s.wrong == nil && m.pos < m.end && len(to) <= limit; {
			if b := m.fixed(4); b != nil {
				to = append(to, math.Float32frombits(binary.LittleEndian.Uint32(b)))
			}
		}
	}
	if len(to) > limit {
		f.body.s.fail(place(f.body.pos), "has more than %d numbers", limit)
	}
	f.body.s.keep(4 * int64(len(to)-before))
	return to
}
