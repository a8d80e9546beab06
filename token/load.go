package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The files that Load reads, by their Hugging Face names.
const (
	fileTokenizer   = "tokenizer.json"
	fileConfig      = "tokenizer_config.json"
	fileModel       = "config.json"
	fileSpecial     = "special_tokens_map.json"
	fileAdded       = "added_tokens.json"
	fileTemplate    = "chat_template.jinja"
	fileVocabText   = "vocab.txt"
	fileVocabJSON   = "vocab.json"
	fileMergesText  = "merges.txt"
	whereNoFileSays = "no tokenizer: needs tokenizer.json, or vocab.txt, or vocab.json and merges.txt"
)

// Files are the names that Load can make use of.
func Files() []string {
	return []string{
		fileTokenizer, fileConfig, fileModel, fileSpecial, fileAdded, fileTemplate,
		fileVocabText, fileVocabJSON, fileMergesText,
	}
}

// Load builds a tokenizer from the contents of a model's files, by name: tokenizer.json, or vocab.txt (WordPiece), or
// vocab.json and merges.txt (byte-level BPE); and what tokenizer_config.json, special_tokens_map.json,
// added_tokens.json and chat_template.jinja say beside it. Of config.json it reads the model_type alone, where nothing
// else says which byte-level BPE the two files are.
// Other names are ignored. It fails with Invalid, or with Unsupported naming the component that is not known.
// The truncation and padding of tokenizer.json are not applied: the caller decides how long an input may be.
func Load(files map[string][]byte) (*Tokenizer, error) {
	for _, name := range Files() {
		if err := checkFile(name, files[name]); err != nil {
			return nil, err
		}
	}
	cfg, err := readConfig(files)
	if err != nil {
		return nil, err
	}
	b := &builder{t: &Tokenizer{}, cfg: cfg}
	switch {
	case len(files[fileTokenizer]) > 0:
		err = b.fromTokenizerJSON(files[fileTokenizer])
	case len(files[fileVocabText]) > 0:
		err = b.fromVocabText(files[fileVocabText])
	case len(files[fileVocabJSON]) > 0 && files[fileMergesText] != nil:
		err = b.fromVocabJSON(files[fileVocabJSON], files[fileMergesText])
	default:
		err = Invalid{Why: whereNoFileSays}
	}
	if err != nil {
		return nil, err
	}
	return b.finish()
}

// checkFile bounds a file before anything is made of it.
func checkFile(name string, b []byte) error {
	limit := MaxConfigBytes
	switch name {
	case fileTokenizer, fileVocabJSON, fileVocabText, fileMergesText:
		limit = MaxFileBytes
	}
	if len(b) > limit {
		return Invalid{name, fmt.Sprintf("%d bytes exceed the limit of %d", len(b), limit)}
	}
	if !utf8.Valid(b) {
		return Invalid{name, "not UTF-8"}
	}
	if len(name) < 5 || name[len(name)-5:] != ".json" {
		return nil
	}
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxJSONDepth {
				return Invalid{name, fmt.Sprintf("nested deeper than %d levels", MaxJSONDepth)}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// decodeJSON reads JSON of a named file.
func decodeJSON(file string, b []byte, to any) error {
	if err := json.Unmarshal(b, to); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return Invalid{file, fmt.Sprintf("%v at byte %d", err, syntax.Offset)}
		}
		return Invalid{file, err.Error()}
	}
	return nil
}

// isNull reports whether a JSON value is absent or null.
func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

// tokenizerFile is tokenizer.json.
type tokenizerFile struct {
	AddedTokens   json.RawMessage `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// addedFile is an added token as files describe it.
type addedFile struct {
	ID         *int64 `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

func (b *builder) fromTokenizerJSON(raw []byte) error {
	b.file = fileTokenizer
	var f tokenizerFile
	if err := decodeJSON(b.file, raw, &f); err != nil {
		return err
	}
	if isNull(f.Model) {
		return Invalid{b.file, "no model"}
	}
	for _, step := range []struct {
		raw  json.RawMessage
		read func(json.RawMessage) error
	}{
		{f.Normalizer, b.normalizer},
		{f.PreTokenizer, b.preTokenizer},
		{f.Decoder, func(raw json.RawMessage) error { return b.decoder(raw, false) }},
		{f.PostProcessor, b.postProcessor},
	} {
		if isNull(step.raw) {
			continue
		}
		if len(step.raw) > MaxComponentBytes {
			return Invalid{b.file, fmt.Sprintf("a component of %d bytes exceeds the limit of %d", len(step.raw), MaxComponentBytes)}
		}
		if err := step.read(step.raw); err != nil {
			return err
		}
	}
	if err := b.readModel(f.Model); err != nil {
		return err
	}
	return b.addAll(f.AddedTokens)
}

// addAll adds the added_tokens of tokenizer.json.
func (b *builder) addAll(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	if n, _ := countElements(raw); n > MaxAddedTokens {
		return Invalid{b.file, fmt.Sprintf("%d added tokens exceed the limit of %d", n, MaxAddedTokens)}
	}
	var tokens []addedFile
	if err := decodeJSON(b.file, raw, &tokens); err != nil {
		return err
	}
	for _, a := range tokens {
		if a.ID == nil {
			return Invalid{b.file, fmt.Sprintf("added token %.40q has no id", a.Content)}
		}
		if err := b.add(a, *a.ID); err != nil {
			return err
		}
	}
	return nil
}

// countElements returns the number of elements of a JSON array or object, and of the texts in it at any depth,
// without building any of them.
func countElements(raw []byte) (elements, texts int) {
	depth, filled, inString := 0, false, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			if inString = !inString; inString {
				texts++
				filled = true
			}
		case inString || c == ' ' || c == '\n' || c == '\t' || c == '\r':
		case c == '{' || c == '[':
			depth++
			filled = filled || depth > 1
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 1:
			elements++
		default:
			filled = true
		}
	}
	if filled {
		elements++
	}
	return elements, texts
}

// component reads the type of a component, and its fields into to.
func (b *builder) component(raw json.RawMessage, to any) (string, error) {
	var c struct {
		Type string `json:"type"`
	}
	if err := decodeJSON(b.file, raw, &c); err != nil {
		return "", err
	}
	if to == nil {
		return c.Type, nil
	}
	return c.Type, decodeJSON(b.file, raw, to)
}

// sequenceOf calls read for each of a sequence's components.
func (b *builder) sequenceOf(what string, parts []json.RawMessage, read func(json.RawMessage) error) error {
	if len(parts) > MaxComponents {
		return Invalid{b.file, fmt.Sprintf("%d parts in a %s exceed the limit of %d", len(parts), what, MaxComponents)}
	}
	for _, p := range parts {
		if err := read(p); err != nil {
			return err
		}
	}
	return nil
}

// patternFile is a pattern: a literal text or a regular expression.
type patternFile struct {
	String *string
	Regex  *string
}

func (b *builder) checkPattern(p patternFile) error {
	for _, s := range []*string{p.String, p.Regex} {
		if s != nil && (len(*s) > MaxPatternBytes || *s == "") {
			return Invalid{b.file, fmt.Sprintf("pattern of %d bytes; the limit is 1 to %d", len(*s), MaxPatternBytes)}
		}
	}
	if (p.String == nil) == (p.Regex == nil) {
		return Invalid{b.file, "pattern is neither a String nor a Regex"}
	}
	return nil
}
