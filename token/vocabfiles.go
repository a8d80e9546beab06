package token

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// fromVocabText makes a BERT tokenizer of vocab.txt: one token a line, its id the line's number from 0.
func (b *builder) fromVocabText(raw []byte) error {
	b.file = fileVocabText
	if n := bytes.Count(raw, []byte("\n")); n > MaxVocabulary {
		return Invalid{b.file, fmt.Sprintf("%d vocabulary entries exceed the limit of %d", n, MaxVocabulary)}
	}
	vocab := make(map[string]int64)
	id := int64(0)
	for line := range strings.Lines(string(raw)) {
		vocab[strings.TrimRight(line, "\r\n")] = id
		id++
	}
	if err := b.setVocab(vocab); err != nil {
		return err
	}
	b.next = int32(b.size)
	for _, d := range [...]specialName{
		{"unk_token", "[UNK]"}, {"sep_token", "[SEP]"}, {"pad_token", "[PAD]"}, {"cls_token", "[CLS]"}, {"mask_token", "[MASK]"},
	} {
		b.cfg.names.set(d.role, d.text)
	}
	b.bertNormalizer(true, b.cfg.ideographs == nil || *b.cfg.ideographs, b.cfg.accents, b.cfg.lowerCase == nil || *b.cfg.lowerCase)
	b.split(bertWords{})
	b.decode(func() decodeStage { return &wordPieceText{prefix: "##", clean: true} })
	unknown, _ := b.cfg.names.get("unk_token")
	b.model = modelFile{Type: "WordPiece", Unknown: &unknown}
	return b.around("cls_token", "sep_token", false)
}

// around sets the template that puts special tokens around a text, by their roles.
func (b *builder) around(first, last string, roberta bool) error {
	var ids [2]int32
	for i, role := range [...]string{first, last} {
		text, _ := b.cfg.names.get(role)
		id, ok := b.vocab[text]
		if !ok {
			return Invalid{b.file, fmt.Sprintf("%s %.40q is not in the vocabulary", role, text)}
		}
		ids[i] = id
	}
	b.t.single, b.t.pair = aroundTemplates(ids[0], ids[1], roberta)
	return nil
}

// fromVocabJSON makes a byte-level BPE tokenizer of vocab.json and merges.txt, of the family that the files beside
// them name.
func (b *builder) fromVocabJSON(rawVocab, rawMerges []byte) error {
	b.file = fileVocabJSON
	if err := b.readVocab(rawVocab); err != nil {
		return err
	}
	b.file = fileMergesText
	if n := bytes.Count(rawMerges, []byte("\n")); n > MaxMerges {
		return Invalid{b.file, fmt.Sprintf("%d merges exceed the limit of %d", n, MaxMerges)}
	}
	lines := strings.Split(strings.ReplaceAll(string(rawMerges), "\r\n", "\n"), "\n")
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	b.model = modelFile{Type: "BPE"}
	if err := b.setMergeLines(lines); err != nil {
		return err
	}
	b.t.byteLevel = true
	b.decode(func() decodeStage { return &byteText{} })
	return b.family(b.cfg.class)
}

// family sets up what distinguishes the byte-level tokenizers.
func (b *builder) family(class string) error {
	class = strings.TrimSuffix(class, "Fast")
	names := &b.cfg.names
	if _, ok := b.vocab["<|endoftext|>"]; ok && class == "" {
		class = "GPT2Tokenizer" // its folders often say nothing
	}
	if b.cfg.prefixSpace && class != "Qwen2Tokenizer" {
		b.split(spacePrefix{})
	}
	switch class {
	case "GPT2Tokenizer":
		for _, role := range [...]string{"bos_token", "eos_token", "unk_token"} {
			names.set(role, "<|endoftext|>")
		}
		b.split(scanned{scanGPT2})
	case "Qwen2Tokenizer":
		for _, role := range [...]string{"eos_token", "unk_token", "pad_token"} {
			names.set(role, "<|endoftext|>")
		}
		b.t.normalizers = append(b.t.normalizers, form{norm.NFC})
		next, _ := scannerOf(patternQwen2)
		b.split(scanned{next})
		if b.cfg.prefixSpace {
			b.split(spacePrefix{}) // before each word: so the reference has it
		}
	case "RobertaTokenizer":
		for _, d := range [...]specialName{
			{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"},
			{"cls_token", "<s>"}, {"sep_token", "</s>"}, {"mask_token", "<mask>"},
		} {
			names.set(d.role, d.text)
		}
		b.split(scanned{scanGPT2})
		b.t.trim = trimRule{on: true, prefix: b.cfg.prefixSpace}
		return b.around("cls_token", "sep_token", true)
	default:
		return Unsupported{"tokenizer_class of vocab.json", class}
	}
	return nil
}
