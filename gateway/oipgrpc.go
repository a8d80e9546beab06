package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

	oipv2 "github.com/skein-project/skein/api/inference"
	oipconnect "github.com/skein-project/skein/api/inference/inferenceconnect"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/tensor"
)

// oipRPC answers the Open Inference Protocol v2 over gRPC. This file and oipcontents.go are the border: its generated types end here.
type oipRPC struct{ s *Server }

var _ oipconnect.GRPCInferenceServiceHandler = oipRPC{}

func (s *Server) registerOIPRPC(mux doors) {
	// Tensors are not compressed on the way out: that takes longer than to send them.
	path, h := oipconnect.NewGRPCInferenceServiceHandler(oipRPC{s}, connect.WithReadMaxBytes(int(s.cfg.MaxTensors)),
		connect.WithInterceptors(explainer{s}), connect.WithRecover(s.recovered), connect.WithCompressMinBytes(math.MaxInt))
	_, probes := oipconnect.NewGRPCInferenceServiceHandler(oipRPC{s}, connect.WithReadMaxBytes(maxProbe)) // is called by strangers
	writer := connect.NewErrorWriter()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		if need, _ := s.needs.Requires(r.URL.Path); need == accessv1.Permission_PERMISSION_HEALTH {
			probes.ServeHTTP(w, r)
			return
		}
		operation := opModels
		switch r.URL.Path {
		case oipconnect.GRPCInferenceServiceModelInferProcedure:
			operation = opInfer
		case oipconnect.GRPCInferenceServiceModelStreamInferProcedure:
			operation = opOther // each of its requests is one
		}
		r, c := s.begin(r, requestID(r.Header.Get(requestIDHeader)), operation)
		defer c.end()
		c.header = w.Header()
		w.Header().Set(requestIDHeader, c.id)
		err := s.enter(r, c, r.URL.Path)
		if _, known := s.needs.Requires(r.URL.Path); err == nil && !known {
			err = &Error{Fault: FaultUnsupported, Why: fmt.Sprintf("unsupported: %.200q", r.URL.Path)}
		}
		if err != nil { // before anything of the body is read
			c.fail(err)
			if err := writer.Write(w, r, s.connectError(err)); err != nil {
				s.log.Debug("a refusal was not taken", "err", err)
			}
			return
		}
		h.ServeHTTP(w, r)
	})
}

// ServerLive implements GRPCInferenceService.
func (o oipRPC) ServerLive(context.Context, *connect.Request[oipv2.ServerLiveRequest]) (*connect.Response[oipv2.ServerLiveResponse], error) {
	return connect.NewResponse(&oipv2.ServerLiveResponse{Live: true}), nil
}

// ServerReady implements GRPCInferenceService.
func (o oipRPC) ServerReady(context.Context, *connect.Request[oipv2.ServerReadyRequest]) (*connect.Response[oipv2.ServerReadyResponse], error) {
	return connect.NewResponse(&oipv2.ServerReadyResponse{Ready: o.s.Ready() == nil}), nil
}

// ModelReady implements GRPCInferenceService.
func (o oipRPC) ModelReady(ctx context.Context, r *connect.Request[oipv2.ModelReadyRequest]) (*connect.Response[oipv2.ModelReadyResponse], error) {
	ready, err := o.s.modelReady(ctx, r.Msg.Name, r.Msg.Version)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&oipv2.ModelReadyResponse{Ready: ready}), nil
}

// ServerMetadata implements GRPCInferenceService.
func (o oipRPC) ServerMetadata(context.Context, *connect.Request[oipv2.ServerMetadataRequest]) (*connect.Response[oipv2.ServerMetadataResponse], error) {
	m := o.s.serverMetadata()
	return connect.NewResponse(&oipv2.ServerMetadataResponse{Name: m.Name, Version: m.Version, Extensions: m.Extensions}), nil
}

// ModelMetadata implements GRPCInferenceService.
func (o oipRPC) ModelMetadata(ctx context.Context, r *connect.Request[oipv2.ModelMetadataRequest]) (*connect.Response[oipv2.ModelMetadataResponse], error) {
	m, err := o.s.modelMetadata(ctx, r.Msg.Name, r.Msg.Version)
	if err != nil {
		return nil, err
	}
	ports := func(in []oip.PortJSON) (out []*oipv2.ModelMetadataResponse_TensorMetadata) {
		for _, p := range in {
			out = append(out, &oipv2.ModelMetadataResponse_TensorMetadata{Name: p.Name, Datatype: p.Datatype, Shape: p.Shape})
		}
		return out
	}
	return connect.NewResponse(&oipv2.ModelMetadataResponse{Name: m.Name, Versions: m.Versions, Platform: m.Platform, Inputs: ports(m.Inputs), Outputs: ports(m.Outputs)}), nil
}

