package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/skein-project/skein/internal/toolcall"
)

// choiceJSON is an answer, or a part of one, of either kind.
type choiceJSON struct {
	Index    int          `json:"index"`
	Text     *string      `json:"text,omitempty"`
	Message  *messageJSON `json:"message,omitempty"`
	Delta    *deltaJSON   `json:"delta,omitempty"`
	Logprobs any          `json:"logprobs"`
	Finish   *Finish      `json:"finish_reason"`
}

// messageJSON is a whole answer. Its content is null where there are only calls.
type messageJSON struct {
	Role      string         `json:"role"`
	Content   *string        `json:"content"`
	Refusal   *string        `json:"refusal"`
	ToolCalls []toolCallJSON `json:"tool_calls,omitempty"`
}

// deltaJSON is what an event adds to an answer.
type deltaJSON struct {
	Role      string         `json:"role,omitempty"`
	Content   *string        `json:"content,omitempty"`
	ToolCalls []toolCallJSON `json:"tool_calls,omitempty"`
}

// toolCallJSON is a call of a function, or a part of one.
type toolCallJSON struct {
	Index    *int         `json:"index,omitempty"` // in events
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionJSON `json:"function"`
}

type functionJSON struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

type completionJSON struct {
	ID                string       `json:"id"`
	Object            string       `json:"object"`
	Created           int64        `json:"created"`
	Model             string       `json:"model"`
	SystemFingerprint string       `json:"system_fingerprint"`
	Choices           []choiceJSON `json:"choices"`
	Usage             any          `json:"usage,omitempty"` // *usageJSON, which may be nil: null
}

// shape is what differs between the two kinds of completions.
type shape struct {
	prefix, object, chunk string
	logprobs              func(t *text, tokens []Token, from int) any
	whole                 func(c *choiceJSON, s *spoken)
	part                  func(c *choiceJSON, p part, first bool)
}

var chatShape = shape{
	prefix: "chatcmpl-", object: "chat.completion", chunk: "chat.completion.chunk", logprobs: chatLogprobs,
	whole: func(c *choiceJSON, s *spoken) {
		c.Message = &messageJSON{Role: "assistant", Content: &s.text}
		if len(s.calls) > 0 && s.text == "" {
			c.Message.Content = nil
		}
		for _, made := range s.calls {
			c.Message.ToolCalls = append(c.Message.ToolCalls, toolCallJSON{ID: made.id, Type: "function", Function: functionJSON{made.name, made.arguments}})
		}
	},
	part: func(c *choiceJSON, p part, first bool) {
		c.Delta = &deltaJSON{}
		if first {
			c.Delta.Role = "assistant"
		}
		switch p.kind {
		case toolcall.Text:
			if p.text != "" || first {
				c.Delta.Content = &p.text
			}
		case toolcall.Call:
			c.Delta.ToolCalls = []toolCallJSON{{Index: &p.call, ID: p.id, Type: "function", Function: functionJSON{Name: p.text}}}
		case toolcall.Arguments:
			c.Delta.ToolCalls = []toolCallJSON{{Index: &p.call, Function: functionJSON{Arguments: p.text}}}
		}
	},
}

var textShape = shape{
	prefix: "cmpl-", object: "text_completion", chunk: "text_completion", logprobs: textLogprobs,
	whole: func(c *choiceJSON, s *spoken) { c.Text = &s.text },
	part:  func(c *choiceJSON, p part, _ bool) { c.Text = &p.text },
}

// repeat asks the same n times, with seeds that follow each other.
func repeat(a Ask, n int) []Ask {
	out := make([]Ask, n)
	for i := range out {
		out[i] = a
		out[i].Sampling.Seed += uint64(i)
		if i > 0 {
			out[i].again = nil // one copy of a request is enough
		}
	}
	return out
}

