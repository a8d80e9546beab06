package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Frames: the payload's length and its CRC-32C, both little-endian uint32, and the payload.
const headerSize = 8

// MaxPayload bounds a record in bytes.
const MaxPayload = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxSearch bounds how many bytes are summed to find a record behind damage.
const maxSearch = 1 << 30

// errFrame says that bytes are no frame.
var errFrame = errors.New("spool: not a record")

// readFrame reads one record; io.EOF at the end.
func readFrame(r io.Reader) ([]byte, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, torn(err)
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n == 0 || n > MaxPayload {
		return nil, errFrame
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = errFrame
		}
		return nil, torn(err)
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(h[4:]) {
		return nil, errFrame
	}
	return payload, nil
}

// torn turns the end of a file within a record into errFrame. Other errors are the disk's, and say nothing about the record.
func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errFrame
	}
	return err
}

// nextFrame finds the first whole record in bytes that begin anywhere. After maxSearch bytes it gives up, with the end of them.
func nextFrame(b []byte) (at int, found bool) {
	left := maxSearch
	for at := 0; at+headerSize < len(b); at++ {
		n := binary.LittleEndian.Uint32(b[at:])
		if n == 0 || n > MaxPayload || int(n) > len(b)-at-headerSize {
			continue
		}
		if left -= int(n); left < 0 {
			return len(b), true
		}
		if crc32.Checksum(b[at+headerSize:][:n], castagnoli) == binary.LittleEndian.Uint32(b[at+4:]) {
			return at, true
		}
	}
	return len(b), false
}

func appendFrame(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}
