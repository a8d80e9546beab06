package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

func tensorsRequest() *TensorsRequest {
	return &TensorsRequest{
		Replica: cluster.ReplicaID{Version: cluster.VersionID{Model: "m", Number: 3}, Ordinal: 1}, Epoch: 7, Outputs: []string{"y"},
		Inputs: []tensor.Tensor{{Name: "x", DType: model.F32, Shape: []int64{2, 1}, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}}, {Name: "none", DType: model.I64, Shape: []int64{0}},
			{Name: "scalar", DType: model.U8, Shape: []int64{}, Data: []byte{9}}},
	}
}

func TestTensorCodec(t *testing.T) {
	want := tensorsRequest()
	b, err := tensorCodec{}.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got TensorsRequest
	if err := (tensorCodec{}).Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Replica != want.Replica || got.Epoch != want.Epoch || !slices.Equal(got.Outputs, want.Outputs) || len(got.Inputs) != len(want.Inputs) {
		t.Errorf("%+v", got)
	}
	for i, x := range got.Inputs {
		w := want.Inputs[i]
		if x.Name != w.Name || x.DType != w.DType || !slices.Equal(x.Shape, w.Shape) || !bytes.Equal(x.Data, w.Data) {
			t.Errorf("%+v, want %+v", x, w)
		}
	}
	clear(b)
	if got.Inputs[0].Data[0] != 1 {
		t.Error("the message's bytes are shared")
	}
	if _, err := (tensorCodec{}).Marshal("text"); !errors.Is(err, errTensors) {
		t.Errorf("%v", err)
	}
	if err := (tensorCodec{}).Unmarshal([]byte("\x02\x00\x00\x00{}"), new(string)); !errors.Is(err, errTensors) {
		t.Errorf("%v", err)
	}
	res, _ := tensorCodec{}.Marshal(&TensorsResponse{Outputs: want.Inputs, Device: 12})
	var r TensorsResponse
	if err := (tensorCodec{}).Unmarshal(res, &r); err != nil || r.Device != 12 || len(r.Outputs) != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// head is a message with a head, and bytes behind it.
func head(text string, rest ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...), rest...)
}

func TestMalformedTensors(t *testing.T) {
	b, err := tensorCodec{}.Marshal(tensorsRequest())
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if err := (tensorCodec{}).Unmarshal(b[:n], new(TensorsRequest)); !errors.Is(err, errTensors) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
	many := `{"tensors":[` + strings.Repeat(`{},`, model.MaxPorts) + `{}]}`
	for what, b := range map[string][]byte{
		"surplus":        append(b, 0),
		"long head":      {0xff, 0xff, 0xff, 0xff, '{', '}'},
		"no JSON":        head("{"),
		"too many":       head(many),
		"negative bytes": head(`{"tensors":[{"name":"x","dtype":"U8","shape":[1],"len":-1}]}`, 1),
		"many bytes":     head(`{"tensors":[{"name":"x","dtype":"U8","shape":[1],"len":9223372036854775807}]}`, 1),
		"negative dim":   head(`{"tensors":[{"name":"x","dtype":"U8","shape":[-1],"len":1}]}`, 1),
		"overflow":       head(`{"tensors":[{"name":"x","dtype":"F32","shape":[4611686018427387904,4],"len":1}]}`, 1),
		"other length":   head(`{"tensors":[{"name":"x","dtype":"F32","shape":[2],"len":4}]}`, 1, 2, 3, 4),
		"no type":        head(`{"tensors":[{"name":"x","dtype":"F31","shape":[1],"len":4}]}`, 1, 2, 3, 4),
		"no name":        head(`{"tensors":[{"name":"","dtype":"U8","shape":[1],"len":1}]}`, 1),
	} {
		if err := (tensorCodec{}).Unmarshal(b, new(TensorsRequest)); !errors.Is(err, errTensors) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzTensors(f *testing.F) {
	b, _ := tensorCodec{}.Marshal(tensorsRequest())
	f.Add(b)
	f.Add(head(`{"tensors":[{"name":"x","dtype":"BYTES","shape":[1],"len":5}]}`, 1, 0, 0, 0, 'a'))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r TensorsRequest
		if (tensorCodec{}).Unmarshal(b, &r) != nil {
			return
		}
		again, err := tensorCodec{}.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		var twice TensorsRequest
		if err := (tensorCodec{}).Unmarshal(again, &twice); err != nil || len(twice.Inputs) != len(r.Inputs) {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}
