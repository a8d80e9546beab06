package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonWriter is json.dumps of Python with its defaults and four of its options.
type jsonWriter struct {
	p          *printer
	ascii      bool
	sortKeys   bool
	indent     string // of one level
	pretty     bool
	item, pair string // separators
}

func filterJSON(r *run, v value, a args) value {
	b := a.bind("tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys")
	w := &jsonWriter{p: &printer{r: r}, ascii: r.flag(b[0], false), sortKeys: r.flag(b[3], false), item: ", ", pair: ": "}
	if indent := or(b[1], nil); indent != nil {
		w.pretty, w.item = true, ","
		if s, ok := asString(indent); ok {
			w.indent = s
		} else {
			w.indent = r.pad(" ", r.integer(indent, 0))
		}
	}
	if sep := or(b[2], nil); sep != nil {
		s := r.collect(sep)
		if len(s) != 2 {
			failf("separators must be two strings")
		}
		w.item, w.pair = r.str(s[0]), r.str(s[1])
	}
	w.value(v, 0)
	return string(w.p.b)
}

func (w *jsonWriter) value(v value, level int) {
	r := w.p.r
	r.enter()
	defer r.leave()
	r.step(1)
	switch v := v.(type) {
	case nil:
		w.p.str("null")
	case bool:
		w.p.str(strconv.FormatBool(v))
	case int64:
		w.p.str(strconv.FormatInt(v, 10))
	case wideInt:
		w.p.str(string(v))
	case float64:
		w.p.str(jsonFloat(v))
	case string:
		w.str(v)
	case markup:
		w.str(string(v))
	case *list:
		w.array(v.items, level)
	case *tuple:
		w.array(v.items, level)
	case *dict:
		w.object(v, level)
	default:
		failf("Object of type %s is not JSON serializable", typeName(v))
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return formatFloat(f)
}

// line starts a new line at a level where the output is indented.
func (w *jsonWriter) line(level int) {
	if !w.pretty {
		return
	}
	w.p.str("\n")
	for range level {
		w.p.str(w.indent)
	}
}

func (w *jsonWriter) array(items []value, level int) {
	if len(items) == 0 {
		w.p.str("[]")
		return
	}
	w.p.str("[")
	for i, it := range items {
		if i > 0 {
			w.p.str(w.item)
		}
		w.line(level + 1)
		w.value(it, level+1)
	}
	w.line(level)
	w.p.str("]")
}

func (w *jsonWriter) object(d *dict, level int) {
	if len(d.keys) == 0 {
		w.p.str("{}")
		return
	}
	pairs := (&dictView{d, "items"}).all(w.p.r)
	if w.sortKeys {
		pairs = w.p.r.sorted(pairs, func(p value) value { return p.(*tuple).items[0] }, false)
	}
	w.p.str("{")
	for i, p := range pairs {
		if i > 0 {
			w.p.str(w.item)
		}
		w.line(level + 1)
		kv := p.(*tuple).items
		w.str(jsonKey(kv[0]))
		w.p.str(w.pair)
		w.value(kv[1], level+1)
	}
	w.line(level)
	w.p.str("}")
}

func jsonKey(k value) string {
	switch k := k.(type) {
	case string:
		return k
	case markup:
		return string(k)
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(k)
	case int64:
		return strconv.FormatInt(k, 10)
	case wideInt:
		return string(k)
	case float64:
		return jsonFloat(k)
	}
	failf("keys must be str, int, float, bool or None, not %s", typeName(k))
	return ""
}

func (w *jsonWriter) str(s string) {
	w.p.str(`"`)
	plain := 0
	for i, c := range s {
		esc := w.escape(c)
		if esc == "" {
			continue
		}
		w.p.str(s[plain:i])
		w.p.str(esc)
		plain = i + utf8.RuneLen(c)
	}
	w.p.str(s[plain:])
	w.p.str(`"`)
}

func (w *jsonWriter) escape(c rune) string {
	if i := strings.IndexRune("\"\\\n\r\t\b\f", c); i >= 0 {
		return `\` + string(`"\nrtbf`[i])
	}
	switch {
	case c < 0x20, w.ascii && c >= 0x7f && c < 0x10000:
		return fmt.Sprintf(`\u%04x`, c)
	case w.ascii && c >= 0x10000:
		c -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
	}
	return ""
}

// maxJSONDepth bounds arrays and objects within one another.
const maxJSONDepth = 512

// ErrJSON says that a text is not one JSON value.
var ErrJSON = errors.New("not a JSON value")

// FromJSON decodes one JSON value (RFC 8259) for use as a variable: objects become *Object, in the order of the
// text, and numbers json.Number. The caller bounds the length of the text; nesting is bounded by 512.
func FromJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: text after the value", ErrJSON)
	}
	return v, nil
}

func decode(d *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, &LimitError{What: "nested JSON values", Limit: maxJSONDepth}
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		out := []any{}
		for d.More() {
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		_, err = d.Token()
		return out, err
	case json.Delim('{'):
		out := NewObject()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			out.Set(k.(string), v)
		}
		_, err = d.Token()
		return out, err
	}
	return t, nil
}
