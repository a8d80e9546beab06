package gateway

import (
	"context"
	"strings"

	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// Inputs of models that generate text, beside the text, which may be left out. As parameters of the request they mean the same.
const (
	portMaxTokens   = "max_tokens"
	portTemperature = "temperature"
	portTopP        = "top_p"
	portTopK        = "top_k"
	portSeed        = "seed"
	portStop        = "stop"
	portStream      = "stream"
	portExclude     = "exclude_input_in_output" // default true
)

// generationPorts are the ports of models that generate text. All inputs but the text may be left out.
func generationPorts() model.Signature {
	one := func(name string, d model.DType) model.Port {
		return model.Port{Name: name, DType: d, Shape: []int64{1}}
	}
	return model.Signature{
		Inputs: []model.Port{one(portTextIn, model.Bytes), one(portMaxTokens, model.I32), one(portTemperature, model.F32), one(portTopP, model.F32),
			one(portTopK, model.I32), one(portSeed, model.I64), {Name: portStop, DType: model.Bytes, Shape: []int64{model.Free}},
			one(portStream, model.Bool), one(portExclude, model.Bool)},
		Outputs: []model.Port{one(portTextOut, model.Bytes)},
	}
}

// wish is what a request to a model that generates text asks for.
type wish struct {
	params
	text    string
	stream  bool
	include bool // the text begins the answer
}

// wishOf reads a request to a model that generates text. What stands in an input and in a parameter is the input's.
func wishOf(req *oip.Request) (w wish, err error) {
	for _, o := range req.Outputs {
		if o.Name != portTextOut {
			return w, invalid("outputs", "there is no output %.80q: there is %q", o.Name, portTextOut)
		}
	}
	for name, value := range req.Parameters {
		if name == portStop {
			if w.Stop, err = stops(value); err != nil {
				return w, err
			}
			continue
		}
		if err := w.set(name, value); err != nil {
			return w, err
		}
	}
	there := false
	for _, x := range req.Inputs {
		var value any
		switch {
		case x.Name == portStop && x.DType == model.Bytes:
			w.Stop = nil
			for _, s := range x.Strings() {
				w.Stop = append(w.Stop, string(s))
			}
			continue
		case x.Elements() != 1:
			return w, invalid("inputs", "the input %.80q has the shape %v, want one element", x.Name, x.Shape)
		}
		if value, err = scalar(x); err != nil {
			return w, err
		}
		if x.Name == portTextIn {
			if w.text, there = value.(string); !there {
				return w, invalid("inputs", "the input %q is of type %s, want BYTES", portTextIn, oip.Datatype(x.DType))
			}
			continue
		}
		if p := generationPorts(); !hasInput(&p, x.Name) {
			return w, invalid("inputs", "there is no input %.80q: there are %s", x.Name, portNames(p.Inputs))
		}
		if err := w.set(x.Name, value); err != nil {
			return w, err
		}
	}
	if !there {
		return w, invalid("inputs", "the input %q is missing", portTextIn)
	}
	return w, nil
}

// stops are the stop strings of a parameter: one, or a list.
func stops(value any) (out stringOrList, err error) {
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, invalid(portStop, "want a string or a list of strings")
		}
		out = append(out, s)
	}
	return out, nil
}

func hasInput(sig *model.Signature, name string) bool {
	_, ok := sig.Input(name)
	return ok
}

// scalar is the one element of a tensor: string, bool, int64 or float64.
func scalar(x tensor.Tensor) (any, error) {
	switch x.DType {
	case model.Bytes:
		return strings.ToValidUTF8(string(x.Strings()[0]), "\uFFFD"), nil
	case model.Bool:
		return x.Data[0] != 0, nil
	case model.F32, model.F64:
		f, err := x.Floats()
		if err != nil {
			return nil, err
		}
		return f[0], nil
	}
	n, err := x.Ints()
	if err != nil {
		return nil, oipError(err)
	}
	return n[0], nil
}

// set notes a parameter. What is not known is ignored.
func (w *wish) set(name string, value any) error {
	whole, isWhole := value.(int64)
	float, isFloat := value.(float64)
	if isWhole {
		float, isFloat = float64(whole), true
	}
	yes, isBool := value.(bool)
	fits := true
	n := int(whole)
	switch name {
	case portMaxTokens:
		w.MaxTokens, fits = &n, isWhole
	case portTopK:
		w.TopK, fits = &n, isWhole
	case portSeed:
		w.Seed, fits = &whole, isWhole
	case portTemperature:
		w.Temperature, fits = &float, isFloat
	case portTopP:
		w.TopP, fits = &float, isFloat
	case portStream:
		w.stream, fits = yes, isBool
	case portExclude:
		w.include, fits = !yes, isBool
	}
	if !fits {
		return invalid(name, "%s: %.40v does not fit here", name, value)
	}
	return nil
}

// oipText answers a request to a model that generates text with its whole answer.
func (s *Server) oipText(ctx context.Context, t *text, req *oip.Request) ([]tensor.Tensor, error) {
	w, err := wishOf(req)
	if err != nil {
		return nil, err
	}
	if w.stream {
		return nil, invalid(portStream, "one answer was asked for, and stream: call ModelStreamInfer or generate_stream")
	}
	var b strings.Builder
	if err := s.oipGenerate(ctx, t, &w, func(p Piece) error { b.WriteString(p.Text); return nil }); err != nil {
		return nil, err
	}
	return []tensor.Tensor{tensor.OfStrings(portTextOut, valid(b.String()))}, nil
}

// oipGenerate answers a wish piece by piece.
func (s *Server) oipGenerate(ctx context.Context, t *text, w *wish, send func(Piece) error) error {
	a, _, err := w.ask(t, 1)
	if err != nil {
		return err
	}
	if a.MaxTokens == 0 {
		a.MaxTokens = min(textTokens, s.context(t))
	}
	a.again = func(other *text) ([]int32, error) { return other.prompt(w.text) }
	if a.Tokens, err = a.again(t); err != nil {
		return err
	}
	asks := []Ask{a}
	if err := s.admitAsks(ctx, t, asks, len(a.Tokens)); err != nil {
		return err
	}
	if w.include {
		if err := send(Piece{Text: w.text}); err != nil {
			return err
		}
	}
	return s.generate(ctx, t, asks[0], send)
}
