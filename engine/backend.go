package engine

import (
	"errors"
	"fmt"

	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
)

// Backend is where a stage computes, and how exactly.
type Backend int

// Backends.
const (
	CPU  Backend = iota // in float32
	CUDA                // on the first GPU that the process sees, in 16 bits: a decoder of bfloat16 weights in bfloat16, all else in float16

	cpuHalf // the paths of CUDA on the machine's own memory, in float16: for tests, since its kernels are slow
)

// ErrKind says that no backend runs on a kind of device.
var ErrKind = errors.New("engine: no backend for this kind of device")

// On is the backend of a kind of device. Errors wrap ErrKind.
func On(kind gpu.Kind) (Backend, error) {
	switch kind {
	case gpu.Host:
		return CPU, nil
	case gpu.CUDA:
		return CUDA, nil
	}
	return 0, fmt.Errorf("%w: %q", ErrKind, kind)
}

// device says whether the KV cache lies where Go cannot look at it.
func (b Backend) device() bool { return b != CPU }

func (b Backend) provider() ort.Provider {
	if b == CUDA {
		return ort.CUDA
	}
	return ort.CPU
}

// buffer allocates memory for what stays where the session computes.
func (b Backend) buffer(s *ort.Session, size int64) (*ort.Buffer, error) {
	switch b {
	case CUDA:
		return s.Allocate(ort.CUDAMemory, size)
	case cpuHalf:
		return s.Allocate(ort.HostMemory, size)
	}
	return ort.NewBuffer(size)
}

// arithmetic is the type that a model is computed in.
func (b Backend) arithmetic(m *model.Manifest) (model.DType, ort.Elem) {
	if b == CPU {
		return model.F32, ort.Float32
	}
	if b == CUDA && m.Config.Arch.Decoder() {
		for _, t := range m.Tensors {
			if t.DType == model.BF16 {
				return model.BF16, ort.BFloat16
			}
		}
	}
	return model.F16, ort.Float16
}

// fillMost bounds one write of a fill, in elements: kernels count in 32 bits.
const fillMost = 1 << 28

// prepare writes the rotary tables, and zeroes a KV cache that is not fresh memory: kernels may multiply what they leave out by zero, and
// zero times whatever lay there need not be zero.
func (s *Stage) prepare(rt *ort.Runtime, compute model.DType) error {
	var cos, sin []float32
	if s.graph.Rope {
		if !s.backend.device() {
			return graph.Rope(s.config, s.cos.Float32s(), s.sin.Float32s())
		}
		cos, sin = make([]float32, s.serving.Context*s.config.HeadDim/2), make([]float32, s.serving.Context*s.config.HeadDim/2)
		if err := graph.Rope(s.config, cos, sin); err != nil {
			return err
		}
	}
	if !s.backend.device() {
		return nil
	}
	g, err := graph.Fill(compute)
	if err != nil {
		return err
	}
	session, err := rt.NewSession(g.Model, ort.Options{Threads: 1, Provider: s.backend.provider()})
	if err != nil {
		return err
	}
	fill := func(b *ort.Buffer, values []float32) error {
		for at, all := int64(0), b.Size()/s.elem.Size(); at < all; at += fillMost {
			if err := s.fill(session, b, values, at, min(all-at, fillMost)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, b := range append(append([]*ort.Buffer(nil), s.keys...), s.values...) {
		if err == nil {
			err = fill(b, []float32{0})
		}
	}
	if err == nil && s.graph.Rope {
		err = errors.Join(fill(s.cos, cos), fill(s.sin, sin))
	}
	return errors.Join(err, session.Close())
}

// fill writes n elements of a buffer from element at: the values, of which there are n, or one.
func (s *Stage) fill(session *ort.Session, to *ort.Buffer, values []float32, at, n int64) (err error) {
	from, err := ort.NewBuffer(int64(len(values)) * 4)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	length, err := ort.NewBuffer(8)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, length.Close()) }()
	copy(from.Float32s(), values)
	length.Int64s()[0] = n
	b, err := session.Bind()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return bound(b, []connection{
		{name: graph.FillFrom, buffer: from, elem: ort.Float32, shape: []int64{int64(len(values))}},
		{name: graph.FillLength, buffer: length, elem: ort.Int64, shape: []int64{1}},
		{name: graph.Filled, buffer: to, elem: s.elem, off: at * s.elem.Size(), shape: []int64{n}, out: true},
	}, b.Run)
}

// onDevice is the memory of weights and buffers on the device.
func (s *Stage) onDevice() gpu.Bytes {
	var total int64
	for _, t := range s.manifest.Tensors {
		if t.Block != model.Embed && holds(s.span, s.config.Layers, t.Block) {
			total += t.Ref.Len / max(t.DType.Size(), 1) * s.elem.Size()
		}
	}
	for _, b := range append(append([]*ort.Buffer{s.cos, s.sin}, s.keys...), s.values...) {
		if b != nil {
			total += b.Size()
		}
	}
	return gpu.Bytes(total)
}
