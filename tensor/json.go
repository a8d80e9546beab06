package tensor

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/skein-project/skein/model"
)

// ReadJSON sets the data of a tensor whose name, type and shape are known from JSON: a list of all elements in row-major order, or lists within
// each other as the shape says. Whole numbers are read exactly, and have to be written without fraction and exponent; F16 and BF16 have no
// form in JSON. At most 8 bytes are allocated for 2 of JSON. Errors are of type Invalid.
func (t *Tensor) ReadJSON(raw []byte) error {
	r := jsonReader{tensor: t, rest: raw, left: t.Elements()}
	switch {
	case len(t.Shape) > model.MaxRank || r.left < 0:
		return r.wrong("the shape %v is none", t.Shape)
	case t.DType == model.F16 || t.DType == model.BF16:
		return r.wrong("%s has no form in JSON: send it as binary data", t.DType)
	case t.DType.Size() == 0 && t.DType != model.Bytes:
		return r.wrong("type %.20q is not known", t.DType)
	case r.left > int64(len(raw)):
		return r.wrong("the shape %v has more elements than there are", t.Shape)
	}
	t.Data = make([]byte, 0, max(1, t.DType.Size())*r.left)
	var err error
	if r.nested() {
		err = r.lists(t.Shape)
	} else {
		err = r.list(r.left)
	}
	if err != nil {
		return err
	}
	if r.space(); len(r.rest) > 0 {
		return r.wrong("something follows the elements")
	}
	return nil
}

// jsonReader reads the elements of a tensor.
type jsonReader struct {
	tensor *Tensor
	rest   []byte
	left   int64 // elements
}

func (r *jsonReader) wrong(format string, args ...any) error {
	return Invalid{r.tensor.Name, fmt.Sprintf(format, args...)}
}

// space skips white space (RFC 8259).
func (r *jsonReader) space() {
	for len(r.rest) > 0 && (r.rest[0] == ' ' || r.rest[0] == '\n' || r.rest[0] == '\t' || r.rest[0] == '\r') {
		r.rest = r.rest[1:]
	}
}

// take skips white space, and then a character if it comes next.
func (r *jsonReader) take(c byte) bool {
	if r.space(); len(r.rest) == 0 || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// nested says whether lists within a list come next.
func (r *jsonReader) nested() bool {
	ahead := jsonReader{rest: r.rest}
	return len(r.tensor.Shape) > 1 && ahead.take('[') && ahead.take('[')
}

// lists reads lists within each other, one level for each dimension.
func (r *jsonReader) lists(shape []int64) error {
	if len(shape) == 1 {
		return r.list(shape[0])
	}
	return r.items(shape[0], func() error { return r.lists(shape[1:]) })
}

// list reads a list of n elements.
func (r *jsonReader) list(n int64) error { return r.items(n, r.element) }

// items reads a list of n items.
func (r *jsonReader) items(n int64, item func() error) error {
	if !r.take('[') {
		return r.wrong("want lists that are nested as the shape %v says, or one list", r.tensor.Shape)
	}
	for i := range n {
		if i > 0 && !r.take(',') {
			return r.wrong("a list has %d items where the shape %v says more", i, r.tensor.Shape)
		}
		if r.space(); len(r.rest) > 0 && r.rest[0] == ']' {
			return r.wrong("a list has %d items where the shape %v says more", i, r.tensor.Shape)
		}
		if err := item(); err != nil {
			return err
		}
	}
	if !r.take(']') {
		return r.wrong("a list goes on after %d items, which is what the shape %v says", n, r.tensor.Shape)
	}
	return nil
}

// element reads one element.
func (r *jsonReader) element() error {
	r.space()
	word, ok := r.word()
	if !ok {
		return r.wrong("an element is no JSON")
	}
	t := r.tensor
	var u uint64
	var i int64
	var f float64
	var err error
	switch size := t.DType.Size(); t.DType {
	case model.Bytes:
		return r.text(word)
	case model.Bool:
		if b := string(word); b != "true" && b != "false" {
			return r.wrong("%.40q is neither true nor false", word)
		}
		if word[0] == 't' {
			u = 1
		}
		t.Data = append(t.Data, byte(u))
	case model.F64, model.F32:
		if f, err = strconv.ParseFloat(string(word), int(8*size)); err != nil || !number(word) {
			return r.wrong("%.40q is no number of type %s", word, t.DType)
		}
		if t.DType == model.F64 {
			t.Data = binary.LittleEndian.AppendUint64(t.Data, math.Float64bits(f))
		} else {
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(f)))
		}
	case model.I64, model.I32, model.I16, model.I8:
		if i, err = strconv.ParseInt(string(word), 10, int(8*size)); err != nil || !number(word) {
			return r.wrong("%.40q is no whole number of type %s", word, t.DType)
		}
		r.whole(uint64(i))
	default:
		if u, err = strconv.ParseUint(string(word), 10, int(8*size)); err != nil || !number(word) {
			return r.wrong("%.40q is no whole number of type %s", word, t.DType)
		}
		r.whole(u)
	}
	return nil
}

// whole appends the low bytes of a number, as many as the type has.
func (r *jsonReader) whole(u uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], u)
	r.tensor.Data = append(r.tensor.Data, b[:r.tensor.DType.Size()]...)
}

