// Package strictjson refuses JSON that two parsers could read in two ways, or that costs more to read than it should.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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
	object bool
	key    bool                // an object that expects a key next
	few    [][]byte            // its keys, while they are so few that to look at each is fastest
	many   map[string]struct{} // its keys, when they are more; else nil
}

// fewKeys is how many keys are looked at one by one.
const fewKeys = 16

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

// checkKeys walks a valid text.
func checkKeys(data []byte, limit int) error {
	var open []level // those beyond its length are kept for their memory
	for i, n := 0, 0; i < len(data); {
		switch data[i] {
		case ' ', '\t', '\n', '\r', ':':
			i++
			continue
		case ',':
			open[len(open)-1].key = open[len(open)-1].object
			i++
			continue
		case '}', ']':
			open = open[:len(open)-1]
			i++
			continue
		}
		if n++; n > limit {
			return fmt.Errorf("%w: more than %d values", ErrRefused, limit)
		}
		size := width(data[i:])
		if token := data[i : i+size]; token[0] == '{' || token[0] == '[' {
			open = enter(open, token[0] == '{')
		} else if len(open) > 0 && open[len(open)-1].key {
			if err := open[len(open)-1].note(token); err != nil {
				return err
			}
		}
		i += size
	}
	return nil
}

// enter opens an object or array.
func enter(open []level, object bool) []level {
	if len(open) == cap(open) {
		return append(open, level{object: object, key: object})
	}
	open = open[:len(open)+1]
	l := &open[len(open)-1]
	*l = level{object: object, key: object, few: l.few[:0]}
	return open
}

// width is the length of the token that a part of a valid text begins with.
func width(data []byte) int {
	i := 1
	switch data[0] {
	case '{', '[':
	case '"':
		for ; data[i] != '"'; i++ {
			if data[i] == '\\' {
				i++
			}
		}
		i++
	default: // a number, true, false or null
		for i < len(data) && !strings.ContainsRune(" \t\n\r,]}", rune(data[i])) {
			i++
		}
	}
	return i
}

// note takes the next key of an object, in its quotes.
func (l *level) note(quoted []byte) error {
	l.key = false
	key := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		var text string
		if err := json.Unmarshal(quoted, &text); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		key = []byte(text)
	}
	if l.has(key) {
		return fmt.Errorf("%w: key %.80q twice", ErrRefused, key)
	}
	switch {
	case l.many != nil:
		l.many[string(key)] = struct{}{}
	case len(l.few) < fewKeys:
		l.few = append(l.few, key)
	default:
		l.many = make(map[string]struct{}, 2*fewKeys)
		for _, k := range append(l.few, key) {
			l.many[string(k)] = struct{}{}
		}
	}
	return nil
}

func (l *level) has(key []byte) bool {
	if l.many != nil {
		_, ok := l.many[string(key)]
		return ok
	}
	return slices.ContainsFunc(l.few, func(k []byte) bool { return bytes.Equal(k, key) })
}
