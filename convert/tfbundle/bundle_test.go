package tfbundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
)

// pair is a key and a value of a table.
type pair struct {
	key   string
	value []byte
}

// block writes entries with keys shortened by what they share with the one before, and a restart at every so many.
func block(pairs []pair, restart int) []byte {
	var b, restarts []byte
	n, last := uint32(0), ""
	for i, p := range pairs {
		shared := 0
		if i%restart == 0 {
			restarts = binary.LittleEndian.AppendUint32(restarts, uint32(len(b)))
			n++
		} else {
			for shared < min(len(last), len(p.key)) && last[shared] == p.key[shared] {
				shared++
			}
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(p.key)-shared))
		b = binary.AppendUvarint(b, uint64(len(p.value)))
		b = append(append(b, p.key[shared:]...), p.value...)
		last = p.key
	}
	return binary.LittleEndian.AppendUint32(append(b, restarts...), n)
}

// file writes blocks as a table, with right checksums; those of pack are compressed.
func file(blocks [][]byte, pack func(i int) bool) []byte {
	var out []byte
	write := func(b []byte, packed bool) []byte {
		kind := byte(plainBlock)
		if packed {
			b, kind = snappy.Encode(nil, b), snappyBlock
		}
		handle := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(out))), uint64(len(b)))
		out = append(append(out, b...), kind)
		out = binary.LittleEndian.AppendUint32(out, mask(crc32.Checksum(out[len(out)-len(b)-1:], castagnoli)))
		return handle
	}
	var index []pair
	for i, b := range blocks {
		index = append(index, pair{fmt.Sprintf("%08d", i), write(b, pack(i))})
	}
	footer := append([]byte{0, 0}, write(block(index, 1), false)...)
	footer = append(footer, make([]byte, footerLen-8-len(footer))...)
	return append(out, binary.LittleEndian.AppendUint64(footer, magic)...)
}

func source(b []byte) onnxgraph.Source {
	return onnxgraph.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: blob.Of(b).Digest()}
}

// headerOf is BundleHeaderProto.
func headerOf(shards uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), shards)
}

// entryOf is BundleEntryProto of a list of F32.
func entryOf(n, shard, offset int64, data []byte) []byte {
	var b []byte
	number := func(field protowire.Number, v int64) {
		b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
	}
	number(1, 1)
	dim := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(n))
	b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), dim))
	number(3, shard)
	number(4, offset)
	number(5, int64(len(data)))
	return protowire.AppendFixed32(protowire.AppendTag(b, 6, protowire.Fixed32Type), mask(crc32.Checksum(data, castagnoli)))
}

