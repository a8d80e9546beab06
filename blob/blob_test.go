package blob

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestDigestNamesSizeAndEveryChunk(t *testing.T) {
	data := bytes.Repeat([]byte("skein"), ChunkSize/2)
	x := Of(data)
	if len(x.Chunks) != 3 || x.ChunkLen(2) != int64(len(data)-2*ChunkSize) {
		t.Fatalf("%d chunks, last of %d bytes", len(x.Chunks), x.ChunkLen(2))
	}
	seen := map[Digest]bool{x.Digest(): true}
	for _, at := range []int{0, ChunkSize - 1, ChunkSize, len(data) - 1} {
		flipped := bytes.Clone(data)
		flipped[at] ^= 1
		if d := Of(flipped).Digest(); seen[d] {
			t.Errorf("a flipped bit at %d does not change the digest", at)
		}
		i := at / ChunkSize
		chunk := flipped[i*ChunkSize : min((i+1)*ChunkSize, len(flipped))]
		if err := x.Check(i, chunk); !errors.Is(err, ErrCorrupt) {
			t.Errorf("flip at %d: %v", at, err)
		}
	}
	if Of(data[:len(data)-1]).Digest() == x.Digest() {
		t.Error("a shorter blob has the same digest")
	}
	for i := range x.Chunks {
		if err := x.Check(i, data[i*ChunkSize:min((i+1)*ChunkSize, len(data))]); err != nil {
			t.Error(err)
		}
	}
	if err := x.Check(3, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("chunk past the end: %v", err)
	}
}

func TestScanEqualsOf(t *testing.T) {
	for _, n := range []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1} {
		data := bytes.Repeat([]byte{7}, n)
		x, err := Scan(iotest.HalfReader(bytes.NewReader(data)))
		if err != nil || x.Digest() != Of(data).Digest() || x.Validate() != nil {
			t.Errorf("%d bytes: %v, %v", n, x.Size, err)
		}
	}
	broken := errors.New("broken")
	if _, err := Scan(io.MultiReader(bytes.NewReader(make([]byte, 9)), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a failing reader: %v", err)
	}
}

func TestParseDigestTakesOnlyHex(t *testing.T) {
	good := Of([]byte("x")).Digest()
	for _, s := range []string{"", "..", good.String()[:63], good.String() + "0", "../../" + good.String()[:58],
		"A" + good.String()[1:], "g" + good.String()[1:], good.String()[:63] + "\x00", "sha256:" + good.String()[7:]} {
		if _, err := ParseDigest(s); !errors.Is(err, ErrDigest) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if d, err := ParseDigest(good.String()); err != nil || d != good {
		t.Error(d, err)
	}
}

func TestRefValidate(t *testing.T) {
	d := Of(nil).Digest()
	for _, r := range []Ref{{Len: 1}, {d, -1, 1}, {d, 0, -1}, {d, MaxSize, 1}, {d, 1<<63 - 1, 1}, {d, 1, 1<<63 - 1}} {
		if err := r.Validate(); !errors.Is(err, ErrRange) {
			t.Errorf("%v: %v", r, err)
		}
	}
	for _, r := range []Ref{{d, 0, 0}, {d, 0, MaxSize}, {d, MaxSize, 0}} {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// The chunks of a range are exactly those that hold one of its bytes.
func TestRefChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Ref{Off: rapid.Int64Range(0, 5*ChunkSize).Draw(t, "off"), Len: rapid.Int64Range(0, 3*ChunkSize).Draw(t, "len")}
		from, to := r.Chunks()
		for i := range 9 {
			start, end := int64(i)*ChunkSize, int64(i+1)*ChunkSize
			touched := r.Len > 0 && start < r.Off+r.Len && r.Off < end
			if touched != (i >= from && i < to) {
				t.Fatalf("%d+%d: chunk %d touched %v, range [%d,%d)", r.Off, r.Len, i, touched, from, to)
			}
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	f.Add([]byte{})
	f.Add(Of(nil).Encode())
	f.Add(Of([]byte("abc")).Encode())
	f.Add([]byte{0x7f, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeIndex(b)
		if err != nil {
			if !errors.Is(err, ErrIndex) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if !bytes.Equal(x.Encode(), b) || x.Validate() != nil {
			t.Fatal("decoded index does not encode to its bytes")
		}
		j, err := json.Marshal(x)
		var y Index
		if err != nil || json.Unmarshal(j, &y) != nil || y.Digest() != x.Digest() {
			t.Fatal("JSON does not keep the index")
		}
	})
}
