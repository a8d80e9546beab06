package gateway

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// inference answers skein.inference.v1. This file is the border: generated types end here.
type inference struct{ s *Server }

var _ inferencev1connect.InferenceServiceHandler = inference{}

func (s *Server) registerConnect(mux doors) {
	path, h := inferencev1connect.NewInferenceServiceHandler(inference{s},
		connect.WithReadMaxBytes(int(s.cfg.MaxBody)), connect.WithConditionalHandlerOptions(s.largeTensors), connect.WithInterceptors(explainer{s}), connect.WithRecover(s.recovered), connect.WithCompressMinBytes(4<<10))
	writer := connect.NewErrorWriter()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		r, c := s.begin(r, requestID(r.Header.Get(requestIDHeader)), operationOf(r.URL.Path))
		defer c.end()
		c.header = w.Header()
		w.Header().Set(requestIDHeader, c.id)
		refuse := func(w http.ResponseWriter, err error) {
			if err := writer.Write(w, r, s.connectError(err)); err != nil {
				s.log.Debug("a refusal was not taken", "err", err)
			}
		}
		if err := s.enter(r, c, r.URL.Path); err != nil { // before anything of the body is read
			c.fail(err)
			refuse(w, err)
			return
		}
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
			if name := r.Header.Get(viewHeader); name != "" && name != viewNone {
				err := invalid("", "%s: a view is of whole answers in JSON, and this call is %.80q", viewHeader, kind)
				c.fail(err)
				refuse(w, err)
				return
			}
			h.ServeHTTP(w, r)
			return
		}
		s.shapes(w, r, c, refuse, func(w http.ResponseWriter) { h.ServeHTTP(w, r) })
	})
}

// operationOf is the operation that a procedure is.
func operationOf(path string) string {
	switch path {
	case inferencev1connect.InferenceServiceGenerateProcedure:
		return telemetry.OpText
	case inferencev1connect.InferenceServiceChatProcedure:
		return telemetry.OpChat
	case inferencev1connect.InferenceServiceEmbedProcedure:
		return telemetry.OpEmbeddings
	case inferencev1connect.InferenceServiceClassifyProcedure:
		return telemetry.OpClassify
	case inferencev1connect.InferenceServiceInferProcedure:
		return opInfer
	case inferencev1connect.InferenceServiceEmbedTokensProcedure:
		return telemetry.OpEmbeddings
	case inferencev1connect.InferenceServiceLabelTokensProcedure:
		return opLabel
	case inferencev1connect.InferenceServiceFillMaskProcedure:
		return opFill
	case inferencev1connect.InferenceServiceAnswerProcedure:
		return opAnswer
	case inferencev1connect.InferenceServiceRerankProcedure:
		return opRerank
	case inferencev1connect.InferenceServiceListModelsProcedure, inferencev1connect.InferenceServiceRouteProcedure:
		return opModels
	}
	return opOther
}

// explainer turns the errors of handlers into what clients are told.
type explainer struct{ s *Server }

func (e explainer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		callOf(ctx).reach()
		callOf(ctx).noteRequest(r.Any())
		res, err := next(ctx, r)
		if err == nil {
			callOf(ctx).noteAnswer(res.Any())
		}
		err = because(ctx, err)
		callOf(ctx).fail(err)
		return res, e.s.connectError(err)
	}
}

func (e explainer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (e explainer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		callOf(ctx).reach()
		err := because(ctx, next(ctx, c))
		callOf(ctx).fail(err)
		return e.s.connectError(err)
	}
}

// connectError is the one place where errors become Connect codes.
func (s *Server) connectError(err error) error {
	if _, unread := err.(*connect.Error); err == nil || unread { //nolint:errorlint // what is not wrapped says why the request could not be read
		return err
	}
	code := connect.CodeInternal
	e := s.explain(err)
	switch e.Fault {
	case FaultInvalid, FaultContext, FaultTask:
		code = connect.CodeInvalidArgument
	case FaultKey:
		code = connect.CodeUnauthenticated
	case FaultPermission:
		code = connect.CodePermissionDenied
	case FaultModel:
		code = connect.CodeNotFound
	case FaultBusy, FaultLimit, FaultQuota:
		code = connect.CodeResourceExhausted
	case FaultUnavailable:
		code = connect.CodeUnavailable
	case FaultCanceled:
		code = connect.CodeCanceled
	case FaultTooLarge:
		code = connect.CodeResourceExhausted
	case FaultTimeout:
		code = connect.CodeDeadlineExceeded
	case FaultUnsupported:
		code = connect.CodeUnimplemented
	}
	out := connect.NewError(code, e)
	if e.Retry > 0 {
		out.Meta().Set("Retry-After", strconv.Itoa(int(retryAfter(e.Retry)/time.Second)))
		if d, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.Retry)}); err == nil {
			out.AddDetail(d)
		}
	}
	return out
}