// complete answers asks side by side, streamed or whole. prompt is the number of tokens of all prompts, each counted once.
func (s *Server) complete(ctx context.Context, w *answer, t *text, p *params, o *offer, sh shape, asks []Ask, prompt int) error {
	if err := s.admitAsks(ctx, t, asks, prompt); err != nil {
		return err
	}
	head := completionJSON{ID: newID(sh.prefix), Object: sh.object, Created: time.Now().Unix(), Model: p.Model, SystemFingerprint: t.version.String()}
	if p.Stream {
		head.Object = sh.chunk
		return s.stream(ctx, w, t, p, o, sh, asks, head, prompt)
	}
	head.Choices = make([]choiceJSON, len(asks))
	total := Usage{Prompt: prompt}
	err := s.each(ctx, t, asks, func(i int) func(Piece) error {
		var said spoken
		var tokens []Token
		h := o.hearing(t)
		return func(pc Piece) error {
			parts, enough := h.hear(pc)
			said.add(parts)
			tokens = append(tokens, pc.Tokens...)
			switch {
			case pc.Finish != "":
				finish := h.finish(pc.Finish)
				c := choiceJSON{Index: i, Finish: &finish}
				sh.whole(&c, &said)
				if asks[i].Sampling.Logprobs {
					c.Logprobs = sh.logprobs(t, tokens, 0)
				}
				head.Choices[i] = c
				total.Completion += pc.Usage.Completion
			case enough:
				return errStopped
			}
			return nil
		}
	})
	if err != nil {
		return err
	}
	head.Usage = usageOf(total)
	w.json(http.StatusOK, head)
	return nil
}

// stream sends chunks as they come. Every chunk has one choice; the last one before [DONE] may have only the usage.
func (s *Server) stream(ctx context.Context, w *answer, t *text, p *params, o *offer, sh shape, asks []Ask, head completionJSON, prompt int) error {
	total := Usage{Prompt: prompt}
	if p.usageWanted() {
		head.Usage = (*usageJSON)(nil) // null in every chunk but the last
	}
	var whole []choiceJSON // nil: the answer is not kept
	if callOf(ctx).keeps().Answers() {
		whole = make([]choiceJSON, len(asks))
	}
	err := s.each(ctx, t, asks, func(i int) func(Piece) error {
		st := &streamed{w: w, t: t, sh: sh, head: head, index: i, logprobs: asks[i].Sampling.Logprobs, first: true, hearing: o.hearing(t), whole: whole}
		return func(pc Piece) error {
			if pc.Finish != "" {
				total.Completion += pc.Usage.Completion
			}
			return st.take(pc)
		}
	})
	if err != nil {
		return err
	}
	if whole != nil {
		kept := head
		kept.Object, kept.Choices, kept.Usage = sh.object, whole, usageOf(total)
		callOf(ctx).noteAnswer(kept)
	}
	if p.usageWanted() {
		head.Choices, head.Usage = []choiceJSON{}, usageOf(total)
		if err := w.event(head); err != nil {
			return err
		}
	}
	return w.done()
}

// streamed is one answer that is sent in chunks.
type streamed struct {
	w        *answer
	t        *text
	sh       shape
	head     completionJSON
	index    int
	logprobs bool
	first    bool // nothing was sent yet
	offset   int  // of the next token, in characters of the answer
	hearing  *hearing
	whole    []choiceJSON // the answers as they are kept; nil: they are not
	said     spoken       // kept of this one
}

// take sends what a piece adds.
func (s *streamed) take(pc Piece) error {
	var logprobs any
	if s.logprobs && len(pc.Tokens) > 0 {
		logprobs = s.sh.logprobs(s.t, pc.Tokens, s.offset)
		s.offset += characters(pc.Tokens)
	}
	parts, enough := s.hearing.hear(pc)
	if s.whole != nil {
		s.said.add(parts)
	}
	if len(parts) == 0 && (s.first || logprobs != nil) { // a chunk is due, whatever there is to say
		parts = []part{{}}
	}
	for _, p := range parts {
		if p.kind == toolcall.End {
			continue
		}
		if err := s.send(p, logprobs, nil); err != nil {
			return err
		}
		logprobs = nil
	}
	switch {
	case pc.Finish != "":
		finish := s.hearing.finish(pc.Finish)
		if s.whole != nil {
			s.whole[s.index] = choiceJSON{Index: s.index, Finish: &finish}
			s.sh.whole(&s.whole[s.index], &s.said)
		}
		return s.send(part{}, nil, &finish)
	case enough:
		return errStopped
	}
	return nil
}

func (s *streamed) send(p part, logprobs any, finish *Finish) error {
	chunk, c := s.head, choiceJSON{Index: s.index, Logprobs: logprobs, Finish: finish}
	s.sh.part(&c, p, s.first)
	s.first = false
	chunk.Choices = []choiceJSON{c}
	return s.w.event(chunk)
}

// each runs asks side by side. Pieces are handed out one at a time; the first error ends all.
func (s *Server) each(ctx context.Context, t *text, asks []Ask, sink func(i int) func(Piece) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, a := range asks {
		take := sink(i)
		wg.Go(func() {
			err := s.survive(ctx, func() error {
				return s.generate(ctx, t, a, func(p Piece) error {
					mu.Lock()
					defer mu.Unlock()
					return take(p)
				})
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
