package toolcall

import (
	"encoding/json"
	"strings"
)

// maxHead bounds, in bytes, what is held back to find out whether it begins a call.
const maxHead = 4096

// verdict of looking at text that may begin a call.
type verdict int

const (
	more verdict = iota // the text so far does not tell
	no
	yes
)

// head is the beginning of a call: up to where its arguments begin, or all of it if they came before the name or there are none.
type head struct {
	name  string
	args  string // the whole of the arguments; "" = they begin at after
	after int    // bytes of the text that are read

	wrapped bool // the arguments are a member of an object
}

func skipSpace(s string, i int) int {
	for i < len(s) && strings.IndexByte(" \t\r\n", s[i]) >= 0 {
		i++
	}
	return i
}

// objectHead reads {"name": NAME, "arguments": from text; "parameters" is another word for arguments. Members of other names are passed over.
func objectHead(s string) (head, verdict) {
	h := head{wrapped: true}
	i := skipSpace(s, 0)
	if i == len(s) {
		return h, more
	}
	if s[i] != '{' {
		return h, no
	}
	for i++; ; i++ {
		key, at, v := member(s, i)
		if v != yes {
			return h, v
		}
		if key == "arguments" || key == "parameters" {
			if s[at] != '{' {
				return h, no
			}
			if h.name != "" {
				h.after = at
				return h, yes
			}
		}
		end, v := skipValue(s, at)
		if v != yes {
			return h, v
		}
		switch {
		case key == "arguments" || key == "parameters":
			h.args = s[at:end]
		case key == "name":
			if json.Unmarshal([]byte(s[at:end]), &h.name) != nil || h.name == "" {
				return h, no
			}
		}
		if i = skipSpace(s, end); i == len(s) {
			return h, more
		}
		switch s[i] {
		case ',':
		case '}':
			if h.after = i + 1; h.name == "" {
				return h, no
			}
			if h.args == "" {
				h.args = "{}"
			}
			return h, yes
		default:
			return h, no
		}
	}
}

// member reads a key and its colon at i. at is where its value begins, which is inside the text.
func member(s string, i int) (key string, at int, v verdict) {
	if i = skipSpace(s, i); i == len(s) {
		return "", 0, more
	}
	if s[i] != '"' {
		return "", 0, no
	}
	end, v := skipValue(s, i)
	if v != yes {
		return "", 0, v
	}
	if json.Unmarshal([]byte(s[i:end]), &key) != nil {
		return "", 0, no
	}
	if i = skipSpace(s, end); i == len(s) {
		return "", 0, more
	}
	if s[i] != ':' {
		return "", 0, no
	}
	if i = skipSpace(s, i+1); i == len(s) {
		return "", 0, more
	}
	return key, i, yes
}

// skipValue finds the end of the JSON value that begins at i.
func skipValue(s string, i int) (end int, v verdict) {
	switch s[i] {
	case '{', '[', '"':
		var sc scanner
		for ; i < len(s); i++ {
			if sc.step(s[i]); sc.closed() {
				return i + 1, yes
			}
		}
		return 0, more
	}
	for end = i; end < len(s); end++ {
		if strings.IndexByte(" \t\r\n,]}", s[end]) >= 0 {
			if !json.Valid([]byte(s[i:end])) {
				return 0, no
			}
			return end, yes
		}
	}
	return 0, more
}

// namedHead reads NAME{ or NAME[ARGS]{ or NAME[CALL_ID]ID[ARGS]{ from text.
func namedHead(s string) (head, verdict) {
	i := skipSpace(s, 0)
	from := i
	for i < len(s) && nameByte(s[i]) {
		i++
	}
	h := head{name: s[from:i]}
	for _, mark := range []string{listID, listArgs} {
		if strings.HasPrefix(s[i:], mark) {
			for i += len(mark); mark == listID && i < len(s) && nameByte(s[i]); i++ {
			}
		} else if strings.HasPrefix(mark, s[i:]) {
			return h, more
		}
	}
	if i = skipSpace(s, i); i == len(s) {
		return h, more
	}
	h.after = i
	if h.name == "" || s[i] != '{' {
		return h, no
	}
	return h, yes
}

func nameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-' || b == '.'
}

// scanner follows the nesting of a JSON value, byte by byte. It does not check more: what a model writes is handed on as it is.
type scanner struct {
	depth          int
	quoted, escape bool
	begun          bool
}

func (s *scanner) step(b byte) {
	s.begun = true
	switch {
	case s.escape:
		s.escape = false
	case s.quoted:
		s.escape, s.quoted = b == '\\', b != '"'
	case b == '"':
		s.quoted = true
	case b == '{' || b == '[':
		s.depth++
	case b == '}' || b == ']':
		s.depth--
	}
}

// closed says that the value has ended.
func (s *scanner) closed() bool { return s.begun && s.depth <= 0 && !s.quoted }
