package jinja

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// value is what expressions yield: nil (None), bool, int64, float64, string, or one of the types below.
type value any

type (
	// wideInt is an integer beyond 64 bits in decimal; it can be printed and compared for equality only.
	wideInt string

	// markup is a string marked safe; what is added to it is escaped.
	markup string

	list  struct{ items []value }
	tuple struct {
		items []value
		names []string // attribute names of the items, for the groups of groupby
	}

	// dict keeps insertion order.
	dict struct {
		keys, vals []value
		index      map[hashKey]int // nil while there are few keys
	}

	// dictView is dict.keys(), .values() or .items().
	dictView struct {
		d    *dict
		part string
	}

	span struct{ start, stop, step, n int64 } // range(); n is its length

	namespace struct{ attrs *dict }

	// generator yields each value once, on demand.
	generator struct {
		name string
		pull func() (value, bool)
	}

	// undefined is a missing value; msg says what to report when it is used.
	undefined struct{ msg func() string }

	// builtin is a built-in function or a method bound to its value.
	builtin struct {
		name string
		fn   func(r *run, a args) value
	}

	macro struct {
		def *macroDef
		env *frame
	}

	// absent marks a variable without a value and an argument not given; expressions never yield it.
	absent struct{}
)

// Object is a JSON object: a mapping from strings that keeps the order in which its keys were set.
type Object struct {
	keys []string
	vals map[string]any
}

// NewObject returns an empty object.
func NewObject() *Object { return &Object{vals: map[string]any{}} }

