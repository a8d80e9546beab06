package token

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalizer reads a normalizer of tokenizer.json.
func (b *builder) normalizer(raw json.RawMessage) error {
	var f struct {
		Normalizers        []json.RawMessage
		Prepend, Content   string
		Pattern            patternFile
		StripLeft          bool  `json:"strip_left"`
		StripRight         bool  `json:"strip_right"`
		CleanText          *bool `json:"clean_text"`
		HandleChineseChars *bool `json:"handle_chinese_chars"`
		StripAccents       *bool `json:"strip_accents"`
		Lowercase          *bool
	}
	kind, err := b.component(raw, &f)
	if err != nil {
		return err
	}
	if len(b.t.normalizers) >= MaxComponents {
		return Invalid{b.file, fmt.Sprintf("more than %d normalizers", MaxComponents)}
	}
	one := func(n normalizer) error {
		b.t.normalizers = append(b.t.normalizers, n)
		return nil
	}
	switch kind {
	case "Sequence":
		return b.sequenceOf("normalizer", f.Normalizers, b.normalizer)
	case "NFC":
		return one(form{norm.NFC})
	case "NFD":
		return one(form{norm.NFD})
	case "NFKC":
		return one(form{norm.NFKC})
	case "NFKD":
		return one(form{norm.NFKD})
	case "Lowercase":
		return one(lowercase)
	case "Strip":
		return one(strip{f.StripLeft, f.StripRight})
	case "Prepend":
		if len(f.Prepend) > MaxReplaceBytes {
			return Invalid{b.file, fmt.Sprintf("Prepend of %d bytes exceeds the limit of %d", len(f.Prepend), MaxReplaceBytes)}
		}
		return one(prepend{f.Prepend})
	case "Replace":
		if err := b.checkPattern(f.Pattern); err != nil {
			return err
		}
		if f.Pattern.Regex != nil {
			return Unsupported{"normalizer pattern", *f.Pattern.Regex}
		}
		if len(f.Content) > MaxReplaceBytes {
			return Invalid{b.file, fmt.Sprintf("Replace by %d bytes exceeds the limit of %d", len(f.Content), MaxReplaceBytes)}
		}
		return one(replace{*f.Pattern.String, f.Content})
	case "BertNormalizer":
		b.bertNormalizer(isTrue(f.CleanText), isTrue(f.HandleChineseChars), f.StripAccents, isTrue(f.Lowercase))
		return nil
	}
	return Unsupported{"normalizer", kind}
}

// bertNormalizer adds the normalizers of BERT. A nil accents follows lower.
func (b *builder) bertNormalizer(clean, ideographs bool, accents *bool, lower bool) {
	if clean {
		b.t.normalizers = append(b.t.normalizers, cleanText)
	}
	if ideographs {
		b.t.normalizers = append(b.t.normalizers, spaceIdeographs)
	}
	if accents == nil && lower || isTrue(accents) {
		b.t.normalizers = append(b.t.normalizers, form{norm.NFD}, dropMarks)
	}
	if lower {
		b.t.normalizers = append(b.t.normalizers, lowercase)
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

// splitFile are the fields of all pre-tokenizers.
type splitFile struct {
	PreTokenizers  []json.RawMessage `json:"pretokenizers"`
	Pattern        patternFile
	Behavior       behavior
	Invert         bool
	AddPrefixSpace *bool `json:"add_prefix_space"`
	UseRegex       *bool `json:"use_regex"`
	Individual     bool  `json:"individual_digits"`
	Replacement    string
	PrependScheme  string `json:"prepend_scheme"`
	Split          *bool
}

// preTokenizer reads a pre-tokenizer of tokenizer.json.
func (b *builder) preTokenizer(raw json.RawMessage) error {
	f := splitFile{Behavior: isolated}
	kind, err := b.component(raw, &f)
	if err != nil {
		return err
	}
	if b.t.byteLevel {
		return Unsupported{"pre_tokenizer after ByteLevel", kind}
	}
	if len(b.t.splitters) >= MaxComponents {
		return Invalid{b.file, fmt.Sprintf("more than %d pre-tokenizers", MaxComponents)}
	}
	if !f.Behavior.known() {
		return Unsupported{"split behavior", string(f.Behavior)}
	}
	switch kind {
	case "Sequence":
		return b.sequenceOf("pre_tokenizer", f.PreTokenizers, b.preTokenizer)
	case "ByteLevel":
		b.t.byteLevel = true
		if f.AddPrefixSpace == nil || *f.AddPrefixSpace {
			b.split(spacePrefix{})
		}
		if f.UseRegex == nil || *f.UseRegex {
			b.split(scanned{scanGPT2})
		}
	case "Split":
		return b.splitPattern(f)
	case "BertPreTokenizer":
		b.split(bertWords{})
	case "Whitespace": // \w+ and [^\w\s]+
		return Unsupported{"pre_tokenizer", kind}
	case "WhitespaceSplit":
		b.split(classSplit{unicode.IsSpace, removed})
	case "Punctuation":
		b.split(classSplit{isBertPunctuation, f.Behavior})
	case "Digits":
		how := contiguous
		if f.Individual {
			how = isolated
		}
		b.split(classSplit{isNumeric, how})
	case "Metaspace":
		return b.metaspace(f)
	default:
		return Unsupported{"pre_tokenizer", kind}
	}
	return nil
}

func (b *builder) split(s splitter) { b.t.splitters = append(b.t.splitters, s) }

// splitPattern reads a Split: by a literal text, or by one of the known patterns, whose matches are the words.
func (b *builder) splitPattern(f splitFile) error {
	if err := b.checkPattern(f.Pattern); err != nil {
		return err
	}
	if f.Pattern.String != nil {
		b.split(literalSplit{*f.Pattern.String, f.Behavior, f.Invert})
		return nil
	}
	next, ok := scannerOf(*f.Pattern.Regex)
	if !ok {
		return Unsupported{"pattern", *f.Pattern.Regex}
	}
	if f.Behavior != isolated && !(f.Behavior == removed && f.Invert) {
		return Unsupported{"split behavior", string(f.Behavior)}
	}
	b.split(scanned{next})
	return nil
}

// metaspace reads a Metaspace pre-tokenizer.
func (b *builder) metaspace(f splitFile) error {
	m, err := b.metaspaceFields(f)
	if err != nil {
		return err
	}
	b.split(m)
	return nil
}

// metaspaceFields checks what the pre-tokenizer and the decoder have in common.
func (b *builder) metaspaceFields(f splitFile) (metaspace, error) {
	m := metaspace{mark: f.Replacement, prefix: f.PrependScheme, cut: f.Split == nil || *f.Split}
	if utf8.RuneCountInString(m.mark) != 1 {
		return m, Invalid{b.file, fmt.Sprintf("Metaspace replacement %q is not one character", m.mark)}
	}
	if m.prefix == "" {
		m.prefix = "always"
	}
	if f.AddPrefixSpace != nil && !*f.AddPrefixSpace {
		m.prefix = "never"
	}
	if m.prefix != "always" && m.prefix != "first" && m.prefix != "never" {
		return m, Unsupported{"prepend_scheme", m.prefix}
	}
	return m, nil
}
