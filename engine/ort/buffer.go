package ort

/*
#include "native.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/skein-project/skein/gpu"
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
	Float16
	BFloat16
	Float64
	Int16
	Int8
	Uint64
	Uint32
	Uint16
	Uint8
	Bool
)

// Size is the number of bytes of an element.
func (e Elem) Size() int64 {
	switch e {
	case Int64, Uint64, Float64:
		return 8
	case Float16, BFloat16, Int16, Uint16:
		return 2
	case Int8, Uint8, Bool:
		return 1
	}
	return 4
}

// code is the element type's number in the C API.
func (e Elem) code() C.int { return codes[e] }

// codes are ONNXTensorElementDataType.
var codes = map[Elem]C.int{Float32: 1, Uint8: 2, Int8: 3, Uint16: 4, Int16: 5, Int32: 6, Int64: 7, Bool: 9, Float16: 10, Float64: 11, Uint32: 12, Uint64: 13, BFloat16: 16}

// Memory is the runtime's name for a kind of memory.
type Memory string

// Kinds of memory.
const (
	HostMemory Memory = "Cpu"
	CUDAMemory Memory = "Cuda" // of the GPU that the session runs on
)

// Buffer is memory outside the Go heap, the only memory that tensors are made of: mapped (NewBuffer), or of a session's device
// (Session.Allocate). It is not safe for concurrent use, like the session that it feeds.
type Buffer struct {
	mem    []byte // mapped; nil on a device
	device *allocation
	live   atomic.Int64 // tensors over the memory
}

// allocation is memory that the runtime handed out.
type allocation struct {
	api                      C.skein_api
	memory, allocator, value unsafe.Pointer
	address                  unsafe.Pointer
	size                     int64
}

// NewBuffer maps size bytes of anonymous memory, all zeros. Pages that were never touched cost nothing, so a buffer may be made for the
// largest case.
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

// Allocate takes size bytes of the session's memory of a kind. What they hold is not defined, and Go cannot look at them: Float32s and its
// like are empty. The buffer must be closed before the session.
func (s *Session) Allocate(m Memory, size int64) (*Buffer, error) {
	if size <= 0 || s.session == nil {
		return nil, fmt.Errorf("%w: size of %d bytes", ErrBuffer, size)
	}
	name := C.CString(string(m))
	defer C.free(unsafe.Pointer(name))
	b := &Buffer{device: &allocation{api: s.runtime.api, size: size}}
	a := b.device
	err := fault(C.skein_memory(a.api, name, &a.memory))
	if err == nil {
		err = fault(C.skein_allocate(a.api, s.session, a.memory, C.int64_t(size), &a.allocator, &a.value, &a.address))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ort: allocating %d bytes of %s memory: %w", size, m, err), b.Close())
	}
	return b, nil
}

// free gives the memory back, as far as it was taken.
func (a *allocation) free() {
	if a.value != nil {
		C.skein_release_value(a.api, a.value)
	}
	if a.allocator != nil {
		C.skein_release_allocator(a.api, a.allocator)
	}
	if a.memory != nil {
		C.skein_release_memory(a.api, a.memory)
	}
}

// Size is the number of bytes.
func (b *Buffer) Size() int64 {
	if b.device != nil {
		return b.device.size
	}
	return int64(len(b.mem))
}

// Float32s is the buffer as float32 elements. Slices of a buffer must not be used after Close.
func (b *Buffer) Float32s() []float32 { return view[float32](b.mem) }

// Int32s is the buffer as int32 elements.
func (b *Buffer) Int32s() []int32 { return view[int32](b.mem) }

// Bytes is the buffer; nil on a device.
func (b *Buffer) Bytes() []byte { return b.mem }

// Int64s is the buffer as int64 elements.
func (b *Buffer) Int64s() []int64 { return view[int64](b.mem) }

func view[T float32 | int32 | int64](mem []byte) []T {
	var z T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/int(unsafe.Sizeof(z)))
}

// Tensor is a view of a buffer with a shape. It keeps the buffer's memory in use until it is closed.
type Tensor struct {
	buffer    *Buffer
	elem      Elem
	off, size int64
	shape     []int64
	api       C.skein_api
	value     unsafe.Pointer // nil before the tensor is bound for the first time
	closed    bool
}

// Tensor makes a tensor of the buffer's bytes from byte offset off; nothing is copied. A dimension may be 0.
func (b *Buffer) Tensor(e Elem, off int64, shape ...int64) (*Tensor, error) {
	bytes := e.Size()
	for _, d := range shape {
		if d < 0 || d > 0 && bytes > b.Size()/d {
			return nil, fmt.Errorf("%w: shape %v does not fit %d bytes", ErrBuffer, shape, b.Size())
		}
		bytes *= d
	}
	if off < 0 || off%e.Size() != 0 || off > b.Size()-bytes {
		return nil, fmt.Errorf("%w: %d bytes at offset %d do not fit %d", ErrBuffer, bytes, off, b.Size())
	}
	b.live.Add(1)
	return &Tensor{buffer: b, elem: e, off: off, size: bytes, shape: slices.Clone(shape)}, nil
}

// make gives the tensor its native value.
func (t *Tensor) make(r *Runtime) error {
	if t.value != nil {
		return nil
	}
	memory, address := r.host, unsafe.Pointer(unsafe.SliceData(t.buffer.mem))
	if d := t.buffer.device; d != nil {
		memory, address = d.memory, d.address
	}
	t.api = r.api
	return fault(C.skein_tensor(r.api, memory, unsafe.Add(address, t.off), C.size_t(t.size),
		(*C.int64_t)(unsafe.SliceData(t.shape)), C.size_t(len(t.shape)), t.elem.code(), &t.value))
}

// Close gives the tensor back; the buffer stays. Closing twice does nothing.
func (t *Tensor) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	if t.value != nil {
		C.skein_release_value(t.api, t.value)
		t.value = nil
	}
	t.buffer.live.Add(-1)
	return nil
}

// Resident is how much of the buffer has been touched and is in the machine's memory now.
func (b *Buffer) Resident() (gpu.Bytes, error) { return resident(b.mem) }

// Close gives the memory back. It refuses while tensors over it are open: native code could still write there.
func (b *Buffer) Close() error {
	if n := b.live.Load(); n != 0 {
		return fmt.Errorf("%w: %d tensors are still open", ErrBuffer, n)
	}
	if b.device != nil {
		b.device.free()
		b.device = nil
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
