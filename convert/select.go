package convert

import (
	"path"
	"slices"
	"strings"

	"github.com/skein-project/skein/model"
)

// Names that say what a folder is.
const (
	savedName  = "saved_model.pb"
	sideName   = "skein.json"
	goldenName = "golden.safetensors"
)

// settingsNames lists the files that conversion reads and the manifest does not carry.
var settingsNames = []string{goldenName, indexName, "modules.json", "sentence_bert_config.json", sideName}

// beside lists endings of files in the folder of an .onnx file that are no external data of it.
var beside = []string{".cfg", ".gif", ".gitattributes", ".gitignore", ".html", ".jpeg", ".jpg", ".json", ".jinja", ".lock", ".log", ".md", ".model", ".onnx",
	".ort", ".pb", ".pbtxt", ".png", ".py", ".rst", ".safetensors", ".sh", ".svg", ".toml", ".tsv", ".txt", ".yaml", ".yml", ".zip"}

// Select chooses from the names of a local folder those that conversion needs, sorted: settings, tokenizer, and the weights of one format, of
// those that are there the first of safetensors, SavedModel and ONNX. Where the folder has weights of other kinds only, the error is the
// refusal that names the way out.
func Select(names []string) ([]string, error) {
	weights, err := chooseWeights(names)
	if err != nil {
		return nil, err
	}
	out := weights
	for _, name := range names {
		if slices.Contains(model.FileNames, name) && name != model.GraphFile || slices.Contains(settingsNames, name) || isPooling(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out, checkNames(out)
}

// chooseWeights chooses the files of one format of weights.
func chooseWeights(names []string) ([]string, error) {
	if slices.Contains(names, wholeName) {
		return []string{wholeName}, nil
	}
	if slices.Contains(names, indexName) {
		return keep(names, func(name string) bool {
			return path.Dir(name) == "." && strings.HasPrefix(name, "model") && path.Ext(name) == ".safetensors"
		}), nil
	}
	if slices.Contains(names, savedName) {
		return keep(names, func(name string) bool {
			dir, _, _ := strings.Cut(name, "/")
			return name == savedName || name != dir && (dir == "variables" || dir == "assets" || dir == "assets.extra")
		}), nil
	}
	if slices.ContainsFunc(names, isONNX) {
		graph, err := oneONNX(names)
		if err != nil {
			return nil, err
		}
		return keep(names, func(name string) bool { return name == graph || isExternal(name, graph) }), nil
	}
	for _, name := range names {
		if f, ok := foreignAlone(name); ok {
			return nil, refuseForeign(name, f)
		}
	}
	return nil, nil
}

func keep(names []string, wanted func(string) bool) (out []string) {
	for _, name := range names {
		if wanted(name) {
			out = append(out, name)
		}
	}
	return out
}

func isONNX(name string) bool { return strings.ToLower(path.Ext(name)) == ".onnx" }

// oneONNX finds the graph of a folder: model.onnx, where it is not the only one.
func oneONNX(names []string) (string, error) {
	graphs := keep(names, isONNX)
	for _, usual := range []string{"model.onnx", "onnx/model.onnx"} {
		if slices.Contains(graphs, usual) {
			return usual, nil
		}
	}
	if len(graphs) == 1 {
		return graphs[0], nil
	}
	slices.Sort(graphs)
	return "", Refused{graphs[1], "", "is one of several graphs: want one, or one that is called model.onnx"}
}

// isExternal says whether a file may hold external data of a graph: it is in its folder and of no kind that is known to be something else.
func isExternal(name, graph string) bool {
	_, foreign := foreignOf(name)
	known := slices.Contains(beside, strings.ToLower(path.Ext(name))) || slices.Contains(settingsNames, path.Base(name)) || strings.HasPrefix(path.Base(name), ".")
	return path.Dir(name) == path.Dir(graph) && !foreign && !known && !slices.Contains([]string{"LICENSE", "NOTICE", "README"}, path.Base(name))
}

// isPooling recognises the settings of a sentence-transformers module, such as "1_Pooling/config.json".
func isPooling(name string) bool {
	dir, file := path.Split(name)
	return file == "config.json" && strings.HasSuffix(dir, "_Pooling/") && strings.Count(name, "/") == 1
}