// Generate implements skein.inference.v1.
func (i inference) Generate(ctx context.Context, r *connect.Request[inferencev1.GenerateRequest], out *connect.ServerStream[inferencev1.GenerateResponse]) error {
	callOf(ctx).noteRequest(r.Msg)
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return err
	}
	a, err := t.ask(r.Msg.Sampling)
	if err == nil {
		err = a.constrain("constraint", constraintOf(r.Msg.Constraint))
	}
	if err != nil {
		return err
	}
	a.again = func(of *text) ([]int32, error) {
		if ids := r.Msg.GetTokens(); ids != nil {
			return ids.Ids, nil
		}
		return of.prompt(r.Msg.GetPrompt())
	}
	if a.Tokens, err = a.again(t); err != nil {
		return err
	}
	asks := []Ask{a}
	if err := i.s.admitAsks(ctx, t, asks, len(a.Tokens)); err != nil {
		return err
	}
	return i.s.generate(ctx, t, asks[0], i.pieces(callOf(ctx), t, a.Sampling.Logprobs, out))
}

// Chat implements skein.inference.v1.
func (i inference) Chat(ctx context.Context, r *connect.Request[inferencev1.ChatRequest], out *connect.ServerStream[inferencev1.GenerateResponse]) error {
	callOf(ctx).noteRequest(r.Msg)
	var messages []Message
	for _, m := range r.Msg.Messages {
		messages = append(messages, Message{Role: m.Role, Content: m.Content})
	}
	t, err := i.s.text(ctx, r.Msg.Model, opening(messages))
	if err != nil {
		return err
	}
	a, err := t.ask(r.Msg.Sampling)
	if err == nil {
		err = a.constrain("constraint", constraintOf(r.Msg.Constraint))
	}
	if err != nil {
		return err
	}
	now := time.Now()
	if a.Tokens, err = t.chat(messages, now); err != nil {
		return err
	}
	a.again = func(other *text) ([]int32, error) { return other.chat(messages, now) }
	asks := []Ask{a}
	if err := i.s.admitAsks(ctx, t, asks, len(a.Tokens)); err != nil {
		return err
	}
	return i.s.generate(ctx, t, asks[0], i.pieces(callOf(ctx), t, a.Sampling.Logprobs, out))
}

// ask reads sampling parameters over the model's defaults.
func (t *text) ask(p *inferencev1.Sampling) (Ask, error) {
	a := Ask{Sampling: t.defaults.Over(t.manifest.Sampling), MaxTokens: t.tokens}
	if p == nil {
		p = &inferencev1.Sampling{}
	}
	if p.Temperature != nil {
		a.Sampling.Temperature = *p.Temperature
	}
	if p.TopK != nil {
		a.Sampling.TopK = int(*p.TopK)
	}
	if p.TopP != nil {
		if a.Sampling.TopP = *p.TopP; *p.TopP == 0 {
			return a, invalid("top_p", "top_p is 0, want above 0 and at most 1")
		}
	}
	a.Sampling.Seed = freshSeed(p.Seed)
	a.penalise(p.FrequencyPenalty, p.PresencePenalty, p.RepetitionPenalty)
	for id, add := range p.LogitBias {
		a.Bias = append(a.Bias, sample.Bias{Token: id, Add: add})
	}
	sortBias(a.Bias)
	a.Sampling.Logprobs, a.Sampling.TopLogprobs = p.Logprobs || p.TopLogprobs > 0, int(p.TopLogprobs)
	a.Stops = p.Stop
	if p.MaxTokens != nil {
		return a, a.limit(int(*p.MaxTokens))
	}
	return a, nil
}

// constraintOf reads a constraint; nil = there is none.
func constraintOf(c *inferencev1.Constraint) *grammar.Source {
	switch k := c.GetKind().(type) {
	case *inferencev1.Constraint_JsonObject:
		if k.JsonObject {
			return &grammar.Source{Object: true}
		}
	case *inferencev1.Constraint_JsonSchema:
		return &grammar.Source{Schema: json.RawMessage(k.JsonSchema)}
	case *inferencev1.Constraint_Regex:
		return &grammar.Source{Regex: k.Regex}
	case *inferencev1.Constraint_Choice:
		return &grammar.Source{Choice: k.Choice.GetTexts()}
	}
	return nil
}

