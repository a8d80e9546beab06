package gateway

import (
	"context"
	"slices"

	"connectrpc.com/connect"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/spans"
)

// Choices that requests name by number. What is not named is the first.
var (
	poolings     = []model.Pooling{"", model.PoolCLS, model.PoolMean, model.PoolLast}
	aggregations = []spans.Aggregation{spans.Simple, spans.None, spans.Simple, spans.First, spans.Average, spans.Max}
	units        = []spans.Unit{spans.Characters, spans.Characters, spans.Bytes, spans.UTF16}
)

// named finds what a number of an enumeration stands for.
func named[N ~int32, T any](from []T, n N, param string) (T, error) {
	if n < 0 || int(n) >= len(from) {
		var none T
		return none, invalid(param, "%s %d is not known", param, n)
	}
	return from[n], nil
}

func poolingOf(p inferencev1.Pooling) (model.Pooling, error) { return named(poolings, p, "pooling") }

// EmbedTokens implements skein.inference.v1.
func (i inference) EmbedTokens(ctx context.Context, r *connect.Request[inferencev1.EmbedTokensRequest]) (*connect.Response[inferencev1.EmbedTokensResponse], error) {
	unit, err := named(units, r.Msg.Offsets, "offsets")
	if err != nil {
		return nil, err
	}
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	encoded, rows, n, err := i.s.embedTokens(ctx, t, r.Msg.Texts)
	if err != nil {
		return nil, err
	}
	res := &inferencev1.EmbedTokensResponse{Usage: usage(n, 0), ModelVersion: t.version.String()}
	width := t.manifest.Config.Hidden
	var vectors [][]float32
	for j, e := range encoded {
		out, ruler := &inferencev1.TokenVectors{}, spans.NewRuler(r.Msg.Texts[j], unit)
		for k, id := range e.IDs {
			out.Tokens = append(out.Tokens, &inferencev1.TokenVector{Id: id, Text: t.spell(id), Start: ruler.At(e.Offsets[k].From), End: ruler.At(e.Offsets[k].To),
				Values: rows[j].Hidden[k*width:][:width]})
		}
		for v := range slices.Chunk(rows[j].Hidden, width) {
			vectors = append(vectors, v)
		}
		res.Results = append(res.Results, out)
	}
	callOf(ctx).noteVectors(vectors)
	return connect.NewResponse(res), nil
}

// LabelTokens implements skein.inference.v1.
func (i inference) LabelTokens(ctx context.Context, r *connect.Request[inferencev1.LabelTokensRequest]) (*connect.Response[inferencev1.LabelTokensResponse], error) {
	unit, err := named(units, r.Msg.Offsets, "offsets")
	if err != nil {
		return nil, err
	}
	how, err := named(aggregations, r.Msg.Aggregation, "aggregation")
	if err != nil {
		return nil, err
	}
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	found, n, err := i.s.label(ctx, t, r.Msg.Texts, how, r.Msg.Outside)
	if err != nil {
		return nil, err
	}
	shadowTask(ctx, i.s, t, found, func(ctx context.Context, other *text) ([][]spans.Span, error) {
		got, _, err := i.s.label(ctx, other, r.Msg.Texts, how, r.Msg.Outside)
		return got, err
	}, func(a, b [][]spans.Span) bool {
		return slices.EqualFunc(a, b, func(a, b []spans.Span) bool {
			return slices.EqualFunc(a, b, func(a, b spans.Span) bool { return a.At == b.At && a.Label == b.Label })
		})
	})
	res := &inferencev1.LabelTokensResponse{Usage: usage(n, 0), ModelVersion: t.version.String()}
	for j, list := range found {
		out, ruler, x := &inferencev1.LabeledText{}, spans.NewRuler(r.Msg.Texts[j], unit), r.Msg.Texts[j]
		for _, s := range list {
			callOf(ctx).noteLabel(j, s.Label, s.Score)
			out.Spans = append(out.Spans, &inferencev1.Span{Start: ruler.At(s.At.From), End: ruler.At(s.At.To), Text: x[s.At.From:s.At.To], Label: s.Label, Score: s.Score})
		}
		res.Results = append(res.Results, out)
	}
	return connect.NewResponse(res), nil
}