// ModelConfig implements GRPCInferenceService.
func (o oipRPC) ModelConfig(ctx context.Context, r *connect.Request[oipv2.ModelConfigRequest]) (*connect.Response[oipv2.ModelConfigResponse], error) {
	c, err := o.s.modelConfig(ctx, r.Msg.Name, r.Msg.Version)
	if err != nil {
		return nil, err
	}
	out := &oipv2.ModelConfig{Name: c.Name, Platform: c.Platform, Backend: c.Backend, ModelTransactionPolicy: &oipv2.ModelTransactionPolicy{Decoupled: c.Transactions.Decoupled}}
	specific := &oipv2.ModelVersionPolicy_Specific{}
	for _, v := range c.VersionPolicy.Specific.Versions {
		specific.Versions = append(specific.Versions, int64(v))
	}
	out.VersionPolicy = &oipv2.ModelVersionPolicy{PolicyChoice: &oipv2.ModelVersionPolicy_Specific_{Specific: specific}}
	for _, p := range c.Input {
		out.Input = append(out.Input, &oipv2.ModelInput{Name: p.Name, DataType: oipv2.DataType(oipv2.DataType_value[p.DataType]), Dims: p.Dims, Optional: p.Optional})
	}
	for _, p := range c.Output {
		out.Output = append(out.Output, &oipv2.ModelOutput{Name: p.Name, DataType: oipv2.DataType(oipv2.DataType_value[p.DataType]), Dims: p.Dims})
	}
	return connect.NewResponse(&oipv2.ModelConfigResponse{Config: out}), nil
}

// ModelInfer implements GRPCInferenceService.
func (o oipRPC) ModelInfer(ctx context.Context, r *connect.Request[oipv2.ModelInferRequest]) (*connect.Response[oipv2.ModelInferResponse], error) {
	t, err := o.s.text(ctx, o.s.oipName(r.Msg.ModelName, r.Msg.ModelVersion), "")
	if err != nil {
		return nil, err
	}
	req, raw, err := requestOf(r.Msg)
	if err != nil {
		return nil, oipError(err)
	}
	out, err := o.s.oipRun(ctx, t, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(responseOf(r.Msg, t, out, raw)), nil
}

// paramFinal is the parameter of the last response to a request of a stream, under the name by which clients know it.
const paramFinal = "triton_final_response"

// ModelStreamInfer implements GRPCInferenceService. Requests are answered one after the other; one that fails does not end the stream.
func (o oipRPC) ModelStreamInfer(ctx context.Context, stream *connect.BidiStream[oipv2.ModelInferRequest, oipv2.ModelStreamInferResponse]) error {
	for {
		r, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		err = o.one(ctx, r, func(res *oipv2.ModelInferResponse) error {
			return stream.Send(&oipv2.ModelStreamInferResponse{InferResponse: res})
		})
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return because(ctx, ctx.Err())
		}
		e := o.s.explain(err)
		failed := &oipv2.ModelStreamInferResponse{ErrorMessage: e.Why, InferResponse: &oipv2.ModelInferResponse{ModelName: r.ModelName, ModelVersion: r.ModelVersion, Id: r.Id}}
		if err := stream.Send(failed); err != nil {
			return err
		}
	}
}

// one answers a request of a stream, which is a call of its own: it is admitted, counted and traced as if it came alone.
func (o oipRPC) one(ctx context.Context, r *oipv2.ModelInferRequest, send func(*oipv2.ModelInferResponse) error) (err error) {
	ctx, c := o.s.beginWithin(ctx, opInfer)
	defer c.end()
	defer func() { err = because(ctx, err); c.fail(err) }()
	t, err := o.s.text(ctx, o.s.oipName(r.ModelName, r.ModelVersion), "")
	if err != nil {
		return err
	}
	req, raw, err := requestOf(r)
	if err != nil {
		return oipError(err)
	}
	answer := func(out []tensor.Tensor, last bool) error {
		res := responseOf(r, t, out, raw)
		res.Parameters = map[string]*oipv2.InferParameter{paramFinal: {ParameterChoice: &oipv2.InferParameter_BoolParam{BoolParam: last}}}
		return send(res)
	}
	if t.manifest.Config.Arch.Decoder() {
		w, err := wishOf(req)
		if err != nil {
			return err
		}
		if w.stream {
			w.include = false
			ctx, cancel, err := oipWithin(ctx, req.Parameters)
			if err != nil {
				return err
			}
			defer cancel()
			return o.s.oipGenerate(ctx, t, &w, func(p Piece) error {
				if p.Text == "" && p.Finish == "" {
					return nil
				}
				return answer([]tensor.Tensor{tensor.OfStrings(portTextOut, valid(p.Text))}, p.Finish != "")
			})
		}
	}
	out, err := o.s.oipRun(ctx, t, req)
	if err != nil {
		return err
	}
	return answer(out, true)
}

