package gateway

import (
	"context"
	"fmt"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/spans"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// encodings turns texts into tokens of which it is known where in their texts they are.
func (s *Server) encodings(t *text, texts []string) (encoded []token.Encoding, rows []wire.EncodeRow, tokens int, err error) {
	if t.tokenizer == nil {
		return nil, nil, 0, errNoTokenizer
	}
	if err := s.inputs(len(texts)); err != nil {
		return nil, nil, 0, err
	}
	for _, x := range texts {
		e, err := t.tokenizer.Encode(x, token.EncodeOptions{AddSpecial: true})
		if err != nil {
			return nil, nil, 0, err
		}
		tokens += len(e.IDs)
		encoded, rows = append(encoded, e), append(rows, t.row(e))
	}
	return encoded, rows, tokens, nil
}

// label finds the spans of texts that a model labels.
func (s *Server) label(ctx context.Context, t *text, texts []string, how spans.Aggregation, outside bool) (out [][]spans.Span, tokens int, err error) {
	if !t.manifest.Can(model.ClassifyTokens) {
		return nil, 0, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s does not label tokens", t.version)}
	}
	encoded, rows, tokens, err := s.encodings(t, texts)
	if err != nil {
		return nil, 0, err
	}
	scored, err := s.encode(ctx, t, rows, wire.EncodeWant{Logits: true})
	if err != nil {
		return nil, 0, err
	}
	labels := t.manifest.Labels
	for i, e := range encoded {
		logits := scored[i].Logits
		if len(logits) != len(e.IDs)*len(labels) {
			return nil, 0, fmt.Errorf("gateway: %d logits for %d tokens and %d labels", len(logits), len(e.IDs), len(labels))
		}
		var list []spans.Token
		for j := range e.IDs {
			if e.Words[j] >= 0 { // else it is of the template
				list = append(list, spans.Token{At: e.Offsets[j], Word: e.Words[j], Scores: t.manifest.Problem.Scores(logits[j*len(labels):][:len(labels)])})
			}
		}
		found, err := spans.Join(list, labels, how, outside)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, found)
	}
	return out, tokens, nil
}

// embedTokens turns the tokens of texts into vectors, each row [tokens, hidden].
func (s *Server) embedTokens(ctx context.Context, t *text, texts []string) (encoded []token.Encoding, rows []wire.EncodedRow, tokens int, err error) {
	if !t.manifest.Can(model.EmbedTask) {
		return nil, nil, 0, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s makes no vectors", t.version)}
	}
	encoded, in, tokens, err := s.encodings(t, texts)
	if err != nil {
		return nil, nil, 0, err
	}
	rows, err = s.encode(ctx, t, in, wire.EncodeWant{Hidden: true})
	for i, r := range rows {
		if len(r.Hidden) != len(encoded[i].IDs)*t.manifest.Config.Hidden {
			return nil, nil, 0, fmt.Errorf("gateway: %d numbers for %d tokens", len(r.Hidden), len(encoded[i].IDs))
		}
	}
	return encoded, rows, tokens, err
}