// Set puts v under key; a key set before keeps its place.
func (o *Object) Set(key string, v any) {
	if _, ok := o.vals[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.vals[key] = v
}

// Get returns the value under key.
func (o *Object) Get(key string) (any, bool) {
	v, ok := o.vals[key]
	return v, ok
}

// Keys returns the keys in order. The caller must not change the slice.
func (o *Object) Keys() []string { return o.keys }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// fromGo converts a variable given to Render.
func (r *run) fromGo(v any) value {
	r.enter()
	defer r.leave()
	r.step(1)
	switch v := v.(type) {
	case nil, bool, int64, float64:
		return v
	case string:
		r.scan(len(v))
		if !utf8.ValidString(v) {
			failf("a variable holds text that is not valid UTF-8")
		}
		return v
	case int:
		return int64(v)
	case json.Number:
		return fromNumber(string(v))
	case []any:
		out := make([]value, len(v))
		for i, it := range v {
			out[i] = r.fromGo(it)
		}
		return &list{out}
	case map[string]any:
		return fromMap(r, v, sortedKeys(v))
	case *Object:
		if v == nil {
			return nil
		}
		return fromMap(r, v.vals, v.keys)
	}
	return r.fromReflected(reflect.ValueOf(v))
}

func fromMap(r *run, m map[string]any, keys []string) value {
	d := newDict(len(keys))
	for _, k := range keys {
		d.set(r, r.fromGo(k), r.fromGo(m[k]))
	}
	return d
}

func fromNumber(s string) value {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if isInteger(s) {
		return wideInt(s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		failf("%q is not a number", s)
	}
	return f
}

func isInteger(s string) bool {
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// fromReflected converts the other integer and float types, slices, and maps with string keys.
func (r *run) fromReflected(v reflect.Value) value {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fromNumber(strconv.FormatUint(v.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		return v.Float()
	case reflect.String:
		return r.fromGo(v.String())
	case reflect.Bool:
		return v.Bool()
	case reflect.Slice, reflect.Array:
		out := make([]value, v.Len())
		for i := range out {
			out[i] = r.fromGo(v.Index(i).Interface())
		}
		return &list{out}
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String {
			m := make(map[string]any, v.Len())
			for _, k := range v.MapKeys() {
				m[k.String()] = v.MapIndex(k).Interface()
			}
			return fromMap(r, m, sortedKeys(m))
		}
	}
	failf("a variable has a type that templates cannot use: %v", v.Type())
	return nil
}

// indexFrom is the number of keys from which a dict keeps a hash index.
const indexFrom = 9

func newDict(n int) *dict {
	return &dict{keys: make([]value, 0, n), vals: make([]value, 0, n)}
}

// hashKey identifies a key: values that compare equal have the same.
type hashKey any

type tupleKey string

// find returns the position of key, or -1. It fails where key cannot be hashed.
func (d *dict) find(r *run, key value) int {
	if s, ok := key.(string); ok && d.index == nil {
		for i, k := range d.keys {
			if k, ok := k.(string); ok && k == s {
				return i
			}
		}
		if !d.hasMarkup() {
			return -1
		}
	}
	h := r.hash(key)
	if d.index != nil {
		if i, ok := d.index[h]; ok {
			return i
		}
		return -1
	}
	for i, k := range d.keys {
		if r.hash(k) == h {
			return i
		}
	}
	return -1
}

func (d *dict) hasMarkup() bool {
	for _, k := range d.keys {
		if _, ok := k.(markup); ok {
			return true
		}
	}
	return false
}

func (d *dict) get(r *run, key value) (value, bool) {
	if i := d.find(r, key); i >= 0 {
		return d.vals[i], true
	}
	return nil, false
}

func (d *dict) set(r *run, key, v value) {
	if i := d.find(r, key); i >= 0 {
		d.vals[i] = v
		return
	}
	r.step(1)
	if len(d.keys) >= maxItems {
		r.items(maxItems + 1)
	}
	d.keys = append(d.keys, key)
	d.vals = append(d.vals, v)
	switch {
	case d.index != nil:
		d.index[r.hash(key)] = len(d.keys) - 1
	case len(d.keys) == indexFrom:
		d.index = make(map[hashKey]int, 2*indexFrom)
		for i, k := range d.keys {
			d.index[r.hash(k)] = i
		}
	}
}

// hash returns the identity of a key, and fails for lists and mappings.
func (r *run) hash(v value) hashKey {
	switch v := v.(type) {
	case nil, string, int64, wideInt:
		return v
	case markup:
		return string(v)
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case float64:
		if n, ok := exactInt(v); ok {
			return n
		}
		return v
	case *undefined:
		return absent{}
	case *span:
		return *v
	case *tuple:
		r.enter()
		defer r.leave()
		var b []byte
		for _, it := range v.items {
			r.step(1)
			part := hashText(r.hash(it))
			r.scan(4 * len(part)) // copied about four times
			b = strconv.AppendInt(b, int64(len(part)), 10)
			b = append(append(b, ':'), part...)
		}
		return tupleKey(b)
	case *dictView:
		if v.part != "values" {
			failf("unhashable type: '%s'", typeName(v))
		}
	case *list, *dict:
		failf("unhashable type: '%s'", typeName(v))
	}
	return v
}

func (r *run) hashable(v value) bool {
	switch v := v.(type) {
	case *list, *dict:
		return false
	case *dictView:
		return v.part == "values"
	case *tuple:
		r.enter()
		defer r.leave()
		for _, it := range v.items {
			r.step(1)
			if !r.hashable(it) {
				return false
			}
		}
	}
	return true
}

func hashText(h hashKey) string {
	switch h := h.(type) {
	case nil:
		return "n"
	case string:
		return "s" + h
	case wideInt:
		return "i" + string(h)
	case int64:
		return "i" + strconv.FormatInt(h, 10)
	case float64:
		return "f" + strconv.FormatFloat(h, 'g', -1, 64)
	case tupleKey:
		return "t" + string(h)
	case absent:
		return "u"
	case span:
		return "r" + strconv.FormatInt(h.start, 10) + "," + strconv.FormatInt(h.step, 10) + "," + strconv.FormatInt(h.n, 10)
	}
	failf("unhashable type in a tuple")
	return ""
}

// exactInt returns f as an integer where it is one of 64 bits.
func exactInt(f float64) (int64, bool) {
	if f == math.Trunc(f) && f >= -(1<<63) && f < 1<<63 {
		return int64(f), true
	}
	return 0, false
}

// typeName is Python's name of the type of v.
func typeName(v value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, wideInt:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case *list:
		return "list"
	case *tuple:
		return "tuple"
	case *dict:
		return "dict"
	case *dictView:
		return "dict_" + v.part
	case *span:
		return "range"
	case *namespace:
		return "Namespace"
	case *generator:
		return "generator"
	case *undefined:
		return "Undefined"
	case *macro:
		return "Macro"
	case *loopState:
		return "LoopContext"
	}
	return "function"
}
