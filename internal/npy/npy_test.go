package npy

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// What is written is read back, and begins where NumPy wants it.
func TestRoundTrip(t *testing.T) {
	types := slices.Sorted(maps.Keys(kinds))
	rapid.Check(t, func(t *rapid.T) {
		x := tensor.Tensor{DType: rapid.SampledFrom(types).Draw(t, "type"), Shape: rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 4).Draw(t, "shape")}
		n := int(x.Elements() * x.DType.Size())
		x.Data = rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "data")
		if x.DType == model.Bool {
			for i := range x.Data {
				x.Data[i] &= 1
			}
		}
		b, err := Append(nil, x)
		if err != nil || (len(b)-n)%align != 0 {
			t.Fatalf("%d bytes of header, %v", len(b)-n, err)
		}
		got, err := Read("x", b)
		if err != nil || got.DType != x.DType || !slices.Equal(got.Shape, x.Shape) || !bytes.Equal(got.Data, x.Data) {
			t.Fatalf("%v, %v, want %v", got, err, x)
		}
		for i := range b {
			if _, err := Read("x", b[:i]); err == nil {
				t.Fatalf("%d of %d bytes are accepted", i, len(b))
			}
		}
	})
}

// TestNumPy reads what NumPy wrote: testdata/*.npy hold 0 to 5 in [2, 3], by tools/py/make_npy.py.
func TestNumPy(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.npy"))
	if err != nil || len(files) < 14 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		x, err := Read("x", b)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if x.DType == model.F16 { // which has no form in JSON
			if want := "\x00\x00\x00\x3c\x00\x40\x00\x42\x00\x44\x00\x45"; string(x.Data) != want {
				t.Errorf("%s: % x, want % x", f, x.Data, want)
			}
		} else if got, err := x.AppendJSON(nil); err != nil || string(got) != "[0,1,2,3,4,5]" && string(got) != "[false,true,true,true,true,true]" {
			t.Errorf("%s: %s, %v", f, got, err)
		}
		if !slices.Equal(x.Shape, []int64{2, 3}) && !strings.Contains(f, "flat") {
			t.Errorf("%s: %v", f, x.Shape)
		}
		if strings.Contains(f, "big") || strings.Contains(f, "version") {
			continue // written in another way here
		}
		if again, err := Append(nil, x); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s is written otherwise: %v", f, err)
		}
	}
}

// file is a file of version 1 with a header.
func file(header string, data int) []byte {
	return append([]byte(magic+"\x01\x00"+string([]byte{byte(len(header)), byte(len(header) >> 8)})+header), make([]byte, data)...)
}

func TestRefusals(t *testing.T) {
	for what, c := range map[string]struct {
		b   []byte
		why string
	}{
		"nothing":         {nil, "do not begin"},
		"a zip":           {[]byte("PK\x03\x04 and so on"), "do not begin"},
		"version 9":       {[]byte(magic + "\x09\x00\x00\x00\x00\x00"), "version 9"},
		"no header":       {[]byte(magic + "\x02\x00\xff\xff\xff\xff"), "a header of"},
		"a list":          {file("[1]", 0), "no dictionary"},
		"Fortran":         {file("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", 8), "Fortran"},
		"objects":         {file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8), `type "|O"`},
		"texts":           {file("{'descr': '<U3', 'fortran_order': False, 'shape': (1,), }", 12), `type "<U3"`},
		"records":         {file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4), `"descr" is not`},
		"no order":        {file("{'descr': '|f4', 'fortran_order': False, 'shape': (1,), }", 4), "type"},
		"short":           {file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4), "do not hold"},
		"long":            {file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9), "do not hold"},
		"many":            {file("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 0), "do not hold"},
		"negative":        {file("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 0), `"shape"`},
		"huge":            {file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 0), `"shape"`},
		"17 dimensions":   {file("{'descr': '|u1', 'fortran_order': False, 'shape': ("+strings.Repeat("1, ", 17)+"), }", 1), `"shape"`},
		"twice":           {file("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4), "twice"},
		"no shape":        {file("{'descr': '<f4', 'fortran_order': False}", 4), "2 keys"},
		"more":            {file("{'descr': '<f4', 'fortran_order': False, 'shape': ()} + f()", 4), "nothing behind"},
		"an unknown key":  {file("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", 4), `"x"`},
		"a third truth":   {file("{'descr': '|b1', 'fortran_order': False, 'shape': ()}\x20", 1), ""},
		"an open text":    {file("{'descr", 0), "no key"},
		"an open tuple":   {file("{'shape': (1", 0), `"shape"`},
		"without a comma": {file("{'descr': '<f4' 'fortran_order': False}", 0), "goes on"},
	} {
		_, err := Read("x", c.b)
		if c.why == "" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		if !errors.As(err, new(Invalid)) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", what, err, c.why)
		}
	}
	truth := file("{'descr': '|b1', 'fortran_order': False, 'shape': ()}", 1)
	truth[len(truth)-1] = 2
	if _, err := Read("x", truth); err == nil {
		t.Error("a third truth value is accepted")
	}
	for _, d := range []model.DType{model.BF16, model.Bytes, ""} {
		if _, err := Append(nil, tensor.Tensor{DType: d}); !errors.As(err, new(Invalid)) {
			t.Errorf("%s is written: %v", d, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.npy"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed, err := base64.StdEncoding.DecodeString("k05VTVBZAQAKAHsnZGVzY3InOid9")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Read("x", b)
		if err != nil {
			if !errors.As(err, new(Invalid)) {
				t.Fatal(err)
			}
			return
		}
		again, err := Append(nil, x)
		if err != nil {
			t.Fatal(err)
		}
		y, err := Read("x", again)
		if err != nil || y.DType != x.DType || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(x.Data, y.Data) {
			t.Fatalf("%v, %v, want %v", y, err, x)
		}
	})
}
