package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	oipv2 "github.com/skein-project/skein/api/inference"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/tensor"
)

// rpcService is the protocol's service.
const rpcService = "/inference.GRPCInferenceService/"

// dial opens a connection of grpc-go, whose calls carry a key ("" = none).
func (c oipClient) dial(t *testing.T, key string) *grpc.ClientConn {
	t.Helper()
	auth := func(ctx context.Context) context.Context {
		if key == "" {
			return ctx
		}
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(c.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(128<<20), grpc.MaxCallSendMsgSize(128<<20)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, res any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return call(auth(ctx), method, req, res, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, call grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return call(auth(ctx), d, cc, method, opts...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// rpc: the service answers a stack of gRPC that is not ours, with raw and with typed contents, and says the same as over HTTP.
func (c oipClient) rpc(t *testing.T) {
	conn := c.dial(t, c.key)
	call := func(method string, req, res any) {
		t.Helper()
		if err := conn.Invoke(t.Context(), rpcService+method, req, res); err != nil {
			t.Fatalf("%s: %v", method, err)
		}
	}
	var live oipv2.ServerLiveResponse
	var ready oipv2.ServerReadyResponse
	var modelReady oipv2.ModelReadyResponse
	call("ServerLive", &oipv2.ServerLiveRequest{}, &live)
	call("ServerReady", &oipv2.ServerReadyRequest{}, &ready)
	call("ModelReady", &oipv2.ModelReadyRequest{Name: "sort", Version: "1"}, &modelReady)
	if !live.Live || !ready.Ready || !modelReady.Ready {
		t.Errorf("live %v, ready %v, model %v", live.Live, ready.Ready, modelReady.Ready)
	}
	var server oipv2.ServerMetadataResponse
	var meta oipv2.ModelMetadataResponse
	var config oipv2.ModelConfigResponse
	call("ServerMetadata", &oipv2.ServerMetadataRequest{}, &server)
	call("ModelMetadata", &oipv2.ModelMetadataRequest{Name: "sort"}, &meta)
	call("ModelConfig", &oipv2.ModelConfigRequest{Name: "sort"}, &config)
	if server.Name != "skein" || len(meta.Inputs) != 3 || meta.Outputs[0].Name != "last_hidden_state" || config.Config.Input[0].DataType != oipv2.DataType_TYPE_INT64 {
		t.Errorf("%v %v %v", &server, &meta, &config)
	}
	ids := tensor.OfInts("input_ids", []int64{1, 3}, []int64{2, 7, 3})
	req := &oipv2.ModelInferRequest{ModelName: "sort", Id: "r", Inputs: []*oipv2.ModelInferRequest_InferInputTensor{{Name: "input_ids", Datatype: "INT64", Shape: []int64{1, 3}}},
		RawInputContents: [][]byte{ids.Data}, Outputs: []*oipv2.ModelInferRequest_InferRequestedOutputTensor{{Name: "logits"}}}
	var raw, typed oipv2.ModelInferResponse
	call("ModelInfer", req, &raw)
	req.RawInputContents, req.Inputs[0].Contents = nil, &oipv2.InferTensorContents{Int64Contents: []int64{2, 7, 3}}
	call("ModelInfer", req, &typed)
	if raw.Id != "r" || raw.ModelVersion != "1" || len(raw.RawOutputContents) != 1 || raw.Outputs[0].Contents != nil || len(typed.RawOutputContents) != 0 {
		t.Fatalf("%v\n%v", &raw, &typed)
	}
	if got := tensor.OfFloats("", nil, typed.Outputs[0].Contents.Fp32Contents).Data; len(got) != 12 || !bytes.Equal(got, raw.RawOutputContents[0]) {
		t.Errorf("raw %x, typed %x", raw.RawOutputContents[0], got)
	}
	refused := func(want codes.Code, change func(*oipv2.ModelInferRequest)) {
		t.Helper()
		r := &oipv2.ModelInferRequest{ModelName: "sort", Inputs: []*oipv2.ModelInferRequest_InferInputTensor{{Name: "input_ids", Datatype: "INT64", Shape: []int64{1, 3}}}, RawInputContents: [][]byte{ids.Data}}
		change(r)
		if err := conn.Invoke(t.Context(), rpcService+"ModelInfer", r, &raw); status.Code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused(codes.NotFound, func(r *oipv2.ModelInferRequest) { r.ModelName = "none" })
	refused(codes.InvalidArgument, func(r *oipv2.ModelInferRequest) { r.RawInputContents[0] = ids.Data[:23] })
	refused(codes.InvalidArgument, func(r *oipv2.ModelInferRequest) { r.RawInputContents = append(r.RawInputContents, nil) })
	refused(codes.InvalidArgument, func(r *oipv2.ModelInferRequest) { r.Inputs[0].Contents = &oipv2.InferTensorContents{} })
	refused(codes.InvalidArgument, func(r *oipv2.ModelInferRequest) {
		r.RawInputContents, r.Inputs[0].Contents = nil, &oipv2.InferTensorContents{IntContents: []int32{1, 2, 3}}
	})
	refused(codes.InvalidArgument, func(r *oipv2.ModelInferRequest) {
		r.Inputs = append(r.Inputs, r.Inputs[0])
		r.RawInputContents = append(r.RawInputContents, ids.Data)
	})
	refused(codes.Unimplemented, func(r *oipv2.ModelInferRequest) {
		r.Inputs[0].Parameters = map[string]*oipv2.InferParameter{"shared_memory_region": {ParameterChoice: &oipv2.InferParameter_StringParam{StringParam: "x"}}}
	})
	// A message of 64 MiB is read, and refused for what it says; beyond Config.MaxTensors it is not read.
	long := func(elements int64) func(*oipv2.ModelInferRequest) {
		return func(r *oipv2.ModelInferRequest) {
			r.Inputs[0].Shape, r.RawInputContents = []int64{1, elements}, [][]byte{make([]byte, 8*elements)}
		}
	}
	refused(codes.InvalidArgument, long(8<<20))
	refused(codes.ResourceExhausted, long(11<<20))
	if err := conn.Invoke(t.Context(), rpcService+"SystemSharedMemoryStatus", &oipv2.ServerLiveRequest{}, &live); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	stranger := c.dial(t, "")
	proto.Reset(&live)
	proto.Reset(&ready)
	if err := errors.Join(stranger.Invoke(t.Context(), rpcService+"ServerLive", &oipv2.ServerLiveRequest{}, &live),
		stranger.Invoke(t.Context(), rpcService+"ServerReady", &oipv2.ServerReadyRequest{}, &ready)); err != nil || !live.Live || !ready.Ready {
		t.Errorf("without a key: live %v, ready %v, %v", live.Live, ready.Ready, err)
	}
	if err := stranger.Invoke(t.Context(), rpcService+"ServerMetadata", &oipv2.ServerMetadataRequest{}, &server); status.Code(err) != codes.Unauthenticated {
		t.Error(err)
	}
	c.stream(t, conn)
}

// stream: a stream answers one request after the other, goes on after one that fails, and gives a text piece by piece.
func (c oipClient) stream(t *testing.T, conn *grpc.ClientConn) {
	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, rpcService+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	text := func(model, id string, stream bool) *oipv2.ModelInferRequest {
		return &oipv2.ModelInferRequest{ModelName: model, Id: id, Inputs: []*oipv2.ModelInferRequest_InferInputTensor{
			{Name: "text_input", Datatype: "BYTES", Shape: []int64{1}, Contents: &oipv2.InferTensorContents{BytesContents: [][]byte{[]byte("the end")}}},
			{Name: "stream", Datatype: "BOOL", Shape: []int64{1}, Contents: &oipv2.InferTensorContents{BoolContents: []bool{stream}}},
			{Name: "temperature", Datatype: "FP32", Shape: []int64{1}, Contents: &oipv2.InferTensorContents{Fp32Contents: []float32{0}}},
			{Name: "max_tokens", Datatype: "INT32", Shape: []int64{1}, Contents: &oipv2.InferTensorContents{IntContents: []int32{6}}}}}
	}
	texts, pieces := map[string]string{}, map[string]int{}
	for _, r := range []*oipv2.ModelInferRequest{text("gpt2", "whole", false), text("none", "bad", true), text("gpt2", "pieces", true)} {
		if err := s.SendMsg(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var ended []string
	for {
		var res oipv2.ModelStreamInferResponse
		if err := s.RecvMsg(&res); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		r := res.InferResponse
		if res.ErrorMessage != "" {
			if ended = append(ended, r.Id+" failed"); !strings.Contains(res.ErrorMessage, "does not exist") {
				t.Error(res.ErrorMessage)
			}
			continue
		}
		texts[r.Id] += string(r.Outputs[0].Contents.BytesContents[0])
		if pieces[r.Id]++; r.Parameters["triton_final_response"].GetBoolParam() {
			ended = append(ended, r.Id)
		}
	}
	if fmt.Sprint(ended) != "[whole bad failed pieces]" || texts["whole"] == "" || texts["whole"] != texts["pieces"] || pieces["whole"] != 1 || pieces["pieces"] < 3 {
		t.Errorf("%v %v %q", ended, pieces, texts)
	}
}

// generate: a text comes as one answer or as events.
func (c oipClient) generate(t *testing.T) {
	var want struct{ Choices []struct{ Text string } }
	c.get(t, "POST", "/v1/completions", `{"model": "gpt2", "prompt": "the end", "max_tokens": 6, "temperature": 0}`, &want)
	var one struct {
		ID   string `json:"id"`
		Text string `json:"text_output"`
	}
	c.get(t, "POST", "/v2/models/gpt2/generate", `{"id": "g", "text_input": "the end", "parameters": {"temperature": 0}, "max_tokens": 6}`, &one)
	if one.ID != "g" || one.Text != want.Choices[0].Text {
		t.Errorf("%+v, want %q", one, want.Choices[0].Text)
	}
	c.get(t, "POST", "/v2/models/gpt2/generate", `{"text_input": "the end", "parameters": {"temperature": 0, "max_tokens": 6, "exclude_input_in_output": false}}`, &one)
	if one.Text != "the end"+want.Choices[0].Text {
		t.Errorf("%+v with the input", one)
	}
	status, header, b := c.call(t, "POST", "/v2/models/gpt2/versions/1/generate_stream", []byte(`{"text_input": "the end", "temperature": 0, "max_tokens": 6, "stream": true}`))
	got := ""
	for _, line := range strings.Split(string(b), "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), &one); err != nil {
				t.Fatal(err)
			}
			got += one.Text
		}
	}
	if status != 200 || header.Get("Content-Type") != "text/event-stream" || got != want.Choices[0].Text {
		t.Errorf("%d %q %s", status, got, b)
	}
	for body, want := range map[string]string{`{}`: "missing", `{"text_input": 5}`: "JSON", `{"text_input": "x", "max_tokens": "x"}`: "does not fit", `{"text_input": "x", "stream": true}`: "generate_stream", `{"text_input": "x", "temperature": 1e999}`: "temperature"} {
		if status, _, b := c.call(t, "POST", "/v2/models/gpt2/generate", []byte(body)); status != 400 || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %s", body, status, b)
		}
	}
	if status, _, b := c.call(t, "POST", "/v2/models/sort/generate", []byte(`{"text_input": "x"}`)); status != 400 {
		t.Errorf("%d %s", status, b)
	}
}

// repository: what is served can be listed, taken away and brought back, and is counted.
func (c oipClient) repository(t *testing.T) {
	state := func() string {
		var all []oip.IndexEntry
		c.get(t, "POST", "/v2/repository/index", "", &all)
		out := ""
		for _, e := range all {
			out += fmt.Sprintf("%s@%s %s ", e.Name, e.Version, e.State)
		}
		return out
	}
	if got := state(); got != "embed@1 READY gpt2@1 READY sort@1 READY " {
		t.Error(got)
	}
	var stats oip.Statistics
	c.get(t, "GET", "/v2/models/sort/stats", "", &stats)
	if m := stats.Models; len(m) != 1 || m[0].Inferences < 5 || m[0].Executions < 4 || m[0].Inferences <= m[0].Executions || m[0].Stats.Fail.Count == 0 || m[0].Last == 0 || m[0].Stats.ComputeInfer.Nanos == 0 ||
		m[0].Stats.Success.Nanos < m[0].Stats.ComputeInfer.Nanos+m[0].Stats.Queue.Nanos {
		t.Errorf("%+v", stats)
	}
	c.get(t, "GET", "/v2/models/stats", "", &stats)
	if len(stats.Models) != 3 {
		t.Errorf("%+v", stats)
	}
	c.get(t, "POST", "/v2/repository/models/embed/unload", `{"parameters": {"unload_dependents": false}}`, nil)
	if got := state(); !strings.Contains(got, "embed@1 UNAVAILABLE") {
		t.Error(got)
	}
	if status, _, b := c.call(t, "GET", "/v2/models/embed/ready", nil); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, b)
	}
	c.get(t, "POST", "/v2/repository/models/embed/load", "", nil)
	c.get(t, "GET", "/v2/models/embed/ready", "", nil)
	for body, want := range map[string]int{`{"parameters": {"config": "{}"}}`: 501, `{`: 400} {
		if status, _, b := c.call(t, "POST", "/v2/repository/models/embed/load", []byte(body)); status != want {
			t.Errorf("%s: %d %s", body, status, b)
		}
	}
	if status, _, b := c.call(t, "POST", "/v2/repository/models/none/load", nil); status != 404 {
		t.Errorf("%d %s", status, b)
	}
	conn := c.dial(t, c.key)
	var index oipv2.RepositoryIndexResponse
	var counted oipv2.ModelStatisticsResponse
	err := errors.Join(conn.Invoke(t.Context(), rpcService+"RepositoryModelUnload", &oipv2.RepositoryModelUnloadRequest{ModelName: "embed"}, &oipv2.RepositoryModelUnloadResponse{}),
		conn.Invoke(t.Context(), rpcService+"RepositoryIndex", &oipv2.RepositoryIndexRequest{Ready: true}, &index),
		conn.Invoke(t.Context(), rpcService+"ModelStatistics", &oipv2.ModelStatisticsRequest{Name: "sort"}, &counted),
		conn.Invoke(t.Context(), rpcService+"RepositoryModelLoad", &oipv2.RepositoryModelLoadRequest{ModelName: "embed"}, &oipv2.RepositoryModelLoadResponse{}))
	if err != nil || len(index.Models) != 2 || counted.ModelStats[0].InferenceCount == 0 {
		t.Errorf("%v %v %v", err, &index, &counted)
	}
}

// probes: health and descriptions, as grpcurl and load balancers ask for them.
func (c oipClient) probes(t *testing.T) {
	for _, x := range []struct {
		key, service string
		want         codes.Code
	}{{"", "", codes.OK}, {"", "inference.GRPCInferenceService", codes.OK}, {"", "skein.inference.v1.InferenceService", codes.OK}, {"", "x", codes.NotFound}, {"", "models/sort", codes.Unauthenticated},
		{c.key, "models/sort", codes.OK}, {c.key, "models/sort@1", codes.OK}, {c.key, "models/none", codes.NotFound}, {"sk-wrong", "", codes.Unauthenticated}} {
		res, err := grpc_health_v1.NewHealthClient(c.dial(t, x.key)).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: x.service})
		if status.Code(err) != x.want || err == nil && res.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q %q: %v %v", x.key, x.service, res, err)
		}
	}
	for key, want := range map[string]codes.Code{c.key: codes.OK, "": codes.Unauthenticated} {
		s, err := grpc_reflection_v1.NewServerReflectionClient(c.dial(t, key)).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}) // Recv says what went wrong
		res, err := s.Recv()
		if status.Code(err) != want || err == nil && len(res.GetListServicesResponse().GetService()) != 3 {
			t.Errorf("%q: %v %v", key, res, err)
		}
	}
}
