package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// maxFloats bounds the hidden states in one answer of a worker: base64 takes 16 bytes for 3 numbers of 4.
const maxFloats = wire.MaxMessage / 16 * 3 * 3 / 4

// encode runs rows through an encoder, or a decoder whose hidden states are wanted, and gives them back in order.
func (s *Server) encode(ctx context.Context, t *text, rows []wire.EncodeRow, want wire.EncodeWant) ([]wire.EncodedRow, error) {
	if err := s.inputs(len(rows)); err != nil {
		return nil, err
	}
	callOf(ctx).has(len(rows))
	most, floats, tokens := s.context(t), 0, 0
	for i, r := range rows {
		if len(r.IDs) == 0 {
			return nil, invalid("input", "input %d is empty", i)
		}
		if len(r.IDs) > most {
			return nil, &Error{Fault: FaultContext, Param: "input", Why: fmt.Sprintf("input %d has %d tokens and the context is %d", i, len(r.IDs), most)}
		}
		if err := t.known(r.IDs, "input"); err != nil {
			return nil, err
		}
		if want.Hidden {
			floats += len(r.IDs) * t.manifest.Config.Hidden
		}
		if want.Logits && !t.manifest.Can(model.Classify) {
			floats += len(r.IDs) * max(len(t.manifest.Labels), model.AnswerEnds)
		}
		tokens += len(r.IDs)
	}
	if floats > maxFloats {
		return nil, invalid("input", "what the model says of the tokens of these inputs is %d numbers, at most %d go into one answer: send fewer inputs", floats, maxFloats)
	}
	if err := s.admit(ctx, t, tokens, 0); err != nil {
		return nil, err
	}
	var out []wire.EncodedRow
	err := s.onReplica(ctx, t.version, tokens, func(ctx context.Context, r router.Route) error {
		res, err := wire.Call[wire.EncodeRequest, wire.EncodeResponse](ctx, s.dialer, cluster.RoleNode, r.Head(), wire.EncodeRows,
			&wire.EncodeRequest{Replica: r.Replica, Epoch: r.Epoch, Rows: rows, Want: want})
		if err != nil {
			return err
		}
		if len(res.Rows) != len(rows) {
			return fmt.Errorf("gateway: %d rows for %d", len(res.Rows), len(rows))
		}
		callOf(ctx).cost(time.Duration(res.Device) * time.Microsecond)
		out = res.Rows
		return nil
	}, func() bool { return out != nil }, func() int { return 0 })
	if err == nil && !finite(out) {
		err = errNotFinite
	}
	return out, err
}

// finite says whether all that an encoder says is numbers.
func finite(rows []wire.EncodedRow) bool {
	return !slices.ContainsFunc(rows, func(r wire.EncodedRow) bool {
		return slices.ContainsFunc([]wire.Floats{r.Hidden, r.Pooled, r.Logits, r.Vector}, func(f wire.Floats) bool {
			return slices.ContainsFunc(f, func(x float32) bool { return x-x != 0 }) // infinities and NaN
		})
	})
}

// rows turns texts, or pairs of texts, into rows of tokens.
func (s *Server) rows(t *text, texts []string, pairs []string) (rows []wire.EncodeRow, tokens int, err error) {
	if t.tokenizer == nil {
		return nil, 0, errNoTokenizer
	}
	if err := s.inputs(len(texts)); err != nil {
		return nil, 0, err
	}
	for i, text := range texts {
		var e token.Encoding
		if pairs != nil && pairs[i] != "" {
			e, err = t.tokenizer.EncodePair(text, pairs[i], token.EncodeOptions{AddSpecial: true})
		} else {
			e, err = t.tokenizer.Encode(text, token.EncodeOptions{AddSpecial: true})
		}
		if err != nil {
			return nil, 0, err
		}
		tokens += len(e.IDs)
		rows = append(rows, t.row(e))
	}
	return rows, tokens, nil
}

// row is an encoded text as the model takes it: with segments where it knows any.
func (t *text) row(e token.Encoding) wire.EncodeRow {
	r := wire.EncodeRow{IDs: e.IDs}
	if t.manifest.Config.Types > 0 {
		r.Types = e.TypeIDs
	}
	return r
}

// inputs checks the number of inputs of a request.
func (s *Server) inputs(n int) error {
	if n == 0 || n > s.cfg.MaxInputs {
		return invalid("input", "%d inputs, want 1 to %d", n, s.cfg.MaxInputs)
	}
	return nil
}

// vectors says how vectors are wanted: as the model declares where pooling is "" and normalize nil.
func (t *text) vectors(pooling model.Pooling, normalize *bool) wire.EncodeWant {
	if pooling == "" && normalize == nil {
		return wire.EncodeWant{Vector: true}
	}
	want := wire.EncodeWant{Pooling: pooling}
	if pooling == "" {
		want.Pooling, want.Normalize = t.manifest.Pooling, t.manifest.Normalize
	}
	if normalize != nil {
		want.Normalize = *normalize
	}
	return want
}

// embed turns rows into vectors.
func (s *Server) embed(ctx context.Context, t *text, rows []wire.EncodeRow, want wire.EncodeWant) ([][]float32, error) {
	if !t.manifest.Can(model.EmbedTask) {
		return nil, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s makes no vectors", t.version)}
	}
	encoded, err := s.encode(ctx, t, rows, want)
	if err != nil {
		return nil, err
	}
	out := make([][]float32, len(encoded))
	for i, e := range encoded {
		if len(e.Vector) != t.manifest.Config.Hidden { // a node of an older program knows no other poolings than the model's
			return nil, &Error{Fault: FaultUnavailable, Param: "model", Why: "the replica makes no such vectors yet: its node runs an older program"}
		}
		out[i] = e.Vector
	}
	return out, nil
}

// Label is a class with its score.
type Label struct {
	Name  string
	Score float32
}

// classify gives every label of each row a score, highest first.
func (s *Server) classify(ctx context.Context, t *text, rows []wire.EncodeRow) ([][]Label, error) {
	if !t.manifest.Can(model.Classify) {
		return nil, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s does not classify", t.version)}
	}
	encoded, err := s.encode(ctx, t, rows, wire.EncodeWant{Logits: true})
	if err != nil {
		return nil, err
	}
	out := make([][]Label, len(encoded))
	for i, e := range encoded {
		if len(e.Logits) != len(t.manifest.Labels) {
			return nil, fmt.Errorf("gateway: %d logits for %d labels", len(e.Logits), len(t.manifest.Labels))
		}
		for j, score := range t.manifest.Problem.Scores(e.Logits) {
			out[i] = append(out[i], Label{Name: t.manifest.Labels[j], Score: score})
		}
		slices.SortStableFunc(out[i], func(a, b Label) int { return cmp.Compare(b.Score, a.Score) })
		if len(out[i]) > 0 {
			callOf(ctx).noteLabel(i, out[i][0].Name, out[i][0].Score)
		}
	}
	return out, nil
}
