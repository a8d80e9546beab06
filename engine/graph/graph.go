// Package graph builds the ONNX graph of a stage: the forward pass of a span of a model's blocks.
//
// All stages are alike: hidden states in, hidden states out; the last one turns the rows that are asked for into logits. Token
// embeddings are looked up outside. Weights stay in their files: initializers refer to byte ranges of the blobs, and those of another type
// than the arithmetic are cast when the graph is loaded. Additions and norms are separate nodes everywhere, so that a model cut between two blocks computes
// exactly what the uncut one does.
//
// Attention of decoders is GroupQueryAttention, whose past and present caches are one buffer, [rows, kv heads, context, head dim];
// rotary positions come from tables that are inputs (Rope), so graphs stay small. Everything here is pure.
package graph

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// Errors of Build.
var (
	ErrSpan        = errors.New("graph: span outside the model")
	ErrTensor      = errors.New("graph: tensor missing or of another shape")
	ErrUnsupported = errors.New("graph: not supported by this engine")
)

// Opset is the version of the standard operators that graphs use: the lowest that has all of them.
const Opset = 21

// Options say what a stage is prepared for.
type Options struct {
	Context int                      // tokens: length of each row of the KV cache, and of the rotary tables
	Compute model.DType              // type of the arithmetic: F32 (also ""), or F16 or BF16, which only GPUs compute fast
	File    func(blob.Digest) string // name of a blob's file in the folder given to the runtime; nil = the digest in hexadecimal
}

// Names of inputs and outputs. Shapes: B rows, S positions, R rows asked for, C context; hidden is [B, S, hidden]. What is not an integer
// is float32, whatever the arithmetic, except what never leaves a stage, the rotary tables and the KV cache: those have the type of the
// arithmetic.
const (
	Hidden  = "hidden"     // in
	Lengths = "seqlens_k"  // in, decoders: [B] int32, tokens of each row after the step, less one
	Longest = "total_len"  // in, decoders: [1] int32, the largest number of tokens of a row after the step
	Cos     = "rope.cos"   // in, rotary decoders: [C, head dim / 2]
	Sin     = "rope.sin"   // in, rotary decoders: the same
	Select  = "sel"        // in, last stage of a decoder or of an encoder that fills masks: [R] int64, indices into the B·S positions
	Mask    = "mask"       // in, encoders: [B, S] int32, 1 = token, 0 = padding
	Out     = "hidden.out" // out: [B, S, hidden]; of a decoder's last stage behind the last norm
	Logits  = "logits"     // out, where Select is: [R, vocab]
	Pooled  = "pooled"     // out, encoders with a pooler: [B, hidden]
	Scores  = "class"      // out, encoders with a classifier: [B, labels], or [B, S, labels] where there is no pooler
)

// The KV cache of a block is four values of [B, kv heads, C, head dim]: two inputs, and two outputs that may be the same memory.

// PastKey names the input with a block's keys.
func PastKey(block int) string { return "past.k." + strconv.Itoa(block) }

// PastValue names the input with a block's values.
func PastValue(block int) string { return "past.v." + strconv.Itoa(block) }

// PresentKey names the output with a block's keys.
func PresentKey(block int) string { return "present.k." + strconv.Itoa(block) }

// PresentValue names the output with a block's values.
func PresentValue(block int) string { return "present.v." + strconv.Itoa(block) }

// Graph is a stage ready to be loaded.
type Graph struct {
	Model   []byte   // ModelProto
	Inputs  []string // names in order
	Outputs []string
	Labels  int  // width of Scores; 0 = the output does not exist
	Head    bool // Select and Logits exist
	Pooler  bool // Pooled exists
	Rope    bool // Cos and Sin exist
}

