package token_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/skein-project/skein/token"
)

// FuzzLoad feeds files to Load: it must answer with a tokenizer that works, or with one of its two errors.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		`{"model":` + byteModel + `}`,
		`{"added_tokens":[{"id":3,"content":"<s>","special":true,"lstrip":true,"normalized":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"Strip","strip_left":true,"strip_right":true}]},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[3],"tokens":["<s>"]}}},"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},"model":{"type":"BPE","unk_token":"a","fuse_unk":true,"byte_fallback":true,"vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}`,
		`{"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},"post_processor":{"type":"BertProcessing","sep":["b",1],"cls":["a",0]},"model":{"type":"WordPiece","unk_token":"a","vocab":{"a":0,"b":1,"##b":2}}}`,
		`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious"},{"type":"ByteLevel","trim_offsets":true}]},"post_processor":{"type":"RobertaProcessing","sep":["b",1],"cls":["a",0]},"decoder":{"type":"ByteLevel"},"model":` + byteModel + `}`,
	} {
		f.Add([]byte(seed), []byte(`{"bos_token":"a","chat_template":[{"name":"default","template":"x"}]}`), "ab b [é] 12\u0301")
	}
	f.Add([]byte("a\n[UNK]\n[CLS]\n[SEP]\n"), []byte(`{"added_tokens_decoder":{"4":{"content":"x y","single_word":true}}}`), "a x y")
	f.Fuzz(func(t *testing.T, raw, config []byte, text string) {
		for _, name := range []string{"tokenizer.json", "vocab.txt", "vocab.json"} {
			tok, err := token.Load(map[string][]byte{name: raw, "tokenizer_config.json": config, "merges.txt": []byte("a b\n")})
			if err != nil {
				var invalid token.Invalid
				var unsupported token.Unsupported
				if !errors.As(err, &invalid) && !errors.As(err, &unsupported) {
					t.Fatalf("error without type: %v", err)
				}
				continue
			}
			e, err := tok.EncodePair(text, text, token.EncodeOptions{AddSpecial: true, ParseSpecial: true})
			if err != nil {
				var bad token.InvalidText
				var long token.TooLong
				if !errors.As(err, &bad) && !errors.As(err, &long) {
					t.Fatalf("error without type: %v", err)
				}
				continue
			}
			for i, id := range e.IDs {
				if at := e.Offsets[i]; id < 0 || int(id) >= tok.VocabSize() || at.From > at.To || int(at.To) > len(text) {
					t.Fatalf("token %d at %v of %d bytes", id, at, len(text))
				}
			}
			tok.Decode(e.IDs, true)
			stream(tok, e.IDs, false)
		}
	})
}

// FuzzEncode checks that byte-level tokenizers give every text back, and that all tokenizers keep their promises.
func FuzzEncode(f *testing.F) {
	var toks []*token.Tokenizer
	for _, name := range fixtureNames {
		raw, err := os.ReadFile(filepath.Join("testdata", name, "tokenizer.json"))
		if err != nil {
			f.Fatal(err)
		}
		tok, err := token.Load(map[string][]byte{"tokenizer.json": raw})
		if err != nil {
			f.Fatal(err)
		}
		toks = append(toks, tok)
	}
	for _, s := range readJSON[fixtureTexts](f, "texts.json").Texts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, tok := range toks {
			if !utf8.ValidString(text) {
				if _, err := tok.Encode(text, token.EncodeOptions{}); !errors.As(err, new(token.InvalidText)) {
					t.Fatalf("got %v", err)
				}
				continue
			}
			exact := slices.Contains([]string{"gpt2", "llama3", "o200k", "tekken"}, fixtureNames[i])
			for _, parse := range []bool{false, true} {
				e := encode(t, tok, text, token.EncodeOptions{ParseSpecial: parse})
				whole := tok.Decode(e.IDs, false)
				if exact && whole != text {
					t.Fatalf("%s: %q decodes to %q", fixtureNames[i], text, whole)
				}
				if got := stream(tok, e.IDs, false); got != whole {
					t.Fatalf("%s: streamed %q, decoded %q", fixtureNames[i], got, whole)
				}
				for _, at := range e.Offsets {
					if at.From > at.To || int(at.To) > len(text) {
						t.Fatalf("%s: offset %v in %d bytes", fixtureNames[i], at, len(text))
					}
				}
			}
		}
	})
}
