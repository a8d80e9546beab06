package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// completionRequest is the body of /v1/completions.
type completionRequest struct {
	params
	Prompt   json.RawMessage `json:"prompt"`
	Logprobs *int            `json:"logprobs"`
	Echo     bool            `json:"echo"`
	Suffix   string          `json:"suffix"`
	BestOf   *int            `json:"best_of"`
}

// chatRequest is the body of /v1/chat/completions.
type chatRequest struct {
	params
	Messages    []chatMessage `json:"messages"`
	Logprobs    bool          `json:"logprobs"`
	TopLogprobs int           `json:"top_logprobs"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is a text, or a list of parts that are texts.
type content string

// UnmarshalJSON implements json.Unmarshaler.
func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = content(text)
		return nil
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(b, &parts); err != nil {
		return invalid("messages", "content: want a text or a list of parts")
	}
	for _, p := range parts {
		if p.Type != "text" {
			return invalid("messages", "content of type %.40q is not supported by this model", p.Type)
		}
		*c += content(p.Text)
	}
	return nil
}

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
	Usage             *usageJSON   `json:"usage,omitempty"`
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

func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request) error {
	var req chatRequest
	if err := read(r, &req); err != nil {
		return err
	}
	t, err := s.text(r.Context(), req.Model)
	if err != nil {
		return err
	}
	a, n, err := req.ask(t, s.cfg.MaxChoices)
	if err != nil {
		return err
	}
	if req.TopLogprobs > 0 && !req.Logprobs {
		return invalid("top_logprobs", "top_logprobs needs logprobs")
	}
	a.Sampling.Logprobs, a.Sampling.TopLogprobs = req.Logprobs, req.TopLogprobs
	var messages []Message
	size := 0
	for _, m := range req.Messages {
		messages = append(messages, Message{Role: m.Role, Content: string(m.Content)})
		size += len(m.Content)
	}
	if len(messages) == 0 || size > s.cfg.MaxPrompt {
		return invalid("messages", "%d messages of %d bytes: want at least one, and at most %d bytes", len(messages), size, s.cfg.MaxPrompt)
	}
	if a.Tokens, err = t.chat(messages, time.Now()); err != nil {
		return err
	}
	return s.complete(r.Context(), w.(*answer), t, &req.params, chatShape, repeat(a, n))
}

func (s *Server) completions(w http.ResponseWriter, r *http.Request) error {
	var req completionRequest
	if err := read(r, &req); err != nil {
		return err
	}
	t, err := s.text(r.Context(), req.Model)
	if err != nil {
		return err
	}
	a, n, err := req.ask(t, s.cfg.MaxChoices)
	if err != nil {
		return err
	}
	if req.Echo || req.Suffix != "" || req.BestOf != nil && *req.BestOf != n {
		return invalid("echo", "echo, suffix and best_of are not supported by this model")
	}
	if req.Logprobs != nil {
		a.Sampling.Logprobs, a.Sampling.TopLogprobs = true, *req.Logprobs
	}
	if req.MaxTokens == nil {
		a.MaxTokens = 16 // the API's default for text completions
	}
	prompts, err := s.prompts(t, req.Prompt, "prompt")
	if err != nil {
		return err
	}
	if len(prompts)*n > s.cfg.MaxChoices {
		return invalid("prompt", "%d prompts with n %d, at most %d answers", len(prompts), n, s.cfg.MaxChoices)
	}
	var asks []Ask
	for _, p := range prompts {
		a.Tokens = p
		asks = append(asks, repeat(a, n)...)
	}
	return s.complete(r.Context(), w.(*answer), t, &req.params, textShape, asks)
}

// prompts reads a text, a list of texts, a list of token ids, or a list of those.
func (s *Server) prompts(t *text, raw json.RawMessage, param string) ([][]int32, error) {
	var one string
	var many []string
	var ids []int32
	var rows [][]int32
	switch {
	case len(raw) == 0:
		return nil, invalid(param, "%s is needed", param)
	case json.Unmarshal(raw, &one) == nil:
		many = []string{one}
	case json.Unmarshal(raw, &ids) == nil && len(ids) > 0:
		return [][]int32{ids}, nil
	case json.Unmarshal(raw, &many) == nil:
	case json.Unmarshal(raw, &rows) == nil:
		return rows, nil
	default:
		return nil, invalid(param, "%s: want a text, a list of texts, or token ids", param)
	}
	for _, text := range many {
		if len(text) > s.cfg.MaxPrompt {
			return nil, invalid(param, "%s of %d bytes, at most %d", param, len(text), s.cfg.MaxPrompt)
		}
		p, err := t.prompt(text)
		if err != nil {
			return nil, err
		}
		rows = append(rows, p)
	}
	if len(rows) == 0 {
		return nil, invalid(param, "%s is empty", param)
	}
	return rows, nil
}

// repeat asks the same n times, with seeds that follow each other.
func repeat(a Ask, n int) []Ask {
	out := make([]Ask, n)
	for i := range out {
		out[i] = a
		out[i].Sampling.Seed += uint64(i)
	}
	return out
}

// complete answers asks side by side, streamed or whole.
func (s *Server) complete(ctx context.Context, w *answer, t *text, p *params, sh shape, asks []Ask) error {
	head := completionJSON{ID: newID(sh.prefix), Object: sh.object, Created: time.Now().Unix(), Model: p.Model, SystemFingerprint: t.version.String()}
	if p.Stream {
		head.Object = sh.chunk
		return s.stream(ctx, w, t, p, sh, asks, head)
	}
	head.Choices = make([]choiceJSON, len(asks))
	var total Usage
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
				total = Usage{Prompt: total.Prompt + pc.Usage.Prompt, Completion: total.Completion + pc.Usage.Completion}
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
func (s *Server) stream(ctx context.Context, w *answer, t *text, p *params, sh shape, asks []Ask, head completionJSON) error {
	var total Usage
	err := s.each(ctx, t, asks, func(i int) func(Piece) error {
		first, offset := true, 0
		return func(pc Piece) error {
			chunk := head
			c := choiceJSON{Index: i}
			if first || pc.Text != "" || asks[i].Sampling.Logprobs && len(pc.Tokens) > 0 {
				sh.part(&c, pc.Text, first)
				if asks[i].Sampling.Logprobs {
					c.Logprobs = sh.logprobs(t, pc.Tokens, offset)
				}
				first = false
				offset += len(pc.Text)
				chunk.Choices = []choiceJSON{c}
				if err := w.event(chunk); err != nil {
					return err
				}
			}
			if pc.Finish == "" {
				return nil
			}
			total = Usage{Prompt: total.Prompt + pc.Usage.Prompt, Completion: total.Completion + pc.Usage.Completion}
			c = choiceJSON{Index: i, Finish: &pc.Finish}
			sh.part(&c, "", false)
			chunk.Choices = []choiceJSON{c}
			return w.event(chunk)
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

// logprobJSON is a token with its log-probability, in the form of chat completions.
type logprobJSON struct {
	Token   string        `json:"token"`
	Logprob float32       `json:"logprob"`
	Bytes   []int         `json:"bytes"`
	Top     []logprobJSON `json:"top_logprobs"`
}

func chatLogprobs(t *text, tokens []Token, _ int) any {
	list := []logprobJSON{}
	for _, tok := range tokens {
		e := logprobOf(t, tok.Choice.Token, tok.Logprob)
		for _, alt := range tok.Top {
			e.Top = append(e.Top, logprobOf(t, alt.Token, alt.Logprob))
		}
		list = append(list, e)
	}
	return map[string]any{"content": list}
}

func logprobOf(t *text, id int32, logprob float32) logprobJSON {
	e := logprobJSON{Token: t.spell(id), Logprob: logprob, Bytes: []int{}, Top: []logprobJSON{}}
	for _, b := range []byte(e.Token) {
		e.Bytes = append(e.Bytes, int(b))
	}
	return e
}

// textLogprobs is the older form of text completions. from is where in the answer the first token's text begins.
func textLogprobs(t *text, tokens []Token, from int) any {
	out := struct {
		Tokens   []string             `json:"tokens"`
		Logprobs []float32            `json:"token_logprobs"`
		Top      []map[string]float32 `json:"top_logprobs"`
		Offsets  []int                `json:"text_offset"`
	}{[]string{}, []float32{}, []map[string]float32{}, []int{}}
	for _, tok := range tokens {
		out.Tokens = append(out.Tokens, t.spell(tok.Choice.Token))
		out.Logprobs = append(out.Logprobs, tok.Logprob)
		out.Offsets = append(out.Offsets, from)
		from += len(tok.Text)
		top := map[string]float32{}
		for _, alt := range tok.Top {
			top[t.spell(alt.Token)] = alt.Logprob
		}
		out.Top = append(out.Top, top)
	}
	return out
}
