package tensor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/model"
)

// kinds are the element types.
var kinds = []model.DType{model.F64, model.F32, model.F16, model.BF16, model.I64, model.I32, model.I16, model.I8, model.U64, model.U32, model.U16, model.U8, model.Bool, model.Bytes}

// drawn is a tensor that Check accepts.
func drawn(t *rapid.T) Tensor {
	x := Tensor{Name: rapid.StringN(1, 8, 64).Draw(t, "name"), DType: rapid.SampledFrom(kinds).Draw(t, "type"), Shape: rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 4).Draw(t, "shape")}
	for range x.Elements() {
		switch x.DType {
		case model.Bytes:
			x.Data = AppendString(x.Data, rapid.StringN(0, 6, 30).Draw(t, "text"))
		case model.Bool:
			x.Data = append(x.Data, byte(rapid.IntRange(0, 1).Draw(t, "bool")))
		default:
			x.Data = append(x.Data, rapid.SliceOfN(rapid.Byte(), int(x.DType.Size()), int(x.DType.Size())).Draw(t, "element")...)
		}
	}
	return x
}

// What fits is accepted, and no longer fits when a byte, a dimension or the name is changed.
func TestCheck(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawn(t)
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		longer, shorter, none := x, x, x
		longer.Data = append(bytes.Clone(x.Data), 0)
		if longer.Check() == nil {
			t.Fatal("a byte more")
		}
		if n := len(x.Data); n > 0 {
			if shorter.Data = x.Data[:n-1]; shorter.Check() == nil {
				t.Fatal("a byte less")
			}
			shorter = x
			if shorter.Shape = append([]int64{2}, x.Shape...); shorter.Check() == nil {
				t.Fatal("twice the elements")
			}
		}
		if none.Name = ""; none.Check() == nil {
			t.Fatal("no name")
		}
	})
	if err := (Tensor{Name: "x", DType: model.I64, Shape: []int64{0, MaxEmpty / 2, 2}}).Check(); err != nil {
		t.Error(err)
	}
	for why, x := range map[string]Tensor{
		"type":          {Name: "x", DType: "F8", Data: []byte{1}},
		"no type":       {Name: "x", Data: nil, Shape: []int64{0}},
		"negative":      {Name: "x", DType: model.U8, Shape: []int64{-1}},
		"overflow":      {Name: "x", DType: model.F64, Shape: []int64{1 << 31, 1 << 30, 1 << 2}},
		"near overflow": {Name: "x", DType: model.F64, Shape: []int64{1 << 61}},
		"rank":          {Name: "x", DType: model.U8, Shape: []int64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, Data: []byte{1}},
		"bool":          {Name: "x", DType: model.Bool, Shape: []int64{1}, Data: []byte{2}},
		"bytes":         {Name: "x", DType: model.Bytes, Shape: []int64{1}, Data: []byte{5, 0, 0, 0, 'a'}},
		"huge bytes":    {Name: "x", DType: model.Bytes, Shape: []int64{1}, Data: []byte{255, 255, 255, 255, 'a'}},
		"many bytes":    {Name: "x", DType: model.Bytes, Shape: []int64{1 << 62}, Data: []byte{0, 0, 0, 0}},
		"many empty":    {Name: "x", DType: model.I64, Shape: []int64{10_000_000, 0}},
		"empty many":    {Name: "x", DType: model.Bytes, Shape: []int64{0, 1 << 40}},
		"product":       {Name: "x", DType: model.I64, Shape: []int64{MaxEmpty / 2, 3, 0, 1}},
		"UTF-8":         {Name: "\xff", DType: model.U8, Shape: []int64{1}, Data: []byte{1}},
	} {
		var invalid Invalid
		if err := x.Check(); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// slowly reads elements by encoding/json, as an obvious reader would: every number by its digits.
func slowly(raw []byte, d model.DType, shape []int64) ([]any, bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return nil, false
	}
	if _, err := dec.Token(); err == nil {
		return nil, false
	}
	var out []any
	var walk func(v any, shape []int64) bool
	walk = func(v any, shape []int64) bool {
		list, ok := v.([]any)
		if !ok || int64(len(list)) != shape[0] {
			return false
		}
		for _, e := range list {
			if len(shape) == 1 {
				out = append(out, e)
			} else if !walk(e, shape[1:]) {
				return false
			}
		}
		return true
	}
	flat, ok := v.([]any)
	nested := false
	if len(flat) > 0 {
		_, nested = flat[0].([]any)
	}
	if !ok || nested && len(shape) < 2 {
		return nil, false
	}
	if nested {
		ok = walk(v, shape)
	} else {
		ok = walk(v, []int64{model.Elements(shape)})
	}
	for i, e := range out {
		if ok {
			out[i], ok = element(e, d)
		}
	}
	return out, ok
}