// Build makes the graph of a span of a model. Errors wrap ErrSpan, ErrTensor or ErrUnsupported.
func Build(m *model.Manifest, span shard.Span, opts Options) (Graph, error) {
	c := m.Config
	if span.From < 0 || span.From >= span.To || span.To > c.Layers {
		return Graph{}, fmt.Errorf("%w: blocks %d to %d of %d", ErrSpan, span.From, span.To, c.Layers)
	}
	if opts.Context < 1 || opts.Context > c.Positions {
		return Graph{}, fmt.Errorf("%w: context of %d tokens, the weights support %d", ErrUnsupported, opts.Context, c.Positions)
	}
	if opts.File == nil {
		opts.File = blob.Digest.String
	}
	b := &builder{
		compute: onnx.Float,
		config:  c,
		span:    span,
		opts:    opts,
		g:       onnx.New(fmt.Sprintf("%s.%d-%d", c.Arch, span.From, span.To), Opset),
		tensors: map[key]model.Tensor{},
	}
	for _, t := range m.Tensors {
		b.tensors[key{t.Block, t.Name}] = t
	}
	switch opts.Compute {
	case "", model.F32:
	case model.F16, model.BF16:
		b.compute = stored(opts.Compute)
	default:
		b.fail(fmt.Errorf("%w: arithmetic in %s", ErrUnsupported, opts.Compute))
	}
	switch c.Arch {
	case model.GPT2:
		b.gpt2()
	case model.Llama:
		b.llama()
	case model.BERT:
		b.bert()
	default:
		b.fail(fmt.Errorf("%w: architecture %q", ErrUnsupported, c.Arch))
	}
	if b.err != nil {
		return Graph{}, b.err
	}
	var err error
	b.made.Model, err = b.g.Bytes()
	return b.made, err
}

type key struct {
	block int
	name  string
}

// builder holds what the nodes of one graph are made from. The first error stays; later steps then do nothing harmful.
type builder struct {
	config  model.Config
	span    shard.Span
	opts    Options
	compute onnx.Type // of the arithmetic
	g       *onnx.Graph
	tensors map[key]model.Tensor
	made    Graph
	err     error
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) last() bool { return b.span.To == b.config.Layers }

func (b *builder) input(name string, t onnx.Type, dims ...onnx.Dim) string {
	b.made.Inputs = append(b.made.Inputs, name)
	return b.g.Input(name, t, dims...)
}

func (b *builder) output(name string, t onnx.Type, dims ...onnx.Dim) {
	b.made.Outputs = append(b.made.Outputs, name)
	b.g.Output(name, t, dims...)
}

var cast = onnx.Op{Name: "Cast"}

// leave appends a node whose output leaves the stage under a name, as float32, and gives the value to compute on with.
func (b *builder) leave(op onnx.Op, in []string, name string, attrs []onnx.Attr, dims ...onnx.Dim) string {
	y := name
	if b.compute == onnx.Float {
		b.g.Node(op, in, []string{name}, attrs...)
	} else {
		y = b.g.Op(op, in, attrs...)
		b.g.Node(cast, []string{y}, []string{name}, onnx.Int("to", int(onnx.Float)))
	}
	b.output(name, onnx.Float, dims...)
	return y
}

// stored is the element type of a tensor of a checkpoint.
func stored(d model.DType) onnx.Type {
	switch d {
	case model.BF16:
		return onnx.BFloat16
	case model.F16:
		return onnx.Float16
	}
	return onnx.Float
}

// has says whether the model has a tensor.
func (b *builder) has(block int, name string) bool {
	_, ok := b.tensors[key{block, name}]
	return ok
}

// weight gives a tensor as a value of the graph in the type of the arithmetic, and checks its shape.
func (b *builder) weight(block int, name string, shape ...int) string {
	t, ok := b.tensors[key{block, name}]
	if !ok {
		b.fail(fmt.Errorf("%w: block %d has no %s", ErrTensor, block, name))
		return ""
	}
	want := int64(1)
	dims := make([]int64, len(shape))
	for i, d := range shape {
		dims[i] = int64(d)
		want *= int64(d)
	}
	if !slices.Equal(t.Shape, dims) || !t.DType.Weight() || t.Ref.Len != want*t.DType.Size() {
		b.fail(fmt.Errorf("%w: block %d %s is %s%v in %d bytes, wanted shape %v", ErrTensor, block, name, t.DType, t.Shape, t.Ref.Len, dims))
		return ""
	}
	id := strconv.Itoa(block) + "." + name
	if b.g.Has(id) {
		return id
	}
	at := onnx.Range{File: b.opts.File(t.Ref.Digest), Offset: t.Ref.Off, Length: t.Ref.Len}
	as := stored(t.DType)
	if as == b.compute {
		return b.g.External(id, as, dims, at)
	}
	b.g.External(id+".stored", as, dims, at)
	b.g.Node(cast, []string{id + ".stored"}, []string{id}, onnx.Int("to", int(b.compute)))
	return id
}

