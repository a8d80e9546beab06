package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"unsafe"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/wire"
)

// Kinds of messages on a stage stream.
const (
	kindForward = "forward" // a step of a decoder: hidden states for the next stage
	kindEncode  = "encode"  // a row of an encoder
	kindChoices = "choices" // the answer to a forward
	kindEncoded = "encoded" // the answer to an encode
	kindFailed  = "failed"  // the step failed here; Why says how
	kindHello   = "hello"   // opens the stream: who asks for which stage; answered with the same when the rest of the chain answers too
)

// message is one step, or the answer to one, on its way between stages. On the wire:
// 4 bytes length of the header (little endian), the header in JSON, the payload as float32 (little endian), CRC-32C of all before it.
type message struct {
	Kind    string            `json:"kind"`
	Replica cluster.ReplicaID `json:"replica"`
	Epoch   cluster.Epoch     `json:"epoch"`
	Stage   int               `json:"stage"` // that the message is for
	Group   int               `json:"group"`
	Number  uint64            `json:"number"`
	Prefill bool              `json:"prefill,omitempty"`
	Row     int               `json:"row,omitempty"`
	Past    []int32           `json:"past,omitempty"`
	Count   int               `json:"count,omitempty"`  // tokens
	Hidden  bool              `json:"hidden,omitempty"` // forward: the hidden states of its tokens are wanted too
	Wants   []batch.Want      `json:"wants,omitempty"`
	Choices []sample.Choice   `json:"choices,omitempty"`
	Want    wire.EncodeWant   `json:"want,omitzero"`
	Masks   []int32           `json:"masks,omitempty"` // encode: places to be filled in
	Sizes   [4]int            `json:"sizes,omitzero"`  // encoded: floats of hidden, vector, logits and pooled in the payload
	Why     string            `json:"why,omitempty"`
	Level   int               `json:"level,omitempty"` // hello, answered: what all stages from there on understand: levelBegin, or 0

	Fills [][]sample.TokenLogprob `json:"fills,omitempty"` // encoded: for each mask

	Spent int64    `json:"spent,omitempty"` // microseconds of device time, of the stages that it has passed
	Trace []string `json:"trace,omitempty"` // traceparents (W3C; each begins with its version) of the traced sequences in a step; older programs ignore it

	payload []float32
}

// levelBegin is of stages that heed batch.Want.Begin.
const levelBegin = 1

// Bounds of a message.
const (
	maxHeader  = 1 << 20                           // bytes of the header
	maxPayload = (wire.MaxMessage - maxHeader) / 4 // floats of the payload
)

var (
	errFrame   = errors.New("worker: malformed frame")
	errHeader  = errors.New("worker: the header of a message is too long") // its step fails, not the stream
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// encode writes a message into buf and returns it, grown as needed. It fails with errHeader where decode would refuse the frame.
func (m *message) encode(buf wire.Frame) (wire.Frame, error) {
	h, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("worker: encode a frame: %w", err)
	}
	if len(h) > maxHeader {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errHeader, len(h), maxHeader)
	}
	buf = binary.LittleEndian.AppendUint32(buf[:0], uint32(len(h)))
	buf = append(buf, h...)
	buf = append(buf, bytesOf(m.payload)...)
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli)), nil
}

// decode reads a frame. The payload is copied: frames are recycled.
func (m *message) decode(f wire.Frame) error {
	if len(f) < 8 {
		return fmt.Errorf("%w: %d bytes", errFrame, len(f))
	}
	body, sum := f[:len(f)-4], binary.LittleEndian.Uint32(f[len(f)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return fmt.Errorf("%w: checksum", errFrame)
	}
	n := binary.LittleEndian.Uint32(body)
	if n > maxHeader || int(n) > len(body)-4 || (len(body)-4-int(n))%4 != 0 {
		return fmt.Errorf("%w: header of %d bytes in a frame of %d", errFrame, n, len(f))
	}
	payload := m.payload[:0]
	*m = message{}
	if err := json.Unmarshal(body[4:4+n], m); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	floats := body[4+n:]
	payload = slices.Grow(payload, len(floats)/4)[:len(floats)/4]
	copy(bytesOf(payload), floats)
	m.payload = payload
	return nil
}

// bytesOf views float32s as bytes. Skein runs on little-endian machines only (amd64, arm64).
func bytesOf(f []float32) []byte {
	if len(f) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&f[0])), 4*len(f))
}
