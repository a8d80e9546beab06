package oip

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// A request is read, and what lies is refused: each line says what is wrong with it, or what it is read as.
func TestReadRequest(t *testing.T) {
	in := func(fields string) string {
		return `{"inputs": [{"name": "a", "datatype": "INT32", "shape": [2], "data": [1, 2]` + fields + `}]}`
	}
	for body, want := range map[string]string{
		in(""): "[a I32 [2] [1 2]] []", in(`, "new": {"x": [1]}`): "[a I32 [2] [1 2]] []",
		` {"id": "é", "parameters": {"x": 1.5, "y": [1], "binary_data_output": true}, "inputs": [{"name": "a", "datatype": "BOOL", "shape": [], "data": [true]}], "outputs": [{"name": "o"}, {"name": "p", "parameters": {"binary_data": false}}]} `: "[a BOOL [] [1]] [{o true} {p false}]",
		`{"id": null, "outputs": null, "parameters": null, "inputs": [{"name": "a", "datatype": "FP32", "shape": [0, 3], "data": []}]}`:                                                                                                              "[a F32 [0 3] []] []",

		``: "no JSON", `[]`: "want an object", `{}`: "there are none", `{"inputs": {}}`: "want a list", `{"inputs": []}`: "there are none", `{"inputs": [1]}`: "want an object",
		`{"inputs": [{}]}`: "needs a name", "{\"inputs\": \"\xff\"}": "UTF-8", in("") + " x": "no JSON", `{"id": 5}`: "want a text", strings.Repeat("[", 100): "deeper",
		in(`, "data": [3, 4]`): "is there twice", `{"inputs": [], "inputs": []}`: "is there twice", in(`, "parameters": {"binary_data_size": 8}`): "both data and binary",
		in(`, "parameters": {"shared_memory_region": "x"}`): "unsupported", in(`, "parameters": 5`): "want an object", in(`, "parameters": {"x": 1e999}`): "too large",
		`{"inputs": [{"name": "a", "datatype": "INT32", "shape": [2]}]}`:                                                                                 "has no data",
		`{"inputs": [{"name": "a", "datatype": "int32", "shape": [2], "data": [1, 2]}]}`:                                                                 "not known",
		`{"inputs": [{"name": "a", "datatype": "INT32", "shape": [-1], "data": [1, 2]}]}`:                                                                "list of at most",
		`{"inputs": [{"name": "a", "datatype": "INT32", "shape": [1.0], "data": [1]}]}`:                                                                  "list of at most",
		`{"inputs": [{"name": "a", "datatype": "INT32", "shape": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1], "data": [1]}]}`:                                    "list of at most",
		`{"inputs": [{"name": "a", "datatype": "INT32", "shape": [3], "data": [1, 2]}]}`:                                                                 "says more",
		`{"inputs": [{"name": "a", "datatype": "FP16", "shape": [1], "data": [1]}]}`:                                                                     "no form in JSON",
		`{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [1], "data": [256]}]}`:                                                                  "no whole number",
		`{"inputs": [{"name": "a", "datatype": "INT64", "shape": [1], "data": [1.0]}]}`:                                                                  "no whole number",
		`{"inputs": [{"name": "a", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}]}`:                                          "within the 0 bytes",
		`{"inputs": [{"name": "a", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": "8"}}]}`:                                        "within the 0 bytes",
		`{"inputs": [{"name": "a", "datatype": "BOOL", "shape": [1], "data": [true]}, {"name": "a", "datatype": "BOOL", "shape": [1], "data": [true]}]}`: "is there twice",
		`{"inputs": [{"name": "a", "datatype": "BOOL", "shape": [1], "data": [true]}], "outputs": [{"name": "o"}, {"name": "o"}]}`:                       "is there twice",
		`{"inputs": [{"name": "a", "datatype": "BOOL", "shape": [1], "data": [true]}], "outputs": [{"name": "o", "parameters": {"classification": 3}}]}`: "unsupported",
		`{"inputs": [{"name": "a", "datatype": "BOOL", "shape": [1], "data": [true]}], "outputs": [{"name": "o", "parameters": {"binary_data": 1}}]}`:    "true or false",
		`{"id": "` + strings.Repeat("x", MaxID+1) + `"}`:                                                                                                 "more than",
	} {
		r, err := ReadRequest([]byte(body), -1)
		var got string
		if err != nil {
			got = err.Error()
			var o Invalid
			var x tensor.Invalid
			if !errors.As(err, &o) && !errors.As(err, &x) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %T", body, err)
			}
		} else {
			for _, x := range r.Inputs {
				n := fmt.Sprint(x.Data)
				if i, err := x.Ints(); err == nil {
					n = fmt.Sprint(i)
				}
				got += fmt.Sprintf("[%s %s %v %s]", x.Name, x.DType, x.Shape, n)
			}
			got += fmt.Sprint(" ", r.Outputs)
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
	}
}

