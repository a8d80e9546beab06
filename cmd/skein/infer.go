package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/skein-project/skein/api/inference"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/internal/npy"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

const (
	maxInputFile = 64 << 20 // bytes
	maxShown     = 12       // elements of a tensor in a table
)

func (a *app) infer() *cobra.Command {
	var inputs, wanted, saved []string
	c := &cobra.Command{Use: "infer MODEL --input NAME=FILE...", Short: "Run a model on tensors; without an input, list what it takes and gives", Args: cobra.ExactArgs(1),
		Long: "Run a model on tensors.\nAn input is a file of NumPy (.npy), a file of JSON with numbers in lists as deep as the tensor has dimensions, or such JSON itself:\n" +
			"  skein infer half --input x='[[1], [2.5]]'\nNumbers of JSON have the type that the model wants; those of a file of NumPy must have it."}
	f := c.Flags()
	f.StringArrayVar(&inputs, "input", nil, "NAME=FILE.npy, NAME=FILE.json, NAME=- (JSON from standard input) or NAME=JSON (repeatable)")
	f.StringArrayVar(&wanted, "want", nil, "name of an output (repeatable; default all)")
	f.StringArrayVar(&saved, "save", nil, "write an output to a file: NAME=FILE.npy or NAME=FILE.json (repeatable)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := assignments("save", saved)
		if err != nil {
			return err
		}
		from, err := assignments("input", inputs)
		if err != nil {
			return err
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		ports, err := portsOf(cmd.Context(), api, args[0])
		if err != nil {
			return err
		}
		if len(from) == 0 {
			return a.showPorts(cmd, ports)
		}
		req := &inferencev1.InferRequest{Model: args[0], Outputs: wanted}
		for _, p := range from {
			t, err := given(p, ports, cmd.InOrStdin())
			if err != nil {
				return usage("--input %s: %v", p.name, err)
			}
			req.Inputs = append(req.Inputs, &inferencev1.Tensor{Name: t.Name, Dtype: string(t.DType), Shape: t.Shape, Data: t.Data})
		}
		res, err := api.Inference.Infer(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.showTensors(cmd, args[0], res.Msg, to)
	}
	return c
}

// assignment is NAME=VALUE of a flag.
type assignment struct{ name, value string }

func assignments(flag string, list []string) (out []assignment, err error) {
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || value == "" {
			return nil, usage("--%s %.80q: want NAME=FILE", flag, text)
		}
		out = append(out, assignment{name, value})
	}
	return out, nil
}

// portsOf asks what a model takes and gives.
func portsOf(ctx context.Context, c *client.Client, name string) (*inference.ModelMetadataResponse, error) {
	res, err := c.OpenInference.ModelMetadata(ctx, connect.NewRequest(&inference.ModelMetadataRequest{Name: name}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (a *app) showPorts(cmd *cobra.Command, ports *inference.ModelMetadataResponse) error {
	return a.show(cmd, ports, "PORT NAME TYPE SHAPE", func(row func(...any)) {
		for _, p := range ports.Inputs {
			row("input", p.Name, typeName(p.Datatype), shapeText(p.Shape))
		}
		for _, p := range ports.Outputs {
			row("output", p.Name, typeName(p.Datatype), shapeText(p.Shape))
		}
	})
}

// typeName is this API's name of a type of the Open Inference Protocol.
func typeName(datatype string) string {
	d, _ := oip.DType(datatype)
	return cmp.Or(string(d), datatype)
}

// given reads an input: its form by the end of the file's name, its type, where JSON has none, by the model's port.
func given(p assignment, ports *inference.ModelMetadataResponse, stdin io.Reader) (t tensor.Tensor, err error) {
	raw := []byte(p.value)
	if p.value[0] != '[' && !json.Valid(raw) {
		if raw, err = slurp(p.value, stdin); err != nil {
			return t, err
		}
		if strings.EqualFold(filepath.Ext(p.value), ".npy") {
			return npy.Read(p.name, raw)
		}
	}
	i := slices.IndexFunc(ports.Inputs, func(m *inference.ModelMetadataResponse_TensorMetadata) bool { return m.Name == p.name })
	if i < 0 {
		return t, fmt.Errorf("the model has no such input (skein infer %s lists them)", ports.Name)
	}
	t = tensor.Tensor{Name: p.name, DType: model.DType(typeName(ports.Inputs[i].Datatype))}
	if t.Shape, err = shapeOf(raw); err != nil {
		return t, err
	}
	if len(t.Shape) == 0 {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	return t, t.ReadJSON(raw)
}

// slurp reads a file, or standard input.
func slurp(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxInputFile+1))
	if err == nil && len(b) > maxInputFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxInputFile)
	}
	return b, err
}

// shapeOf is the shape of lists within each other, of which all have the length that the first of their depth has.
func shapeOf(raw []byte) (shape []int64, err error) {
	for depth := 0; ; depth++ {
		var list []json.RawMessage
		if raw = []byte(strings.TrimSpace(string(raw))); len(raw) == 0 || raw[0] != '[' {
			return shape, nil
		}
		if depth == model.MaxRank {
			return nil, fmt.Errorf("lists are more than %d deep", model.MaxRank)
		}
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("it is no JSON: %w", err)
		}
		if shape = append(shape, int64(len(list))); len(list) == 0 {
			return shape, nil
		}
		raw = list[0]
	}
}

