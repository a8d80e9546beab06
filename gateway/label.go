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

// label finds the spans of texts that a model labels. Texts that are longer than what the model reads at once are read in windows, all of which
// count as tokens.
func (s *Server) label(ctx context.Context, t *text, texts []string, how spans.Aggregation, outside bool) (out [][]spans.Span, tokens int, err error) {
	if !t.manifest.Can(model.ClassifyTokens) {
		return nil, 0, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s does not label tokens", t.version)}
	}
	if err := s.inputs(len(texts)); err != nil {
		return nil, 0, err
	}
	var windows []window
	var rows []wire.EncodeRow
	for i, x := range texts {
		list, err := s.labelWindows(t, i, x)
		if err != nil {
			return nil, 0, err
		}
		for _, w := range list {
			tokens += len(w.IDs)
			windows, rows = append(windows, w), append(rows, t.row(w.Encoding))
		}
		if len(rows) > s.cfg.MaxInputs {
			return nil, 0, invalid("texts", "texts 0 to %d are read in %d windows, at most %d are read at once: send fewer or shorter texts", i, len(rows), s.cfg.MaxInputs)
		}
	}
	scored, err := s.encode(ctx, t, rows, wire.EncodeWant{Logits: true})
	if err != nil {
		return nil, 0, err
	}
	pieces := make([][]spans.Piece, len(texts))
	for i, w := range windows {
		p, err := t.labelled(w, scored[i].Logits)
		if err != nil {
			return nil, 0, err
		}
		pieces[w.text] = append(pieces[w.text], p)
	}
	for i, x := range texts {
		found, err := spans.JoinPieces(x, pieces[i], t.manifest.Labels, how, outside)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, found)
	}
	return out, tokens, nil
}

// window is a part of a text that a model reads at once.
type window struct {
	token.Encoding     // with the template's tokens
	text           int // which of the request's
	from           int // which of the text's tokens is its first
}

// labelWindows cuts a text into windows: into one, if it fits into the context with the template's tokens around it, else into as long ones as
// fit, which overlap.
func (s *Server) labelWindows(t *text, i int, x string) (out []window, err error) {
	if t.tokenizer == nil {
		return nil, errNoTokenizer
	}
	whole, err := t.tokenizer.Encode(x, token.EncodeOptions{})
	if err != nil {
		return nil, err
	}
	room := s.context(t) - len(t.tokenizer.Around(token.Encoding{}).IDs)
	if room < 1 {
		return nil, &Error{Fault: FaultContext, Param: "model", Why: fmt.Sprintf("the context of %d tokens leaves no room for a text", s.context(t))}
	}
	for _, w := range spans.Windows(len(whole.IDs), room, min(defaultOverlap, room/2)) {
		out = append(out, window{t.tokenizer.Around(whole.Part(w[0], w[1])), i, w[0]})
	}
	return out, nil
}

// labelled are the tokens of a window with their scores, without the template's.
func (t *text) labelled(w window, logits []float32) (p spans.Piece, err error) {
	n := len(t.manifest.Labels)
	if len(logits) != len(w.IDs)*n {
		return p, fmt.Errorf("gateway: %d logits for %d tokens and %d labels", len(logits), len(w.IDs), n)
	}
	p.From = w.from
	for j := range w.IDs {
		if w.Words[j] >= 0 {
			p.Tokens = append(p.Tokens, spans.Token{At: w.Offsets[j], Word: w.Words[j], Scores: t.manifest.Problem.Scores(logits[j*n:][:n])})
		}
	}
	return p, nil
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
