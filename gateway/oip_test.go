package gateway

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/access"
	oipv2 "github.com/skein-project/skein/api/inference"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
	"github.com/skein-project/skein/wire"
)

// A model's name may have slashes, which clients send as they are.
func TestFoldModel(t *testing.T) {
	for path, want := range map[string]string{
		"/v2/models/team/x/infer":                 "/v2/models/team%2Fx/infer",
		"/v2/models/team/x":                       "/v2/models/team%2Fx",
		"/v2/models/a/b/c/versions/3/ready":       "/v2/models/a%2Fb%2Fc/versions/3/ready",
		"/v2/models/team/x/versions/3":            "/v2/models/team%2Fx/versions/3",
		"/v2/models/x%2Fy/z/stats":                "/v2/models/x%2Fy%2Fz/stats",
		"/v2/repository/models/team/x/load":       "/v2/repository/models/team%2Fx/load",
		"/v2/models/x/infer":                      "",
		"/v2/models/x":                            "",
		"/v2/models/":                             "",
		"/v2/repository/models/x/unload":          "",
		"/v2/else/team/x":                         "",
		"/v2/models/x/versions/1/generate_stream": "",
	} {
		got, ok := foldModel(path)
		if ok != (want != "") || got != want {
			t.Errorf("%s: %q %v", path, got, ok)
		}
	}
	_, mux := watched(t, slog.New(slog.DiscardHandler))
	if w := ask(mux, http.MethodGet, "/v2/models/team/x/ready", userKey, ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `\"team/x\"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What may not be called is not there: not in metadata, statistics or the index; and statistics tell a tenant of its own requests alone.
func TestOIPKeepsTenantsApart(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	acme := func(models ...string) {
		x, _ := s.live.Now().Tenant("acme")
		change(t, s, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1, Models: models}, Was: x.Rev})
	}
	acme("other")
	change(t, s, cluster.PutKey{Key: cluster.Key{ID: "sk-acme", Tenant: "acme", Hash: wire.SecretHash("acme-secret"), Roles: []access.Role{access.Publisher}}})
	for _, path := range []string{"", "/ready", "/config", "/stats", "/versions/1", "/versions/1/ready"} {
		there, absent := ask(mux, http.MethodGet, "/v2/models/calc"+path, "acme-secret", ""), ask(mux, http.MethodGet, "/v2/models/nothing"+path, "acme-secret", "")
		if there.Code != 404 || strings.ReplaceAll(there.Body.String(), "calc", "nothing") != absent.Body.String() {
			t.Errorf("%s: %d %s", path, there.Code, there.Body)
		}
	}
	v := cluster.VersionID{Model: "calc", Number: 1}
	for tenant, n := range map[string]int{"acme": 2, "default": 5} {
		for range n {
			c := &call{version: v, tenant: tenant, operation: opInfer, began: time.Now()}
			c.prepared()
			c.tried(time.Now(), time.Now())
			c.has(3)
			s.served.end(c, outcomeOK, time.Now())
		}
	}
	if got := ask(mux, http.MethodGet, "/v2/models/stats", "acme-secret", "").Body.String(); got != "{\"model_stats\":[]}\n" {
		t.Errorf("%s", got)
	}
	if got := ask(mux, http.MethodPost, "/v2/repository/index", "acme-secret", "").Body.String(); got != "[]\n" {
		t.Errorf("%s", got)
	}
	acme("calc")
	for key, want := range map[string]string{"acme-secret": `"inference_count":6,"execution_count":2`, userKey: `"inference_count":15,"execution_count":5`, adminKey: `"inference_count":21,"execution_count":7`} {
		if got := ask(mux, http.MethodGet, "/v2/models/calc@1/stats", key, "").Body.String(); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := ask(mux, http.MethodPost, "/v2/repository/index", "acme-secret", "").Body.String(); !strings.Contains(got, `"calc"`) {
		t.Errorf("%s", got)
	}
	if w := ask(mux, http.MethodPost, "/v2/repository/models/calc/load", "acme-secret", ""); w.Code != http.StatusNotImplemented {
		t.Errorf("a gateway that is no coordinator's: %d %s", w.Code, w.Body)
	}
}

// The health of models is told to keys in either header, and to nobody without one.
func TestModelHealth(t *testing.T) {
	_, mux := watched(t, slog.New(slog.DiscardHandler))
	for header, want := range map[string]int{"Authorization: Bearer " + userKey: http.StatusOK, "X-Api-Key: " + userKey: http.StatusOK, "X-Other: x": http.StatusUnauthorized, "X-Api-Key: x": http.StatusUnauthorized} {
		name, value, _ := strings.Cut(header, ": ")
		if w := ask(mux, http.MethodPost, "/grpc.health.v1.Health/Check", "", `{"service": "models/sums"}`, name, value); w.Code != want {
			t.Errorf("%s: %d %s, want %d", header, w.Code, w.Body, want)
		}
	}
}

// Contents over gRPC say the same as the bytes, for every type that has contents; those of another type, and numbers that do not fit, are
// refused.
func TestContents(t *testing.T) {
	kinds := []model.DType{model.F64, model.F32, model.I64, model.I32, model.I16, model.I8, model.U64, model.U32, model.U16, model.U8, model.Bool, model.Bytes}
	rapid.Check(t, func(t *rapid.T) {
		x := tensor.Tensor{Name: "x", DType: rapid.SampledFrom(kinds).Draw(t, "type"), Shape: []int64{rapid.Int64Range(1, 4).Draw(t, "n")}}
		for range x.Shape[0] {
			switch x.DType {
			case model.Bytes:
				x.Data = tensor.AppendString(x.Data, string(rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes")))
			case model.Bool:
				x.Data = append(x.Data, byte(rapid.IntRange(0, 1).Draw(t, "bool")))
			default:
				x.Data = append(x.Data, rapid.SliceOfN(rapid.ByteRange(0, 127), int(x.DType.Size()), int(x.DType.Size())).Draw(t, "element")...)
			}
		}
		c := contentsOf(x)
		data, err := dataOf(x, c)
		if err != nil || string(data) != string(x.Data) {
			t.Fatalf("%s: %v, %x, want %x", x.DType, err, data, x.Data)
		}
		other := x
		for other.DType = kinds[0]; countOf(c, other.DType) > 0; other.DType = kinds[2] {
		}
		if _, err := dataOf(other, c); err == nil {
			t.Fatalf("contents of %s are %s", x.DType, other.DType)
		}
	})
	for d, c := range map[model.DType]*oipv2.InferTensorContents{model.I8: {IntContents: []int32{128}}, model.I16: {IntContents: []int32{-32769}}, model.U8: {UintContents: []uint32{256}},
		model.U16: {UintContents: []uint32{1 << 16}}, model.F16: {Fp32Contents: []float32{1}}, model.BF16: nil, model.F32: {Fp32Contents: []float32{1}, Fp64Contents: []float64{1}}} {
		if data, err := dataOf(tensor.Tensor{Name: "x", DType: d}, c); err == nil {
			t.Errorf("%v as %s: %x", c, d, data)
		}
	}
	if _, err := parametersOf(map[string]*oipv2.InferParameter{"x": {ParameterChoice: &oipv2.InferParameter_Uint64Param{Uint64Param: math.MaxUint64}}}); err == nil {
		t.Error("2^64 - 1 is an int64")
	}
}

// What an encoder is given becomes rows without their padding.
func TestEncoderRows(t *testing.T) {
	in := func(name string, shape []int64, values ...int64) tensor.Tensor {
		return tensor.OfInts(name, shape, values)
	}
	two := []int64{2, 3}
	for want, given := range map[string][]tensor.Tensor{
		"[{[1 2 3] [] } {[4 5] [] }]":             {in(portIDs, two, 1, 2, 3, 4, 5, 6), in(portMask, two, 1, 1, 1, 1, 1, 0)},
		"[{[1 2 3] [0 0 1] } {[4 5 6] [0 1 1] }]": {in(portIDs, two, 1, 2, 3, 4, 5, 6), in(portTypes, two, 0, 0, 1, 0, 1, 1)},
		"is missing":    {in(portMask, two, 1, 1, 1, 1, 1, 1)},
		"want the same": {in(portIDs, two, 1, 2, 3, 4, 5, 6), in(portMask, []int64{3, 2}, 1, 1, 1, 1, 1, 0)},
		"zeros where":   {in(portIDs, two, 1, 2, 3, 4, 5, 6), in(portMask, two, 0, 1, 1, 1, 1, 1)},
		"too large":     {in(portIDs, two, 1, 2, 3, 4, 5, 1<<32)},
		"want 1 to 2":   {in(portIDs, []int64{3, 1}, 1, 2, 3)},
		"one token":     {in(portIDs, []int64{2, 0})},
	} {
		rows, _, err := encoderRows(given, 2)
		got := ""
		for i, r := range rows {
			got += map[bool]string{true: "[", false: " "}[i == 0] + fmt.Sprintf("{%v %v }", r.IDs, r.Types)
		}
		if got += "]"; err != nil {
			got = err.Error()
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A text model's wish is read from inputs and parameters, and what does not fit is refused.
func TestWish(t *testing.T) {
	text := tensor.OfStrings(portTextIn, "hi")
	w, err := wishOf(&oip.Request{Inputs: []tensor.Tensor{text, tensor.OfInts(portMaxTokens, []int64{1}, []int64{7}), tensor.OfStrings(portStop, "a", "b")},
		Parameters: oip.Parameters{portTemperature: int64(1), portMaxTokens: int64(9), "unknown": true, portExclude: false}})
	if err != nil || w.text != "hi" || *w.MaxTokens != 7 || *w.Temperature != 1 || fmt.Sprint(w.Stop) != "[a b]" || !w.include || w.stream {
		t.Errorf("%+v %v", w, err)
	}
	for why, r := range map[string]oip.Request{
		"missing":      {},
		"one element":  {Inputs: []tensor.Tensor{tensor.OfStrings(portTextIn, "a", "b")}},
		"want BYTES":   {Inputs: []tensor.Tensor{tensor.OfInts(portTextIn, []int64{1}, []int64{1})}},
		"no input":     {Inputs: []tensor.Tensor{text, tensor.OfInts("x", []int64{1}, []int64{1})}},
		"no output":    {Inputs: []tensor.Tensor{text}, Outputs: []oip.Output{{Name: "x"}}},
		"does not fit": {Inputs: []tensor.Tensor{text}, Parameters: oip.Parameters{portMaxTokens: 1.5}},
		"want a str":   {Inputs: []tensor.Tensor{text}, Parameters: oip.Parameters{portStop: int64(1)}},
	} {
		if _, err := wishOf(&r); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
}
