package token

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// specialName is the spelling of the special token that has a role, such as "bos_token".
type specialName struct{ role, text string }

type specialNames []specialName

func (n specialNames) get(role string) (string, bool) {
	for _, s := range n {
		if s.role == role {
			return s.text, true
		}
	}
	return "", false
}

// set names the token of a role that has none yet.
func (n *specialNames) set(role, text string) {
	if _, ok := n.get(role); !ok && text != "" {
		*n = append(*n, specialName{role, text})
	}
}

// roles are the roles of special tokens.
var roles = [...]string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// config is what the files beside the vocabulary say.
type config struct {
	class       string // tokenizer_class, or one that model_type stands for
	names       specialNames
	added       []addedFile
	extra       []string // additional special tokens
	template    string
	hasTemplate bool

	lowerCase   *bool
	ideographs  *bool
	accents     *bool
	prefixSpace bool
}

// configFile is tokenizer_config.json.
type configFile struct {
	Class        string               `json:"tokenizer_class"`
	Added        map[string]addedFile `json:"added_tokens_decoder"`
	ChatTemplate json.RawMessage      `json:"chat_template"`
	LowerCase    *bool                `json:"do_lower_case"`
	Ideographs   *bool                `json:"tokenize_chinese_chars"`
	Accents      *bool                `json:"strip_accents"`
	PrefixSpace  *bool                `json:"add_prefix_space"`
}

// readConfig reads the files beside the vocabulary. All of them may be absent.
func readConfig(files map[string][]byte) (*config, error) {
	c := &config{}
	if raw := files[fileConfig]; len(raw) > 0 {
		var f configFile
		if err := decodeJSON(fileConfig, raw, &f); err != nil {
			return nil, err
		}
		c.class, c.lowerCase, c.ideographs, c.accents = f.Class, f.LowerCase, f.Ideographs, f.Accents
		c.prefixSpace = isTrue(f.PrefixSpace)
		if err := c.addDecoder(f.Added); err != nil {
			return nil, err
		}
		if err := c.chatTemplate(f.ChatTemplate); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{fileConfig, fileSpecial} {
		if err := c.roleNames(name, files[name]); err != nil {
			return nil, err
		}
	}
	if err := c.addedTokens(files[fileAdded]); err != nil {
		return nil, err
	}
	if c.class == "" && len(files[fileModel]) > 0 {
		var f struct {
			Type string `json:"model_type"`
		}
		if err := decodeJSON(fileModel, files[fileModel], &f); err != nil {
			return nil, err
		}
		c.class = classOfModel[f.Type]
	}
	if raw, ok := files[fileTemplate]; ok {
		c.template, c.hasTemplate = string(raw), true
	}
	if len(c.template) > MaxChatTemplate {
		return nil, Invalid{fileConfig, fmt.Sprintf("chat template of %d bytes exceeds the limit of %d", len(c.template), MaxChatTemplate)}
	}
	return c, nil
}

// classOfModel are the tokenizer classes of model types that come with vocab.json and merges.txt.
var classOfModel = map[string]string{"gpt2": "GPT2Tokenizer", "qwen2": "Qwen2Tokenizer", "roberta": "RobertaTokenizer"}

// addDecoder reads added_tokens_decoder, in the order of the ids.
func (c *config) addDecoder(m map[string]addedFile) error {
	if len(m) > MaxAddedTokens {
		return Invalid{fileConfig, fmt.Sprintf("%d added tokens exceed the limit of %d", len(m), MaxAddedTokens)}
	}
	for key, a := range m {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			return Invalid{fileConfig, fmt.Sprintf("added token id %.20q is not a number", key)}
		}
		a.ID = &id
		c.added = append(c.added, a)
	}
	slices.SortFunc(c.added, byID)
	return nil
}

func byID(x, y addedFile) int {
	return cmp.Or(cmp.Compare(*x.ID, *y.ID), strings.Compare(x.Content, y.Content))
}

// addedTokens reads added_tokens.json: ids by spelling.
func (c *config) addedTokens(raw []byte) error {
	if len(raw) == 0 || len(c.added) > 0 {
		return nil
	}
	var m map[string]int64
	if err := decodeJSON(fileAdded, raw, &m); err != nil {
		return err
	}
	if len(m) > MaxAddedTokens {
		return Invalid{fileAdded, fmt.Sprintf("%d added tokens exceed the limit of %d", len(m), MaxAddedTokens)}
	}
	for text, id := range m {
		c.added = append(c.added, addedFile{ID: &id, Content: text, Normalized: true})
	}
	slices.SortFunc(c.added, byID)
	return nil
}

// roleNames reads the special tokens' roles. A token is a text, or an object with its content.
func (c *config) roleNames(file string, raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	var m map[string]json.RawMessage
	if err := decodeJSON(file, raw, &m); err != nil {
		return err
	}
	for _, role := range roles {
		if isNull(m[role]) {
			continue
		}
		text, err := tokenText(file, m[role])
		if err != nil {
			return err
		}
		c.names.set(role, text)
	}
	if isNull(m["additional_special_tokens"]) {
		return nil
	}
	var extra []json.RawMessage
	if err := decodeJSON(file, m["additional_special_tokens"], &extra); err != nil {
		return err
	}
	if len(extra) > MaxAddedTokens {
		return Invalid{file, fmt.Sprintf("%d special tokens exceed the limit of %d", len(extra), MaxAddedTokens)}
	}
	for _, raw := range extra {
		text, err := tokenText(file, raw)
		if err != nil {
			return err
		}
		c.extra = append(c.extra, text)
	}
	return nil
}

func tokenText(file string, raw json.RawMessage) (string, error) {
	if raw[0] == '"' {
		var s string
		err := decodeJSON(file, raw, &s)
		return s, err
	}
	var a addedFile
	err := decodeJSON(file, raw, &a)
	return a.Content, err
}

// chatTemplate reads chat_template: a text, or a list of named ones of which "default" is taken.
func (c *config) chatTemplate(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	if raw[0] == '"' {
		c.hasTemplate = true
		return decodeJSON(fileConfig, raw, &c.template)
	}
	var named []struct{ Name, Template string }
	if err := decodeJSON(fileConfig, raw, &named); err != nil {
		return err
	}
	for _, n := range named {
		if n.Name == "default" {
			c.template, c.hasTemplate = n.Template, true
		}
	}
	return nil
}