func element(e any, d model.DType) (any, bool) {
	bits := int(8 * d.Size())
	n, isNumber := e.(json.Number)
	switch d {
	case model.Bytes:
		s, ok := e.(string)
		return s, ok
	case model.Bool:
		b, ok := e.(bool)
		return b, ok
	case model.F32, model.F64:
		f, err := strconv.ParseFloat(string(n), bits)
		return f, isNumber && err == nil
	case model.I64, model.I32, model.I16, model.I8:
		i, err := strconv.ParseInt(string(n), 10, bits)
		return i, isNumber && err == nil
	}
	u, err := strconv.ParseUint(string(n), 10, bits)
	return u, isNumber && err == nil
}

// values are the elements of a tensor in the same form.
func values(x Tensor) []any {
	var out []any
	if x.DType == model.Bytes {
		for _, s := range x.Strings() {
			out = append(out, string(s))
		}
		return out
	}
	if f, err := x.Floats(); err == nil {
		for _, v := range f {
			out = append(out, v)
		}
		return out
	}
	if x.DType == model.Bool {
		for _, b := range x.Data {
			out = append(out, b == 1)
		}
		return out
	}
	if i, err := x.Ints(); err == nil {
		for _, v := range i {
			if strings.HasPrefix(string(x.DType), "U") {
				out = append(out, uint64(v))
			} else {
				out = append(out, v)
			}
		}
	}
	return out
}

