package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// choiceJSON is an answer, or a part of one, of either kind.
type choiceJSON struct {
	Index    int          `json:"index"`
	Text     *string      `json:"text,omitempty"`
	Message  *messageJSON `json:"message,omitempty"`
	Delta    *messageJSON `json:"delta,omitempty"`
	Logprobs any          `json:"logprobs"`
	Finish   *Finish      `json:"finish_reason"`
}

type messageJSON struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
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
	whole                 func(c *choiceJSON, text string)
	part                  func(c *choiceJSON, text string, first bool)
}

var chatShape = shape{
	prefix: "chatcmpl-", object: "chat.completion", chunk: "chat.completion.chunk", logprobs: chatLogprobs,
	whole: func(c *choiceJSON, text string) { c.Message = &messageJSON{Role: "assistant", Content: &text} },
	part: func(c *choiceJSON, text string, first bool) {
		c.Delta = &messageJSON{}
		if first {
			c.Delta.Role = "assistant"
		}
		if text != "" || first {
			c.Delta.Content = &text
		}
	},
}

var textShape = shape{
	prefix: "cmpl-", object: "text_completion", chunk: "text_completion", logprobs: textLogprobs,
	whole: func(c *choiceJSON, text string) { c.Text = &text },
	part:  func(c *choiceJSON, text string, _ bool) { c.Text = &text },
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
func (s *Server) complete(ctx context.Context, w *answer, t *text, p *params, sh shape, asks []Ask, prompt int) error {
	if err := s.admitAsks(ctx, t, asks, prompt); err != nil {
		return err
	}
	head := completionJSON{ID: newID(sh.prefix), Object: sh.object, Created: time.Now().Unix(), Model: p.Model, SystemFingerprint: t.version.String()}
	if p.Stream {
		head.Object = sh.chunk
		return s.stream(ctx, w, t, p, sh, asks, head, prompt)
	}
	head.Choices = make([]choiceJSON, len(asks))
	total := Usage{Prompt: prompt}
	err := s.each(ctx, t, asks, func(i int) func(Piece) error {
		var text string
		var tokens []Token
		return func(pc Piece) error {
			text += pc.Text
			tokens = append(tokens, pc.Tokens...)
			if pc.Finish != "" {
				c := choiceJSON{Index: i, Finish: &pc.Finish}
				sh.whole(&c, text)
				if asks[i].Sampling.Logprobs {
					c.Logprobs = sh.logprobs(t, tokens, 0)
				}
				head.Choices[i] = c
				total.Completion += pc.Usage.Completion
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
func (s *Server) stream(ctx context.Context, w *answer, t *text, p *params, sh shape, asks []Ask, head completionJSON, prompt int) error {
	total := Usage{Prompt: prompt}
	if p.usageWanted() {
		head.Usage = (*usageJSON)(nil) // null in every chunk but the last
	}
	err := s.each(ctx, t, asks, func(i int) func(Piece) error {
		first, offset := true, 0
		send := func(text string, logprobs any, finish *Finish) error {
			chunk, c := head, choiceJSON{Index: i, Logprobs: logprobs, Finish: finish}
			sh.part(&c, text, first)
			first = false
			chunk.Choices = []choiceJSON{c}
			return w.event(chunk)
		}
		return func(pc Piece) error {
			var logprobs any
			if asks[i].Sampling.Logprobs && len(pc.Tokens) > 0 {
				logprobs = sh.logprobs(t, pc.Tokens, offset)
				offset += characters(pc.Tokens)
			}
			if first || pc.Text != "" || logprobs != nil {
				if err := send(pc.Text, logprobs, nil); err != nil {
					return err
				}
			}
			if pc.Finish == "" {
				return nil
			}
			total.Completion += pc.Usage.Completion
			return send("", nil, &pc.Finish)
		}
	})
	if err != nil {
		return err
	}
	if p.usageWanted() {
		head.Choices, head.Usage = []choiceJSON{}, usageOf(total)
		if err := w.event(head); err != nil {
			return err
		}
	}
	return w.done()
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
			err := s.generate(ctx, t, a, func(p Piece) error {
				mu.Lock()
				defer mu.Unlock()
				return take(p)
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
