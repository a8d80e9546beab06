package gateway

import (
	"context"
	"fmt"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/spans"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// What a question takes where it does not say, and limits (those of the reference implementation).
const (
	defaultAnswerTokens = 15
	defaultWindow       = 384 // tokens
	defaultOverlap      = 128 // tokens
	maxAnswers          = 20
)

// Question is a question about a context.
type Question struct {
	Question, Context string
	Best              int  // answers; 0 = 1
	Tokens            int  // of an answer at most; 0 = defaultAnswerTokens
	Window            int  // tokens that the model reads at once; 0 = its context, at most defaultWindow
	Overlap           *int // tokens that two windows share; nil = defaultOverlap, at most half of the window
	Split             bool // answers may begin and end within words
}

// answer finds the spans of a context that answer a question, and how likely it is that none does.
func (s *Server) answer(ctx context.Context, t *text, q Question) (found []spans.Answer, none float32, tokens int, err error) {
	if !t.manifest.Can(model.Answer) {
		return nil, 0, 0, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s does not answer questions", t.version)}
	}
	if err := s.fillIn(t, &q); err != nil {
		return nil, 0, 0, err
	}
	windows, rows, err := t.windows(q)
	if err != nil {
		return nil, 0, 0, err
	}
	for _, r := range rows {
		tokens += len(r.IDs)
	}
	if len(rows) > s.cfg.MaxInputs {
		return nil, 0, 0, invalid("context", "the context is %d windows long, at most %d are read", len(rows), s.cfg.MaxInputs)
	}
	scored, err := s.encode(ctx, t, rows, wire.EncodeWant{Logits: true})
	if err != nil {
		return nil, 0, 0, err
	}
	for i, r := range scored {
		n := len(rows[i].IDs)
		if len(r.Logits) != n*model.AnswerEnds {
			return nil, 0, 0, fmt.Errorf("gateway: %d scores for %d tokens", len(r.Logits), n)
		}
		for j := range n {
			windows[i].First = append(windows[i].First, r.Logits[j*model.AnswerEnds])
			windows[i].Last = append(windows[i].Last, r.Logits[j*model.AnswerEnds+1])
		}
	}
	found, none, err = spans.Answers(q.Context, windows, spans.Search{Best: q.Best, Tokens: q.Tokens, Whole: !q.Split})
	return found, none, tokens, err
}

// fillIn fills in what a question leaves open.
func (s *Server) fillIn(t *text, q *Question) error {
	most := s.context(t)
	if q.Best == 0 {
		q.Best = 1
	}
	if q.Tokens == 0 {
		q.Tokens = defaultAnswerTokens
	}
	if q.Window == 0 {
		q.Window = min(most, defaultWindow)
	}
	if q.Overlap == nil {
		overlap := min(defaultOverlap, q.Window/2)
		q.Overlap = &overlap
	}
	switch {
	case q.Best < 1 || q.Best > maxAnswers:
		return invalid("best", "best is %d, want 1 to %d", q.Best, maxAnswers)
	case q.Tokens < 1 || q.Tokens > most:
		return invalid("max_answer_tokens", "max_answer_tokens is %d, want 1 to the context of %d", q.Tokens, most)
	case q.Window < 1 || q.Window > most:
		return invalid("window", "window is %d, want 1 to the context of %d", q.Window, most)
	case *q.Overlap < 0 || *q.Overlap > q.Window/2:
		return invalid("overlap", "overlap is %d, want 0 to half of the window of %d", *q.Overlap, q.Window)
	}
	return nil
}

// windows cuts the context into rows that hold the whole question and a part of the context.
func (t *text) windows(q Question) (windows []spans.Window, rows []wire.EncodeRow, err error) {
	if t.tokenizer == nil {
		return nil, nil, errNoTokenizer
	}
	question, err := t.tokenizer.Encode(q.Question, token.EncodeOptions{})
	if err != nil {
		return nil, nil, err
	}
	context, err := t.tokenizer.Encode(q.Context, token.EncodeOptions{})
	if err != nil {
		return nil, nil, err
	}
	if len(question.IDs) == 0 || len(context.IDs) == 0 {
		return nil, nil, invalid("question", "the question or the context is empty")
	}
	room := q.Window - len(t.tokenizer.Pair(question, token.Encoding{}).IDs)
	if room <= *q.Overlap {
		return nil, nil, &Error{Fault: FaultContext, Param: "question", Why: fmt.Sprintf("the question has %d tokens, which leaves %d of a window of %d for the context: not more than the overlap of %d",
			len(question.IDs), max(room, 0), q.Window, *q.Overlap)}
	}
	for _, w := range spans.Windows(len(context.IDs), room, *q.Overlap) {
		part := context.Part(w[0], w[1])
		e := t.tokenizer.Pair(question, part)
		from := 0
		for e.Texts[from] != 1 {
			from++
		}
		windows = append(windows, spans.Window{From: from, Tokens: part.Offsets, Words: part.Words})
		rows = append(rows, t.row(e))
	}
	return windows, rows, nil
}
