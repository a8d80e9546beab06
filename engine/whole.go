package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/tensor"
)

// align is where inputs begin in the input buffer, in bytes: what the runtime's own allocator keeps to.
const align = 64

// GraphSpec says which graph to load.
type GraphSpec struct {
	Manifest *model.Manifest // of family model.Graph
	Backend  Backend         // the zero value is CPU
	Threads  int             // of one run; 0 = 1, more than MaxThreads are not used
}

// Graph is a loaded model of family model.Graph. It belongs to one goroutine at a time; on CUDA to one locked thread for life. Its
// arithmetic is the graph's own, on every backend; inputs and outputs are in the machine's memory.
type Graph struct {
	manifest *model.Manifest
	session  *ort.Session
	in       *ort.Buffer // inputs of the last run; grows
	native   gpu.Bytes
}

// elems maps element types to those of the runtime.
var elems = map[model.DType]ort.Elem{
	model.F64: ort.Float64, model.F32: ort.Float32, model.F16: ort.Float16, model.BF16: ort.BFloat16, model.I64: ort.Int64, model.I32: ort.Int32,
	model.I16: ort.Int16, model.I8: ort.Int8, model.U64: ort.Uint64, model.U32: ort.Uint32, model.U16: ort.Uint16, model.U8: ort.Uint8, model.Bool: ort.Bool,
}

// LoadGraph loads a graph. graph is its model.GraphFile; files finds the local file of a blob, as for Load. Errors wrap ErrFile, or come from
// the runtime.
func LoadGraph(rt *ort.Runtime, spec GraphSpec, graph []byte, files func(blob.Digest) (path string, err error)) (*Graph, error) {
	if spec.Manifest.Graph == nil || spec.Threads < 0 {
		return nil, fmt.Errorf("%w: no graph, or %d threads", ErrServing, spec.Threads)
	}
	found, err := locate(spec.Manifest, shard.Span{To: 1}, files)
	if err != nil {
		return nil, err
	}
	var weights []onnx.Weight
	for _, t := range spec.Manifest.Tensors {
		weights = append(weights, onnx.Weight{Name: t.Name, Type: onnx.TypeOf(t.DType), Dims: t.Shape,
			At: onnx.Range{File: found.name(t.Ref.Digest), Offset: t.Ref.Off, Length: t.Ref.Len}})
	}
	g := &Graph{manifest: spec.Manifest}
	g.session, err = rt.NewSession(onnx.Attach(graph, weights), ort.Options{
		Threads:  min(max(spec.Threads, 1), MaxThreads),
		Folder:   found.folder,
		Provider: spec.Backend.provider(),
		Fuse:     true,
	})
	if err != nil {
		return nil, fmt.Errorf("engine: loading a graph: %w", err)
	}
	g.native = g.session.Native()
	return g, nil
}

// Used is the memory that the graph holds now: what the runtime took at load, which is not what it has on a device, and the touched pages of
// its inputs.
func (g *Graph) Used() gpu.Bytes {
	used := g.native
	if g.in != nil {
		if n, err := g.in.Resident(); err == nil {
			used += n
		}
	}
	return used
}

// Close frees everything. Closing twice does nothing.
func (g *Graph) Close() error {
	var errs []error
	if g.in != nil {
		errs = append(errs, g.in.Close())
		g.in = nil
	}
	if g.session != nil {
		errs = append(errs, g.session.Close())
		g.session = nil
	}
	return errors.Join(errs...)
}

// Run computes the outputs that are named, all where none is, in that order. The inputs must be exactly the graph's, of its types and
// of shapes that its ports allow. The outputs' bytes are copies. Errors wrap ErrStep or ErrRun.
func (g *Graph) Run(inputs []tensor.Tensor, outputs []string) ([]tensor.Tensor, error) {
	if g.session == nil {
		return nil, fmt.Errorf("%w: the graph is closed", ErrStep)
	}
	sig := g.manifest.Graph
	if len(outputs) == 0 {
		for _, p := range sig.Outputs {
			outputs = append(outputs, p.Name)
		}
	}
	if err := g.check(inputs, outputs); err != nil {
		return nil, err
	}
	bound, err := g.fill(inputs)
	defer func() {
		for _, b := range bound {
			b.Tensor.Close()
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRun, err)
	}
	values, err := g.session.Run(bound, outputs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRun, err)
	}
	out := make([]tensor.Tensor, len(values))
	for i := range values {
		v := &values[i]
		out[i] = tensor.Tensor{Name: outputs[i], DType: typeOf(v.Elem), Shape: v.Shape, Data: slices.Clone(v.Bytes)}
		v.Close()
	}
	return out, nil
}

func typeOf(e ort.Elem) model.DType {
	for d, x := range maps.All(elems) {
		if x == e {
			return d
		}
	}
	return ""
}

// check refuses what would not be the graph's inputs and outputs: native code is not given anything that its ports do not declare.
func (g *Graph) check(inputs []tensor.Tensor, outputs []string) error {
	sig := g.manifest.Graph
	if len(inputs) != len(sig.Inputs) {
		return fmt.Errorf("%w: %d inputs, want %d", ErrStep, len(inputs), len(sig.Inputs))
	}
	for i, x := range inputs {
		p, ok := sig.Input(x.Name)
		twice := slices.ContainsFunc(inputs[:i], func(y tensor.Tensor) bool { return y.Name == x.Name })
		if !ok || twice || p.DType != x.DType || !p.Takes(x.Shape) {
			return fmt.Errorf("%w: input %.80q of %.20s%v, want each of the graph's inputs once, of its type and shape", ErrStep, x.Name, x.DType, x.Shape)
		}
		if err := x.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrStep, err)
		}
	}
	for i, name := range outputs {
		if _, ok := sig.Output(name); !ok || slices.Contains(outputs[:i], name) {
			return fmt.Errorf("%w: output %.80q is not there, or named twice", ErrStep, name)
		}
	}
	return nil
}

// fill copies the inputs into memory outside of Go's heap and makes tensors of them.
func (g *Graph) fill(inputs []tensor.Tensor) (bound []ort.Named, err error) {
	size := int64(align)
	for _, x := range inputs {
		size += int64(len(x.Data)) + align
	}
	if g.in == nil || g.in.Size() < size {
		if g.in != nil {
			if err := g.in.Close(); err != nil {
				return nil, err
			}
			g.in = nil
		}
		if g.in, err = ort.NewBuffer(size); err != nil {
			return nil, err
		}
	}
	off := int64(0)
	for _, x := range inputs {
		t, err := g.in.Tensor(elems[x.DType], off, x.Shape...)
		if err != nil {
			return bound, err
		}
		bound = append(bound, ort.Named{Name: x.Name, Tensor: t})
		copy(g.in.Bytes()[off:], x.Data)
		off += (int64(len(x.Data)) + align - 1) / align * align
	}
	return bound, nil
}
