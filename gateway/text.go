package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/jinja"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
)

// maxTexts is how many versions' tokenizers a gateway keeps.
const maxTexts = 64

// text is what turns a version's text into tokens and back.
type text struct {
	version   cluster.VersionID
	manifest  *model.Manifest
	tokenizer *token.Tokenizer // nil: the version has none, and takes token ids only
	template  *jinja.Template  // nil: none
	specials  map[string]string
}

// texts keeps what was loaded, by manifest. One load per manifest is under way at a time; all who ask wait for it.
type texts struct {
	mu       sync.Mutex
	byDigest map[blob.Digest]*textEntry
}

type textEntry struct {
	once sync.Once
	text *text
	err  error
	used time.Time
}

// text finds the version that a model name means and what handles its text.
func (s *Server) text(ctx context.Context, name string) (*text, error) {
	if name == "" {
		return nil, invalid("model", "a model is needed")
	}
	table, _ := s.table()
	v, ok := table.Target(name)
	if !ok {
		return nil, &Error{Fault: FaultModel, Param: "model", Why: fmt.Sprintf("the model %.128q does not exist", name)}
	}
	version, ok := s.live.Now().Version(v)
	if !ok {
		return nil, &Error{Fault: FaultModel, Param: "model", Why: fmt.Sprintf("the model %.128q does not exist", name)}
	}
	e := s.texts.entry(version.Manifest)
	e.once.Do(func() { e.text, e.err = s.loadText(context.WithoutCancel(ctx), version) })
	if e.err != nil {
		s.texts.drop(version.Manifest, e)
		return nil, e.err
	}
	t := *e.text
	t.version = v
	return &t, nil
}

func (t *texts) entry(d blob.Digest) *textEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byDigest[d]
	if e == nil {
		if len(t.byDigest) >= maxTexts {
			t.evict()
		}
		e = &textEntry{}
		t.byDigest[d] = e
	}
	e.used = time.Now()
	return e
}

func (t *texts) evict() {
	var oldest blob.Digest
	var at time.Time
	for d, e := range t.byDigest {
		if at.IsZero() || e.used.Before(at) {
			oldest, at = d, e.used
		}
	}
	delete(t.byDigest, oldest)
}

func (t *texts) drop(d blob.Digest, e *textEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byDigest[d] == e {
		delete(t.byDigest, d)
	}
}

func (s *Server) loadText(ctx context.Context, v cluster.Version) (*text, error) {
	size, err := s.library.BlobSize(ctx, v.Manifest)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", v.VersionID, err)
	}
	b, err := s.library.ReadBlob(ctx, blob.Ref{Digest: v.Manifest, Len: size})
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", v.VersionID, err)
	}
	m, err := model.Decode(b)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range token.Files() {
		if ref, ok := m.Files[name]; ok {
			if files[name], err = s.library.ReadBlob(ctx, ref); err != nil {
				return nil, fmt.Errorf("read %s of %s: %w", name, v.VersionID, err)
			}
		}
	}
	t := &text{manifest: m}
	if len(files) == 0 {
		return t, nil
	}
	if t.tokenizer, err = token.Load(files); err != nil {
		return nil, fmt.Errorf("load the tokenizer of %s: %w", v.VersionID, err)
	}
	t.specials = t.tokenizer.TemplateTokens()
	if src, ok := t.tokenizer.ChatTemplate(); ok {
		if t.template, err = jinja.Parse(src); err != nil {
			return nil, fmt.Errorf("parse the chat template of %s: %w", v.VersionID, err)
		}
	}
	return t, nil
}

// prompt turns a text into tokens, with the special tokens that the model begins with.
func (t *text) prompt(text string) ([]int32, error) {
	if t.tokenizer == nil {
		return nil, &Error{Fault: FaultTask, Param: "model", Why: "the model has no tokenizer: send token ids"}
	}
	e, err := t.tokenizer.Encode(text, token.EncodeOptions{AddSpecial: true})
	return e.IDs, err
}

// Message is one turn of a conversation.
type Message struct {
	Role    string
	Content string
}

// chat renders a conversation with the model's template and turns it into tokens. Special tokens are read where the template put them,
// never where a message spells them.
func (t *text) chat(messages []Message, now time.Time) ([]int32, error) {
	if t.tokenizer == nil || t.template == nil {
		return nil, &Error{Fault: FaultTask, Param: "model", Why: "the model has no chat template: use completions"}
	}
	list := make([]any, len(messages))
	for i, m := range messages {
		o := jinja.NewObject()
		o.Set("role", m.Role)
		o.Set("content", m.Content)
		list[i] = o
	}
	vars := map[string]any{"messages": list, "add_generation_prompt": true}
	for name, text := range t.specials {
		vars[name] = text
	}
	rendered, err := t.template.Render(vars, jinja.Limits{Now: now})
	if err != nil {
		return nil, templateError(err)
	}
	e, err := t.tokenizer.Encode(rendered, token.EncodeOptions{ParseSpecial: true, Literal: literal(rendered, messages)})
	return e.IDs, err
}

func templateError(err error) error {
	if e := explain(err); e.Fault != FaultInternal {
		return e
	}
	return &Error{Fault: FaultInvalid, Param: "messages", Why: "the model's chat template cannot render these messages: " + err.Error()}
}

// literal finds the messages in the rendered prompt, in order; templates trim them at most. A message that the template changed
// otherwise is not found, and its text counts as the template's.
func literal(rendered string, messages []Message) []token.Span {
	var spans []token.Span
	from := 0
	for _, m := range messages {
		for _, content := range []string{m.Content, strings.TrimSpace(m.Content)} {
			if at := strings.Index(rendered[from:], content); content != "" && at >= 0 {
				spans = append(spans, token.Span{From: int32(from + at), To: int32(from + at + len(content))})
				from += at + len(content)
				break
			}
		}
	}
	return spans
}