// The header says no more than there is.
func TestJSONSize(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   int
		ok     bool
	}{{nil, -1, true}, {[]string{"0"}, 0, true}, {[]string{"10"}, 10, true}, {[]string{"11"}, 0, false}, {[]string{"-1"}, 0, false}, {[]string{"1", "1"}, 0, false},
		{[]string{""}, 0, false}, {[]string{"99999999999999999999"}, 0, false}, {[]string{"+1"}, 0, false}, {[]string{"0x1"}, 0, false}} {
		if n, err := JSONSize(c.values, 10); (err == nil) != c.ok || err == nil && n != c.want {
			t.Errorf("%q: %d %v", c.values, n, err)
		}
	}
}

// made is a tensor that tensor.Check accepts.
func made(t *rapid.T, name string) tensor.Tensor {
	d := rapid.SampledFrom([]model.DType{model.F32, model.F16, model.I64, model.U8, model.Bool, model.Bytes}).Draw(t, "type")
	x := tensor.Tensor{Name: name, DType: d, Shape: rapid.SliceOfN(rapid.Int64Range(0, 3), 0, 3).Draw(t, "shape")}
	for i := range x.Elements() {
		switch d {
		case model.Bytes:
			x.Data = tensor.AppendString(x.Data, rapid.StringN(0, 5, 20).Draw(t, "text"))
		case model.F32:
			x.Data = append(x.Data, byte(i), 0, 0, 64)
		default:
			for range d.Size() {
				x.Data = append(x.Data, byte(i%2))
			}
		}
	}
	return x
}

// What an answer's body is made of reads as a request of the same tensors, binary or not; one byte more or less does not.
func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Answer{ID: rapid.StringN(0, 5, 20).Draw(t, "id"), Model: "m", Version: "1"}
		binary := map[string]bool{}
		for i := range rapid.IntRange(1, 4).Draw(t, "outputs") {
			x := made(t, "x"+strconv.Itoa(i))
			binary[x.Name] = rapid.Bool().Draw(t, "binary") || x.DType == model.F16
			a.Outputs = append(a.Outputs, x)
		}
		b, err := a.Encode(func(name string) bool { return binary[name] })
		if err != nil {
			t.Fatal(err)
		}
		var j AnswerJSON
		if err := json.Unmarshal(b.JSON, &j); err != nil || j.ID != a.ID || j.Model != "m" || len(j.Outputs) != len(a.Outputs) {
			t.Fatalf("%v: %s", err, b.JSON)
		}
		head := bytes.Replace(b.JSON, []byte(`"outputs":`), []byte(`"inputs":`), 1)
		body := append(bytes.Clone(head), bytes.Join(b.Binary, nil)...)
		r, err := ReadRequest(body, len(head))
		if err != nil {
			t.Fatalf("%v: %s", err, head)
		}
		for i, x := range r.Inputs {
			if want := a.Outputs[i]; x.Name != want.Name || x.DType != want.DType || fmt.Sprint(x.Shape) != fmt.Sprint(want.Shape) || !bytes.Equal(x.Data, want.Data) {
				t.Fatalf("%v, want %v", x, want)
			}
		}
		if _, err := ReadRequest(append(body, 0), len(head)); err == nil {
			t.Fatal("a byte more")
		}
		if len(body) > len(head) {
			if _, err := ReadRequest(body[:len(body)-1], len(head)); err == nil {
				t.Fatal("a byte less")
			}
		}
	})
}

