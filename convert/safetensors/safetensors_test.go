package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// file is a file with this header and n bytes of tensors.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func read(b []byte) ([]Tensor, error) { return Read(bytes.NewReader(b), int64(len(b))) }

const ab = `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,3],"data_offsets":[8,14]}}`

func TestRead(t *testing.T) {
	for _, header := range []string{
		ab,
		ab + "      ",
		`{"__metadata__":{"format":"pt"},` + ab[1:],
		`{"b":{"shape":[1,3],"data_offsets":[8,14],"dtype":"BF16"},"a":{"data_offsets":[0,8],"dtype":"F32","shape":[2]}}`,
	} {
		got, err := read(file(header, 14))
		if err != nil {
			t.Errorf("%s: %v", header, err)
			continue
		}
		start := int64(8 + len(header))
		want := []Tensor{{"a", "F32", []int64{2}, start, 8}, {"b", "BF16", []int64{1, 3}, start + 8, 6}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", header, got, want)
		}
	}
	// No tensors, a scalar, and a tensor without elements are legal.
	for header, n := range map[string]int{
		`{}`: 0,
		`{"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}`:                                                            8,
		`{"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"s":{"dtype":"U8","shape":[1,1,1],"data_offsets":[0,1]}}`: 1,
	} {
		if _, err := read(file(header, n)); err != nil {
			t.Errorf("%s: %v", header, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	length := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), ab...) }
	one := func(entry string) []byte { return file(`{"a":`+entry+`}`, 8) }
	for _, c := range []struct {
		name string
		file []byte
		why  string
	}{
		{"empty", nil, "too short"},
		{"seven bytes", make([]byte, 7), "too short"},
		{"header length 2^63", length(1 << 63), "more than 100000000"},
		{"header length 2^64-1", length(math.MaxUint64), "more than 100000000"},
		{"header length over 100 MB", length(MaxHeader + 1), "more than 100000000"},
		{"header length beyond the file", length(uint64(len(ab)) + 1), "do not fit a file"},
		{"header length 0", file("", 8), "does not start with {"},
		{"header cut short", file(ab[:len(ab)-1], 14), "json refused"},
		{"file cut short", file(ab, 13), "not within the 13 bytes"},
		{"bytes after the tensors", file(ab, 15), "14 bytes of tensors, but 15"},
		{"array", file(`[]`, 0), "does not start with {"},
		{"byte order mark", file("\xef\xbb\xbf{}", 0), "does not start with {"},
		{"space first", file(" {}", 0), "does not start with {"},
		{"not UTF-8", file("{\"\xff\":1}", 0), "not UTF-8"},
		{"two values", file("{}{}", 0), "after top-level"},
		{"deep", file(`{"a":`+strings.Repeat("[", 1e5)+strings.Repeat("]", 1e5)+`}`, 0), "deeper than 3"},
		{"duplicate tensor", file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 8), `key "a" twice`},
		{"duplicate field", one(`{"dtype":"U8","dtype":"F32","shape":[2],"data_offsets":[0,8]}`), `key "dtype" twice`},
		{"overlap", file(`{"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 8), "overlaps"},
		{"same place", file(`{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}`, 8), "overlaps"},
		{"gap", file(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 8), "gap"},
		{"gap at the start", file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 8), "gap"},
		{"offset out of file", one(`{"dtype":"U8","shape":[9],"data_offsets":[0,9]}`), "not within the 8 bytes"},
		{"offset 2^63", one(`{"dtype":"U8","shape":[8],"data_offsets":[0,9223372036854775808]}`), "data_offsets is missing or of the wrong type"},
		{"offset -1", one(`{"dtype":"U8","shape":[9],"data_offsets":[-1,8]}`), "not within"},
		{"offsets backwards", one(`{"dtype":"U8","shape":[0],"data_offsets":[8,0]}`), "not within"},
		{"offset 0.5", one(`{"dtype":"U8","shape":[8],"data_offsets":[0.5,8]}`), "wrong type"},
		{"offset null", one(`{"dtype":"U8","shape":[8],"data_offsets":[null,8]}`), "wrong type"},
		{"one offset", one(`{"dtype":"U8","shape":[8],"data_offsets":[8]}`), "not within"},
		{"three offsets", one(`{"dtype":"U8","shape":[8],"data_offsets":[0,8,8]}`), "not within"},
		{"unknown dtype", one(`{"dtype":"F31","shape":[2],"data_offsets":[0,8]}`), `unknown type "F31"`},
		{"dtype in lower case", one(`{"dtype":"f32","shape":[2],"data_offsets":[0,8]}`), `unknown type "f32"`},
		{"field in upper case", one(`{"DTYPE":"F32","shape":[2],"data_offsets":[0,8]}`), "dtype is missing"},
		{"extra field", one(`{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}`), "not an object of dtype"},
		{"no shape", one(`{"dtype":"F32","data_offsets":[0,8]}`), "not an object of dtype"},
		{"shape null", one(`{"dtype":"F32","shape":null,"data_offsets":[0,8]}`), "shape is missing"},
		{"dimension null", one(`{"dtype":"F32","shape":[null],"data_offsets":[0,0]}`), "shape is missing"},
		{"dimension -1", one(`{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}`), "not possible"},
		{"dimensions wrap around", one(`{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}`), "not possible"},
		{"size wraps around", one(`{"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]}`), "not possible"},
		{"dimension 2^63", one(`{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}`), "wrong type"},
		{"too many dimensions", one(`{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}`), "not possible"},
		{"too few bytes for the shape", one(`{"dtype":"F32","shape":[3],"data_offsets":[0,8]}`), "needs 12"},
		{"too many bytes for the shape", one(`{"dtype":"F32","shape":[1],"data_offsets":[0,8]}`), "needs 4"},
		{"half a byte", one(`{"dtype":"F4","shape":[3],"data_offsets":[0,1]}`), "not possible"},
		{"entry is a number", one(`7`), "not an object of dtype"},
		{"entry is null", one(`null`), "not an object of dtype"},
		{"metadata is a number", file(`{"__metadata__":7}`, 0), "not a map of texts"},
		{"metadata has a number", file(`{"__metadata__":{"a":7}}`, 0), "not a map of texts"},
		{"empty name", file(`{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "the name is not"},
		{"long name", file(`{"`+strings.Repeat("a", MaxName+1)+`":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "the name is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.file)
			var inv Invalid
			if !errors.As(err, &inv) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v, want %q", err, c.why)
			}
		})
	}
}

// A header of many tensors is refused by their number, before each becomes a value.
func TestTooManyTensors(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range MaxTensors + 1 {
		fmt.Fprintf(&b, `"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},`, i)
	}
	var inv Invalid
	if _, err := read(file(b.String()[:b.Len()-1]+"}", 0)); !errors.As(err, &inv) || !strings.Contains(inv.Why, "more than 131072") {
		t.Error(err)
	}
}

// What Header writes, Read reads.
func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []Tensor
		var total int64
		for i := range rapid.IntRange(0, 6).Draw(t, "tensors") {
			shape := rapid.SliceOfN(rapid.Int64Range(0, 5), 0, 4).Draw(t, "shape")
			n := int64(2)
			for _, d := range shape {
				n *= d
			}
			in = append(in, Tensor{Name: fmt.Sprintf("t%d\"é", i), DType: "F16", Shape: shape, Len: n})
			total += n
		}
		head := Header(in)
		if len(head)%64 != 0 {
			t.Fatalf("the tensors start at %d", len(head))
		}
		out, err := read(append(head, make([]byte, total)...))
		if err != nil || len(out) != len(in) {
			t.Fatal(out, err)
		}
		for _, a := range in {
			if !slices.ContainsFunc(out, func(b Tensor) bool {
				return a.Name == b.Name && a.Len == b.Len && slices.Equal(a.Shape, b.Shape) && b.DType == "F16"
			}) {
				t.Fatalf("%v is not in %v", a, out)
			}
		}
	})
}

// The files of the fixtures were written by the reference implementation.
func TestReadsWhatTheReferenceWrites(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/models/*/*.safetensors")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tensors, err := read(b)
		if err != nil || len(tensors) == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(ab, 14))
	f.Add(file(`{"__metadata__":{"a":"b"}}`, 0))
	f.Add(file(`{"e":{"dtype":"F4","shape":[0,7],"data_offsets":[0,0]}}`, 0))
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := read(b)
		if err != nil {
			if !errors.As(err, new(Invalid)) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		// The tensors cover the rest of the file, one after the other.
		if len(tensors) == 0 {
			return
		}
		end := tensors[0].Off
		for _, x := range tensors {
			if x.Off != end || x.Len < 0 {
				t.Fatalf("%v", tensors)
			}
			end += x.Len
		}
		if end != int64(len(b)) {
			t.Fatalf("ends at %d of %d", end, len(b))
		}
	})
}