// FillMask implements skein.inference.v1.
func (i inference) FillMask(ctx context.Context, r *connect.Request[inferencev1.FillMaskRequest]) (*connect.Response[inferencev1.FillMaskResponse], error) {
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	found, n, err := i.s.fill(ctx, t, r.Msg.Texts, int(r.Msg.Top))
	if err != nil {
		return nil, err
	}
	shadowTask(ctx, i.s, t, found, func(ctx context.Context, other *text) ([][][]Fill, error) {
		got, _, err := i.s.fill(ctx, other, r.Msg.Texts, int(r.Msg.Top))
		return got, err
	}, func(a, b [][][]Fill) bool {
		return slices.EqualFunc(a, b, func(a, b [][]Fill) bool {
			return slices.EqualFunc(a, b, func(a, b []Fill) bool { return len(a) > 0 && len(b) > 0 && a[0].Text == b[0].Text })
		})
	})
	res := &inferencev1.FillMaskResponse{Usage: usage(n, 0), ModelVersion: t.version.String()}
	for _, masks := range found {
		out := &inferencev1.FilledText{}
		for _, list := range masks {
			fills := &inferencev1.Fills{}
			for _, f := range list {
				fills.Fills = append(fills.Fills, &inferencev1.Fill{Id: f.ID, Text: f.Text, Score: f.Score, Sequence: f.Sequence})
			}
			out.Masks = append(out.Masks, fills)
		}
		res.Results = append(res.Results, out)
	}
	return connect.NewResponse(res), nil
}

// Answer implements skein.inference.v1.
func (i inference) Answer(ctx context.Context, r *connect.Request[inferencev1.AnswerRequest]) (*connect.Response[inferencev1.AnswerResponse], error) {
	unit, err := named(units, r.Msg.Offsets, "offsets")
	if err != nil {
		return nil, err
	}
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	q := Question{Question: r.Msg.Question, Context: r.Msg.Context, Best: int(r.Msg.Best), Tokens: int(r.Msg.MaxAnswerTokens), Window: int(r.Msg.Window), Split: r.Msg.SplitWords}
	if r.Msg.Overlap != nil {
		overlap := int(*r.Msg.Overlap)
		q.Overlap = &overlap
	}
	found, none, n, err := i.s.answer(ctx, t, q)
	if err != nil {
		return nil, err
	}
	shadowTask(ctx, i.s, t, found, func(ctx context.Context, other *text) ([]spans.Answer, error) {
		got, _, _, err := i.s.answer(ctx, other, q)
		return got, err
	}, func(a, b []spans.Answer) bool {
		return len(a) == 0 && len(b) == 0 || len(a) > 0 && len(b) > 0 && a[0].At == b[0].At
	})
	res := &inferencev1.AnswerResponse{NoAnswerScore: none, Usage: usage(n, 0), ModelVersion: t.version.String()}
	ruler := spans.NewRuler(q.Context, unit)
	for _, a := range found {
		res.Answers = append(res.Answers, &inferencev1.FoundAnswer{Start: ruler.At(a.At.From), End: ruler.At(a.At.To), Text: q.Context[a.At.From:a.At.To], Score: a.Score})
	}
	return connect.NewResponse(res), nil
}

// Rerank implements skein.inference.v1.
func (i inference) Rerank(ctx context.Context, r *connect.Request[inferencev1.RerankRequest]) (*connect.Response[inferencev1.RerankResponse], error) {
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	q := Ranked{Query: r.Msg.Query, Documents: r.Msg.Documents, Top: int(r.Msg.Top), Tokens: int(r.Msg.MaxDocumentTokens)}
	list, n, err := i.s.rerank(ctx, t, q)
	if err != nil {
		return nil, err
	}
	i.s.shadowRerank(ctx, t, q, list)
	res := &inferencev1.RerankResponse{Usage: usage(n, 0), ModelVersion: t.version.String()}
	for _, x := range list {
		res.Results = append(res.Results, &inferencev1.Ranking{Index: int32(x.Index), Score: x.Score})
	}
	return connect.NewResponse(res), nil
}
