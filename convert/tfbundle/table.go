package tfbundle

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/golang/snappy"
)

// Parts of a table file (LevelDB, doc/table_format.md).
const (
	footerLen  = 48
	trailerLen = 5 // type and checksum behind each block
	magic      = 0xdb4775248b80fb57
)

// Kinds of blocks.
const (
	plainBlock  = 0
	snappyBlock = 1
)

// castagnoli is the polynomial of all checksums here.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mask is how a checksum is stored, so that the checksum of bytes that hold checksums is sound (LevelDB, util/crc32c.h).
func mask(crc uint32) uint32 { return (crc>>15 | crc<<17) + 0xa282ead8 }

// table reads every key and value of a table file in the order of the keys, which must ascend.
type table struct {
	file   []byte
	memory int // bytes of blocks that were unpacked
}

// block gives the contents of the block that a handle names; what is the handle's place, for errors.
func (t *table) block(what string, off, size uint64) ([]byte, error) {
	n := uint64(len(t.file)) - footerLen
	if off > n || size > n-off || trailerLen > n-off-size {
		return nil, Invalid{what, fmt.Sprintf("%d bytes at %d do not fit an index of %d", size, off, len(t.file))}
	}
	body, trailer := t.file[off:off+size], t.file[off+size:][:trailerLen]
	crc := crc32.Update(crc32.Checksum(body, castagnoli), castagnoli, trailer[:1])
	if mask(crc) != binary.LittleEndian.Uint32(trailer[1:]) {
		return nil, Invalid{what, "the checksum of a block is wrong"}
	}
	switch trailer[0] {
	case plainBlock:
		return body, nil
	case snappyBlock:
		n, err := snappy.DecodedLen(body)
		if err != nil || n > MaxIndex-t.memory {
			return nil, Invalid{what, fmt.Sprintf("a compressed block unpacks to more than %d bytes, or to nothing", MaxIndex)}
		}
		t.memory += n
		out, err := snappy.Decode(nil, body)
		if err != nil {
			return nil, Invalid{what, "a compressed block is damaged"}
		}
		return out, nil
	}
	return nil, Invalid{what, fmt.Sprintf("a block has the unknown kind %d", trailer[0])}
}

// each calls f for each entry of a block. The key is only valid during the call.
func each(what string, block []byte, f func(key, value []byte) error) error {
	if len(block) < 4 {
		return Invalid{what, "a block is too short"}
	}
	restarts := uint64(binary.LittleEndian.Uint32(block[len(block)-4:]))
	if restarts > uint64(len(block)-4)/4 {
		return Invalid{what, "a block has more restarts than bytes"}
	}
	body := block[:uint64(len(block))-4-4*restarts]
	var key []byte
	for len(body) > 0 {
		var head [3]uint64 // bytes of the key shared with the one before, bytes not shared, bytes of the value
		for i := range head {
			v, n := binary.Uvarint(body)
			if n <= 0 {
				return Invalid{what, "a block ends within an entry"}
			}
			head[i], body = v, body[n:]
		}
		if head[0] > uint64(len(key)) || head[1] > uint64(len(body)) || head[2] > uint64(len(body))-head[1] || head[0]+head[1] > MaxKey {
			return Invalid{what, "an entry of a block is longer than the block, or its key than is possible"}
		}
		key = append(key[:head[0]], body[:head[1]]...)
		value := body[head[1] : head[1]+head[2]]
		body = body[head[1]+head[2]:]
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

// entries calls f for each key and value of a table file.
func entries(what string, file []byte, f func(key, value []byte) error) error {
	if len(file) < footerLen {
		return Invalid{what, fmt.Sprintf("%d bytes are too short", len(file))}
	}
	footer := file[len(file)-footerLen:]
	if binary.LittleEndian.Uint64(footer[footerLen-8:]) != magic {
		return Invalid{what, "is no table: its last bytes are others"}
	}
	t := table{file: file}
	var handles [4]uint64 // offset and size of the meta index, and of the index
	for i := range handles {
		v, n := binary.Uvarint(footer)
		if n <= 0 {
			return Invalid{what, "the footer is damaged"}
		}
		handles[i], footer = v, footer[n:]
	}
	index, err := t.block(what, handles[2], handles[3])
	if err != nil {
		return err
	}
	var last []byte
	first, count := true, 0
	return each(what, index, func(_, handle []byte) error {
		off, n := binary.Uvarint(handle)
		if n <= 0 {
			return Invalid{what, "the index is damaged"}
		}
		size, m := binary.Uvarint(handle[n:])
		if m <= 0 {
			return Invalid{what, "the index is damaged"}
		}
		b, err := t.block(what, off, size)
		if err != nil {
			return err
		}
		return each(what, b, func(key, value []byte) error {
			if !first && string(key) <= string(last) {
				return Invalid{what, fmt.Sprintf("key %.80q is out of order, or there twice", key)}
			}
			if count++; count > MaxEntries {
				return Invalid{what, fmt.Sprintf("has more than %d keys", MaxEntries)}
			}
			first, last = false, append(last[:0], key...)
			return f(key, value)
		})
	})
}
