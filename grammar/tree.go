package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/skein-project/skein/internal/strictjson"
)

// tree is a JSON value of a schema, with the order of its members.
type tree struct {
	id   int
	kind byte   // one of {["0tfn
	text string // of a string, without quotes and escapes; of a number, as written
	keys []string
	list []*tree // members or items
	up   *tree
	name string // in up
}

// parse reads a schema within limits.
func parse(text []byte) (*tree, error) {
	if err := strictjson.Check(text, strictjson.Limits{Bytes: maxSource, Depth: maxSchemaDepth, Values: maxValues}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	ids := 0
	var read func(up *tree, name string) (*tree, error)
	read = func(up *tree, name string) (*tree, error) {
		ids++
		t := &tree{id: ids, up: up, name: name}
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		switch v := token.(type) {
		case string:
			t.kind, t.text = '"', v
		case json.Number:
			t.kind, t.text = '0', v.String()
		case bool:
			if t.kind = 'f'; v {
				t.kind = 't'
			}
		case nil:
			t.kind = 'n'
		case json.Delim:
			t.kind = byte(v)
			for dec.More() {
				key := strconv.Itoa(len(t.list))
				if v == '{' {
					k, err := dec.Token()
					if err != nil {
						return nil, err
					}
					key = k.(string)
					t.keys = append(t.keys, key)
				}
				sub, err := read(t, key)
				if err != nil {
					return nil, err
				}
				t.list = append(t.list, sub)
			}
			_, err = dec.Token()
		}
		return t, err
	}
	t, err := read(nil, "")
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
}

// path is the JSON pointer (RFC 6901) of the value.
func (t *tree) path() string {
	if t.up == nil {
		return ""
	}
	return t.up.path() + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(t.name)
}

// get is the member of a name, or nil.
func (t *tree) get(key string) *tree {
	for i, k := range t.keys {
		if k == key {
			return t.list[i]
		}
	}
	return nil
}

// find is the value that a JSON pointer names within t, or nil.
func (t *tree) find(pointer string) *tree {
	if pointer == "" {
		return t
	}
	if pointer[0] != '/' {
		return nil
	}
	for name := range strings.SplitSeq(pointer[1:], "/") {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		switch {
		case t.kind == '{':
			t = t.get(name)
		case t.kind == '[':
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(t.list) {
				return nil
			}
			t = t.list[i]
		default:
			return nil
		}
		if t == nil {
			return nil
		}
	}
	return t
}

// quote is a JSON string with no escapes but the ones that it needs.
func quote(s string) string {
	out := []byte{'"'}
	for _, r := range s {
		switch at := strings.IndexRune("\"\\\b\f\n\r\t", r); {
		case at >= 0:
			out = append(out, '\\', `"\bfnrt`[at])
		case r < ' ':
			out = fmt.Appendf(out, "\\u%04x", r)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return string(append(out, '"'))
}

// write is the JSON text of the value, without white space.
func (t *tree) write(out *strings.Builder) {
	switch t.kind {
	case '"':
		out.WriteString(quote(t.text))
	case '0':
		out.WriteString(t.text)
	case 't':
		out.WriteString("true")
	case 'f':
		out.WriteString("false")
	case 'n':
		out.WriteString("null")
	default:
		out.WriteByte(t.kind)
		for i, sub := range t.list {
			if i > 0 {
				out.WriteByte(',')
			}
			if t.kind == '{' {
				out.WriteString(quote(t.keys[i]) + ":")
			}
			sub.write(out)
		}
		out.WriteByte(t.kind + 2) // the closing bracket of ASCII
	}
}