// Shapes of the operators used more than once.
var (
	add         = onnx.Op{Name: "Add"}
	mul         = onnx.Op{Name: "Mul"}
	matMul      = onnx.Op{Name: "MatMul"}
	gather      = onnx.Op{Name: "Gather"}
	fusedMatMul = onnx.Op{Domain: onnx.Microsoft, Name: "FusedMatMul"}
)

// linear is x·Wᵀ + b with W stored [out, in]; the bias is optional.
func (b *builder) linear(x string, block int, name string, in, out int) string {
	y := b.g.Op(fusedMatMul, []string{x, b.weight(block, name+".weight", out, in)}, onnx.Int("transB", 1))
	return b.bias(y, block, name, out)
}

// conv is x·W + b with W stored [in, out], the layout of GPT-2's checkpoints.
func (b *builder) conv(x string, block int, name string, in, out int) string {
	y := b.g.Op(matMul, []string{x, b.weight(block, name+".weight", in, out)})
	return b.bias(y, block, name, out)
}

func (b *builder) bias(y string, block int, name string, out int) string {
	if !b.has(block, name+".bias") {
		return y
	}
	return b.g.Op(add, []string{y, b.weight(block, name+".bias", out)})
}

func (b *builder) add(x, y string) string { return b.g.Op(add, []string{x, y}) }

// layerNorm normalises the last axis to mean 0 and variance 1.
func (b *builder) layerNorm(x string, block int, name string) string {
	h := b.config.Hidden
	return b.g.Op(onnx.Op{Name: "LayerNormalization"},
		[]string{x, b.weight(block, name+".weight", h), b.weight(block, name+".bias", h)},
		onnx.Int("axis", -1), onnx.Real("epsilon", b.config.NormEps))
}

// rmsNorm divides the last axis by its root mean square.
func (b *builder) rmsNorm(x string, block int, name string) string {
	return b.g.Op(onnx.Op{Name: "SimplifiedLayerNormalization"},
		[]string{x, b.weight(block, name+".weight", b.config.Hidden)},
		onnx.Int("axis", -1), onnx.Real("epsilon", b.config.NormEps))
}

// activation is the nonlinearity of the feed-forward layer, as the configuration names it.
func (b *builder) activation(x string) string {
	switch b.config.Activation {
	case "gelu":
		return b.g.Op(onnx.Op{Name: "Gelu"}, []string{x})
	case "gelu_new":
		return b.g.Op(onnx.Op{Name: "Gelu"}, []string{x}, onnx.Text("approximate", "tanh"))
	case "silu":
		return b.g.Op(onnx.Op{Domain: onnx.Microsoft, Name: "QuickGelu"}, []string{x}, onnx.Real("alpha", 1))
	case "relu":
		return b.g.Op(onnx.Op{Name: "Relu"}, []string{x})
	}
	b.fail(fmt.Errorf("%w: activation %q", ErrUnsupported, b.config.Activation))
	return ""
}

// hidden declares the input that every stage has.
func (b *builder) hidden() string {
	x := b.input(Hidden, onnx.Float, onnx.Free("B"), onnx.Free("S"), onnx.Fixed(b.config.Hidden))
	if b.compute == onnx.Float {
		return x
	}
	return b.g.Op(cast, []string{x}, onnx.Int("to", int(b.compute)))
}

// result declares the hidden states as they leave the stage. Those of 16 bits are the same after the way through float32 to the next one.
func (b *builder) result(x string) {
	dims := []onnx.Dim{onnx.Free("B"), onnx.Free("S"), onnx.Fixed(b.config.Hidden)}
	if b.compute == onnx.Float {
		b.g.Node(onnx.Op{Name: "Identity"}, []string{x}, []string{Out})
	} else {
		b.g.Node(cast, []string{x}, []string{Out}, onnx.Int("to", int(onnx.Float)))
	}
	b.output(Out, onnx.Float, dims...)
}