// What is written is read: any names, several data files, several blocks, compressed or not.
func TestRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-c/]{1,12}`), 1, 40, rapid.ID).Draw(t, "names")
		slices.Sort(names)
		shards := rapid.IntRange(1, 3).Draw(t, "data files")
		contents := make([][]byte, shards)
		pairs := []pair{{"", headerOf(uint64(shards))}}
		want := map[string][]byte{}
		at := map[string]blob.Ref{}
		for _, name := range names {
			data := bytes.Repeat([]byte(name)[:1], 4*rapid.IntRange(0, 9).Draw(t, "elements"))
			shard := rapid.IntRange(0, shards-1).Draw(t, "data file")
			pairs = append(pairs, pair{name, entryOf(int64(len(data)/4), int64(shard), int64(len(contents[shard])), data)})
			at[name] = blob.Ref{Off: int64(len(contents[shard])), Len: int64(len(data))}
			contents[shard] = append(contents[shard], data...)
			want[name] = data
		}
		var blocks [][]byte
		for rest := pairs; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "keys of a block")
			blocks = append(blocks, block(rest[:n], rapid.IntRange(1, 4).Draw(t, "restart")))
			rest = rest[n:]
		}
		packed := rapid.SliceOfN(rapid.Bool(), len(blocks), len(blocks)).Draw(t, "compressed")
		files := map[string]onnxgraph.Source{"v.index": source(file(blocks, func(i int) bool { return packed[i] }))}
		for i, b := range contents {
			files[fmt.Sprintf("v.data-%05d-of-%05d", i, shards)] = source(b)
		}
		b, err := Read(files, "v")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(keys(b), names) {
			t.Fatalf("%q, want %q", keys(b), names)
		}
		for name, data := range want {
			e, ok := b.Entry(name)
			if !ok || e.DType != model.F32 || len(e.Shape) != 1 || e.Ref.Off != at[name].Off || e.Ref.Len != at[name].Len {
				t.Fatalf("%s: %+v, want %+v", name, e, at[name])
			}
			if got, err := b.Bytes(name, 1<<10); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%s: %x, %v; want %x", name, got, err, data)
			}
		}
	})
}

// What TensorFlow wrote is read: all tensors have their checksums, and the objects' names lead to keys that there are.
func TestReal(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join("..", "savedmodel", "testdata", "models", "*", "variables", "variables.index"))
	if err != nil || len(dirs) < 5 {
		t.Fatalf("%d bundles, %v", len(dirs), err)
	}
	names := 0
	for _, dir := range dirs {
		files := map[string]onnxgraph.Source{}
		list, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			files["variables/"+filepath.Base(f)] = source(b)
		}
		b, err := Read(files, "variables/variables")
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		for _, key := range keys(b) {
			if err := b.Verify(key); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
		byName, err := b.Names()
		if err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		for _, key := range byName {
			if _, ok := b.Entry(key); !ok {
				t.Errorf("%s: no tensor %q", dir, key)
			}
		}
		names += len(byName)
	}
	if names < 20 {
		t.Errorf("only %d names of objects", names)
	}
}

// What is damaged is refused.
func TestRefused(t *testing.T) {
	data := make([]byte, 8)
	good := []pair{{"", headerOf(1)}, {"a", entryOf(1, 0, 0, data[:4])}, {"b", entryOf(1, 0, 4, data[4:])}}
	never := func(int) bool { return false }
	table := func(pairs ...pair) []byte { return file([][]byte{block(pairs, 1)}, never) }
	flipped := bytes.Clone(table(good...))
	flipped[3] ^= 1
	unknownKind := table(good...)
	length := len(block(good, 1))
	unknownKind[length] = 7
	binary.LittleEndian.PutUint32(unknownKind[length+1:], mask(crc32.Checksum(unknownKind[:length+1], castagnoli)))
	shifted := append([]byte{0}, table(good...)...)
	for _, c := range []struct {
		name, word string
		index      []byte
	}{
		{"nothing", "too short", nil},
		{"no magic", "is no table", make([]byte, 100)},
		{"a flipped bit", "checksum", flipped},
		{"an unknown kind of block", "unknown kind", unknownKind},
		{"something before the first block", "checksum", shifted},
		{"no header", "no header", table(good[1:]...)},
		{"keys out of order", "out of order", table(good[0], good[2], good[1])},
		{"a key twice", "out of order", table(good[0], good[1], good[1])},
		{"an empty table", "is empty", file(nil, never)},
		{"an entry of nothing", "no protobuf", table(good[0], pair{"a", []byte{0xff}})},
		{"a key that shares with none before", "longer", file([][]byte{{9, 0, 0, 0, 0, 0, 0}}, never)},
		{"17 dimensions", "dimensions", table(good[0], pair{"a", protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), bytes.Repeat([]byte{0x12, 0}, 17))})},
		{"big-endian", "big-endian", table(pair{"", append(headerOf(1), 0x10, 1)})},
		{"a key of 5,000 bytes", "longer", table(good[0], pair{strings.Repeat("a", 5000), nil})},
	} {
		files := map[string]onnxgraph.Source{"v.index": source(c.index), "v.data-00000-of-00001": source(data)}
		_, err := Read(files, "v")
		if inv, ok := errors.AsType[Invalid](err); !ok || !strings.Contains(inv.Error(), c.word) {
			t.Errorf("%s: %v, want %q", c.name, err, c.word)
		}
	}
	files := map[string]onnxgraph.Source{"v.index": source(table(good...)), "v.data-00000-of-00001": source([]byte{1, 0, 0, 0, 0, 0, 0, 0})}
	b, err := Read(files, "v")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Verify("a"); !errors.Is(err, ErrChecksum) {
		t.Errorf("changed bytes: %v", err)
	}
	if err := b.Verify("b"); err != nil {
		t.Error(err)
	}
	if _, err := b.Bytes("b", 3); err == nil {
		t.Error("4 bytes are within a limit of 3")
	}
	if _, err := b.Text("b", 100); err == nil {
		t.Error("a number is a text")
	}
}

// A compressed block that says that it is larger than everything is refused before it is unpacked.
func TestBomb(t *testing.T) {
	bomb := binary.AppendUvarint(nil, 1<<31)
	bomb = append(bomb, 0, 'a')
	body := append(append([]byte{}, bomb...), snappyBlock)
	body = binary.LittleEndian.AppendUint32(body, mask(crc32.Checksum(body, castagnoli)))
	index := table{file: append(body, make([]byte, footerLen)...)}
	if _, err := index.block("v", 0, uint64(len(bomb))); err == nil || !strings.Contains(err.Error(), "unpacks") {
		t.Error(err)
	}
}

// FuzzBundle: whatever a block of the index holds, it is read or refused with a type; what is read lies within the data file and apart. The
// checksums are made right, else no change would come further than to them.
func FuzzBundle(f *testing.F) {
	data := make([]byte, 64)
	f.Add(block([]pair{{"", headerOf(1)}, {"a", entryOf(1, 0, 0, data[:4])}, {"ab", entryOf(3, 0, 4, data[4:16])}}, 2))
	f.Add(block([]pair{{"", headerOf(2)}, {"a", entryOf(1, 1, 0, data[:4])}}, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, index := range [][]byte{b, file([][]byte{b}, func(int) bool { return len(b)%2 == 0 })} {
			files := map[string]onnxgraph.Source{"v.index": source(index), "v.data-00000-of-00001": source(data), "v.data-00000-of-00002": source(data), "v.data-00001-of-00002": source(data)}
			got, err := Read(files, "v")
			if err != nil {
				if _, ok := errors.AsType[Invalid](err); !ok {
					t.Fatalf("untyped error %v", err)
				}
				continue
			}
			covered := map[string]bool{}
			for _, key := range keys(got) {
				e, _ := got.Entry(key)
				for i := range e.Ref.Len {
					at := fmt.Sprint(e.shard, e.Ref.Off+i)
					if e.Ref.Off+i >= int64(len(data)) || covered[at] {
						t.Fatalf("byte %s of %q", at, key)
					}
					covered[at] = true
				}
				if err := got.Verify(key); err != nil && !errors.Is(err, ErrChecksum) {
					t.Fatal(err)
				}
			}
			if _, err := got.Names(); err != nil && !errors.Is(err, ErrChecksum) {
				if _, ok := errors.AsType[Invalid](err); !ok {
					t.Fatalf("untyped error %v", err)
				}
			}
		}
	})
}

// keys lists the keys of a bundle, sorted.
func keys(b *Bundle) []string { return slices.Sorted(maps.Keys(b.entries)) }
