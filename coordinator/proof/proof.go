// Package proof tries a version before it exists: whether its outputs are numbers, whether cutting it changes them, and how far they are from
// what the framework it comes from computed.
package proof

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// Tolerance is the relative error against golden outputs up to which a version is accepted without being asked: largest difference by
// the largest value of its tensor.
const Tolerance cluster.Nanos = 1e6 // 0.001

// Subject is a version to be tried.
type Subject struct {
	Runtime  *ort.Runtime
	Manifest *model.Manifest
	Graph    []byte                            // model.GraphFile, of family model.Graph
	Files    func(blob.Digest) (string, error) // real paths of blobs, all in one folder
	Golden   *convert.Golden                   // nil = none
}

// Prove runs the version on the golden inputs, or on inputs of its own. Where it cannot be run on any of its own the proof says why; an error is
// of type convert.Refused where golden.safetensors does not fit the model, else of the runtime.
func (s Subject) Prove() (cluster.Proof, error) {
	m := s.Manifest
	if m.Config.Arch == model.Graph {
		return s.proveGraph()
	}
	whole, err := s.chain(m.Config.Layers)
	if err != nil {
		return cluster.Proof{}, err
	}
	inputs := ownTokens(m)
	if s.Golden != nil {
		inputs = s.Golden.Inputs
	}
	out, err := whole.run(inputs)
	if err = errors.Join(err, whole.close()); err != nil {
		return cluster.Proof{}, s.blame(err)
	}
	p := cluster.Proof{Finite: finite(out)}
	if m.Config.Layers > 1 {
		parts, err := s.chain(m.Config.Layers / 2)
		if err != nil {
			return p, err
		}
		cut, err := parts.run(inputs)
		if err = errors.Join(err, parts.close()); err != nil {
			return p, err
		}
		if p.Cut, err = compare(cut, out); err != nil {
			return p, err
		}
	}
	return s.against(p, out)
}

// lengths are the free lengths that inputs of our own are tried with: graphs of images have no output for an image of one dot.
var lengths = []int64{2, 8, 64, 224}

func (s Subject) proveGraph() (cluster.Proof, error) {
	g, err := engine.LoadGraph(s.Runtime, engine.GraphSpec{Manifest: s.Manifest}, s.Graph, s.Files)
	if err != nil {
		return cluster.Proof{}, err
	}
	defer g.Close()
	if s.Golden != nil {
		out, err := g.Run(s.Golden.Inputs, nil)
		if err != nil {
			return cluster.Proof{}, s.blame(err)
		}
		return s.against(cluster.Proof{Finite: finite(out)}, out)
	}
	for _, n := range lengths {
		in, ok := engine.Ones(s.Manifest.Graph, n)
		if !ok {
			break
		}
		out, err := g.Run(in, nil)
		if err == nil {
			return cluster.Proof{Finite: finite(out)}, nil
		}
	}
	return cluster.Proof{Why: "no input that could be made up fits the graph: a golden.safetensors would say which does"}, nil
}

// blame gives golden inputs the blame for what they make a model do.
func (s Subject) blame(err error) error {
	if s.Golden != nil && (errors.Is(err, engine.ErrStep) || errors.Is(err, engine.ErrRun)) {
		return convert.Refused{File: "golden.safetensors", What: "inputs", Why: err.Error()}
	}
	return err
}

// against compares outputs with the golden ones.
func (s Subject) against(p cluster.Proof, out []tensor.Tensor) (cluster.Proof, error) {
	if s.Golden == nil {
		return p, nil
	}
	var err error
	if p.Golden, err = compare(out, s.Golden.Outputs); err != nil {
		return p, convert.Refused{File: "golden.safetensors", What: "outputs", Why: err.Error()}
	}
	return p, nil
}

// compare measures how far tensors are from those of the same names that are wanted.
func compare(got, want []tensor.Tensor) (*cluster.Deviation, error) {
	d := &cluster.Deviation{}
	for _, w := range want {
		i := slices.IndexFunc(got, func(g tensor.Tensor) bool { return g.Name == w.Name })
		if i < 0 {
			return nil, fmt.Errorf("%.80q is no output of the model, which are %.400s", w.Name, named(got))
		}
		if !slices.Equal(got[i].Shape, w.Shape) {
			return nil, fmt.Errorf("%.80q has the shape %v, the model gives %v", w.Name, w.Shape, got[i].Shape)
		}
		a, b := reals(got[i]), reals(w)
		if len(a) != len(b) {
			return nil, fmt.Errorf("%.80q is of type %s, which cannot be compared with %s", w.Name, w.DType, got[i].DType)
		}
		var far, most float64
		for j := range b {
			most = max(most, math.Abs(b[j]))
			if diff := math.Abs(a[j] - b[j]); diff > far || math.IsNaN(diff) && !(math.IsNaN(a[j]) && math.IsNaN(b[j])) {
				far = diff
			}
			if math.IsNaN(far) {
				far = math.Inf(1)
			}
		}
		relative := far
		if most > 0 {
			relative = far / most
		}
		d.Outputs++
		d.Absolute, d.Relative = max(d.Absolute, nanos(far)), max(d.Relative, nanos(relative))
	}
	return d, nil
}

// named lists the names of tensors.
func named(list []tensor.Tensor) string {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.Name
	}
	return strings.Join(names, ", ")
}

// nanos rounds up, so that a difference is never none; it saturates.
func nanos(x float64) cluster.Nanos {
	if n := math.Ceil(x * 1e9); n < math.MaxInt64 {
		return cluster.Nanos(n)
	}
	return math.MaxInt64
}

// finite says whether all elements are numbers.
func finite(out []tensor.Tensor) bool {
	for _, x := range out {
		if slices.ContainsFunc(reals(x), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) {
			return false
		}
	}
	return true
}

// reals are a tensor's elements as numbers.
func reals(x tensor.Tensor) []float64 {
	switch x.DType {
	case model.F32, model.F64:
		v, _ := x.Floats() // of the right type
		return v
	case model.F16, model.BF16:
		out := make([]float64, 0, len(x.Data)/2)
		for i := 0; i+1 < len(x.Data); i += 2 {
			out = append(out, float64(engine.Half(x.DType, uint16(x.Data[i])|uint16(x.Data[i+1])<<8)))
		}
		return out
	case model.Bool:
		x.DType = model.U8
	}
	ints, _ := x.Ints()
	out := make([]float64, len(ints))
	for i, v := range ints {
		out[i] = float64(v)
	}
	return out
}
