// Package ort loads ONNX Runtime and runs sessions over memory outside the Go heap.
//
// The Go binding keeps no tensor alive while native code uses it: an input on the Go heap may be collected in the middle of a run,
// which gives wrong answers without an error (TestHazard shows it). So tensors can only be made of a Buffer, which is
// mapped memory, and a Buffer refuses to close while tensors of it are open.
//
// The binding is enough for the CPU: with all memory ours, nothing of the C API beyond it is called, except for the version of the
// library, which is asked before the binding touches it. Device-resident tensors would need more of the API, declared here.
package ort

import (
	"errors"
	"fmt"

	"github.com/skein-project/skein/gpu"
	binding "github.com/yalue/onnxruntime_go"
)

// ErrClosed says that a session or binding is no longer there.
var ErrClosed = errors.New("ort: closed")

// Options say how a session runs.
type Options struct {
	Threads int    // threads of one run, ≥ 1
	Folder  string // real path (no symbolic link) of the folder that holds external initializers
}

// Session is a loaded model. Runs of different bindings may overlap, but for the measured ones.
type Session struct {
	runtime *Runtime
	session *binding.DynamicAdvancedSession
	native  gpu.Bytes
}

// settings are the configuration entries of a session.
//
// Idle threads do not spin: a process holds several sessions, and one's spinning threads would take the cores from the one that works.
//
// Weights are packed into the kernels' layout at load. Without that the session would share the mapped pages of the files and load in no
// time, but the kernel for a single row sums in another order than the one for several, so a sequence's logits would depend on who else
// is in its batch (about 1e-5; the engine's tests show it). Packed, they are the same bit for bit.
func (o Options) settings() [][2]string {
	s := [][2]string{
		{"session.intra_op.allow_spinning", "0"},
		{"session.inter_op.allow_spinning", "0"},
		{"session.disable_prepacking", "0"},
	}
	if o.Folder != "" {
		s = append(s, [2]string{"session.model_external_initializers_file_folder_path", o.Folder})
	}
	return s
}

// build makes the binding's options. Only basic optimisation (constant folding) is on: graphs come with the runtime's fused operators
// where they pay, and further fusion would leave it to the optimiser which sums are made in which order at a stage's border.
func (o Options) build() (*binding.SessionOptions, error) {
	b, err := binding.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	for _, set := range []func() error{
		func() error { return b.SetIntraOpNumThreads(o.Threads) },
		func() error { return b.SetInterOpNumThreads(1) },
		func() error { return b.SetGraphOptimizationLevel(binding.GraphOptimizationLevelEnableBasic) },
	} {
		if err := set(); err != nil {
			return nil, errors.Join(err, b.Destroy())
		}
	}
	for _, kv := range o.settings() {
		if err := b.AddSessionConfigEntry(kv[0], kv[1]); err != nil {
			return nil, errors.Join(err, b.Destroy())
		}
	}
	return b, nil
}

// NewSession loads a model from its bytes (ModelProto).
func (r *Runtime) NewSession(model []byte, inputs, outputs []string, o Options) (*Session, error) {
	if len(model) == 0 || o.Threads < 1 {
		return nil, fmt.Errorf("ort: session of %d model bytes with %d threads", len(model), o.Threads)
	}
	opts, err := o.build()
	if err != nil {
		return nil, fmt.Errorf("ort: session options: %w", err)
	}
	s := &Session{runtime: r}
	s.native, err = r.grown(func() (err error) {
		s.session, err = binding.NewDynamicAdvancedSessionWithONNXData(model, inputs, outputs, opts)
		return errors.Join(err, opts.Destroy())
	})
	if err != nil {
		return nil, fmt.Errorf("ort: loading a model of %d bytes: %w", len(model), err)
	}
	return s, nil
}

// Native is the memory that the session took from malloc at load.
func (s *Session) Native() gpu.Bytes { return s.native }

// Close frees the session. Bindings must have been closed.
func (s *Session) Close() error {
	if s.session == nil {
		return nil
	}
	_, err := s.runtime.grown(s.session.Destroy)
	s.session = nil
	if err != nil {
		return fmt.Errorf("ort: closing a session: %w", err)
	}
	return nil
}

// Binding connects a session's inputs and outputs with tensors. What is bound stays bound from run to run.
type Binding struct {
	session *Session
	bound   *binding.IoBinding // nil = closed
}

// Bind makes an empty binding.
func (s *Session) Bind() (*Binding, error) {
	if s.session == nil {
		return nil, fmt.Errorf("%w: session", ErrClosed)
	}
	b, err := s.session.CreateIoBinding()
	if err != nil {
		return nil, fmt.Errorf("ort: binding: %w", err)
	}
	return &Binding{session: s, bound: b}, nil
}

// Input binds a tensor to an input. The native side then holds a reference of its own to the tensor, but not to its memory: the buffer
// must stay open for as long as runs may read it.
func (b *Binding) Input(name string, t *Tensor) error {
	if b.bound == nil || t.value == nil {
		return fmt.Errorf("%w: binding input %s", ErrClosed, name)
	}
	if err := b.bound.BindInput(name, t.value); err != nil {
		return fmt.Errorf("ort: binding input %s: %w", name, err)
	}
	return nil
}

// Output binds a tensor to an output: the run writes into it.
func (b *Binding) Output(name string, t *Tensor) error {
	if b.bound == nil || t.value == nil {
		return fmt.Errorf("%w: binding output %s", ErrClosed, name)
	}
	if err := b.bound.BindOutput(name, t.value); err != nil {
		return fmt.Errorf("ort: binding output %s: %w", name, err)
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
	if err := b.session.session.RunWithBinding(b.bound); err != nil {
		return fmt.Errorf("ort: run: %w", err)
	}
	return nil
}

// Close frees the binding; tensors stay.
func (b *Binding) Close() error {
	if b.bound == nil {
		return nil
	}
	err := b.bound.Destroy()
	b.bound = nil
	if err != nil {
		return fmt.Errorf("ort: closing a binding: %w", err)
	}
	return nil
}
