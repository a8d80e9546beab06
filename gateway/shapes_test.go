package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	oipv2 "github.com/skein-project/skein/api/inference"
	oipconnect "github.com/skein-project/skein/api/inference/inferenceconnect"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// preload puts what a watched gateway would read of its version's files in place.
func preload(s *Server, x *text) {
	e := s.texts.entry(blob.Of([]byte("x")).Digest())
	e.once.Do(func() { e.text = x })
}

// allocated is how many bytes are allocated while f runs.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Shapes whose dimensions are not bounded by any data are refused before anything is made of them (attack case 22: a small request that grows),
// and so are more rows than a request may have; over every protocol that takes tensors, by encoders and by graphs.
func TestShapesThatGrow(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	free := []int64{model.Free, model.Free}
	graph := &model.Signature{Inputs: []model.Port{{Name: portIDs, DType: model.I64, Shape: free}}, Outputs: []model.Port{{Name: "y", DType: model.F32, Shape: free}}}
	for name, x := range map[string]*text{
		"encoder": {limit: 1 << 20, manifest: &model.Manifest{Config: model.Config{Arch: model.BERT, Hidden: 8, Vocab: 100, Positions: 64}}},
		"graph":   {limit: 1 << 20, manifest: &model.Manifest{Config: model.Config{Arch: model.Graph}, Graph: graph}},
	} {
		s.texts.byDigest = map[blob.Digest]*textEntry{}
		preload(s, x)
		for _, shape := range [][]int64{{10_000_000, 0}, {1 << 40, 0}, {0, 1 << 40}, {1 << 62, 1 << 62, 0}, {1 << 10, 1 << 10, 0}} {
			used := allocated(func() { refusedShape(t, mux, name, shape) })
			if used > 4<<20 {
				t.Errorf("%s %v: %d bytes", name, shape, used)
			}
		}
	}
	// Rows that are there: what is allocated beside the body is less than the rows would be.
	s.texts.byDigest = map[blob.Digest]*textEntry{}
	preload(s, &text{limit: 1 << 20, manifest: &model.Manifest{Config: model.Config{Arch: model.BERT, Hidden: 8, Vocab: 100, Positions: 64}}})
	const n = 1 << 20
	ask := func(shape []int64, want string) uint64 {
		body, err := proto.Marshal(&inferencev1.InferRequest{Model: "sums", Inputs: []*inferencev1.Tensor{{Name: portIDs, Dtype: "I64", Shape: shape, Data: make([]byte, 8*n)}}})
		if err != nil {
			t.Fatal(err)
		}
		return allocated(func() {
			w := askProto(mux, inferencev1connect.InferenceServiceInferProcedure, body)
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%v: %d %.200s", shape, w.Code, w.Body)
			}
		})
	}
	few, many := ask([]int64{1, n}, ""), ask([]int64{n, 1}, "want 1 to 256")
	if many > 2*few+16<<20 { // a slice for each row would be a multiple
		t.Errorf("%d bytes for as many rows, %d for one of the same length", many, few)
	}
	// As many as may be are taken as far as a replica that is not there.
	if _, _, err := encoderRows([]tensor.Tensor{tensor.OfInts(portIDs, []int64{256, 1}, make([]int64, 256))}, 256); err != nil {
		t.Error(err)
	}
}

func refusedShape(t *testing.T, mux http.Handler, name string, shape []int64) {
	t.Helper()
	text := strings.Join(strings.Fields(fmt.Sprint(shape)), ",")
	json := fmt.Sprintf(`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": %s, "data": []}]}`, text)
	grpc, err := proto.Marshal(&oipv2.ModelInferRequest{ModelName: "sums", Inputs: []*oipv2.ModelInferRequest_InferInputTensor{{Name: portIDs, Datatype: "INT64", Shape: shape, Contents: &oipv2.InferTensorContents{}}}})
	if err != nil {
		t.Fatal(err)
	}
	own, err := proto.Marshal(&inferencev1.InferRequest{Model: "sums", Inputs: []*inferencev1.Tensor{{Name: portIDs, Dtype: "I64", Shape: shape}}})
	if err != nil {
		t.Fatal(err)
	}
	for way, w := range map[string]*httptest.ResponseRecorder{
		"REST":    ask(mux, http.MethodPost, "/v2/models/sums/infer", userKey, json),
		"gRPC":    askProto(mux, oipconnect.GRPCInferenceServiceModelInferProcedure, grpc),
		"Connect": askProto(mux, inferencev1connect.InferenceServiceInferProcedure, own),
	} {
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s %s %v: %d %.200s", way, name, shape, w.Code, w.Body)
		}
	}
}

// askProto calls a procedure by Connect with a message that is encoded already.
func askProto(mux http.Handler, path string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/proto")
	r.Header.Set("Authorization", "Bearer "+userKey)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}
