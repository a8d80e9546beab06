package bigmodel

// The vocabulary: one token per byte, then the special tokens.
const (
	bos   = 256
	eos   = 257
	vocab = 258

	bosText = "<|begin|>"
	eosText = "<|end|>"
)

const chatTemplate = `{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`

// byteText is the character that byte-level BPE writes for a byte: itself where it prints in Latin-1, else the next free one from U+0100.
func byteText() (texts [256]string) {
	next := rune(0x100)
	for b := range rune(256) {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			texts[b] = string(b)
		default:
			texts[b] = string(next)
			next++
		}
	}
	return texts
}

// tokenizer is a byte-level BPE without merges, in the format of tokenizer.json.
func tokenizer() map[string]any {
	ids := map[string]int{}
	for b, text := range byteText() {
		ids[text] = b
	}
	special := func(id int, text string) map[string]any {
		return map[string]any{"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
	}
	level := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil, "post_processor": nil,
		"added_tokens":  []any{special(bos, bosText), special(eos, eosText)},
		"pre_tokenizer": level,
		"decoder":       level,
		"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": ids, "merges": []any{}},
	}
}

func tokenizerConfig() map[string]any {
	return map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bosText, "eos_token": eosText,
		"add_bos_token": false, "chat_template": chatTemplate}
}
