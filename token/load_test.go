package token_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/token"
)

// fixtureModel is the model of a fixture's tokenizer.json.
type fixtureModel struct {
	Model struct {
		Vocab  map[string]int32
		Merges json.RawMessage
	}
}

// mergeLines returns a fixture's merges as merges.txt has them.
func (f fixtureModel) mergeLines(t *testing.T) string {
	var lines []string
	if json.Unmarshal(f.Model.Merges, &lines) != nil {
		var pairs [][2]string
		if err := json.Unmarshal(f.Model.Merges, &pairs); err != nil {
			t.Fatal(err)
		}
		lines = nil
		for _, p := range pairs {
			lines = append(lines, p[0]+" "+p[1])
		}
	}
	return "#version: 0.2\n" + strings.Join(lines, "\n") + "\n"
}

// byteFiles returns a byte-level fixture as vocab.json and merges.txt, without its added tokens.
func byteFiles(t *testing.T, name string) map[string][]byte {
	f := readJSON[fixtureModel](t, name, "tokenizer.json")
	vocab, err := json.Marshal(f.Model.Vocab)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"vocab.json": vocab, "merges.txt": []byte(f.mergeLines(t))}
}

// textFiles returns a WordPiece fixture as vocab.txt.
func textFiles(t *testing.T, name string) map[string][]byte {
	f := readJSON[fixtureModel](t, name, "tokenizer.json")
	lines := make([]string, len(f.Model.Vocab))
	for text, id := range f.Model.Vocab {
		lines[id] = text
	}
	return map[string][]byte{"vocab.txt": []byte(strings.Join(lines, "\n") + "\n")}
}

func TestOldFilesEqualTokenizerJSON(t *testing.T) {
	cases := []struct {
		fixture string
		files   map[string][]byte
		config  string
	}{
		{"bert-uncased", textFiles(t, "bert-uncased"), ""},
		{"bert-cased", textFiles(t, "bert-cased"), `{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}`},
		{"gpt2", byteFiles(t, "gpt2"), `{"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"1199":
			{"content": "<|endoftext|>", "lstrip": false, "normalized": true, "rstrip": false, "single_word": false, "special": true}}}`},
		{"qwen2", byteFiles(t, "qwen2"), `{"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {
			"1195": {"content": "<|endoftext|>", "special": true}, "1196": {"content": "<|im_start|>", "special": true},
			"1197": {"content": "<|im_end|>", "special": true},
			"1198": {"content": "<tool_call>"}, "1199": {"content": "</tool_call>"}}}`},
	}
	texts := readJSON[fixtureTexts](t, "texts.json")
	for _, c := range cases {
		t.Run(c.fixture, func(t *testing.T) {
			if c.config != "" {
				c.files["tokenizer_config.json"] = []byte(c.config)
			}
			tok, err := token.Load(c.files)
			if err != nil {
				t.Fatal(err)
			}
			want := readJSON[fixtureExpected](t, c.fixture, "expected.json")
			for i, text := range texts.Texts {
				compare(t, tok, text, want.Texts[i], false)
			}
		})
	}
}

func TestModelTypeNamesFamily(t *testing.T) {
	files := byteFiles(t, "qwen2")
	files["config.json"] = []byte(`{"model_type": "qwen2"}`)
	tok, err := token.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	want := loadFixture(t, "qwen2")
	const text = "x 123456 cafe\u0301"
	if got, want := encode(t, tok, text, token.EncodeOptions{}).IDs, encode(t, want, text, token.EncodeOptions{}).IDs; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSpecialTokensByRole(t *testing.T) {
	tok, err := token.Load(textFiles(t, "bert-uncased"))
	if err != nil {
		t.Fatal(err)
	}
	for role, f := range map[string]func() (int32, bool){
		"[PAD] 0": tok.PAD, "[UNK] 1": tok.UNK, "[CLS] 2": tok.CLS, "[SEP] 3": tok.SEP, "[MASK] 4": tok.MASK,
	} {
		id, ok := f()
		if text := fmt.Sprintf("%s %d", strings.Fields(role)[0], id); !ok || text != role {
			t.Errorf("%s: got %d, %v", role, id, ok)
		}
	}
	if id, ok := tok.BOS(); ok {
		t.Errorf("BERT has BOS %d", id)
	}
	if got := tok.VocabSize(); got != 1200 {
		t.Errorf("vocabulary size %d, want 1200", got)
	}
}

func llamaWith(t *testing.T, more map[string]string) *token.Tokenizer {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "llama3", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"tokenizer.json": raw}
	for name, text := range more {
		files[name] = []byte(text)
	}
	tok, err := token.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestConfigBesideTokenizer(t *testing.T) {
	tok := llamaWith(t, map[string]string{
		"tokenizer_config.json": `{"bos_token": {"content": "<|begin_of_text|>", "lstrip": false}, "eos_token": "<|eot_id|>",
			"pad_token": null, "chat_template": "{{ bos_token }}"}`,
		"special_tokens_map.json": `{"pad_token": "<|finetune_right_pad_id|>", "eos_token": "<|end_of_text|>"}`,
	})
	want := map[string]string{
		"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>",
	}
	if got := tok.TemplateTokens(); !maps.Equal(got, want) {
		t.Errorf("tokens %v, want %v", got, want)
	}
	eos, _ := tok.EOS()
	if id, ok := tok.ID("<|eot_id|>"); !ok || id != eos || !tok.IsSpecial(id) {
		t.Errorf("EOS is %d, <|eot_id|> is %d, %v, special %v", eos, id, ok, tok.IsSpecial(id))
	}
	if tmpl, ok := tok.ChatTemplate(); !ok || tmpl != "{{ bos_token }}" {
		t.Errorf("template %q, %v", tmpl, ok)
	}
}

func TestChatTemplateForms(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
		ok    bool
	}{
		"none":  {map[string]string{}, "", false},
		"null":  {map[string]string{"tokenizer_config.json": `{"chat_template": null}`}, "", false},
		"named": {map[string]string{"tokenizer_config.json": `{"chat_template": [{"name":"rag","template":"r"},{"name":"default","template":"d"}]}`}, "d", true},
		"file":  {map[string]string{"tokenizer_config.json": `{"chat_template": "old"}`, "chat_template.jinja": "new"}, "new", true},
	} {
		if got, ok := llamaWith(t, c.files).ChatTemplate(); got != c.want || ok != c.ok {
			t.Errorf("%s: got %q, %v", name, got, ok)
		}
	}
}

