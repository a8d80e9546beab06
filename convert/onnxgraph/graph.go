// Package onnxgraph reads, checks and writes graphs of ONNX models whose weights stay where they were uploaded.
//
// A Graph is a value: whatever made it (Read, or a reader of another format that maps its operators to ONNX), Check decides whether it
// may run, and Encode writes what a node loads. No code is generated and nothing is taken over unread: fields and operators that are not
// known are refused, since an ONNX file is a program. Formats: onnx.proto and docs/ExternalData.md of the ONNX project.
package onnxgraph

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/model"
)

// Limits of a graph.
const (
	MaxFile         = 1<<31 - 1 // bytes of an .onnx file, the most that protobuf allows; external data may be larger
	MaxNodes        = 1 << 17
	MaxInitializers = model.MaxTensors
	MaxEdges        = 1 << 10 // inputs, and outputs, of one node
	MaxAttrs        = 64      // of one node
	MaxList         = 1 << 16 // numbers of one attribute
	MaxText         = 1 << 16 // bytes of one text
	MaxName         = model.MaxPortName
	MaxInline       = 1 << 10  // bytes: initializers below this are inside the graph file, others are ranges of blobs
	MaxUnpacked     = 16 << 20 // bytes of all initializers that must be decoded, since their file stores them as varints
	MaxElements     = 1 << 28  // elements of a tensor that constants demand
)

// Source is one uploaded file: its bytes and the blob that holds them.
type Source struct {
	io.ReaderAt
	Size   int64
	Digest blob.Digest
}

// Ref is the whole file.
func (s Source) Ref() blob.Ref { return blob.Ref{Digest: s.Digest, Len: s.Size} }

// Refused says what of a graph cannot be used, and why.
type Refused struct {
	What string // `node "MatMul_3"`, `initializer "w"`, "byte 17"; "" where the graph as a whole is meant
	Why  string
}

// Error implements error.
func (e Refused) Error() string {
	if e.What == "" {
		return "onnxgraph: " + e.Why
	}
	return "onnxgraph: " + e.What + ": " + e.Why
}

// Graph is an ONNX graph without subgraphs and functions.
type Graph struct {
	Opset        int64         // version of the standard operators
	Inputs       []model.Port  // what a run needs; initializers are not among them
	Outputs      []model.Port  // each the output of a node, an input, or an initializer
	Initializers []Initializer // constants, names unique in the graph
	Nodes        []Node        // in an order in which every value is made before it is used
}

// Node is one operation.
type Node struct {
	Name    string // for messages; may be empty
	Op      string
	Domain  string // "" = the standard operators, onnx.Microsoft
	Inputs  []string
	Outputs []string // "" in Inputs or Outputs: an optional one is left out
	Attrs   []Attr
}

// Initializer is a constant tensor.
type Initializer struct {
	Name  string
	DType model.DType
	Shape []int64
	Raw   []byte   // elements, little-endian, without gaps; nil: they are Ref
	Ref   blob.Ref // where the same bytes are, within an uploaded blob
}

// Kind is the type of an attribute.
type Kind int

// Kinds: the numbers of AttributeProto.AttributeType.
const (
	Float  Kind = 1
	Int    Kind = 2
	Text   Kind = 3
	Tensor Kind = 4
	Floats Kind = 6
	Ints   Kind = 7
	Texts  Kind = 8
)

// Attr is an attribute of a node; its value is in the field of its kind.
type Attr struct {
	Name   string
	Kind   Kind
	Float  float32
	Int    int64
	Text   string
	Tensor *Initializer // Raw, without a name
	Floats []float32
	Ints   []int64
	Texts  []string
}

// Attr finds an attribute of a node.
func (n *Node) Attr(name string) (Attr, bool) {
	i := slices.IndexFunc(n.Attrs, func(a Attr) bool { return a.Name == name })
	if i < 0 {
		return Attr{}, false
	}
	return n.Attrs[i], true
}

// what names a node in messages; i is its place.
func (n *Node) what(i int) string {
	if n.Name == "" {
		return fmt.Sprintf("node %d (%.60s)", i, n.Op)
	}
	return fmt.Sprintf("node %.80q (%.60s)", n.Name, n.Op)
}

// Bytes is the length of the tensor's elements, −1 where shape and type give none.
func (t *Initializer) Bytes() int64 {
	n, size := model.Elements(t.Shape), t.DType.Size()
	if n < 0 || size == 0 || n > blob.MaxSize/size {
		return -1
	}
	return n * size
}

// Weights are the initializers whose bytes are in blobs, as a manifest of family model.Graph lists them.
func (g *Graph) Weights() []model.Tensor {
	var list []model.Tensor
	for _, t := range g.Initializers {
		if t.Raw == nil {
			list = append(list, model.Tensor{Name: t.Name, Block: 0, DType: t.DType, Shape: t.Shape, Ref: t.Ref})
		}
	}
	slices.SortFunc(list, func(a, b model.Tensor) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Signature is what the graph takes and gives; no part of it is text.
func (g *Graph) Signature() *model.Signature {
	return &model.Signature{Inputs: g.Inputs, Outputs: g.Outputs}
}