// text appends a string.
func (r *jsonReader) text(word []byte) error {
	if word[0] != '"' || !utf8.Valid(word) {
		return r.wrong("%.40q is no string", word)
	}
	if in := word[1 : len(word)-1]; plain(in) {
		r.tensor.Data = binary.LittleEndian.AppendUint32(r.tensor.Data, uint32(len(in)))
		r.tensor.Data = append(r.tensor.Data, in...)
		return nil
	}
	var s string
	if err := json.Unmarshal(word, &s); err != nil {
		return r.wrong("%.40q is no string", word)
	}
	r.tensor.Data = AppendString(r.tensor.Data, s)
	return nil
}

// word takes a scalar: a string with its quotes, or everything up to what ends a number or a name.
func (r *jsonReader) word() ([]byte, bool) {
	end := 0
	if len(r.rest) > 0 && r.rest[0] == '"' {
		for end = 1; ; end++ {
			if end >= len(r.rest) {
				return nil, false
			}
			if r.rest[end] == '\\' {
				end++
			} else if r.rest[end] == '"' {
				break
			}
		}
		end++
	} else {
		for end < len(r.rest) && !ends(r.rest[end]) {
			end++
		}
		if end == 0 || end == len(r.rest) {
			return nil, false
		}
	}
	word := r.rest[:end]
	r.rest = r.rest[end:]
	return word, true
}

// ends says whether a character ends a number or a name.
func ends(c byte) bool {
	return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\n' || c == '\t' || c == '\r'
}

// number says whether a word that strconv takes for a number is one in JSON too: no plus sign, underscore, name, hexadecimal digit,
// leading zero, or point without digits.
func number(word []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(word) && word[n] >= '0' && word[n] <= '9' {
			n++
		}
		word = word[n:]
		return n > 0
	}
	skip := func(c string) bool {
		if len(word) == 0 || !strings.ContainsRune(c, rune(word[0])) {
			return false
		}
		word = word[1:]
		return true
	}
	skip("-")
	if zero := skip("0"); !zero && !digits() {
		return false
	}
	if skip(".") && !digits() {
		return false
	}
	if skip("eE") {
		if skip("+-"); !digits() {
			return false
		}
	}
	return len(word) == 0
}

// plain says whether a string stands for itself between quotes.
func plain(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// AppendJSON appends the elements as one list, which ReadJSON reads back to the same bytes. Errors are of type Invalid: what has no form in
// JSON is F16, BF16, numbers that are not finite, and strings that are not UTF-8. The tensor is one that Check accepts.
func (t Tensor) AppendJSON(to []byte) ([]byte, error) {
	to = append(to, '[')
	if t.DType == model.Bytes {
		for i, s := range t.Strings() {
			if !utf8.Valid(s) {
				return nil, Invalid{t.Name, fmt.Sprintf("element %d is not UTF-8, so it has no form in JSON: ask for binary data", i)}
			}
			to = appendText(separate(to, i), s)
		}
		return append(to, ']'), nil
	}
	size := int(t.DType.Size())
	for i := 0; size > 0 && (i+1)*size <= len(t.Data); i++ {
		var ok bool
		if to, ok = t.appendNumber(separate(to, i), t.Data[i*size:]); !ok {
			return nil, Invalid{t.Name, fmt.Sprintf("element %d of type %s has no form in JSON: ask for binary data", i, t.DType)}
		}
	}
	return append(to, ']'), nil
}

func separate(to []byte, i int) []byte {
	if i > 0 {
		to = append(to, ',')
	}
	return to
}

func appendText(to, s []byte) []byte {
	if plain(s) {
		return append(append(append(to, '"'), s...), '"')
	}
	quoted, _ := json.Marshal(string(s)) // a string has a form
	return append(to, quoted...)
}

// appendNumber appends the element that data begin with; false = it has no form.
func (t Tensor) appendNumber(to, data []byte) ([]byte, bool) {
	float := func(f float64, bits int) ([]byte, bool) {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return to, false
		}
		return strconv.AppendFloat(to, f, 'g', -1, bits), true
	}
	switch t.DType {
	case model.F64:
		return float(math.Float64frombits(binary.LittleEndian.Uint64(data)), 64)
	case model.F32:
		return float(float64(math.Float32frombits(binary.LittleEndian.Uint32(data))), 32)
	case model.I64:
		return strconv.AppendInt(to, int64(binary.LittleEndian.Uint64(data)), 10), true
	case model.I32:
		return strconv.AppendInt(to, int64(int32(binary.LittleEndian.Uint32(data))), 10), true
	case model.I16:
		return strconv.AppendInt(to, int64(int16(binary.LittleEndian.Uint16(data))), 10), true
	case model.I8:
		return strconv.AppendInt(to, int64(int8(data[0])), 10), true
	case model.U64:
		return strconv.AppendUint(to, binary.LittleEndian.Uint64(data), 10), true
	case model.U32:
		return strconv.AppendUint(to, uint64(binary.LittleEndian.Uint32(data)), 10), true
	case model.U16:
		return strconv.AppendUint(to, uint64(binary.LittleEndian.Uint16(data)), 10), true
	case model.U8:
		return strconv.AppendUint(to, uint64(data[0]), 10), true
	case model.Bool:
		return strconv.AppendBool(to, data[0] != 0), true
	}
	return to, false
}
