package ort

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/engine/onnx"
)

// doubled is state' = state + x; y = 2·state'.
func doubled(t *testing.T) []byte {
	g := onnx.New("doubled", 21)
	state, x := g.Input("state", onnx.Float, onnx.Free("N")), g.Input("x", onnx.Float, onnx.Free("N"))
	g.Node(onnx.Op{Name: "Add"}, []string{state, x}, []string{"next"})
	g.Node(onnx.Op{Name: "Add"}, []string{"next", "next"}, []string{"y"})
	g.Output("next", onnx.Float, onnx.Free("N"))
	g.Output("y", onnx.Float, onnx.Free("N"))
	m, err := g.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAllocate: memory of the session's own keeps a state from run to run, bound as input and output at once, in part or whole, while
// what goes in and comes out is mapped memory. The calls are those of a GPU's memory; only the name of the memory differs.
func TestAllocate(t *testing.T) {
	rt := runtimeOf(t)
	s, err := rt.NewSession(doubled(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Allocate(HostMemory, 0); !errors.Is(err, ErrBuffer) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := s.Allocate("Abacus", 16); err == nil {
		t.Error("memory of an unknown kind")
	}
	const n = 4
	state, err := s.Allocate(HostMemory, 2*n*4)
	if err != nil {
		t.Fatal(err)
	}
	if state.Size() != 2*n*4 || len(state.Float32s()) != 0 {
		t.Errorf("%d bytes, of which Go sees %d numbers", state.Size(), len(state.Float32s()))
	}
	var buffers [2]*Buffer
	for i := range buffers {
		if buffers[i], err = NewBuffer(n * 4); err != nil {
			t.Fatal(err)
		}
	}
	x, y := buffers[0], buffers[1]
	tensor := func(b *Buffer, off int64) *Tensor {
		v, err := b.Tensor(Float32, off, n)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	in, out, second := tensor(x, 0), tensor(y, 0), tensor(state, n*4)
	b, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Tensor(Float32, n*4+4, n); !errors.Is(err, ErrBuffer) {
		t.Errorf("behind the end: %v", err)
	}
	if err := state.Close(); !errors.Is(err, ErrBuffer) {
		t.Errorf("closed under a tensor: %v", err)
	}
	// What the memory holds at first is not defined: the first run takes zeros of the machine's own instead.
	zeros := tensor(y, 0)
	if err := errors.Join(b.Input("x", in), b.Output("y", out), b.Input("state", zeros), b.Output("next", second)); err != nil {
		t.Fatal(err)
	}
	want := make([]float32, n)
	for run := range 3 {
		for i := range n {
			x.Float32s()[i] = float32(i + run)
			want[i] += float32(i + run)
		}
		if err := b.Run(); err != nil {
			t.Fatal(err)
		}
		for i, v := range y.Float32s() {
			if v != 2*want[i] {
				t.Errorf("run %d: y[%d] = %g, want %g", run, i, v, 2*want[i])
			}
		}
		if err := b.Input("state", second); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Close(), in.Close(), out.Close(), zeros.Close(), second.Close(), state.Close(), state.Close(), x.Close(), y.Close()); err != nil {
		t.Error(err)
	}
}

// TestNoProvider: without the CUDA provider, or without what it needs, the error says what to install.
func TestNoProvider(t *testing.T) {
	rt := runtimeOf(t)
	s, err := rt.NewSession(doubled(t), Options{Threads: 1, Provider: CUDA})
	if err == nil {
		s.Close()
		t.Skip("the CUDA provider works here")
	}
	if dir := filepath.Dir(os.Getenv(Variable)); !errors.Is(err, ErrProvider) || !strings.Contains(err.Error(), "libonnxruntime_providers_cuda.so") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}
