package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/internal/npy"
	"github.com/skein-project/skein/tensor"
)

// foreignDir is a folder of testdata/onnx.
func foreignDir(name string) string { return filepath.Join("testdata", "onnx", name) }

// goldenOf reads the golden outputs of a folder.
func goldenOf(t *testing.T, dir string) convert.Golden {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), dir, "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	g, _, err := convert.GoldenOf(map[string]convert.Source{"golden.safetensors": {ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: blob.Of(b).Digest()}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// wireTensors are tensors as the API has them.
func wireTensors(in []tensor.Tensor) (out []*inferencev1.Tensor) {
	for _, x := range in {
		out = append(out, &inferencev1.Tensor{Name: x.Name, Dtype: string(x.DType), Shape: x.Shape, Data: x.Data})
	}
	return out
}

// int64Tensor is a tensor of whole numbers.
func int64Tensor(name string, shape []int64, v ...int32) *inferencev1.Tensor {
	x := &inferencev1.Tensor{Name: name, Dtype: "I64", Shape: shape}
	for _, n := range v {
		x.Data = binary.LittleEndian.AppendUint64(x.Data, uint64(int64(n)))
	}
	return x
}

// tensorFloats are the elements of a tensor of F32.
func tensorFloats(x *inferencev1.Tensor) []float32 {
	out := make([]float32, len(x.Data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:]))
	}
	return out
}

// TestGraphs: models of ONNX, with weights inside and outside of their files, are uploaded, deployed and asked, with tensors and with text.
func TestGraphs(t *testing.T) {
	s := serving(t, devfleet.Config{Coordinators: 1}, map[string]offer{
		"mlp":      {dir: foreignDir("mlp"), slots: 4, context: 1, whole: true},
		"external": {dir: foreignDir("external"), slots: 4, context: 1, whole: true},
		"sort":     {dir: foreignDir("bert-classify"), slots: 4, context: 128, whole: true},
		"embed":    {dir: foreignDir("bert-embed"), slots: 4, context: 128, whole: true},
		"half":     {dir: filepath.Join("convert", "savedmodel", "testdata", "models", "half_plus_two"), slots: 1, context: 1, whole: true},
	})
	c := inferencev1connect.NewInferenceServiceClient(&http.Client{Transport: bearer{http.DefaultTransport, s.Key}}, s.URL())
	ask := func(model string, in []*inferencev1.Tensor, outputs ...string) ([]*inferencev1.Tensor, error) {
		res, err := c.Infer(t.Context(), connect.NewRequest(&inferencev1.InferRequest{Model: model, Inputs: in, Outputs: outputs}))
		if err != nil {
			return nil, err
		}
		return res.Msg.Outputs, nil
	}
	for name, dir := range map[string]string{"mlp": "mlp", "external": "external", "sort": "bert-classify", "embed": "bert-embed"} {
		golden := goldenOf(t, foreignDir(dir))
		got, err := ask(name, wireTensors(golden.Inputs))
		if err != nil || len(got) == 0 {
			t.Errorf("%s: %v, %v", name, got, err)
			continue
		}
		for _, x := range got {
			i := slices.IndexFunc(golden.Outputs, func(o tensor.Tensor) bool { return o.Name == x.Name })
			if want := golden.Outputs[i]; !slices.Equal(x.Shape, want.Shape) || x.Dtype != string(want.DType) {
				t.Errorf("%s: %s is %s%v, want %s%v", name, x.Name, x.Dtype, x.Shape, want.DType, want.Shape)
			} else if x.Dtype == "F32" {
				near(t, name+": "+x.Name, tensorFloats(x), tensorFloats(wireTensors([]tensor.Tensor{want})[0]))
			} else if !bytes.Equal(x.Data, want.Data) {
				t.Errorf("%s: %s differs", name, x.Name)
			}
		}
	}
	half, err := ask("half", []*inferencev1.Tensor{{Name: "x", Dtype: "F32", Shape: []int64{3, 1}, Data: []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0xa0, 0x40}}})
	if err != nil || len(half) != 1 {
		t.Errorf("a SavedModel: %v, %v", half, err)
	} else {
		near(t, "half plus two", tensorFloats(half[0]), []float32{2.5, 3, 4.5})
	}
	graphTexts(t, c)
	graphRefusals(t, c, ask)
	inferCommand(t, s)
	proofs(t, s)
}

