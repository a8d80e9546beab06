package gateway

import "github.com/skein-project/skein/model"

// generationPorts are the ports of models that generate text. All inputs but the text may be left out.
func generationPorts() model.Signature {
	one := func(name string, d model.DType) model.Port {
		return model.Port{Name: name, DType: d, Shape: []int64{1}}
	}
	return model.Signature{
		Inputs:  []model.Port{one(portTextIn, model.Bytes)},
		Outputs: []model.Port{one(portTextOut, model.Bytes)},
	}
}
