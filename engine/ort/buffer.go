package ort

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/skein-project/skein/gpu"
	binding "github.com/yalue/onnxruntime_go"
	"golang.org/x/sys/unix"
)

// ErrBuffer says that a buffer was asked for something that it is not.
var ErrBuffer = errors.New("ort: buffer")

// Elem is the type of a tensor's elements.
type Elem int

// Element types.
const (
	Float32 Elem = iota
	Int32
	Int64
)

func (e Elem) size() int64 {
	if e == Int64 {
		return 8
	}
	return 4
}

func (e Elem) binding() binding.TensorElementDataType {
	switch e {
	case Int32:
		return binding.TensorElementDataTypeInt32
	case Int64:
		return binding.TensorElementDataTypeInt64
	}
	return binding.TensorElementDataTypeFloat
}

// Buffer is zeroed memory outside the Go heap, the only memory that tensors are made of. Pages that were never touched cost nothing,
// so a buffer may be made for the largest case. It is not safe for concurrent use, like the session that it feeds.
type Buffer struct {
	mem  []byte
	live atomic.Int64 // tensors over mem
}

// NewBuffer maps size bytes of anonymous memory.
func NewBuffer(size int64) (*Buffer, error) {
	if size <= 0 {
		return nil, fmt.Errorf("%w: size of %d bytes", ErrBuffer, size)
	}
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("ort: mapping %d bytes: %w", size, err)
	}
	return &Buffer{mem: mem}, nil
}

// Size is the number of bytes.
func (b *Buffer) Size() int64 { return int64(len(b.mem)) }

// Float32s is the buffer as float32 elements. Slices of a buffer must not be used after Close.
func (b *Buffer) Float32s() []float32 { return view[float32](b.mem) }

// Int32s is the buffer as int32 elements.
func (b *Buffer) Int32s() []int32 { return view[int32](b.mem) }

// Int64s is the buffer as int64 elements.
func (b *Buffer) Int64s() []int64 { return view[int64](b.mem) }

func view[T float32 | int32 | int64](mem []byte) []T {
	var z T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/int(unsafe.Sizeof(z)))
}

// Tensor is a view of a buffer with a shape. It keeps the buffer's memory in use until it is closed.
type Tensor struct {
	buffer *Buffer
	value  *binding.CustomDataTensor
}

// Tensor makes a tensor of the buffer's bytes from byte offset off; nothing is copied.
func (b *Buffer) Tensor(e Elem, off int64, shape ...int64) (*Tensor, error) {
	bytes := e.size()
	for _, d := range shape {
		if d <= 0 || bytes > int64(len(b.mem))/d {
			return nil, fmt.Errorf("%w: shape %v does not fit %d bytes", ErrBuffer, shape, len(b.mem))
		}
		bytes *= d
	}
	if off < 0 || off%e.size() != 0 || off > int64(len(b.mem))-bytes {
		return nil, fmt.Errorf("%w: %d bytes at offset %d do not fit %d", ErrBuffer, bytes, off, len(b.mem))
	}
	v, err := binding.NewCustomDataTensor(binding.NewShape(shape...), b.mem[off:off+bytes], e.binding())
	if err != nil {
		return nil, fmt.Errorf("ort: tensor of shape %v: %w", shape, err)
	}
	b.live.Add(1)
	return &Tensor{buffer: b, value: v}, nil
}

// Close gives the tensor back; the buffer stays. Closing twice does nothing.
func (t *Tensor) Close() error {
	if t.value == nil {
		return nil
	}
	err := t.value.Destroy()
	t.value = nil
	t.buffer.live.Add(-1)
	if err != nil {
		return fmt.Errorf("ort: closing a tensor: %w", err)
	}
	return nil
}

// Resident is how much of the buffer has been touched and is in memory now.
func (b *Buffer) Resident() (gpu.Bytes, error) { return resident(b.mem) }

// Close unmaps the memory. It refuses while tensors over it are open: native code could still write there.
func (b *Buffer) Close() error {
	if n := b.live.Load(); n != 0 {
		return fmt.Errorf("%w: %d tensors are still open", ErrBuffer, n)
	}
	if b.mem == nil {
		return nil
	}
	mem := b.mem
	b.mem = nil
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("ort: unmapping %d bytes: %w", len(mem), err)
	}
	return nil
}

// resident counts the pages of a mapping that are in memory.
func resident(mem []byte) (gpu.Bytes, error) {
	page := os.Getpagesize()
	state := make([]byte, 1<<16) // one byte per page and call
	var n int
	for len(mem) > 0 {
		part := mem[:min(len(mem), len(state)*page)]
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(part))), uintptr(len(part)), uintptr(unsafe.Pointer(&state[0])))
		if errno != 0 {
			return 0, fmt.Errorf("ort: mincore: %w", errno)
		}
		for _, s := range state[:(len(part)+page-1)/page] {
			n += int(s & 1)
		}
		mem = mem[len(part):]
	}
	return gpu.Bytes(n * page), nil
}