// Numbers that JSON has no form of are refused, not changed.
func TestNotFinite(t *testing.T) {
	a := Answer{Outputs: []tensor.Tensor{tensor.OfFloats("x", []int64{1}, []float32{float32(math.NaN())})}}
	var invalid tensor.Invalid
	if _, err := a.Encode(func(string) bool { return false }); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
	if b, err := a.Encode(func(string) bool { return true }); err != nil || len(b.Binary) != 1 {
		t.Errorf("%v %v", b, err)
	}
}

func TestDatatypes(t *testing.T) {
	if len(datatypes) != len(dtypes) {
		t.Error("two types have one name")
	}
	for d, name := range datatypes {
		if back, ok := DType(name); !ok || back != d || Datatype(d) != name || d.Size() == 0 && d != model.Bytes {
			t.Errorf("%s is %s", d, name)
		}
	}
}

func TestTally(t *testing.T) {
	var a, b Tally
	a.Success.Add(time.Second)
	a.Success.Add(-time.Second)
	b.Success.Add(time.Second)
	b.Last, b.Rows, b.Runs = 9, 3, 1
	a.Last = 12
	a.Merge(b)
	if s := Of("m", "1", a); s.Stats.Success != (Duration{3, 2e9}) || s.Last != 12 || s.Inferences != 3 || s.Executions != 1 {
		t.Errorf("%+v", s)
	}
}

// FuzzReadRequest: whatever comes is refused or is a request whose tensors fit, within memory in proportion to it; and a JSON part that
// encoding/json refuses is refused here.
func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(`{"inputs":[{"name":"a","datatype":"INT64","shape":[2],"data":[1,-2]}],"outputs":[{"name":"o"}]}`), -1)
	f.Add([]byte(`{"inputs":[{"name":"a","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}`+"\x02\x00\x00\x00hi"), 88)
	f.Add([]byte(`{"id":"x","parameters":{"binary_data_output":true,"timeout":5},"inputs":[{"name":"a","datatype":"FP32","shape":[2,1],"data":[[1.5],[2]]}]}`), -1)
	f.Add([]byte(`{"a":"\\\"","inputs":[{"name":"\u0061","datatype":"BOOL","shape":[ ],"data":[ true ]} ] }`), -1)
	f.Add([]byte(`{"inputs" : [ { } , [ ] ], "x": {"y": "}"}}`), -1)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		if size > len(body) || size < -1 {
			size = -1
		}
		head := body
		if size >= 0 {
			head = body[:size]
		}
		r, err := ReadRequest(body, size)
		if err != nil {
			return
		}
		if !json.Valid(head) || len(r.Inputs) == 0 {
			t.Fatalf("%q is a request", head)
		}
		for _, x := range r.Inputs {
			if err := x.Check(); err != nil || len(x.Data) > 8*len(body) {
				t.Fatalf("%q: %v", body, err)
			}
		}
		var plain struct {
			Inputs []struct{ Name string }
		}
		if err := json.Unmarshal(head, &plain); err == nil && len(plain.Inputs) >= len(r.Inputs) {
			for i, x := range r.Inputs {
				if plain.Inputs[i].Name != x.Name && !strings.Contains(strings.ToLower(string(head)), `\u`) && strings.Count(strings.ToLower(string(head)), `"name"`) == len(r.Inputs) {
					t.Fatalf("%q: input %d is %q", head, i, x.Name)
				}
			}
		}
	})
}