const byteModel = `{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`

func TestRefusals(t *testing.T) {
	whole := func(model string, rest ...string) map[string]string {
		return map[string]string{"tokenizer.json": `{"model":` + model + strings.Join(append([]string{""}, rest...), ",") + `}`}
	}
	long := strings.Repeat("x", 1<<20)
	many := strings.TrimSuffix(strings.Repeat(`"a b",`, token.MaxMerges+1), ",")
	cases := map[string]struct {
		files map[string]string
		want  error // Unsupported is compared whole; of Invalid the file
	}{
		"nothing":           {map[string]string{"README.md": "x"}, token.Invalid{}},
		"merges only":       {map[string]string{"merges.txt": "a b"}, token.Invalid{}},
		"empty object":      {map[string]string{"tokenizer.json": "{}"}, token.Invalid{File: "tokenizer.json"}},
		"cut":               {map[string]string{"tokenizer.json": `{"model":` + byteModel}, token.Invalid{File: "tokenizer.json"}},
		"not UTF-8":         {map[string]string{"tokenizer.json": "{\"\xff\":1}"}, token.Invalid{File: "tokenizer.json"}},
		"deep":              {map[string]string{"tokenizer.json": strings.Repeat("[", 100_000)}, token.Invalid{File: "tokenizer.json"}},
		"deeper than limit": {whole(byteModel, `"other":`+strings.Repeat("[", token.MaxJSONDepth)+strings.Repeat("]", token.MaxJSONDepth)), token.Invalid{File: "tokenizer.json"}},
		"deep config":       {map[string]string{"tokenizer_config.json": strings.Repeat(`{"a":`, 100_000)}, token.Invalid{File: "tokenizer_config.json"}},
		"large config":      {map[string]string{"tokenizer_config.json": strings.Repeat(" ", 5<<20)}, token.Invalid{File: "tokenizer_config.json"}},
		"unigram":           {whole(`{"type":"Unigram","vocab":[["a",0.5]]}`), token.Unsupported{What: "model", Name: "Unigram"}},
		"token of 1 MiB":    {whole(`{"type":"BPE","vocab":{"` + long + `":0},"merges":[]}`), token.Invalid{File: "tokenizer.json"}},
		"too many merges":   {whole(`{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[` + many + `]}`), token.Invalid{File: "tokenizer.json"}},
		"merge of three":    {whole(`{"type":"BPE","vocab":{"a":0},"merges":["a b c"]}`), token.Invalid{File: "tokenizer.json"}},
		"list of three":     {whole(`{"type":"BPE","vocab":{"a":0},"merges":[["a","b","c"]]}`), token.Invalid{File: "tokenizer.json"}},
		"unknown merge":     {whole(`{"type":"BPE","vocab":{"a":0},"merges":["a a"]}`), token.Invalid{File: "tokenizer.json"}},
		"merges a number":   {whole(`{"type":"BPE","vocab":{"a":0},"merges":5}`), token.Invalid{File: "tokenizer.json"}},
		"id negative":       {whole(`{"type":"BPE","vocab":{"a":-1},"merges":[]}`), token.Invalid{File: "tokenizer.json"}},
		"id 10^9":           {whole(`{"type":"BPE","vocab":{"a":1000000000},"merges":[]}`), token.Invalid{File: "tokenizer.json"}},
		"id twice":          {whole(`{"type":"BPE","vocab":{"a":1,"b":1},"merges":[]}`), token.Invalid{File: "tokenizer.json"}},
		"id a fraction":     {whole(`{"type":"BPE","vocab":{"a":1.5},"merges":[]}`), token.Invalid{File: "tokenizer.json"}},
		"no unknown":        {whole(`{"type":"WordPiece","unk_token":"[UNK]","vocab":{"a":0}}`), token.Invalid{File: "tokenizer.json"}},
		"word of 10^9":      {whole(`{"type":"WordPiece","unk_token":"a","max_input_chars_per_word":1000000000,"vocab":{"a":0}}`), token.Invalid{File: "tokenizer.json"}},
		"dropout":           {whole(`{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}`), token.Unsupported{What: "BPE option", Name: "dropout"}},
		"suffix":            {whole(`{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0},"merges":[]}`), token.Unsupported{What: "end_of_word_suffix of BPE", Name: "</w>"}},
		"normalizer":        {whole(byteModel, `"normalizer":{"type":"Precompiled","precompiled_charsmap":"AA=="}`), token.Unsupported{What: "normalizer", Name: "Precompiled"}},
		"replace pattern":   {whole(byteModel, `"normalizer":{"type":"Replace","pattern":{"Regex":"(a+)+$"},"content":""}`), token.Unsupported{What: "normalizer pattern", Name: "(a+)+$"}},
		"replace empty":     {whole(byteModel, `"normalizer":{"type":"Replace","pattern":{"String":""},"content":"x"}`), token.Invalid{File: "tokenizer.json"}},
		"replace long":      {whole(byteModel, `"normalizer":{"type":"Replace","pattern":{"String":"a"},"content":"`+strings.Repeat("x", 10_000)+`"}`), token.Invalid{File: "tokenizer.json"}},
		"split pattern":     {whole(byteModel, `"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\p{L}+"},"behavior":"Isolated","invert":false}`), token.Unsupported{What: "pattern", Name: `\p{L}+`}},
		"split long":        {whole(byteModel, `"pre_tokenizer":{"type":"Split","pattern":{"Regex":"`+strings.Repeat("x", 5000)+`"},"behavior":"Isolated"}`), token.Invalid{File: "tokenizer.json"}},
		"pre_tokenizer":     {whole(byteModel, `"pre_tokenizer":{"type":"UnicodeScripts"}`), token.Unsupported{What: "pre_tokenizer", Name: "UnicodeScripts"}},
		"after bytes":       {whole(byteModel, `"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]}`), token.Unsupported{What: "pre_tokenizer after ByteLevel", Name: "Digits"}},
		"decoder":           {whole(byteModel, `"decoder":{"type":"CTC"}`), token.Unsupported{What: "decoder", Name: "CTC"}},
		"post_processor":    {whole(byteModel, `"post_processor":{"type":"Other"}`), token.Unsupported{What: "post_processor", Name: "Other"}},
		"template B":        {whole(byteModel, `"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"B","type_id":0}}],"pair":[],"special_tokens":{}}`), token.Invalid{File: "tokenizer.json"}},
		"template id":       {whole(byteModel, `"post_processor":{"type":"BertProcessing","cls":["x",9],"sep":["y",1]}`), token.Invalid{File: "tokenizer.json"}},
		"added long":        {whole(byteModel, `"added_tokens":[{"id":3,"content":"`+strings.Repeat("x", 1000)+`"}]`), token.Invalid{File: "tokenizer.json"}},
		"added no id":       {whole(byteModel, `"added_tokens":[{"content":"x"}]`), token.Invalid{File: "tokenizer.json"}},
		"added far":         {whole(byteModel, `"added_tokens":[{"id":99,"content":"x"}]`), token.Invalid{File: "tokenizer.json"}},
		"class":             {map[string]string{"vocab.json": `{"a":0}`, "merges.txt": "", "tokenizer_config.json": `{"tokenizer_class":"CLIPTokenizer"}`}, token.Unsupported{What: "tokenizer_class of vocab.json", Name: "CLIPTokenizer"}},
		"no class":          {map[string]string{"vocab.json": `{"a":0}`, "merges.txt": ""}, token.Unsupported{What: "tokenizer_class of vocab.json", Name: ""}},
		"vocab.txt bare":    {map[string]string{"vocab.txt": "a\nb\n"}, token.Invalid{File: "vocab.txt"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			for n, text := range c.files {
				files[n] = []byte(text)
			}
			_, err := token.Load(files)
			var invalid token.Invalid
			var unsupported token.Unsupported
			if want, ok := errors.AsType[token.Invalid](c.want); ok {
				if !errors.As(err, &invalid) || invalid.File != want.File {
					t.Errorf("got %v, want Invalid of %q", err, want.File)
				}
			} else if !errors.As(err, &unsupported) || !errors.Is(c.want, unsupported) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && len(err.Error()) > 2*token.MaxPatternBytes {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}
