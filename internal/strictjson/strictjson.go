// Package strictjson refuses JSON that two parsers could read in two ways, or that costs more to read than it should.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Limits bounds a text.
type Limits struct {
	Bytes  int // length of the text
	Depth  int // objects and arrays within each other
	Values int // keys, scalars, objects and arrays in all
}

// ErrRefused is wrapped by every error of this package.
var ErrRefused = errors.New("json refused")

// level is an object or array that is open.
type level struct {
	keys map[string]struct{} // nil in an array
	key  bool                // an object that expects a key next
}

// Check says whether data is one JSON value (RFC 8259) in UTF-8 without byte order mark, within the limits, and without a key
// that an object has twice. It needs memory in proportion to the keys of the objects that are open.
func Check(data []byte, lim Limits) error {
	switch {
	case len(data) > lim.Bytes:
		return fmt.Errorf("%w: %d bytes are more than %d", ErrRefused, len(data), lim.Bytes)
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return fmt.Errorf("%w: byte order mark", ErrRefused)
	case !utf8.Valid(data):
		return fmt.Errorf("%w: not UTF-8", ErrRefused)
	}
	if err := checkDepth(data, lim.Depth); err != nil {
		return err
	}
	if !json.Valid(data) {
		return fmt.Errorf("%w: %w", ErrRefused, syntax(data))
	}
	return checkKeys(data, lim.Values)
}

// checkDepth counts brackets outside of strings, so that a bomb costs one pass and no stack.
func checkDepth(data []byte, limit int) error {
	depth, inside := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inside = !inside
		case inside:
			if c == '\\' {
				i++
			}
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return fmt.Errorf("%w: deeper than %d", ErrRefused, limit)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// syntax finds out what is wrong with a text that is not valid.
func syntax(data []byte) error {
	var v json.RawMessage
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// checkKeys walks the tokens of a valid text.
func checkKeys(data []byte, limit int) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var open []level
	for n := 0; ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if n++; n > limit {
			return fmt.Errorf("%w: more than %d values", ErrRefused, limit)
		}
		if len(open) > 0 {
			if err := open[len(open)-1].next(token); err != nil {
				return err
			}
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{keys: map[string]struct{}{}, key: true})
		case json.Delim('['):
			open = append(open, level{})
		}
	}
}

// next notes a key or a value of the level.
func (l *level) next(token json.Token) error {
	if l.keys == nil {
		return nil
	}
	if !l.key {
		l.key = true
		return nil
	}
	key, _ := token.(string)
	if _, twice := l.keys[key]; twice {
		return fmt.Errorf("%w: key %.80q twice", ErrRefused, key)
	}
	l.keys[key] = struct{}{}
	l.key = false
	return nil
}