// FuzzReadJSON compares with the obvious reader: what one takes the other takes, and finds the same elements.
func FuzzReadJSON(f *testing.F) {
	for i, seed := range []string{`[1, 2, 3, 4]`, `[[1,2],[3,4]]`, `[-9223372036854775808, 9223372036854775807, 0, -0]`, `[1.5, 1e3, -2.5E-3, 0.1]`, `["a", "\u00e9\n", "", "ü"]`, `[true, false, true, false]`,
		`[[],[]]`, `[]`, `[01, 1, 1, 1]`, `[+1, 1, 1, 1]`, `[1_0, 0x1, Inf, NaN]`, `[1, 2, 3, 4] x`, `[[[1]]]`, `{"a": 1}`, `[1, 2, 3,]`, `["a\`, `[null, 1, 2, 3]`, `[256, -1, 65536, 4294967296]`} {
		f.Add([]byte(seed), byte(i), byte(2), byte(2))
		f.Add([]byte(seed), byte(i+4), byte(4), byte(1))
	}
	f.Fuzz(func(t *testing.T, raw []byte, kind, a, b byte) {
		x := Tensor{Name: "x", DType: kinds[int(kind)%len(kinds)], Shape: []int64{int64(a % 8), int64(b % 4)}}
		if b >= 128 {
			x.Shape = x.Shape[:1]
		}
		err := x.ReadJSON(raw)
		if x.DType == model.F16 || x.DType == model.BF16 {
			if err == nil {
				t.Fatal("a type that has no form")
			}
			return
		}
		want, ok := slowly(raw, x.DType, x.Shape)
		ok = ok && utf8.Valid(raw)
		if ok != (err == nil) && (err == nil || json.Valid(raw) && utf8.Valid(raw)) {
			t.Fatalf("%q as %s %v: %v, the obvious reader %v", raw, x.DType, x.Shape, err, ok)
		}
		if err != nil {
			return
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		if x.DType == model.U64 {
			return // beyond an int64 values cannot say
		}
		if got := values(x); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q as %s: %v, want %v", raw, x.DType, got, want)
		}
	})
}

// What is written is read back to the same bits, in one list and nested.
func TestJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawn(t)
		raw, err := x.AppendJSON(nil)
		if x.DType == model.F16 || x.DType == model.BF16 {
			if x.Elements() > 0 && err == nil {
				t.Fatal("a type that has no form")
			}
			return
		}
		finite := true
		if f, err := x.Floats(); err == nil {
			for _, v := range f {
				finite = finite && !math.IsNaN(v) && !math.IsInf(v, 0)
			}
		}
		if (err == nil) != finite {
			t.Fatalf("%v: %v", x, err)
		}
		if err != nil {
			return
		}
		back := Tensor{Name: x.Name, DType: x.DType, Shape: x.Shape}
		if err := back.ReadJSON(raw); err != nil || !bytes.Equal(back.Data, x.Data) {
			t.Fatalf("%s as %s %v: %v, %x, want %x", raw, x.DType, x.Shape, err, back.Data, x.Data)
		}
		if len(x.Shape) > 1 && x.Elements() > 0 {
			var flat []json.RawMessage
			if err := json.Unmarshal(raw, &flat); err != nil {
				t.Fatal(err)
			}
			if err := back.ReadJSON(nest(flat, x.Shape)); err != nil || !bytes.Equal(back.Data, x.Data) {
				t.Fatalf("nested %s: %v", nest(flat, x.Shape), err)
			}
		}
	})
	x := OfStrings("x", "\xff")
	if _, err := x.AppendJSON(nil); err == nil {
		t.Error("a string that is not UTF-8 has a form")
	}
}

func nest(flat []json.RawMessage, shape []int64) []byte {
	if len(shape) == 1 {
		b, _ := json.Marshal(flat)
		return b
	}
	var parts []json.RawMessage
	size := len(flat) / int(shape[0])
	for i := range int(shape[0]) {
		parts = append(parts, nest(flat[i*size:(i+1)*size], shape[1:]))
	}
	b, _ := json.Marshal(parts)
	return b
}

// Whole numbers lose nothing: 2^53 + 1 is not a float64.
func TestExact(t *testing.T) {
	x := Tensor{Name: "x", DType: model.I64, Shape: []int64{2}}
	if err := x.ReadJSON([]byte(`[9007199254740993, -9223372036854775808]`)); err != nil {
		t.Fatal(err)
	}
	if got, err := x.Ints(); err != nil || got[0] != 1<<53+1 || got[1] != math.MinInt64 {
		t.Errorf("%v %v", got, err)
	}
	if b, err := x.AppendJSON(nil); err != nil || string(b) != `[9007199254740993,-9223372036854775808]` {
		t.Errorf("%s %v", b, err)
	}
	u := Tensor{Name: "x", DType: model.U64, Shape: []int64{1}}
	if err := u.ReadJSON([]byte(`[18446744073709551615]`)); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Ints(); err == nil {
		t.Error("2^64 - 1 is an int64")
	}
	if got := OfInts("x", []int64{2}, []int64{5, -6}); got.Check() != nil || fmt.Sprint(values(got)) != "[5 -6]" {
		t.Errorf("%v", got)
	}
	if got := OfFloats("x", []int64{2}, []float32{0.5, -6}); got.Check() != nil || fmt.Sprint(values(got)) != "[0.5 -6]" {
		t.Errorf("%v", got)
	}
	if _, err := OfStrings("x", "a").Ints(); err == nil {
		t.Error("strings are whole numbers")
	}
	if _, err := OfFloats("x", []int64{1}, []float32{1}).Ints(); err == nil {
		t.Error("floats are whole numbers")
	}
}

// A reader allocates in proportion to what it is given, whatever the shape says.
func TestReadJSONBounded(t *testing.T) {
	x := Tensor{Name: "x", DType: model.F64, Shape: []int64{1 << 40}}
	if n := testing.AllocsPerRun(10, func() { _ = x.ReadJSON([]byte(`[1,2,3]`)) }); n > 20 || len(x.Data) > 0 {
		t.Errorf("%v allocations, %d bytes", n, len(x.Data))
	}
}

func BenchmarkReadJSON(b *testing.B) {
	x := OfFloats("x", []int64{1 << 16}, make([]float32, 1<<16))
	for i := range x.Data {
		x.Data[i] = byte(i * 7 & 0x3f)
	}
	raw, err := x.AppendJSON(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if err := x.ReadJSON(raw); err != nil {
			b.Fatal(err)
		}
	}
}
