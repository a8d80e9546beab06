package ort

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skein-project/skein/engine/onnx"
	binding "github.com/yalue/onnxruntime_go"
)

// loaded opens the library once; it is nil where the variable is unset. (The variable is read inside of tests, not in TestMain: only
// there does the go command see that the result depends on it.)
var loaded = sync.OnceValues(func() (*Runtime, error) {
	path := os.Getenv(Variable)
	if path == "" {
		return nil, nil
	}
	return Open(path)
})

func runtimeOf(t testing.TB) *Runtime {
	t.Helper()
	rt, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if rt == nil {
		t.Skipf("%s is unset: no libonnxruntime to test with", Variable)
	}
	return rt
}

// compile builds a shared library from C source.
func compile(t *testing.T, source string) string {
	dir := t.TempDir()
	c, so := filepath.Join(dir, "lib.c"), filepath.Join(dir, "lib.so")
	if err := os.WriteFile(c, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", so, c).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return so
}

// TestWrongLibrary: whatever the path leads to, nothing of it runs beyond the question for its version, and the error says what is wanted.
func TestWrongLibrary(t *testing.T) {
	text := filepath.Join(t.TempDir(), "libonnxruntime.so.1")
	if err := os.WriteFile(text, []byte("no library\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := `static const void *api(unsigned v) { __builtin_trap(); }
static const char *version(void) { return "1.20.1"; }
static struct { const void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
const void *OrtGetApiBase(void) { return &base; }`
	for _, c := range []struct{ name, path, found string }{
		{"absent", filepath.Join(t.TempDir(), "none.so"), ""},
		{"a text file", text, ""},
		{"another library", compile(t, "int answer(void) { return 42; }"), ""},
		{"nothing behind the entry", compile(t, "const void *OrtGetApiBase(void) { return 0; }"), ""},
		{"older", compile(t, old), "1.20.1"},
		{"newer series", compile(t, strings.Replace(old, "1.20.1", "1.300.0", 1)), "1.300.0"},
		{"folder", t.TempDir(), ""},
	} {
		_, err := probe(c.path)
		var e *LibraryError
		if !errors.As(err, &e) || e.Found != c.found {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, Variable) || !strings.Contains(text, Wanted) || !strings.Contains(text, c.path) {
			t.Errorf("%s: the error does not say what to do: %s", c.name, text)
		}
	}
	var e *LibraryError
	if _, err := Open(""); !errors.As(err, &e) {
		t.Errorf("no path: %v", err)
	}
}

func TestOneLibraryPerProcess(t *testing.T) {
	runtimeOf(t)
	var e *LibraryError
	if _, err := Open(os.Getenv(Variable)); !errors.As(err, &e) {
		t.Errorf("a second Open: %v", err)
	}
}

func TestBuffer(t *testing.T) {
	runtimeOf(t)
	if _, err := NewBuffer(0); !errors.Is(err, ErrBuffer) {
		t.Errorf("empty buffer: %v", err)
	}
	const size = 1 << 40 // far more than any machine has: only touched pages cost
	b, err := NewBuffer(size)
	if err != nil {
		t.Skipf("this kernel refuses to reserve 1 TiB of address space: %v", err)
	}
	b.Float32s()[1<<30] = 1
	small, err := NewBuffer(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := small.Resident(); err != nil || n != 0 {
		t.Errorf("untouched: %v resident, %v", n, err)
	}
	small.Float32s()[0] = 1
	if n, err := small.Resident(); err != nil || n < 4096 {
		t.Errorf("one page touched: %v resident, %v", n, err)
	}
	for _, c := range []struct {
		off   int64
		shape []int64
	}{{0, []int64{1 << 18, 2}}, {4, []int64{1 << 18}}, {-4, []int64{1}}, {2, []int64{1}}, {0, []int64{-1}},
		{0, []int64{1 << 32, 1 << 32}}, {1 << 62, []int64{1}}} {
		if _, err := small.Tensor(Float32, c.off, c.shape...); !errors.Is(err, ErrBuffer) {
			t.Errorf("tensor of shape %v at %d of 1 MiB: %v", c.shape, c.off, err)
		}
	}
	tensor, err := small.Tensor(Float32, 1<<19, 1<<17)
	if err != nil {
		t.Fatal(err)
	}
	if err := small.Close(); !errors.Is(err, ErrBuffer) {
		t.Errorf("closed under an open tensor: %v", err)
	}
	for range 2 {
		if err := errors.Join(tensor.Close(), small.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestMapFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := MapFile(path, 3, 4)
	if err != nil || string(f.Bytes()) != "3456" {
		t.Fatalf("%q, %v", f.Bytes(), err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	for _, r := range [][2]int64{{3, 8}, {-1, 2}, {0, 0}, {0, -1}, {1 << 62, 1 << 62}, {11, 1}} {
		if _, err := MapFile(path, r[0], r[1]); !errors.Is(err, ErrBuffer) {
			t.Errorf("%d bytes at %d: %v", r[1], r[0], err)
		}
	}
}

func TestBadModel(t *testing.T) {
	rt := runtimeOf(t)
	for _, c := range []struct {
		name  string
		model []byte
		o     Options
	}{{"empty", nil, Options{Threads: 1}}, {"no model", []byte("no model"), Options{Threads: 1}}, {"no threads", []byte{8, 10}, Options{}}} {
		if s, err := rt.NewSession(c.model, c.o); err == nil {
			t.Errorf("%s: loaded", c.name)
			s.Close()
		}
	}
}

// Sizes of the hazard: a run long enough for a collection to happen inside.
const (
	side  = 384
	width = 1 << 16
)

// hazard is y = late + ΣΣ a²¹: the input "late" is read only at the end of a long run. a is all zeros, so y = late.
func hazard(t *testing.T) []byte {
	g := onnx.New("hazard", 21)
	a := g.Input("a", onnx.Float, onnx.Fixed(side), onnx.Fixed(side))
	late := g.Input("late", onnx.Float, onnx.Fixed(width))
	h := a
	for range 20 {
		h = g.Op(onnx.Op{Name: "MatMul"}, []string{h, a})
	}
	zero := g.Op(onnx.Op{Name: "ReduceSum"}, []string{h}, onnx.Int("keepdims", 0))
	g.Node(onnx.Op{Name: "Add"}, []string{late, zero}, []string{"y"})
	g.Output("y", onnx.Float, onnx.Fixed(width))
	m, err := g.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestHazard shows why tensors are made of a Buffer only: the binding does not keep an input alive, so one on the Go heap is collected in
// the middle of a run that is its last use, and the answer is wrong without an error. The same with a Buffer is right.
func TestHazard(t *testing.T) {
	rt := runtimeOf(t)
	s, err := rt.NewSession(hazard(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fill := func(x []float32, v float32) {
		for i := range x {
			x[i] = v
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // whatever GOGC says
	// What a server does anyway: another goroutine allocates buffers of the same size.
	var sink atomic.Pointer[[]float32]
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				b := make([]float32, width)
				fill(b, -1)
				sink.Store(&b)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()

	buffers := map[string]*Buffer{}
	tensors := map[string]*Tensor{}
	for name, shape := range map[string][]int64{"a": {side, side}, "late": {width}, "y": {width}} {
		n := int64(4)
		for _, d := range shape {
			n *= d
		}
		if buffers[name], err = NewBuffer(n); err != nil {
			t.Fatal(err)
		}
		if tensors[name], err = buffers[name].Tensor(Float32, 0, shape...); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(tensors[name].Close(), buffers[name].Close()); err != nil {
				t.Error(err)
			}
		}()
	}
	y := buffers["y"].Float32s()
	right := func() bool {
		for _, v := range y {
			if v != 1 {
				return false
			}
		}
		return true
	}

	lazy, err := binding.NewDynamicAdvancedSessionWithONNXData(hazard(t), []string{"a", "late"}, []string{"y"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lazy.Destroy()
	values := map[string]binding.Value{}
	for name, shape := range map[string]binding.Shape{"a": {side, side}, "y": {width}} {
		v, err := binding.NewCustomDataTensor(shape, buffers[name].mem, binding.TensorElementDataTypeFloat)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Destroy()
		values[name] = v
	}

	const tries = 60
	wrong := 0
	for range tries {
		heapRun(t, lazy, values["a"], values["y"])
		if !right() {
			wrong++
		}
	}
	t.Logf("input on the Go heap: %d of %d wrong", wrong, tries)
	if wrong == 0 {
		t.Error("the binding now keeps its inputs alive, or the test lost its teeth: say so in the package comment")
	}

	b, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := errors.Join(b.Input("a", tensors["a"]), b.Input("late", tensors["late"]), b.Output("y", tensors["y"])); err != nil {
		t.Fatal(err)
	}
	for i := range tries {
		fill(buffers["late"].Float32s(), 1)
		fill(y, 0)
		if err := b.Run(); err != nil {
			t.Fatal(err)
		}
		if !right() {
			t.Fatalf("input in a Buffer: run %d is wrong", i)
		}
		runtime.GC()
	}
}

// heapRun runs with "late" on the Go heap, all ones; the call is the tensor's last use.
func heapRun(t *testing.T, s *binding.DynamicAdvancedSession, a, y binding.Value) {
	late, err := binding.NewEmptyTensor[float32](binding.NewShape(width))
	if err != nil {
		t.Fatal(err)
	}
	for i := range late.GetData() {
		late.GetData()[i] = 1
	}
	if err := s.Run([]binding.Value{a, late}, []binding.Value{y}); err != nil {
		t.Fatal(err)
	}
}

// TestCloseTwice: what is closed twice or out of order does nothing worse than return an error.
func TestCloseTwice(t *testing.T) {
	rt := runtimeOf(t)
	s, err := rt.NewSession(hazard(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(); err == nil {
		t.Error("a run with nothing bound succeeded")
	}
	for range 2 {
		if err := errors.Join(b.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Bind(); !errors.Is(err, ErrClosed) {
		t.Errorf("bind after close: %v", err)
	}
	if err := b.Run(); !errors.Is(err, ErrClosed) {
		t.Errorf("run after close: %v", err)
	}
}
