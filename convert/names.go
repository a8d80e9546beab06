package convert

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/skein-project/skein/model"
)

// Limits of a file's name in a folder.
const (
	MaxNamePart  = 255 // bytes between slashes
	MaxNameDepth = 4   // parts
)

// pickled lists the endings of weights that are programs or formats that only Python reads.
var pickled = []string{".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".msgpack", ".h5"}

// recipe makes safetensors of weights that PyTorch pickled, without running what the pickle says.
const recipe = `python -c "import glob,torch,safetensors.torch as s; d={}; [d.update(torch.load(f,map_location='cpu',weights_only=True)) for f in sorted(glob.glob('%s'))]; s.save_file({k:v.contiguous().clone() for k,v in d.items()},'model.safetensors')"`

// settingsNames lists the files that conversion reads and the manifest does not carry.
var settingsNames = []string{indexName, "modules.json", "sentence_bert_config.json"}

// CheckName refuses a name that is no plain relative path: absolute, with "..", "." or empty parts, backslashes, control
// characters, a drive letter, parts that are too long, or too many of them. The error is of type Refused.
func CheckName(name string) error {
	refuse := func(why string) error { return Refused{File: fmt.Sprintf("%.100q", name), Why: why} }
	parts := strings.Split(name, "/")
	switch {
	case name == "":
		return refuse("the name is empty")
	case !utf8.ValidString(name):
		return refuse("the name is not UTF-8")
	case len(parts) > MaxNameDepth:
		return refuse(fmt.Sprintf("the name is deeper than %d", MaxNameDepth))
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == ':' }):
		return refuse("the name has a character that names of files may not have")
	}
	for _, p := range parts {
		switch {
		case p == "":
			return refuse("the name is absolute or has an empty part")
		case p == "." || p == "..":
			return refuse("the name leaves its folder")
		case len(p) > MaxNamePart:
			return refuse(fmt.Sprintf("a part of the name is longer than %d bytes", MaxNamePart))
		}
	}
	return nil
}

// checkNames refuses bad names, names that differ only in case, and pickled weights.
func checkNames(names []string) error {
	if len(names) > MaxFiles {
		return Refused{"", "", fmt.Sprintf("%d files are more than %d", len(names), MaxFiles)}
	}
	folded := map[string]string{}
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return err
		}
		if twin, ok := folded[strings.ToLower(name)]; ok {
			return Refused{name, "", fmt.Sprintf("the name differs from %q only in case", twin)}
		}
		folded[strings.ToLower(name)] = name
		if isPickled(name) {
			return refusePickled(name)
		}
	}
	return nil
}

func isPickled(name string) bool {
	return slices.Contains(pickled, strings.ToLower(path.Ext(name)))
}

// refusePickled names the command that converts the file's kind of weights.
func refusePickled(name string) error {
	ext := path.Ext(name)
	switch strings.ToLower(ext) {
	case ".bin", ".pt", ".pth", ".ckpt":
		return Refused{name, "", "pickled weights are never read; this makes safetensors of them: " + fmt.Sprintf(recipe, "*"+ext)}
	}
	return Refused{name, "", "weights that only Python reads are never read; save the model as safetensors with the library that wrote them, " +
		"in transformers: model.save_pretrained('.', safe_serialization=True)"}
}

// Select chooses from the names of a local folder those that conversion needs, sorted: settings, tokenizer, and safetensors. Where
// the folder has weights of other kinds only, the error is the refusal that names the command which converts them.
func Select(names []string) ([]string, error) {
	var out []string
	var foreign string
	sharded := slices.Contains(names, indexName) && !slices.Contains(names, wholeName)
	weights := false
	for _, name := range names {
		switch {
		case isPickled(name):
			foreign = name
		case name == wholeName || sharded && path.Dir(name) == "." && strings.HasPrefix(name, "model") && path.Ext(name) == ".safetensors":
			weights = true
			out = append(out, name)
		case slices.Contains(model.FileNames, name) || slices.Contains(settingsNames, name) || isPooling(name):
			out = append(out, name)
		}
	}
	if !weights && foreign != "" {
		return nil, refusePickled(foreign)
	}
	slices.Sort(out)
	return out, checkNames(out)
}

// isPooling recognises the settings of a sentence-transformers module, such as "1_Pooling/config.json".
func isPooling(name string) bool {
	dir, file := path.Split(name)
	return file == "config.json" && strings.HasSuffix(dir, "_Pooling/") && strings.Count(name, "/") == 1
}
