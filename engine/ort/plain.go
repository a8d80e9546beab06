package ort

/*
#include "native.h"
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// maxDims bounds the dimensions of an output.
const maxDims = 64

// Named is an input of a run: a tensor over a buffer of the machine's memory, and the input's name.
type Named struct {
	Name   string
	Tensor *Tensor
}

// Value is an output that the runtime allocated. Its bytes are the runtime's memory, valid until Close.
type Value struct {
	Elem  Elem
	Shape []int64
	Bytes []byte
	api   C.skein_api
	value unsafe.Pointer
}

// Close gives the value's memory back.
func (v *Value) Close() {
	if v.value != nil {
		C.skein_release_value(v.api, v.value)
		v.value, v.Bytes = nil, nil
	}
}

// Run runs the model once and gives the outputs that are named, in that order; the runtime allocates them, in the machine's memory also
// where the session computes on a device. The inputs' buffers must stay open until it returns. The values must be closed.
func (s *Session) Run(inputs []Named, outputs []string) (out []Value, err error) {
	if s.session == nil {
		return nil, fmt.Errorf("%w: session", ErrClosed)
	}
	s.runtime.native.RLock()
	defer s.runtime.native.RUnlock()
	names := make([]string, 0, len(inputs)+len(outputs))
	values := cArray(len(inputs) + len(outputs))
	defer C.free(unsafe.Pointer(unsafe.SliceData(values)))
	for i, in := range inputs {
		if in.Tensor.closed {
			return nil, fmt.Errorf("%w: input %s", ErrClosed, in.Name)
		}
		if err := in.Tensor.make(s.runtime); err != nil {
			return nil, fmt.Errorf("ort: tensor of shape %v for %s: %w", in.Tensor.shape, in.Name, err)
		}
		names, values[i] = append(names, in.Name), in.Tensor.value
	}
	names = append(names, outputs...)
	texts := cArray(len(names))
	defer func() {
		for _, t := range texts {
			C.free(t)
		}
		C.free(unsafe.Pointer(unsafe.SliceData(texts)))
	}()
	for i, n := range names {
		texts[i] = unsafe.Pointer(C.CString(n))
	}
	n := len(inputs)
	err = fault(C.skein_run_plain(s.runtime.api, s.session, at[*C.char](texts, 0), at[unsafe.Pointer](values, 0), C.size_t(n),
		at[*C.char](texts, n), C.size_t(len(outputs)), at[unsafe.Pointer](values, n)))
	if err != nil {
		return nil, fmt.Errorf("ort: run: %w", err)
	}
	for _, v := range values[n:] {
		out = append(out, Value{api: s.runtime.api, value: v})
	}
	for i := range out {
		if err := out[i].look(); err != nil {
			for j := range out {
				out[j].Close()
			}
			return nil, fmt.Errorf("ort: output %s: %w", outputs[i], err)
		}
	}
	return out, nil
}

// look finds out what the value is.
func (v *Value) look() error {
	var code C.int
	var dims C.size_t
	var shape [maxDims]C.int64_t
	var address unsafe.Pointer
	if err := fault(C.skein_look(v.api, v.value, &code, &dims, &shape[0], maxDims, &address)); err != nil {
		return err
	}
	found := false
	for e, c := range codes {
		if c == code {
			v.Elem, found = e, true
		}
	}
	if !found || dims > maxDims {
		return fmt.Errorf("%w: elements of type %d in %d dimensions", ErrBuffer, code, dims)
	}
	size := v.Elem.Size()
	v.Shape = make([]int64, dims)
	for i := range v.Shape {
		v.Shape[i] = int64(shape[i])
		size *= v.Shape[i]
	}
	if size > 0 {
		v.Bytes = unsafe.Slice((*byte)(address), size)
	}
	return nil
}

// cArray is n pointers in C memory.
func cArray(n int) []unsafe.Pointer {
	p := (*unsafe.Pointer)(C.calloc(C.size_t(max(n, 1)), C.size_t(unsafe.Sizeof(uintptr(0)))))
	return unsafe.Slice(p, n)
}

// at is the address of element i as a C array of T; it may be the end.
func at[T any](list []unsafe.Pointer, i int) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(list)), uintptr(i)*unsafe.Sizeof(uintptr(0))))
}
