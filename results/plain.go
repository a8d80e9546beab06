package results

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Encode writes JSON in the plain way, in which one text has one form, so that it is found again: without the escapes that HTML wants.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// Plain writes the texts of valid JSON in the plain way: a character is itself where JSON allows it, whatever escape a client chose. It is never
// longer than before. Half of a surrogate pair, which is no character, stays as it is written.
func Plain(body json.RawMessage) json.RawMessage {
	if !bytes.Contains(body, []byte(`\u`)) && !bytes.Contains(body, []byte(`\/`)) {
		return body
	}
	out := make(json.RawMessage, 0, len(body))
	for len(body) > 0 {
		at := bytes.IndexByte(body, '\\')
		if at < 0 || at+1 == len(body) {
			return append(out, body...)
		}
		out, body = append(out, body[:at]...), body[at:]
		r, n := escaped(body)
		switch {
		case body[1] == '/':
			out, n = append(out, '/'), 2
		case n == 0:
			out, n = append(out, body[:2]...), 2
		case r < ' ' || r == '"' || r == '\\':
			quoted := quote(string(r))
			out = append(out, quoted[1:len(quoted)-1]...)
		case utf16.IsSurrogate(r):
			out = append(out, body[:n]...)
		default:
			out = utf8.AppendRune(out, r)
		}
		body = body[n:]
	}
	return out
}

// escaped reads the character that \uXXXX, or a pair of them, stands for, and the bytes of that; 0 = there is no such escape.
func escaped(b []byte) (r rune, n int) {
	one := func(b []byte) rune {
		if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
			return -1
		}
		v, err := strconv.ParseUint(string(b[2:6]), 16, 16)
		if err != nil {
			return -1
		}
		return rune(v)
	}
	if r = one(b); r < 0 {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if both := utf16.DecodeRune(r, one(b[6:])); both != utf8.RuneError {
			return both, 12
		}
	}
	return r, 6
}