// jsonTensor is a tensor as JSON shows it, named as in the Open Inference Protocol.
type jsonTensor struct {
	Name     string          `json:"name"`
	Datatype string          `json:"datatype"`
	Shape    []int64         `json:"shape"`
	Data     json.RawMessage `json:"data"`
}

// showTensors writes outputs to files, and shows those that went to none.
func (a *app) showTensors(cmd *cobra.Command, name string, res *inferencev1.InferResponse, to []assignment) error {
	var shown []tensor.Tensor
	for _, p := range to {
		if !slices.ContainsFunc(res.Outputs, func(t *inferencev1.Tensor) bool { return t.Name == p.name }) {
			return usage("--save %s: the answer has no such output", p.name)
		}
	}
	for _, x := range res.Outputs {
		t := widened(tensor.Tensor{Name: x.Name, DType: model.DType(x.Dtype), Shape: x.Shape, Data: x.Data})
		if err := t.Check(); err != nil {
			return err
		}
		i := slices.IndexFunc(to, func(p assignment) bool { return p.name == x.Name })
		if i < 0 {
			shown = append(shown, t)
		} else if err := save(t, to[i].value); err != nil {
			return err
		}
	}
	if a.output == "json" {
		out := struct {
			Model   string       `json:"model_name"`
			Version string       `json:"model_version"`
			Outputs []jsonTensor `json:"outputs"`
		}{name, res.ModelVersion, []jsonTensor{}}
		for _, t := range shown {
			x, err := asJSON(t)
			if err != nil {
				return err
			}
			out.Outputs = append(out.Outputs, x)
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(out)
	}
	if len(shown) == 0 {
		return nil
	}
	return table(cmd.OutOrStdout(), "OUTPUT TYPE SHAPE VALUES", func(row func(...any)) {
		for _, t := range shown {
			row(t.Name, t.DType, shapeText(t.Shape), glance(t))
		}
	})
}

// widened makes F32 of BF16, which neither JSON nor NumPy has. No value changes.
func widened(t tensor.Tensor) tensor.Tensor {
	if t.DType != model.BF16 {
		return t
	}
	out := tensor.Tensor{Name: t.Name, DType: model.F32, Shape: t.Shape}
	for at := 0; at+1 < len(t.Data); at += 2 {
		out.Data = binary.LittleEndian.AppendUint32(out.Data, uint32(binary.LittleEndian.Uint16(t.Data[at:]))<<16)
	}
	return out
}

func asJSON(t tensor.Tensor) (jsonTensor, error) {
	data, err := t.AppendJSON(nil)
	if err != nil {
		return jsonTensor{}, fmt.Errorf("%w: --save %s=FILE.npy", err, t.Name)
	}
	return jsonTensor{t.Name, oip.Datatype(t.DType), append([]int64{}, t.Shape...), data}, nil
}

// save writes a tensor to a file of NumPy or of JSON.
func save(t tensor.Tensor, file string) error {
	var b []byte
	var err error
	switch strings.ToLower(filepath.Ext(file)) {
	case ".npy":
		b, err = npy.Append(nil, t)
	case ".json":
		b, err = t.AppendJSON(nil)
	default:
		return usage("--save %s=%s: want a name that ends in .npy or .json", t.Name, file)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// glance is the beginning of a tensor's elements.
func glance(t tensor.Tensor) string {
	size := int(t.DType.Size())
	if n := int(t.Elements()); n > maxShown && size > 0 {
		first := tensor.Tensor{Name: t.Name, DType: t.DType, Shape: []int64{maxShown}, Data: t.Data[:maxShown*size]}
		return strings.TrimSuffix(glance(first), "]") + " …]"
	}
	b, err := t.AppendJSON(nil)
	if err != nil {
		return "(--save " + t.Name + "=FILE.npy)"
	}
	return strings.ReplaceAll(string(b), ",", " ")
}

func shapeText(shape []int64) string { return strings.ReplaceAll(fmt.Sprint(shape), " ", ",") }
