package convert

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// recipe makes safetensors of weights that PyTorch pickled, without running what the pickle says.
const recipe = `python -c "import glob,torch,safetensors.torch as s; d={}; [d.update(torch.load(f,map_location='cpu',weights_only=True)) for f in sorted(glob.glob('%s'))]; s.save_file({k:v.contiguous().clone() for k,v in d.items()},'model.safetensors')"`

// Foreign is a format of weights that is never read: its name, the endings of its files in lower case, and the way out.
type Foreign struct {
	Name    string
	Endings []string
	Why     string // the reason
	Way     string // the way out
	Alone   bool   // only where there are no other weights: files of such names lie in folders of formats that are read, too
}

// Foreigns lists the formats that are refused by name.
var Foreigns = []Foreign{
	{Name: "PyTorch", Endings: []string{".bin", ".pt", ".pth"}, Why: "pickled weights are never read", Way: "this makes safetensors of them: " + recipe},
	{Name: "checkpoints of Lightning and of TensorFlow 1", Endings: []string{".ckpt"}, Why: "pickled weights are never read",
		Way: "this makes safetensors of them: " + recipe + "; a checkpoint of TensorFlow is exported as SavedModel first (tf.saved_model.save)"},
	{Name: "Python objects", Endings: []string{".pkl", ".pickle", ".joblib"}, Why: "pickled objects are programs and never read",
		Way: "export the model as ONNX (scikit-learn: skl2onnx with zipmap off), or save its weights as safetensors"},
	{Name: "Keras", Endings: []string{".h5", ".keras"}, Why: "Keras files are not read",
		Way: `export a SavedModel: python -c "import tensorflow as tf; tf.keras.models.load_model('%s').export('saved_model')"; ` +
			"tf_model.h5 of transformers 4: AutoModel.from_pretrained('.', from_tf=True).save_pretrained('.', safe_serialization=True)"},
	{Name: "Flax", Endings: []string{".msgpack"}, Why: "weights of Flax are not read",
		Way: "save the model as safetensors with the library that wrote it, in transformers 4: AutoModel.from_pretrained('.', from_flax=True).save_pretrained('.', safe_serialization=True)"},
	{Name: "GGUF", Endings: []string{".gguf", ".ggml"}, Why: "weights of llama.cpp are not read",
		Way: "upload the safetensors that they were made of, or in transformers: AutoModelForCausalLM.from_pretrained('.', gguf_file='%s').save_pretrained('out')"},
	{Name: "TensorFlow Lite", Endings: []string{".tflite"}, Why: "models of TensorFlow Lite are not read", Way: "upload the SavedModel that it was made of, or ONNX by tf2onnx --tflite"},
	{Name: "TensorRT", Endings: []string{".engine", ".plan", ".trt"}, Why: "engines are machine code of one GPU and never run", Way: "upload the ONNX model that it was built from"},
	{Name: "Core ML", Endings: []string{".mlmodel"}, Why: "models of Core ML are not read", Way: "upload the model that it was made of"},
	{Name: "frozen graphs of TensorFlow 1", Endings: []string{".pb", ".pbtxt"}, Why: "a graph without a signature does not say what it takes and gives", Alone: true,
		Way: "export a SavedModel (tf.compat.v1.saved_model.simple_save with its inputs and outputs), or ONNX by tf2onnx --graphdef"},
	{Name: "checkpoints of TensorFlow 2", Endings: []string{".index", ".meta"}, Why: "a checkpoint has weights and no graph", Alone: true,
		Way: "load it into its model and export a SavedModel (tf.saved_model.save)"},
}

// foreignAlone is foreignOf for a folder that has no weights of a format that is read.
func foreignAlone(name string) (Foreign, bool) {
	i := slices.IndexFunc(Foreigns, func(f Foreign) bool { return slices.Contains(f.Endings, strings.ToLower(path.Ext(name))) })
	if i < 0 {
		return Foreign{}, false
	}
	return Foreigns[i], true
}

// foreignOf finds the format that a file's name ends like.
func foreignOf(name string) (Foreign, bool) {
	i := slices.IndexFunc(Foreigns, func(f Foreign) bool { return !f.Alone && slices.Contains(f.Endings, strings.ToLower(path.Ext(name))) })
	if i < 0 {
		return Foreign{}, false
	}
	return Foreigns[i], true
}

// refuseForeign names the way out for a file of a format that is never read.
func refuseForeign(name string, f Foreign) error {
	way := f.Way
	switch {
	case strings.Contains(way, recipe):
		way = strings.ReplaceAll(way, "%s", "*"+path.Ext(name))
	case strings.Contains(way, "%s"):
		way = strings.ReplaceAll(way, "%s", path.Base(name))
	}
	return Refused{name, "", fmt.Sprintf("%s; %s", f.Why, way)}
}
