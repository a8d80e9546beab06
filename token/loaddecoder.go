package token

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// decoder reads a decoder of tokenizer.json; fused says that one before it has joined the tokens.
func (b *builder) decoder(raw json.RawMessage, fused bool) error {
	var f struct {
		splitFile
		Decoders    []json.RawMessage
		Content     string
		Start, Stop int
		Prefix      string
		Cleanup     bool
	}
	kind, err := b.component(raw, &f)
	if err != nil {
		return err
	}
	if len(b.t.decoders) >= MaxComponents {
		return Invalid{b.file, fmt.Sprintf("more than %d decoders", MaxComponents)}
	}
	if fused && kind != "Strip" {
		return Unsupported{"decoder after Fuse", kind}
	}
	switch kind {
	case "Sequence":
		return b.sequenceOf("decoder", f.Decoders, func(raw json.RawMessage) error {
			k, err := b.component(raw, nil)
			if err == nil && k == "Fuse" && !fused {
				fused = true
				return nil
			}
			if err != nil {
				return err
			}
			return b.decoder(raw, fused)
		})
	case "Fuse":
		b.decode(func() decodeStage { return replaced{} })
	case "ByteLevel":
		b.decode(func() decodeStage { return &byteText{} })
	case "ByteFallback":
		b.decode(func() decodeStage { return &byteFallback{} })
	case "WordPiece":
		b.decode(func() decodeStage { return &wordPieceText{prefix: f.Prefix, clean: f.Cleanup} })
	case "Metaspace":
		m, err := b.metaspaceFields(f.splitFile)
		if err != nil {
			return err
		}
		b.decode(func() decodeStage { return &metaspaceText{mark: m.mark, keep: m.prefix == "never"} })
	case "Replace":
		if err := b.checkPattern(f.Pattern); err != nil {
			return err
		}
		if f.Pattern.Regex != nil {
			return Unsupported{"decoder pattern", *f.Pattern.Regex}
		}
		if len(f.Content) > MaxReplaceBytes {
			return Invalid{b.file, fmt.Sprintf("Replace by %d bytes exceeds the limit of %d", len(f.Content), MaxReplaceBytes)}
		}
		b.decode(func() decodeStage { return replaced{*f.Pattern.String, f.Content} })
	case "Strip":
		if utf8.RuneCountInString(f.Content) != 1 || f.Start < 0 {
			return Invalid{b.file, "Strip needs one character and a count that is not negative"}
		}
		if f.Stop != 0 {
			return Unsupported{"decoder", "Strip at the end"}
		}
		b.decode(func() decodeStage {
			return &stripStart{char: f.Content, count: f.Start, whole: fused, left: f.Start}
		})
	default:
		return Unsupported{"decoder", kind}
	}
	return nil
}

func (b *builder) decode(stage func() decodeStage) { b.t.decoders = append(b.t.decoders, stage) }

// templateFile are the fields of all post-processors.
type templateFile struct {
	Processors     []json.RawMessage
	Single, Pair   []templatePartFile
	SpecialTokens  map[string]struct{ IDs []int64 } `json:"special_tokens"`
	Cls, Sep       [2]any
	TrimOffsets    *bool `json:"trim_offsets"`
	AddPrefixSpace *bool `json:"add_prefix_space"`
}

type templatePartFile struct {
	SpecialToken *struct {
		ID     string
		TypeID int32 `json:"type_id"`
	}
	Sequence *struct {
		ID     string
		TypeID int32 `json:"type_id"`
	}
}

// postProcessor reads a post-processor of tokenizer.json.
func (b *builder) postProcessor(raw json.RawMessage) error {
	var f templateFile
	kind, err := b.component(raw, &f)
	if err != nil {
		return err
	}
	trim := trimRule{
		on:     f.TrimOffsets == nil || *f.TrimOffsets,
		prefix: f.AddPrefixSpace == nil || *f.AddPrefixSpace,
	}
	switch kind {
	case "Sequence":
		return b.sequenceOf("post_processor", f.Processors, b.postProcessor)
	case "ByteLevel":
		b.t.trim = trim
		return nil
	}
	if b.t.single != nil {
		return Unsupported{"post_processor after another template", kind}
	}
	switch kind {
	case "TemplateProcessing":
		if b.t.single, err = b.template(f.Single, f); err != nil {
			return err
		}
		if b.t.pair, err = b.template(f.Pair, f); err != nil {
			return err
		}
		if usesText(b.t.single, 1) || !usesText(b.t.pair, 0) || !usesText(b.t.pair, 1) {
			return Invalid{b.file, "template must use A alone in single, and both A and B in pair"}
		}
		return nil
	case "BertProcessing", "RobertaProcessing":
		cls, ok1 := f.Cls[1].(float64)
		sep, ok2 := f.Sep[1].(float64)
		if !ok1 || !ok2 || !validID(int64(cls)) || !validID(int64(sep)) {
			return Invalid{b.file, kind + " needs cls and sep as [text, id]"}
		}
		if kind == "RobertaProcessing" {
			b.t.trim = trim
		}
		b.t.single, b.t.pair = aroundTemplates(int32(cls), int32(sep), kind == "RobertaProcessing")
		return nil
	}
	return Unsupported{"post_processor", kind}
}

// template reads the parts of a TemplateProcessing.
func (b *builder) template(parts []templatePartFile, f templateFile) ([]templatePart, error) {
	if len(parts) > MaxTemplateParts {
		return nil, Invalid{b.file, fmt.Sprintf("%d template parts exceed the limit of %d", len(parts), MaxTemplateParts)}
	}
	out := []templatePart{}
	for _, p := range parts {
		switch {
		case p.Sequence != nil && (p.Sequence.ID == "A" || p.Sequence.ID == "B"):
			out = append(out, templatePart{text: int(p.Sequence.ID[0] - 'A'), kind: p.Sequence.TypeID})
		case p.SpecialToken != nil:
			tokens, ok := f.SpecialTokens[p.SpecialToken.ID]
			if !ok || len(tokens.IDs) > MaxTemplateParts {
				return nil, Invalid{b.file, fmt.Sprintf("template token %q has no ids", p.SpecialToken.ID)}
			}
			part := templatePart{text: -1, kind: p.SpecialToken.TypeID}
			for _, id := range tokens.IDs {
				if !validID(id) {
					return nil, Invalid{b.file, fmt.Sprintf("template token id %d is out of range", id)}
				}
				part.ids = append(part.ids, int32(id))
			}
			out = append(out, part)
		default:
			return nil, Invalid{b.file, "template part is neither a sequence nor a special token"}
		}
	}
	return out, nil
}

func usesText(parts []templatePart, text int) bool {
	return slices.ContainsFunc(parts, func(p templatePart) bool { return p.text == text })
}

func validID(id int64) bool { return id >= 0 && id < MaxVocabulary }
