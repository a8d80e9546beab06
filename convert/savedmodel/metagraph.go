package savedmodel

import (
	"fmt"
	"maps"
	"slices"

	"github.com/skein-project/skein/convert/tfbundle"
	"github.com/skein-project/skein/model"
)

// port is TensorInfo: what carries an input or output of a signature.
type port struct {
	tensor string // "name:0"
	code   int64  // type
	dtype  model.DType
	shape  shape
	why    string // not "" where it is of a kind that is no single tensor
}

// signature is SignatureDef.
type signature struct {
	inputs, outputs map[string]port
}

// metaGraph is MetaGraphDef.
type metaGraph struct {
	tags       []string
	graph      *graph
	restore    string // node that gives the variables their values
	signatures map[string]signature
	assets     []string // names of files in the folder assets
}

// readSavedModel reads SavedModel.
func readSavedModel(s *scanner) (graphs []*metaGraph, err error) {
	m := message{s, 0, s.src.Size}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			if v := f.number(); v > 1 {
				s.fail("", "is of version %d of the format; 1 is known", v)
			}
		case 2:
			if graphs = append(graphs, readMetaGraph(f.sub())); len(graphs) > maxGraphs {
				s.fail("", "has more than %d graphs", maxGraphs)
			}
		}
	}
	return graphs, s.wrong
}

// serving is the graph whose tags are the one that serves.
func serving(graphs []*metaGraph) (*metaGraph, error) {
	for _, g := range graphs {
		if len(g.tags) == 1 && g.tags[0] == "serve" {
			return g, nil
		}
	}
	if len(graphs) == 1 && !slices.Contains(graphs[0].tags, "train") {
		return graphs[0], nil
	}
	var tags [][]string
	for _, g := range graphs {
		tags = append(tags, g.tags)
	}
	return nil, Refused{What: "", Why: fmt.Sprintf("has no graph with the one tag \"serve\" among %.100s", fmt.Sprint(tags))}
}

func readMetaGraph(m message) *metaGraph {
	g := &metaGraph{signatures: map[string]signature{}}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			info := f.sub()
			for f, ok := info.next(); ok; f, ok = info.next() {
				if f.num != 4 {
					continue
				}
				if g.tags = append(g.tags, f.text(MaxName)); len(g.tags) > maxGraphs {
					m.s.fail("", "a graph has more than %d tags", maxGraphs)
				}
			}
		case 2:
			g.graph = readGraph(f.sub())
		case 3:
			saver := f.sub()
			for f, ok := saver.next(); ok; f, ok = saver.next() {
				if f.num == 3 {
					g.restore = f.text(MaxName)
				}
			}
		case 5:
			if key, sig := readSignatureEntry(f.sub()); key != "" {
				g.signatures[key] = sig
			}
			if len(g.signatures) > maxSignatures {
				m.s.fail("", "has more than %d signatures", maxSignatures)
			}
		case 6:
			asset := f.sub()
			for f, ok := asset.next(); ok; f, ok = asset.next() {
				if f.num == 2 {
					g.assets = append(g.assets, f.text(2*MaxName))
				}
			}
		}
	}
	if g.graph == nil {
		g.graph = &graph{}
	}
	return g
}

func readSignatureEntry(m message) (key string, sig signature) {
	sig = signature{inputs: map[string]port{}, outputs: map[string]port{}}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			key = f.text(MaxName)
		case 2:
			def := f.sub()
			for f, ok := def.next(); ok; f, ok = def.next() {
				switch f.num {
				case 1:
					readPort(f.sub(), sig.inputs)
				case 2:
					readPort(f.sub(), sig.outputs)
				}
			}
		}
	}
	return key, sig
}

// readPort reads an entry of the map of a signature's inputs or outputs.
func readPort(m message, to map[string]port) {
	var key string
	var p port
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			key = f.text(MaxName)
		case 2:
			info := f.sub()
			for f, ok := info.next(); ok; f, ok = info.next() {
				switch f.num {
				case 1:
					p.tensor = f.text(2 * MaxName)
				case 2:
					p.code = f.number()
					p.dtype = tfbundle.DType(p.code)
				case 3:
					p.shape = readShape(f.sub())
				case 4:
					p.why = "is a sparse tensor"
				case 5:
					p.why = "is a composite tensor"
				}
			}
		}
	}
	if to[key] = p; len(to) > model.MaxPorts {
		m.s.fail("signature", "has more than %d inputs or outputs", model.MaxPorts)
	}
}

// chosen finds a signature by its key; "" = serving_default, or the only one.
func (g *metaGraph) chosen(key string) (string, signature, error) {
	const usual = "serving_default"
	keys := slices.Sorted(maps.Keys(g.signatures))
	keys = slices.DeleteFunc(keys, func(k string) bool { return k == initSignature || k == trainSignature })
	switch {
	case key == "" && slices.Contains(keys, usual):
		key = usual
	case key == "" && len(keys) == 1:
		key = keys[0]
	case key == "" || !slices.Contains(keys, key):
		return "", signature{}, Refused{What: "signatures", Why: fmt.Sprintf("%.80q is not one of %.200s", key, fmt.Sprintf("%q", keys))}
	}
	return key, g.signatures[key], nil
}

// Signatures that name no function to serve: the operation that initialises, and the one that trains.
const (
	initSignature  = "__saved_model_init_op"
	trainSignature = "__saved_model_train_op"
)
