package openapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Schema is a JSON Schema (draft 2020-12), as OpenAPI 3.1 takes it.
type Schema map[string]any

// Text is a string.
func Text() Schema { return Schema{"type": "string"} }

// File is the bytes of a file in a form.
func File() Schema { return Schema{"type": "string", "contentMediaType": "application/octet-stream"} }

// Form is the fields of a body that is multipart/form-data.
type Form Schema

// FormOf makes a form of the fields that it needs and of others, given as names and Schemas in turns.
func FormOf(required []string, pairs ...any) Form {
	s := Object(pairs...)
	s["required"] = required
	return Form(s)
}

// Anything is any value.
func Anything() Schema { return Schema{} }

// List is an array of one kind.
func List(of Schema) Schema { return Schema{"type": "array", "items": of} }

// Either is one of several.
func Either(of ...Schema) Schema { return Schema{"anyOf": of} }

// Ref is a schema of the document, by its name.
func Ref(name string) Schema { return Schema{"$ref": "#/components/schemas/" + name} }

// Object has properties, given as names and Schemas in turns. None is required, and others may be there.
func Object(pairs ...any) Schema {
	properties := map[string]Schema{}
	for i := 0; i+1 < len(pairs); i += 2 {
		properties[pairs[i].(string)] = pairs[i+1].(Schema)
	}
	return Schema{"type": "object", "properties": properties}
}

// use is a Go type in a request or in an answer: an answer always has what is not omitted when empty, a request may leave out everything.
type use struct {
	of     reflect.Type
	answer bool
}

// schema is that of a Go type as encoding/json reads or writes it. Structs that have a name become schemas of the document.
func (d *Document) schema(t reflect.Type, answer bool) Schema {
	if s, ok := d.written[t]; ok && !answer {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return Either(d.schema(t.Elem(), answer), Schema{"type": "null"})
	case reflect.Bool:
		return Schema{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return Schema{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return Schema{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return Schema{"type": "number"}
	case reflect.String:
		return Text()
	case reflect.Slice, reflect.Array:
		switch {
		case t == reflect.TypeFor[json.RawMessage]():
			return Anything()
		case t.Elem().Kind() == reflect.Uint8:
			return Schema{"type": "string", "contentEncoding": "base64"}
		}
		return List(d.schema(t.Elem(), answer))
	case reflect.Map:
		return Schema{"type": "object", "additionalProperties": d.schema(t.Elem(), answer)}
	case reflect.Struct:
		if t.Name() == "" {
			return d.object(t, answer)
		}
		return Ref(d.named(use{t, answer}))
	}
	return Anything()
}

// named is the name of the schema of a struct, which is added to the document.
func (d *Document) named(u use) string {
	if name, ok := d.names[u]; ok {
		return name
	}
	base := []rune(notWord.ReplaceAllString(strings.TrimSuffix(u.of.Name(), "JSON"), "_"))
	base[0] = unicode.ToUpper(base[0])
	name := string(base)
	for _, more := range []string{"Input", "Item", "Other"} {
		if _, taken := d.schemas[name]; !taken {
			break
		}
		name = string(base) + more
	}
	d.names[u] = name
	d.schemas[name] = Schema{} // taken, for those within it
	d.schemas[name] = d.object(u.of, u.answer)
	return name
}

// object is the schema of a struct.
func (d *Document) object(t reflect.Type, answer bool) Schema {
	properties, required := map[string]Schema{}, []string{}
	d.fields(t, answer, properties, &required)
	s := Schema{"type": "object", "properties": properties}
	if slices.Sort(required); answer && len(required) > 0 {
		s["required"] = required
	}
	return s
}

// fields adds the fields of a struct, those of embedded structs included.
func (d *Document) fields(t reflect.Type, answer bool, properties map[string]Schema, required *[]string) {
	for f := range fieldsOf(t) {
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			d.fields(f.Type, answer, properties, required)
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			properties[name] = d.schema(f.Type, answer)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				*required = append(*required, name)
			}
		}
	}
}

// fieldsOf are the fields of a struct, embedded structs first, so that what is nearer wins.
func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for _, embedded := range []bool{true, false} {
			for i := range t.NumField() {
				if f := t.Field(i); f.Anonymous == embedded && !yield(f) {
					return
				}
			}
		}
	}
}
