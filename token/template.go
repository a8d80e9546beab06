package token

import "slices"

// templatePart is one part of what the model sees: a text's tokens, or special tokens.
type templatePart struct {
	text int // 0 or 1 for a text; -1 for special tokens
	ids  []int32
	kind int32 // type id of all its tokens
}

// plainSingle and plainPair are the templates of tokenizers that have none.
func plainSingle() []templatePart { return []templatePart{{text: 0}} }
func plainPair() []templatePart   { return []templatePart{{text: 0}, {text: 1, kind: 1}} }

// aroundTemplates are [CLS] A [SEP] and its form for pairs: BERT's, or RoBERTa's with doubled separator and without types.
func aroundTemplates(cls, sep int32, roberta bool) (single, pair []templatePart) {
	special := func(kind int32, ids ...int32) templatePart { return templatePart{text: -1, ids: ids, kind: kind} }
	single = []templatePart{special(0, cls), {text: 0}, special(0, sep)}
	if roberta {
		return single, []templatePart{special(0, cls), {text: 0}, special(0, sep, sep), {text: 1}, special(0, sep)}
	}
	return single, []templatePart{special(0, cls), {text: 0}, special(0, sep), {text: 1, kind: 1}, special(1, sep)}
}

// assemble fills a template with texts; special parts only where asked.
func assemble(parts []templatePart, special bool, texts ...sequence) Encoding {
	n := 0
	for _, p := range parts {
		if p.text >= 0 {
			n += len(texts[p.text].ids)
		} else if special {
			n += len(p.ids)
		}
	}
	e := Encoding{IDs: make([]int32, 0, n), TypeIDs: make([]int32, 0, n), Offsets: make([]Span, 0, n), Words: make([]int32, 0, n), Texts: make([]int8, 0, n)}
	for _, p := range parts {
		switch {
		case p.text >= 0:
			e.IDs = append(e.IDs, texts[p.text].ids...)
			e.Offsets = append(e.Offsets, texts[p.text].spans...)
			e.Words = append(e.Words, texts[p.text].words...)
		case special:
			e.IDs = append(e.IDs, p.ids...)
			e.Offsets = append(e.Offsets, make([]Span, len(p.ids))...)
			e.Words = append(e.Words, slices.Repeat([]int32{-1}, len(p.ids))...)
		}
		for len(e.TypeIDs) < len(e.IDs) {
			e.TypeIDs, e.Texts = append(e.TypeIDs, p.kind), append(e.Texts, int8(p.text))
		}
	}
	return e
}