// proofs looks at what was found when versions were tried, and publishes one whose golden outputs are not its own.
func proofs(t *testing.T, s *stage) {
	list := func() map[string]*adminv1.Version {
		res, err := s.admin.Models.ListModels(t.Context(), connect.NewRequest(&adminv1.ListModelsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]*adminv1.Version{}
		for _, v := range res.Msg.Versions {
			out[v.Version] = v
		}
		return out
	}
	for version, v := range list() {
		p := v.Proof
		if p == nil || p.Why != "" || !p.Finite || p.Cut != nil || (p.Golden == nil) != (version == "half@1") || p.Golden.GetRelative() > 1e-4 {
			t.Errorf("%s: %v", version, p)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"model.onnx", "golden.safetensors"} {
		b, err := os.ReadFile(filepath.Join(root(t), foreignDir("mlp"), name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "golden.safetensors" {
			b[len(b)-1] ^= 0x80 // the sign of the last number, an output
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, errs := s.command(exitRefused, "push", dir, "--name", "liar"); !strings.Contains(errs, "the model gives others, by") {
		t.Errorf("other golden outputs: %s", errs)
	}
	if v := list(); v["liar@1"] != nil {
		t.Errorf("what was refused is there: %v", v["liar@1"])
	}
	s.says([]string{"push", dir, "--name", "liar", "--accept"}, "liar@1", "serves tensors only")
	if v := list()["liar@1"]; v == nil || v.Proof.GetGolden().GetRelative() < 1e-3 {
		t.Errorf("what was accepted: %v", v)
	}
	s.says([]string{"models"}, "golden±")
	for _, line := range strings.Split(s.says([]string{"models"}), "\n") {
		for version, want := range map[string]string{"mlp@1": " onnx tensors-only ", "sort@1": " onnx classify,infer ", "half@1": " savedmodel tensors-only "} {
			if strings.HasPrefix(line, version) && !strings.Contains(strings.Join(strings.Fields(line), " "), want) {
				t.Errorf("%q does not say %q", line, want)
			}
		}
	}
	if v := list()["mlp@1"]; v.Arch != "graph" || v.Format != "onnx" {
		t.Errorf("mlp@1 is a %s of %s", v.Arch, v.Format)
	}
}

// inferCommand asks graphs by the command line: with files of NumPy and of JSON, and what comes out goes to such files.
func inferCommand(t *testing.T, s *stage) {
	s.says([]string{"infer", "half"}, "input", "x", "F32", "[-1,1]", "output")
	s.says([]string{"infer", "half", "--input", "x=[[1], [2.5], [-4]]"}, "y", "[3,1]", "[2.5 3.25 0]")
	dir, golden := t.TempDir(), goldenOf(t, foreignDir("mlp"))
	file := func(name string) string { return filepath.Join(dir, name) }
	var args []string
	for _, x := range golden.Inputs {
		b, err := npy.Append(nil, x)
		if err != nil {
			t.Fatal(err)
		}
		if x.Name == "k" { // as JSON
			ints, err := x.Ints()
			if err != nil {
				t.Fatal(err)
			}
			if b, err = json.Marshal(ints); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--input", "k="+file("k.json"))
			x.Name = "k.json"
		} else {
			args = append(args, "--input", x.Name+"="+file(x.Name))
		}
		if err := os.WriteFile(file(x.Name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(file("x"), file("x.npy")); err != nil {
		t.Fatal(err)
	}
	args[slices.Index(args, "x="+file("x"))] += ".npy"
	out := s.says(slices.Concat([]string{"infer", "mlp"}, args, []string{"--save", "y=" + file("y.npy"), "--save", "index=" + file("index.json")}))
	if out != "" {
		t.Errorf("what is saved is shown too: %s", out)
	}
	b, err := os.ReadFile(file("y.npy"))
	if err != nil {
		t.Fatal(err)
	}
	y, err := npy.Read("y", b)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range golden.Outputs {
		if want.Name == "y" {
			near(t, "y of a file", tensorFloats(wireTensors([]tensor.Tensor{y})[0]), tensorFloats(wireTensors([]tensor.Tensor{want})[0]))
			continue
		}
		ints, err := want.Ints()
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		b, err := os.ReadFile(file("index.json"))
		if err == nil {
			err = json.Unmarshal(b, &got)
		}
		if err != nil || !slices.Equal(got, ints) {
			t.Errorf("index: %v, %v, want %v", got, err, ints)
		}
	}
	out = s.says(slices.Concat([]string{"infer", "mlp", "-o", "json", "--want", "index"}, args))
	var answer struct {
		Version string `json:"model_version"`
		Outputs []struct {
			Name, Datatype string
			Data           []int64
		}
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Version != "mlp@1" || len(answer.Outputs) != 1 || answer.Outputs[0].Datatype != "INT64" || len(answer.Outputs[0].Data) == 0 {
		t.Errorf("%s: %v", out, err)
	}
	s.refuses(exitUsage, "want NAME=FILE", "infer", "half", "--input", "x")
	s.refuses(exitUsage, "no such input", "infer", "half", "--input", "z=[1]")
	s.refuses(exitUsage, "no such file", "infer", "half", "--input", "x="+file("gone.npy"))
	s.refuses(exitUsage, "is no number of type F32", "infer", "half", "--input", `x=[["a"]]`)
	s.refuses(exitUsage, "do not begin as a file of NumPy", "infer", "half", "--input", "x="+func() string {
		if err := os.WriteFile(file("bad.npy"), []byte("[[1]]"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file("bad.npy")
	}())
	s.refuses(exitUsage, "no such output", "infer", "half", "--input", "x=[[1]]", "--save", "z="+file("z.npy"))
	s.refuses(exitRefused, "shape", "infer", "half", "--input", "x=[1]")
	s.refuses(exitRefused, "no output", "infer", "half", "--input", "x=[[1]]", "--want", "z")
}

// graphTexts asks graphs with text: the answers are those of the same weights as safetensors.
func graphTexts(t *testing.T, c inferencev1connect.InferenceServiceClient) {
	sorted := referenceOf(t, "bert-classify")
	req := &inferencev1.ClassifyRequest{Model: "sort"}
	for _, in := range sorted.Inputs {
		req.Inputs = append(req.Inputs, &inferencev1.ClassifyInput{Text: in.Text, Pair: in.Pair})
	}
	labels, err := c.Classify(t.Context(), connect.NewRequest(req))
	if err != nil || len(labels.Msg.Results) != len(sorted.Inputs) {
		t.Fatalf("classify: %v", err)
	}
	for i, r := range labels.Msg.Results {
		for _, l := range r.Labels {
			want := sorted.Inputs[i].Scores[slices.Index(sorted.Labels, l.Name)]
			near(t, sorted.Inputs[i].Text+": "+l.Name, []float32{l.Score}, []float32{want})
		}
	}
	ref := referenceOf(t, "bert-embed")
	var texts []string
	var vectors []floats
	for _, in := range ref.Inputs {
		if in.Pair == "" {
			texts, vectors = append(texts, in.Text), append(vectors, in.Vector)
		}
	}
	e, err := c.Embed(t.Context(), connect.NewRequest(&inferencev1.EmbedRequest{Model: "embed", Texts: texts}))
	if err != nil || len(e.Msg.Vectors) != len(texts) {
		t.Fatalf("embed: %v", err)
	}
	for i, v := range e.Msg.Vectors {
		near(t, "vector of "+texts[i], v.Values, vectors[i])
	}
}

// graphRefusals is attack 27: tensors that are not what a model's ports say, over the public API.
func graphRefusals(t *testing.T, c inferencev1connect.InferenceServiceClient, ask func(string, []*inferencev1.Tensor, ...string) ([]*inferencev1.Tensor, error)) {
	x := func(change ...func(*inferencev1.Tensor)) *inferencev1.Tensor {
		t := &inferencev1.Tensor{Name: "x", Dtype: "F32", Shape: []int64{2, 8}, Data: make([]byte, 64)}
		for _, f := range change {
			f(t)
		}
		return t
	}
	k := int64Tensor("k", []int64{2}, 1, 2)
	shape := func(d ...int64) func(*inferencev1.Tensor) { return func(t *inferencev1.Tensor) { t.Shape = d } }
	data := func(n int) func(*inferencev1.Tensor) { return func(t *inferencev1.Tensor) { t.Data = make([]byte, n) } }
	for what, r := range map[string]struct {
		in      []*inferencev1.Tensor
		outputs []string
		why     string
	}{
		"none":               {nil, nil, "missing"},
		"one is missing":     {[]*inferencev1.Tensor{x()}, nil, `"k" is missing`},
		"unknown":            {[]*inferencev1.Tensor{x(), k, int64Tensor("z", []int64{1}, 1)}, nil, `no input "z"`},
		"twice":              {[]*inferencev1.Tensor{x(), x(), k}, nil, "twice"},
		"wrong type":         {[]*inferencev1.Tensor{x(func(t *inferencev1.Tensor) { t.Dtype = "F64" }), k}, nil, "want F32"},
		"no type":            {[]*inferencev1.Tensor{x(func(t *inferencev1.Tensor) { t.Dtype = "" }), k}, nil, "want F32"},
		"a type of Triton":   {[]*inferencev1.Tensor{x(func(t *inferencev1.Tensor) { t.Dtype = "FP32" }), k}, nil, "want F32"},
		"wrong rank":         {[]*inferencev1.Tensor{x(shape(16)), k}, nil, "shape"},
		"wrong shape":        {[]*inferencev1.Tensor{x(shape(8, 2)), k}, nil, "shape"},
		"negative":           {[]*inferencev1.Tensor{x(shape(-2, 8)), k}, nil, "shape"},
		"overflow":           {[]*inferencev1.Tensor{x(shape(1<<61, 8)), k}, nil, "none"},
		"2^60 rows":          {[]*inferencev1.Tensor{x(shape(1<<57, 8)), k}, nil, "do not hold"},
		"too few bytes":      {[]*inferencev1.Tensor{x(data(63)), k}, nil, "do not hold"},
		"too many bytes":     {[]*inferencev1.Tensor{x(data(65)), k}, nil, "do not hold"},
		"no bytes":           {[]*inferencev1.Tensor{x(data(0)), k}, nil, "do not hold"},
		"rows that disagree": {[]*inferencev1.Tensor{x(), int64Tensor("k", []int64{3}, 1, 2, 3)}, nil, ""},
		"unknown output":     {[]*inferencev1.Tensor{x(), k}, []string{"z"}, `no output "z"`},
		"output twice":       {[]*inferencev1.Tensor{x(), k}, []string{"y", "y"}, "twice"},
		"300 inputs":         {slices.Repeat([]*inferencev1.Tensor{x()}, 300), nil, "at most 256"},
	} {
		_, err := ask("mlp", r.in, r.outputs...)
		if connect.CodeOf(err) != connect.CodeInvalidArgument || err == nil || !strings.Contains(err.Error(), r.why) {
			t.Errorf("%s: %v, want a refusal with %q", what, err, r.why)
		}
	}
	if out, err := ask("mlp", []*inferencev1.Tensor{x(), k}, "index"); err != nil || len(out) != 1 || out[0].Name != "index" {
		t.Errorf("after all that: %v, %v", out, err)
	}
	if _, err := c.Embed(t.Context(), connect.NewRequest(&inferencev1.EmbedRequest{Model: "mlp", Texts: []string{"x"}})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("text for a model of tensors: %v", err)
	}
}