func (i inference) pieces(c *call, t *text, logprobs bool, out *connect.ServerStream[inferencev1.GenerateResponse]) func(Piece) error {
	var whole strings.Builder
	kept := c.keeps().Answers()
	return func(p Piece) error {
		if kept {
			whole.WriteString(p.Text)
		}
		res := &inferencev1.GenerateResponse{Text: p.Text, ModelVersion: t.version.String()}
		for _, tok := range p.Tokens {
			res.Tokens = append(res.Tokens, t.token(tok, logprobs))
		}
		switch p.Finish {
		case FinishStop:
			res.FinishReason = inferencev1.FinishReason_FINISH_REASON_STOP
		case FinishLength:
			res.FinishReason = inferencev1.FinishReason_FINISH_REASON_LENGTH
		}
		if p.Finish != "" {
			res.Usage = usage(p.Usage.Prompt, p.Usage.Completion)
			c.noteAnswer(&inferencev1.GenerateResponse{Text: whole.String(), FinishReason: res.FinishReason, Usage: res.Usage, ModelVersion: res.ModelVersion})
		}
		return out.Send(res)
	}
}

func usage(prompt, completion int) *inferencev1.Usage {
	return &inferencev1.Usage{PromptTokens: int32(prompt), CompletionTokens: int32(completion)}
}

func (t *text) token(tok Token, logprobs bool) *inferencev1.Token {
	out := &inferencev1.Token{Id: tok.Choice.Token, Text: valid(tok.Text)}
	if logprobs {
		out.Logprob = &tok.Logprob
	}
	for _, alt := range tok.Top {
		out.Top = append(out.Top, &inferencev1.TokenLogprob{Id: alt.Token, Text: t.spell(alt.Token), Logprob: alt.Logprob})
	}
	return out
}

// spell is a token's text on its own.
func (t *text) spell(id int32) string {
	if t.tokenizer == nil {
		return ""
	}
	return valid(t.tokenizer.Decode([]int32{id}, false))
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Embed implements skein.inference.v1.
func (i inference) Embed(ctx context.Context, r *connect.Request[inferencev1.EmbedRequest]) (*connect.Response[inferencev1.EmbedResponse], error) {
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	rows, n, err := i.s.rows(t, r.Msg.Texts, nil)
	if err != nil {
		return nil, err
	}
	pooling, err := poolingOf(r.Msg.Pooling)
	if err != nil {
		return nil, err
	}
	want := func(of *text) wire.EncodeWant { return of.vectors(pooling, r.Msg.Normalize) }
	vectors, err := i.s.embed(ctx, t, rows, want(t))
	if err != nil {
		return nil, err
	}
	callOf(ctx).noteVectors(vectors)
	i.s.shadowEmbed(ctx, t, func(other *text) ([]wire.EncodeRow, error) {
		rows, _, err := i.s.rows(other, r.Msg.Texts, nil)
		return rows, err
	}, want, vectors)
	res := &inferencev1.EmbedResponse{Usage: usage(n, 0), ModelVersion: t.version.String()}
	for _, v := range vectors {
		res.Vectors = append(res.Vectors, &inferencev1.Vector{Values: v})
	}
	return connect.NewResponse(res), nil
}

// Classify implements skein.inference.v1.
func (i inference) Classify(ctx context.Context, r *connect.Request[inferencev1.ClassifyRequest]) (*connect.Response[inferencev1.ClassifyResponse], error) {
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	var texts, pairs []string
	for _, in := range r.Msg.Inputs {
		texts, pairs = append(texts, in.Text), append(pairs, in.Pair)
	}
	rows, n, err := i.s.rows(t, texts, pairs)
	if err != nil {
		return nil, err
	}
	results, err := i.s.classify(ctx, t, rows)
	if err != nil {
		return nil, err
	}
	i.s.shadowClassify(ctx, t, func(other *text) ([]wire.EncodeRow, error) {
		rows, _, err := i.s.rows(other, texts, pairs)
		return rows, err
	}, results)
	res := &inferencev1.ClassifyResponse{Usage: usage(n, 0), ModelVersion: t.version.String()}
	for _, labels := range results {
		c := &inferencev1.Classification{}
		for _, l := range labels {
			c.Labels = append(c.Labels, &inferencev1.Label{Name: l.Name, Score: l.Score})
		}
		res.Results = append(res.Results, c)
	}
	return connect.NewResponse(res), nil
}

// ListModels implements skein.inference.v1.
func (i inference) ListModels(ctx context.Context, _ *connect.Request[inferencev1.ListModelsRequest]) (*connect.Response[inferencev1.ListModelsResponse], error) {
	res := &inferencev1.ListModelsResponse{}
	for _, m := range i.s.models(callOf(ctx).principal()) {
		res.Models = append(res.Models, &inferencev1.Model{Name: m.Name, Version: m.Version.String(), Tasks: m.Tasks, Ready: int32(m.Ready), Created: m.Created.Unix()})
	}
	return connect.NewResponse(res), nil
}
