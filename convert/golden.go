package convert

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/skein-project/skein/convert/safetensors"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// MaxGolden bounds golden.safetensors, in bytes.
const MaxGolden = 256 << 20

// Golden is what the framework that a model comes from computed with it.
type Golden struct {
	Inputs  []tensor.Tensor
	Outputs []tensor.Tensor
}

// GoldenOf reads golden.safetensors: inputs are called in.NAME, outputs out.NAME, by the model's ports (tools/py/make_golden.py writes it).
// ok is false where the folder has none. Errors are of type Refused, or those of reading.
func GoldenOf(files map[string]Source) (g Golden, ok bool, err error) {
	src, ok := files[goldenName]
	if !ok {
		return g, false, nil
	}
	if src.Size > MaxGolden {
		return g, false, Refused{goldenName, "", fmt.Sprintf("%d bytes are more than %d", src.Size, MaxGolden)}
	}
	list, err := safetensors.Read(src, src.Size)
	if inv, bad := errors.AsType[safetensors.Invalid](err); bad {
		return g, false, Refused{goldenName, inv.What, inv.Why}
	}
	if err != nil {
		return g, false, err
	}
	for _, t := range list {
		side, name, _ := strings.Cut(t.Name, ".")
		x := tensor.Tensor{Name: name, DType: model.DType(t.DType), Shape: t.Shape, Data: make([]byte, t.Len)}
		if _, err := io.ReadFull(io.NewSectionReader(src, t.Off, t.Len), x.Data); err != nil {
			return g, false, fmt.Errorf("convert: read %s: %w", goldenName, err)
		}
		if err := x.Check(); err != nil {
			return g, false, Refused{goldenName, fmt.Sprintf("tensor %.80q", t.Name), err.Error()}
		}
		switch side {
		case "in":
			g.Inputs = append(g.Inputs, x)
		case "out":
			g.Outputs = append(g.Outputs, x)
		default:
			return g, false, Refused{goldenName, fmt.Sprintf("tensor %.80q", t.Name), "is called neither in.NAME nor out.NAME"}
		}
	}
	if len(g.Outputs) == 0 {
		return g, false, Refused{goldenName, "", "has no output"}
	}
	return g, true, nil
}
