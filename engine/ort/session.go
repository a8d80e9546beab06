// Package ort loads ONNX Runtime and runs sessions over memory outside the Go heap, on the CPU and on CUDA.
//
// The Go binding keeps no tensor alive while native code uses it: an input on the Go heap may be collected in the middle of a run,
// which gives wrong answers without an error (TestHazard shows it). Nor has it tensors that stay on a device. So the binding only opens
// and closes the library here; sessions, tensors and bindings are calls of the C API of our own (native.h). Tensors can only be made of a
// Buffer, which is mapped memory or memory of a device, and a Buffer refuses to close while tensors of it are open.
package ort

/*
#include "native.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/skein-project/skein/gpu"
)

// Errors of sessions.
var (
	ErrClosed   = errors.New("ort: a session or binding is no longer there")
	ErrProvider = errors.New("ort: the CUDA provider cannot be used") // a library is missing, or there is no GPU
)

// Provider is what a session runs on.
type Provider int

// Providers.
const (
	CPU  Provider = iota
	CUDA          // the first GPU that the process sees
)

// Options say how a session runs.
type Options struct {
	Threads  int    // threads of one run, ≥ 1
	Folder   string // real path (no symbolic link) of the folder that holds external initializers
	Provider Provider
	Fuse     bool // let the runtime fuse operators and choose layouts: for graphs that are not cut
}

// Session is a loaded model. Runs of different bindings may overlap on the CPU, but for the measured ones; on CUDA everything that concerns
// a session belongs on one locked thread, since the provider keeps state per thread.
type Session struct {
	runtime  *Runtime
	session  unsafe.Pointer // nil = closed
	provider Provider
	native   gpu.Bytes
}

// settings are the configuration entries of a session.
//
// Idle threads do not spin: a process holds several sessions, and one's spinning threads would take the cores from the one that works.
//
// Weights are packed into the kernels' layout at load. Without that the session would share the mapped pages of the files and load in no
// time, but the kernel for a single row sums in another order than the one for several, so a sequence's logits would depend on who else
// is in its batch (about 1e-5; the engine's tests show it). Packed, they are the same bit for bit.
//
// On CUDA weights lie outside the arena, which would round their sum up.
func (o Options) settings() [][2]string {
	s := [][2]string{
		{"session.intra_op.allow_spinning", "0"},
		{"session.inter_op.allow_spinning", "0"},
		{"session.disable_prepacking", "0"},
	}
	if o.Folder != "" {
		s = append(s, [2]string{"session.model_external_initializers_file_folder_path", o.Folder})
	}
	if o.Provider == CUDA {
		s = append(s, [2]string{"session.use_device_allocator_for_initializers", "1"})
	}
	return s
}

// cuda are the options of the CUDA provider; none on the CPU. The arena grows by what is needed, instead of by powers of two.
func (o Options) cuda() [][2]string {
	if o.Provider != CUDA {
		return nil
	}
	return [][2]string{{"device_id", "0"}, {"arena_extend_strategy", "kSameAsRequested"}}
}

// NewSession loads a model from its bytes (ModelProto). Without Fuse only basic optimisation (constant folding) is on: graphs of stages come with the runtime's
// fused operators where they pay, and further fusion would leave it to the optimiser which sums are made in which order at a stage's
// border. Errors wrap ErrProvider where the provider is what is missing.
func (r *Runtime) NewSession(model []byte, o Options) (*Session, error) {
	if len(model) == 0 || o.Threads < 1 {
		return nil, fmt.Errorf("ort: session of %d model bytes with %d threads", len(model), o.Threads)
	}
	var options C.skein_options
	options.threads = C.int(o.Threads)
	if o.Fuse {
		options.fuse = 1
	}
	var freeEntries, freeCUDA func()
	options.keys, options.values, options.n, freeEntries = entries(o.settings())
	defer freeEntries()
	options.cuda_keys, options.cuda_values, options.cuda_n, freeCUDA = entries(o.cuda())
	defer freeCUDA()
	s := &Session{runtime: r, provider: o.Provider}
	var provider C.int
	var err error
	s.native, err = r.grown(func() error {
		return fault(C.skein_session(r.api, r.env, unsafe.Pointer(unsafe.SliceData(model)), C.size_t(len(model)), &options, &s.session, &provider))
	})
	switch {
	case err != nil && provider != 0:
		return nil, fmt.Errorf("%w: libonnxruntime_providers_cuda.so and libonnxruntime_providers_shared.so of ONNX Runtime %s must lie beside %s "+
			"(ORT_FLAVOUR=cuda scripts/fetch-ort.sh fetches all three), and CUDA 13's libcudart, libcublas, libcublasLt and libcurand must be where the loader looks: %w",
			ErrProvider, r.version, r.path, err)
	case err != nil:
		return nil, fmt.Errorf("ort: loading a model of %d bytes: %w", len(model), err)
	}
	return s, nil
}

// Native is the memory that the session took from malloc at load.
func (s *Session) Native() gpu.Bytes { return s.native }

// entries makes two C arrays of strings.
func entries(list [][2]string) (keys, values **C.char, n C.size_t, free func()) {
	if len(list) == 0 {
		return nil, nil, 0, func() {}
	}
	array := func(column int) **C.char {
		at := (**C.char)(C.calloc(C.size_t(len(list)), C.size_t(unsafe.Sizeof(uintptr(0)))))
		for i, kv := range list {
			unsafe.Slice(at, len(list))[i] = C.CString(kv[column])
		}
		return at
	}
	keys, values = array(0), array(1)
	return keys, values, C.size_t(len(list)), func() {
		for _, a := range []**C.char{keys, values} {
			for _, s := range unsafe.Slice(a, len(list)) {
				C.free(unsafe.Pointer(s))
			}
			C.free(unsafe.Pointer(a))
		}
	}
}

// fault makes an error of a reason that native code gave, and frees the reason.
func fault(why *C.char) error {
	if why == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(why))
	return errors.New(C.GoString(why))
}

// Close frees the session. Bindings and buffers of it must have been closed.
func (s *Session) Close() error {
	if s.session == nil {
		return nil
	}
	_, err := s.runtime.grown(func() error {
		C.skein_release_session(s.runtime.api, s.session)
		return nil
	})
	s.session = nil
	return err
}

// Binding connects a session's inputs and outputs with tensors. What is bound stays bound from run to run.
type Binding struct {
	session *Session
	bound   unsafe.Pointer // nil = closed
}

// Bind makes an empty binding.
func (s *Session) Bind() (*Binding, error) {
	if s.session == nil {
		return nil, fmt.Errorf("%w: session", ErrClosed)
	}
	b := &Binding{session: s}
	if err := fault(C.skein_binding(s.runtime.api, s.session, &b.bound)); err != nil {
		return nil, fmt.Errorf("ort: binding: %w", err)
	}
	return b, nil
}

// Input binds a tensor to an input. The native side then holds a reference of its own to the tensor, but not to its memory: the buffer
// must stay open for as long as runs may read it. Where the session needs a tensor elsewhere than it is, as a device does with one of host
// memory, its contents are copied here, and what is written later is not seen.
func (b *Binding) Input(name string, t *Tensor) error { return b.bind(name, t, false) }

// Output binds a tensor to an output: the run writes into it.
func (b *Binding) Output(name string, t *Tensor) error { return b.bind(name, t, true) }

func (b *Binding) bind(name string, t *Tensor, out bool) error {
	if b.bound == nil || b.session.session == nil || t.closed {
		return fmt.Errorf("%w: binding %s", ErrClosed, name)
	}
	if err := t.make(b.session.runtime); err != nil {
		return fmt.Errorf("ort: tensor of shape %v for %s: %w", t.shape, name, err)
	}
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	direction := C.int(0)
	if out {
		direction = 1
	}
	if err := fault(C.skein_bind(b.session.runtime.api, b.bound, text, t.value, direction)); err != nil {
		return fmt.Errorf("ort: binding %s: %w", name, err)
	}
	return nil
}

// Run runs the model once. All inputs and outputs must be bound.
func (b *Binding) Run() error {
	b.session.runtime.native.RLock()
	defer b.session.runtime.native.RUnlock()
	return b.run()
}

// RunMeasured is Run while nothing else of the runtime runs; it returns by how much the memory that the runtime took from malloc grew.
func (b *Binding) RunMeasured() (gpu.Bytes, error) { return b.session.runtime.grown(b.run) }

func (b *Binding) run() error {
	if b.bound == nil || b.session.session == nil {
		return fmt.Errorf("%w: binding", ErrClosed)
	}
	if err := fault(C.skein_run(b.session.runtime.api, b.session.session, b.bound, C.int(b.session.provider))); err != nil {
		return fmt.Errorf("ort: run: %w", err)
	}
	return nil
}

// Close frees the binding; tensors stay.
func (b *Binding) Close() error {
	if b.bound != nil {
		C.skein_release_binding(b.session.runtime.api, b.bound)
		b.bound = nil
	}
	return nil
}
