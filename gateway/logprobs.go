package gateway

import (
	"strings"
	"unicode/utf8"
)

// logprobJSON is a token with its log-probability, in the form of chat completions.
type logprobJSON struct {
	Token   string        `json:"token"`
	Logprob float32       `json:"logprob"`
	Bytes   []int         `json:"bytes"` // of the token's UTF-8; null where it is not whole characters
	Top     []logprobJSON `json:"top_logprobs"`
}

func chatLogprobs(t *text, tokens []Token, _ int) any {
	list := []logprobJSON{}
	for _, tok := range tokens {
		e := logprobOf(t, tok.Choice.Token, tok.Logprob)
		for _, alt := range tok.Top {
			e.Top = append(e.Top, logprobOf(t, alt.Token, alt.Logprob))
		}
		list = append(list, e)
	}
	return map[string]any{"content": list}
}

func logprobOf(t *text, id int32, logprob float32) logprobJSON {
	e := logprobJSON{Token: t.spell(id), Logprob: logprob, Top: []logprobJSON{}}
	if !strings.ContainsRune(e.Token, utf8.RuneError) { // else it is a part of a character, and has no text on its own
		e.Bytes = []int{}
		for _, b := range []byte(e.Token) {
			e.Bytes = append(e.Bytes, int(b))
		}
	}
	return e
}

// textLogprobs is the older form of text completions. from is the character of the answer at which the first token's text begins.
func textLogprobs(t *text, tokens []Token, from int) any {
	out := struct {
		Tokens   []string             `json:"tokens"`
		Logprobs []float32            `json:"token_logprobs"`
		Top      []map[string]float32 `json:"top_logprobs"`
		Offsets  []int                `json:"text_offset"`
	}{[]string{}, []float32{}, []map[string]float32{}, []int{}}
	for _, tok := range tokens {
		out.Tokens = append(out.Tokens, t.spell(tok.Choice.Token))
		out.Logprobs = append(out.Logprobs, tok.Logprob)
		out.Offsets = append(out.Offsets, from)
		from += utf8.RuneCountInString(tok.Text)
		top := map[string]float32{}
		for _, alt := range tok.Top {
			top[t.spell(alt.Token)] = alt.Logprob
		}
		out.Top = append(out.Top, top)
	}
	return out
}

// characters is the length of the tokens' text.
func characters(tokens []Token) int {
	n := 0
	for _, t := range tokens {
		n += utf8.RuneCountInString(t.Text)
	}
	return n
}
