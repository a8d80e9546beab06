package convert

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/skein-project/skein/internal/jinja"
	"github.com/skein-project/skein/token"
)

const (
	tokenizerName = "tokenizer.json"
	settingsName  = "tokenizer_config.json"
	templateName  = "chat_template.jinja"
)

// tokenizer refuses a model whose tokenizer is missing, broken, of an unknown kind, or one of another model. A gateway then
// loads it as it was loaded here.
func (r *reading) tokenizer() error {
	files, err := r.tokenFiles()
	if err != nil {
		return err
	}
	t, err := token.Load(files)
	if err != nil {
		return refuseTokenizer(err)
	}
	// A vocabulary that ends before the model's is usual: the head is padded to a round number of rows.
	if n, vocab := t.VocabSize(), r.m.Config.Vocab; n > vocab {
		return Refused{"", "tokenizer", fmt.Sprintf("has token ids up to %d, but the model's vocabulary has %d tokens", n-1, vocab)}
	}
	return r.template(t)
}

// tokenFiles reads the files of the tokenizer that are there.
func (r *reading) tokenFiles() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range token.Files() {
		if _, ok := r.files[name]; !ok {
			continue
		}
		b, err := r.bytes(name, MaxTokenizer)
		if err != nil {
			return nil, err
		}
		files[name] = b
	}
	return files, nil
}

// refuseTokenizer gives an error of package token the name of the file that it comes from.
func refuseTokenizer(err error) error {
	if inv, ok := errors.AsType[token.Invalid](err); ok {
		return Refused{cmp.Or(inv.File, tokenizerName), "", inv.Why}
	}
	if un, ok := errors.AsType[token.Unsupported](err); ok {
		return Refused{tokenizerName, un.What, fmt.Sprintf("%.80q is not supported", un.Name)}
	}
	return err
}

// template refuses a chat template that does not parse.
func (r *reading) template(t *token.Tokenizer) error {
	text, ok := t.ChatTemplate()
	if !ok {
		return nil
	}
	_, err := jinja.Parse(text)
	if err == nil {
		return nil
	}
	if _, ok := r.files[templateName]; ok {
		return Refused{templateName, "", err.Error()}
	}
	return Refused{settingsName, "chat_template", err.Error()}
}