// beginWithin notes a request that came on a connection together with others: whoever made that call makes this one.
func (s *Server) beginWithin(ctx context.Context, operation string) (context.Context, *call) {
	of := callOf(ctx)
	c := &call{s: s, id: newID("req-"), operation: operation, began: time.Now(), session: of.session, shown: of.shown, reached: true}
	ctx = context.WithValue(ctx, callKey{}, c)
	ctx, c.cancel = context.WithCancelCause(ctx)
	if s.cfg.Tracer != nil {
		ctx, c.span = s.cfg.Tracer.Start(ctx, operation)
	}
	s.visitors.add(c)
	c.by(of.principal())
	return ctx, c
}

// responseOf is an answer as it is sent.
func responseOf(r *oipv2.ModelInferRequest, t *text, out []tensor.Tensor, raw bool) *oipv2.ModelInferResponse {
	res := &oipv2.ModelInferResponse{ModelName: r.ModelName, ModelVersion: strconv.Itoa(t.version.Number), Id: r.Id}
	for _, x := range out {
		raw = raw || !hasContents(x.DType)
	}
	for _, x := range out {
		o := &oipv2.ModelInferResponse_InferOutputTensor{Name: x.Name, Datatype: oip.Datatype(x.DType), Shape: x.Shape}
		if res.Outputs = append(res.Outputs, o); raw {
			res.RawOutputContents = append(res.RawOutputContents, x.Data)
			continue
		}
		o.Contents = contentsOf(x)
	}
	return res
}

// ModelStatistics implements GRPCInferenceService.
func (o oipRPC) ModelStatistics(ctx context.Context, r *connect.Request[oipv2.ModelStatisticsRequest]) (*connect.Response[oipv2.ModelStatisticsResponse], error) {
	all, err := o.s.statistics(ctx, r.Msg.Name, r.Msg.Version)
	if err != nil {
		return nil, err
	}
	d := func(d oip.Duration) *oipv2.StatisticDuration {
		return &oipv2.StatisticDuration{Count: d.Count, Ns: d.Nanos}
	}
	res := &oipv2.ModelStatisticsResponse{}
	for _, m := range all.Models {
		res.ModelStats = append(res.ModelStats, &oipv2.ModelStatistics{Name: m.Name, Version: m.Version, LastInference: m.Last, InferenceCount: m.Inferences, ExecutionCount: m.Executions,
			InferenceStats: &oipv2.InferStatistics{Success: d(m.Stats.Success), Fail: d(m.Stats.Fail), Queue: d(m.Stats.Queue),
				ComputeInput: d(m.Stats.ComputeInput), ComputeInfer: d(m.Stats.ComputeInfer), ComputeOutput: d(m.Stats.ComputeOutput)}})
	}
	return connect.NewResponse(res), nil
}

// RepositoryIndex implements GRPCInferenceService.
func (o oipRPC) RepositoryIndex(ctx context.Context, r *connect.Request[oipv2.RepositoryIndexRequest]) (*connect.Response[oipv2.RepositoryIndexResponse], error) {
	if err := onlyRepository(r.Msg.RepositoryName); err != nil {
		return nil, err
	}
	res := &oipv2.RepositoryIndexResponse{}
	for _, e := range o.s.index(ctx, r.Msg.Ready) {
		res.Models = append(res.Models, &oipv2.RepositoryIndexResponse_ModelIndex{Name: e.Name, Version: e.Version, State: e.State, Reason: e.Reason})
	}
	return connect.NewResponse(res), nil
}

// onlyRepository refuses names of repositories: there is one, without a name.
func onlyRepository(name string) error {
	if name != "" {
		return invalid("repository_name", "the repository %.80q does not exist", name)
	}
	return nil
}

// RepositoryModelLoad implements GRPCInferenceService.
func (o oipRPC) RepositoryModelLoad(ctx context.Context, r *connect.Request[oipv2.RepositoryModelLoadRequest]) (*connect.Response[oipv2.RepositoryModelLoadResponse], error) {
	err := repositoryCall(r.Msg.RepositoryName, r.Msg.Parameters)
	if err == nil {
		err = o.s.loadModel(ctx, r.Header(), r.Msg.ModelName)
	}
	return connect.NewResponse(&oipv2.RepositoryModelLoadResponse{}), err
}

// RepositoryModelUnload implements GRPCInferenceService.
func (o oipRPC) RepositoryModelUnload(ctx context.Context, r *connect.Request[oipv2.RepositoryModelUnloadRequest]) (*connect.Response[oipv2.RepositoryModelUnloadResponse], error) {
	err := repositoryCall(r.Msg.RepositoryName, r.Msg.Parameters)
	if err == nil {
		err = o.s.unloadModel(ctx, r.Header(), r.Msg.ModelName)
	}
	return connect.NewResponse(&oipv2.RepositoryModelUnloadResponse{}), err
}

// repositoryCall checks what a load or an unload says beside the model.
func repositoryCall(repository string, parameters map[string]*oipv2.ModelRepositoryParameter) error {
	if err := onlyRepository(repository); err != nil {
		return err
	}
	for name, p := range parameters {
		if err := loadParameter(name, p.GetBoolParam()); err != nil {
			return err
		}
	}
	return nil
}
