// Package savedmodel reads TensorFlow's SavedModels, of TensorFlow 1 and 2, and gives the ONNX graph of one of their signatures.
//
// A SavedModel is a program: a graph of operations, functions that it calls, and the values of its variables. Read follows a signature's
// outputs back to its inputs, puts the functions that are called in place of their calls, and maps each operation that is met to
// operations of ONNX; one that has no mapping is refused by its name, and nothing is ever executed. Weights are not copied: they become
// ranges of the uploaded files. Formats: saved_model.proto, meta_graph.proto, graph.proto, function.proto of tensorflow/core.
package savedmodel

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/convert/tfbundle"
	"github.com/skein-project/skein/model"
)

// File is the name of the file in which a folder has its graphs.
const File = "saved_model.pb"

// bundle is the name of the files of variables, without their ends.
const bundle = "variables/variables"

// Limits of a SavedModel.
const (
	MaxFile       = 1<<31 - 1           // bytes of saved_model.pb, the most that protobuf allows
	MaxNodes      = onnxgraph.MaxNodes  // nodes of the graph and its functions, and of what is reached with all calls in place
	MaxDepth      = 64                  // calls of functions within each other
	MaxName       = onnxgraph.MaxName   // bytes
	MaxEdges      = onnxgraph.MaxEdges  // inputs or outputs of a node
	maxAttrs      = onnxgraph.MaxAttrs  // attributes of a node
	maxList       = 1 << 12             // elements of an attribute
	maxText       = 1 << 16             // bytes of an attribute
	maxFields     = 1 << 23             // protobuf fields that are looked at
	maxKept       = 256 << 20           // bytes of names, texts, numbers and small tensors
	maxGraphs     = 64                  // graphs of a file, tags of a graph
	maxSignatures = 1 << 10             // signatures of a graph
	maxInline     = onnxgraph.MaxInline // bytes: constants below this are copied into the graph
	maxUnpacked   = onnxgraph.MaxUnpacked
)

// Refused says what of a SavedModel cannot be used, and why. Other errors are failures to read.
type Refused struct {
	File string // "" = saved_model.pb
	What string // `node "a/b" (While)`, "signatures"; "" where the file as a whole is meant
	Why  string
}

// Error implements error.
func (e Refused) Error() string {
	file := e.File
	if file == "" {
		file = File
	}
	if e.What == "" {
		return "savedmodel: " + file + ": " + e.Why
	}
	return "savedmodel: " + file + ": " + e.What + ": " + e.Why
}

// Model is what is made of one signature.
type Model struct {
	Graph     *onnxgraph.Graph // checked
	Signature string           // its key
}

// Choice says what of a SavedModel is wanted.
type Choice struct {
	Signature string             // its key; "" = serving_default, or the only one there is
	Shapes    map[string][]int64 // lengths of inputs that the signature leaves open, by input; model.Free stays open
}

// Read reads a signature with the shapes that it has, as Choice.Read does.
func Read(files map[string]onnxgraph.Source, key string) (*Model, error) {
	return Choice{Signature: key}.Read(files)
}

// Read reads the SavedModel whose files are given by their names in the folder, and maps the chosen signature. It reads the bytes of the
// variables that the signature uses once, to compare their checksums. Errors are of type Refused, tfbundle.Invalid or onnxgraph.Refused, wrap
// tfbundle.ErrChecksum, or are failures to read.
func (c Choice) Read(files map[string]onnxgraph.Source) (*Model, error) {
	src, ok := files[File]
	if !ok {
		return nil, Refused{Why: "is missing"}
	}
	if src.Size > MaxFile {
		return nil, Refused{Why: fmt.Sprintf("%d bytes are more than %d", src.Size, MaxFile)}
	}
	s := &scanner{src: src}
	graphs, err := readSavedModel(s)
	if err != nil {
		return nil, err
	}
	for _, g := range graphs { // also those that are not served
		if err := cmp.Or(g.graph.forbidden(), within(g.assets)); err != nil {
			return nil, err
		}
	}
	meta, err := serving(graphs)
	if err != nil {
		return nil, err
	}
	m := &Model{}
	var sig signature
	if m.Signature, sig, err = meta.chosen(c.Signature); err != nil {
		return nil, err
	}
	if sig.inputs, err = c.shaped(sig.inputs); err != nil {
		return nil, err
	}
	vars := &variables{meta: meta, made: map[string]*value{}}
	if _, ok := files[bundle+".index"]; ok {
		if vars.bundle, err = tfbundle.Read(files, bundle); err != nil {
			return nil, err
		}
	}
	m.Graph, err = build(s, meta, sig, vars)
	if err == nil {
		err = onnxgraph.Check(m.Graph)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// shaped gives inputs the lengths that are chosen for them. What the signature says stays.
func (c Choice) shaped(inputs map[string]port) (map[string]port, error) {
	out := maps.Clone(inputs)
	for _, key := range slices.Sorted(maps.Keys(c.Shapes)) {
		p, ok := out[key]
		dims := c.Shapes[key]
		what := fmt.Sprintf("input %.80q", key)
		if !ok {
			return nil, Refused{What: what, Why: "is none of the signature, and a shape is chosen for it"}
		}
		have := p.shape.dims
		if !p.shape.known {
			have = slices.Repeat([]int64{model.Free}, len(dims))
		}
		if len(have) != len(dims) || len(dims) > model.MaxRank {
			return nil, Refused{What: what, Why: fmt.Sprintf("has %d dimensions, and a shape of %d is chosen for it", len(have), len(dims))}
		}
		p.shape.known, p.shape.dims = true, slices.Clone(dims)
		for i, d := range dims {
			if d < model.Free || d > maxChosen || d != have[i] && have[i] != model.Free {
				return nil, Refused{What: what, Why: fmt.Sprintf("has the shape %v, and %v is chosen for it: want a length in place of one that is open", have, dims)}
			}
		}
		out[key] = p
	}
	return out, nil
}

// maxChosen bounds a length that is chosen for an input.
const maxChosen = 1 << 20

// within checks that the files that a graph names as its assets lie in the folder assets.
func within(names []string) error {
	for _, name := range names {
		if name == "" || path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\:\x00") {
			return Refused{What: fmt.Sprintf("asset %.120q", name), Why: "is not in the folder assets"}
		}
	}
	return nil
}
