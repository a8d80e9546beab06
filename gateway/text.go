package gateway

import (
	"context"
	"fmt"
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
	source    string           // of the template
	specials  map[string]string
	spellings []string          // the text of every special token
	limit     int               // bytes of a prompt
	defaults  *cluster.Defaults // of the model; nil = none
	tokens    int               // of an answer to a request that says nothing; 0 = no default
	shadow    *copied           // nil: no copy goes anywhere
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

// text finds the version that answers a request for a model, and what handles its text. talk is as for choose.
func (s *Server) text(ctx context.Context, name, talk string) (*text, error) {
	if name == "" {
		return nil, invalid("model", "a model is needed")
	}
	to, err := s.choose(ctx, name, talk)
	if err != nil {
		return nil, err
	}
	callOf(ctx).resolve(name, to.version.VersionID)
	t, err := s.textOf(ctx, to.version)
	if err != nil {
		return nil, err
	}
	if t.defaults = to.model.Defaults; t.defaults != nil && t.defaults.MaxTokens != nil {
		t.tokens = min(*t.defaults.MaxTokens, s.context(t))
	}
	if to.shadow != nil {
		t.shadow = &copied{name: name, version: *to.shadow, owner: s.live.Now().Model(to.shadow.Model).Owner}
	}
	return t, nil
}

// textOf finds what handles the text of a version.
func (s *Server) textOf(ctx context.Context, version cluster.Version) (*text, error) {
	e := s.texts.entry(version.Manifest)
	e.once.Do(func() {
		e.err = s.survive(ctx, func() (err error) {
			e.text, err = s.loadText(context.WithoutCancel(ctx), version)
			return err
		})
	})
	if e.err != nil {
		s.texts.drop(version.Manifest, e)
		return nil, e.err
	}
	t := *e.text
	t.version = version.VersionID
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
	t := &text{manifest: m, limit: s.cfg.MaxPrompt}
	if len(files) == 0 {
		return t, nil
	}
	if t.tokenizer, err = token.Load(files); err != nil {
		return nil, fmt.Errorf("load the tokenizer of %s: %w", v.VersionID, err)
	}
	t.specials, t.spellings = t.tokenizer.TemplateTokens(), specialTexts(t.tokenizer)
	if src, ok := t.tokenizer.ChatTemplate(); ok {
		t.source = src
		if t.template, err = jinja.Parse(src); err != nil {
			return nil, fmt.Errorf("parse the chat template of %s: %w", v.VersionID, err)
		}
	}
	return t, nil
}
