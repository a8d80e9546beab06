package proof

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/tensor"
)

// Ports of families with a builder, by the names that transformers gives them.
const (
	ids    = "input_ids"
	mask   = "attention_mask"
	types  = "token_type_ids"
	hidden = "last_hidden_state"
	pooled = "pooler_output"
	logits = "logits"
)

// maxTokens bounds the tokens of a row that is tried.
const maxTokens = shard.Chunk

// chain is a model in stages.
type chain struct {
	m      *model.Manifest
	stages []*engine.Stage
}

// chain loads the model, cut before a block; the number of its blocks cuts nothing.
func (s Subject) chain(at int) (*chain, error) {
	c := &chain{m: s.Manifest}
	layers := s.Manifest.Config.Layers
	spans := []shard.Span{{From: 0, To: at}}
	if at < layers {
		spans = append(spans, shard.Span{From: at, To: layers})
	}
	for _, span := range spans {
		st, err := engine.Load(s.Runtime, engine.StageSpec{Manifest: s.Manifest, Span: span,
			Serving: shard.Serving{Slots: 1, Context: min(maxTokens, s.Manifest.Config.Positions)}}, s.Files)
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.stages = append(c.stages, st)
	}
	return c, nil
}

func (c *chain) close() error {
	var errs []error
	for _, s := range c.stages {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// ownTokens is a row of tokens for a model of which nothing else is known.
func ownTokens(m *model.Manifest) []tensor.Tensor {
	n := min(16, m.Config.Positions)
	row := make([]int64, n)
	for i := range row {
		row[i] = int64(7*i+3) % int64(m.Config.Vocab)
	}
	return []tensor.Tensor{tensor.OfInts(ids, []int64{1, int64(n)}, row)}
}

// run computes what the model has of each row: hidden states, pooled, logits.
func (c *chain) run(in []tensor.Tensor) ([]tensor.Tensor, error) {
	rows, err := c.rows(in)
	if err != nil {
		return nil, err
	}
	var out []tensor.Tensor
	for _, row := range rows {
		answer, err := c.row(row)
		if err != nil {
			return nil, err
		}
		for _, x := range answer {
			i := slices.IndexFunc(out, func(y tensor.Tensor) bool { return y.Name == x.Name })
			if i < 0 {
				out = append(out, x)
				continue
			}
			out[i].Shape[0]++
			out[i].Data = append(out[i].Data, x.Data...)
		}
	}
	return out, nil
}

// tokens is one row.
type tokens struct{ ids, types []int32 }

// rows takes the rows out of the inputs. Rows with padding are not tried: what a framework gives for padding means nothing.
func (c *chain) rows(in []tensor.Tensor) ([]tokens, error) {
	var list []tokens
	given := map[string][]int64{}
	var shape []int64
	for _, x := range in {
		v, err := x.Ints()
		if err != nil || len(x.Shape) != 2 || shape != nil && !slices.Equal(shape, x.Shape) || !slices.Contains([]string{ids, mask, types}, x.Name) {
			return nil, fmt.Errorf("%w: inputs are %s, %s and %s, whole numbers of one shape [rows, tokens]", engine.ErrStep, ids, mask, types)
		}
		given[x.Name], shape = v, x.Shape
	}
	if given[ids] == nil || shape[1] < 1 || shape[1] > maxTokens || shape[1] > int64(c.m.Config.Positions) || slices.ContainsFunc(given[mask], func(v int64) bool { return v != 1 }) {
		return nil, fmt.Errorf("%w: want rows of 1 to %d tokens in %s, without padding", engine.ErrStep, min(maxTokens, c.m.Config.Positions), ids)
	}
	n := int(shape[1])
	for i := range int(shape[0]) {
		row := tokens{types: make([]int32, n)}
		for j, id := range given[ids][i*n:][:n] {
			if id < 0 || id >= int64(c.m.Config.Vocab) {
				return nil, fmt.Errorf("%w: token %d is not in a vocabulary of %d", engine.ErrStep, id, c.m.Config.Vocab)
			}
			row.ids = append(row.ids, int32(id))
			if given[types] != nil {
				row.types[j] = int32(min(max(given[types][i*n+j], -1), 1<<30))
			}
		}
		list = append(list, row)
	}
	return list, nil
}

// row runs one row through all stages.
func (c *chain) row(t tokens) ([]tensor.Tensor, error) {
	n := len(t.ids)
	positions := make([]int32, n)
	for i := range positions {
		positions[i] = int32(i)
	}
	if err := c.stages[0].Embed(t.ids, positions, t.types); err != nil {
		return nil, err
	}
	if c.m.Config.Arch.Decoder() {
		return c.prefill(n)
	}
	ones := slices.Repeat([]int32{1}, n)
	var e engine.Encoded
	for i, s := range c.stages {
		if i > 0 {
			copy(s.Input(n), e.Hidden)
		}
		var err error
		if e, err = s.Encode(engine.EncodeBatch{Rows: 1, Length: n, Mask: ones}); err != nil {
			return nil, err
		}
	}
	tokens, width := int64(n), int64(c.m.Config.Hidden)
	out := []tensor.Tensor{tensor.OfFloats(hidden, []int64{1, tokens, width}, e.Hidden)}
	if e.Pooled != nil {
		out = append(out, tensor.OfFloats(pooled, []int64{1, width}, e.Pooled))
	}
	switch labels := int64(e.Labels); {
	case labels > 0 && len(e.Logits) == int(labels):
		out = append(out, tensor.OfFloats(logits, []int64{1, labels}, e.Logits))
	case labels > 0:
		out = append(out, tensor.OfFloats(logits, []int64{1, tokens, labels}, e.Logits))
	}
	return out, nil
}

// prefill runs a prompt of a decoder, whose embeddings are in the first stage, and gives the logits of all its tokens.
func (c *chain) prefill(n int) ([]tensor.Tensor, error) {
	want := make([]int, n)
	for i := range want {
		want[i] = i
	}
	var out []float32
	for i, s := range c.stages {
		if i > 0 {
			copy(s.Input(n), out)
		}
		step := engine.Step{Prefill: true, Count: n}
		if i == len(c.stages)-1 {
			step.Want = want
		}
		var err error
		if out, err = s.Run(step); err != nil {
			return nil, err
		}
	}
	return []tensor.Tensor{tensor.OfFloats(logits, []int64{1, int64(n), int64(c.m.Config.Vocab)}, out)}, nil
}
