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
	Why     string // a full sentence, or the start of one that Way ends
	Way     string
}

// Foreigns lists the formats that are refused by name.
var Foreigns = []Foreign{
	{"PyTorch pickle", []string{".bin", ".pt", ".pth"}, "pickled weights are never read", "this makes safetensors of them: " + recipe},
	{"checkpoint", []string{".ckpt"}, "pickled weights are never read",
		"this makes safetensors of them: " + recipe + "; a checkpoint of TensorFlow is exported as SavedModel first (tf.saved_model.save)"},
	{"Python pickle", []string{".pkl", ".pickle", ".joblib"}, "pickled objects are programs and never read",
		"export the model as ONNX (scikit-learn: skl2onnx with zipmap off) or save its weights as safetensors"},
	{"Keras", []string{".h5", ".keras"}, "Keras files hold a program's configuration and are not read",
		`export a SavedModel: python -c "import tensorflow as tf; tf.keras.models.load_model('%s').export('saved_model')"; ` +
			"for tf_model.h5 of transformers: AutoModel.from_pretrained('.', from_tf=True).save_pretrained('.', safe_serialization=True)"},
	{"Flax", []string{".msgpack"}, "weights of Flax are not read",
		"save the model as safetensors with the library that wrote it, in transformers 4: AutoModel.from_pretrained('.', from_flax=True).save_pretrained('.', safe_serialization=True)"},
	{"GGUF", []string{".gguf", ".ggml"}, "weights of llama.cpp are not read", "upload the safetensors that they were made of; in transformers: AutoModelForCausalLM.from_pretrained('.', gguf_file='%s').save_pretrained('out')"},
	{"TensorFlow Lite", []string{".tflite"}, "models of TensorFlow Lite are not read", "upload the SavedModel that it was made of, or ONNX by tf2onnx --tflite"},
	{"TensorRT engine", []string{".engine", ".plan", ".trt"}, "engines are machine code of one GPU and never run", "upload the ONNX model that it was built from"},
	{"Core ML", []string{".mlmodel", ".mlpackage"}, "models of Core ML are not read", "upload the model that it was made of"},
}

// foreignOf finds the format that a file's name ends like.
func foreignOf(name string) (Foreign, bool) {
	i := slices.IndexFunc(Foreigns, func(f Foreign) bool { return slices.Contains(f.Endings, strings.ToLower(path.Ext(name))) })
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
