// Package convert reads a model in the folder format of Hugging Face and writes its manifest, copying no weights.
package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/internal/strictjson"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// Limits of a folder.
const (
	MaxFiles     = 4096
	MaxConfig    = 4 << 20  // bytes of config.json (it may hold 65,536 labels) and of the other small settings
	MaxMap       = 64 << 20 // bytes of model.safetensors.index.json
	MaxTokenizer = model.MaxFileLen
	maxDepth     = 16
	maxValues    = 1 << 21
)

// Source is one uploaded file: its bytes and the blob that holds them.
type Source = onnxgraph.Source

// Refused says which file of a folder cannot be used, what in it is wrong, and why. Every refusal is of this type; other errors
// are failures to read.
type Refused struct {
	File string // "" where the folder as a whole is meant
	What string // "num_hidden_layers", `tensor "wte.weight"`; "" where the file as a whole is meant
	Why  string
}

// Error implements error.
func (e Refused) Error() string {
	parts := []string{"convert"}
	for _, p := range []string{e.File, e.What, e.Why} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Format is what a folder's weights are stored in.
type Format string

// Formats.
const (
	Safetensors Format = "safetensors" // with settings of Hugging Face
	SavedModel  Format = "savedmodel"  // of TensorFlow
	ONNX        Format = "onnx"
)

// Made is what a folder became.
type Made struct {
	Manifest *model.Manifest
	Format   Format
	Derived  map[blob.Digest][]byte // blobs that the manifest names and that were not uploaded: the graph of family model.Graph
	Notes    []string               // what whoever publishes should know, in full sentences
}

// reading is a folder on its way to a manifest.
type reading struct {
	files  map[string]Source
	config *settings // config.json
	family family
	m      *model.Manifest
	made   *Made
}

// Folder makes the manifest of the model whose files are given by their names in the folder, such as "config.json" or
// "1_Pooling/config.json". It reads settings and the headers of weights, never the weights (but for a tied head that is stored twice).
func Folder(files map[string]Source) (*Made, error) {
	names := slices.Sorted(maps.Keys(files))
	if err := checkNames(names); err != nil {
		return nil, err
	}
	r := &reading{files: files, m: &model.Manifest{Format: model.Format, BOS: -1, Pad: -1}}
	r.made = &Made{Manifest: r.m, Derived: map[blob.Digest][]byte{}}
	steps, err := r.reader(names)
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	r.m.Sort()
	if err := r.m.Validate(); err != nil {
		return nil, asRefused("", err)
	}
	return r.made, r.usable()
}

// reader lists the steps that read a folder of a format: safetensors with settings of Hugging Face, or a graph.
func (r *reading) reader(names []string) ([]func() error, error) {
	_, whole := r.files[wholeName]
	_, index := r.files[indexName]
	_, saved := r.files[savedName]
	switch {
	case whole || index:
	case saved:
		r.made.Format = SavedModel
		return []func() error{r.saved}, nil
	case slices.ContainsFunc(names, isONNX):
		r.made.Format = ONNX
		graph, err := oneONNX(names)
		return []func() error{func() error { return r.onnx(graph) }}, err
	}
	r.made.Format = Safetensors
	return []func() error{r.architecture, r.tokens, r.sentence, r.carry, r.tensors}, nil
}

// usable refuses what is a valid description of a model and yet of no use to anybody: a manifest too long to be read again, or one of
// which no node could make a graph.
func (r *reading) usable() error {
	if n := len(model.Encode(r.m)); n > model.MaxEncoded {
		return Refused{"", "manifest", fmt.Sprintf("%d bytes are more than %d", n, model.MaxEncoded)}
	}
	if r.m.Config.Arch == model.Graph {
		return nil
	}
	whole := shard.Span{To: r.m.Config.Layers}
	if _, err := graph.Build(r.m, whole, graph.Options{Context: r.m.Context()}); err != nil {
		return Refused{r.config.file, "", err.Error()}
	}
	return nil
}

// architecture reads config.json.
func (r *reading) architecture() (err error) {
	if r.config, err = r.settings("config.json", MaxConfig); err != nil {
		return err
	}
	if r.family, err = familyOf(r.config); err != nil {
		return err
	}
	r.family.read(r.config, r.m)
	if err := r.config.err(); err != nil {
		return err
	}
	return asRefused(r.config.file, r.m.Config.Validate())
}

// asRefused gives an error of package model the name of the file that it comes from.
func asRefused(file string, err error) error {
	if inv, ok := errors.AsType[model.Invalid](err); ok {
		return Refused{file, inv.What, inv.Why}
	}
	return err
}

// bytes reads a small file whole.
func (r *reading) bytes(name string, limit int64) ([]byte, error) {
	src, ok := r.files[name]
	if !ok {
		return nil, Refused{name, "", "is missing"}
	}
	if src.Size > limit {
		return nil, Refused{name, "", fmt.Sprintf("%d bytes are more than %d", src.Size, limit)}
	}
	b := make([]byte, src.Size)
	if _, err := io.ReadFull(io.NewSectionReader(src, 0, src.Size), b); err != nil {
		return nil, fmt.Errorf("convert: read %s: %w", name, err)
	}
	return b, nil
}

// json reads a small JSON file, strictly.
func (r *reading) json(name string, limit int64, to any) error {
	b, err := r.bytes(name, limit)
	if err != nil {
		return err
	}
	if err := strictjson.Check(b, strictjson.Limits{Bytes: int(limit), Depth: maxDepth, Values: maxValues}); err != nil {
		return Refused{name, "", err.Error()}
	}
	if err := json.Unmarshal(b, to); err != nil {
		return Refused{name, "", err.Error()}
	}
	return nil
}

// settings reads a JSON object.
func (r *reading) settings(name string, limit int64) (*settings, error) {
	s := &settings{file: name}
	if err := r.json(name, limit, &s.values); err != nil {
		return nil, err
	}
	if s.values == nil {
		return nil, Refused{name, "", "is not an object"}
	}
	return s, nil
}

// carry notes the small files that go with the model.
func (r *reading) carry() error {
	if err := r.small(); err != nil {
		return err
	}
	return r.tokenizer()
}

// small notes the small files that go with the model, whatever they are.
func (r *reading) small() error {
	r.m.Files = map[string]blob.Ref{}
	for _, name := range model.FileNames {
		src, ok := r.files[name]
		if !ok || name == model.GraphFile {
			continue
		}
		if src.Size > MaxTokenizer {
			return Refused{name, "", fmt.Sprintf("%d bytes are more than %d", src.Size, MaxTokenizer)}
		}
		r.m.Files[name] = src.Ref()
	}
	return nil
}
