// Package openapi writes an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0) from what a program registers, and from the Go types and
// messages that it reads and writes.
package openapi

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
)

// Document is a document that is being made.
type Document struct {
	info    map[string]string
	paths   map[string]map[string]any
	schemas map[string]Schema
	names   map[use]string
	written map[reflect.Type]Schema
}

// Operation is a path with a method.
type Operation struct {
	Method, Path string // parameters of the path in braces
	Tag, Summary string
	Query        []string // names of parameters that are strings, none of them needed
	Public       bool     // no key is needed
	Request      any      // value of the type of the body, or a Form; nil = none
	Answer       any      // of the answer of status 200
	Event        any      // of the events of an answer that is streamed; nil = none is
	Failure      any      // of errors; nil = not told
}

// New begins a document. written are the schemas of types in requests whose Go form does not tell it.
func New(title, version, description string, written map[reflect.Type]Schema) *Document {
	return &Document{info: map[string]string{"title": title, "version": version, "description": description},
		paths: map[string]map[string]any{}, schemas: map[string]Schema{}, names: map[use]string{}, written: written}
}

var (
	parameter = regexp.MustCompile(`\{(\w+)\}`)
	notWord   = regexp.MustCompile(`\W+`)
)

// Add adds an operation.
func (d *Document) Add(o Operation) {
	op := map[string]any{"summary": o.Summary, "tags": []string{o.Tag}, "operationId": strings.Trim(strings.ToLower(o.Method)+notWord.ReplaceAllString(o.Path, "_"), "_")}
	var parameters []any
	for _, p := range parameter.FindAllStringSubmatch(o.Path, -1) {
		parameters = append(parameters, map[string]any{"name": p[1], "in": "path", "required": true, "schema": Text()})
	}
	for _, q := range o.Query {
		parameters = append(parameters, map[string]any{"name": q, "in": "query", "schema": Text()})
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	if o.Public {
		op["security"] = []any{}
	}
	switch form, ok := o.Request.(Form); {
	case ok:
		op["requestBody"] = map[string]any{"required": true, "content": content("multipart/form-data", Schema(form))}
	case o.Request != nil:
		op["requestBody"] = map[string]any{"required": true, "content": content("application/json", d.schema(reflect.TypeOf(o.Request), false))}
	}
	answers := map[string]any{}
	if o.Answer != nil {
		answers["application/json"] = map[string]any{"schema": d.schema(reflect.TypeOf(o.Answer), true)}
	}
	if o.Event != nil {
		answers["text/event-stream"] = map[string]any{"schema": d.schema(reflect.TypeOf(o.Event), true)}
	}
	ok := map[string]any{"description": "The answer"}
	if len(answers) > 0 {
		ok["content"] = answers
	}
	responses := map[string]any{"200": ok}
	if o.Failure != nil {
		responses["default"] = map[string]any{"description": "An error", "content": content("application/json", d.schema(reflect.TypeOf(o.Failure), true))}
	}
	op["responses"] = responses
	d.put(o.Method, o.Path, op)
}

func (d *Document) put(method, path string, op any) {
	if d.paths[path] == nil {
		d.paths[path] = map[string]any{}
	}
	d.paths[path][strings.ToLower(method)] = op
}

func content(kind string, s Schema) map[string]any {
	return map[string]any{kind: map[string]any{"schema": s}}
}

// JSON is the document.
func (d *Document) JSON() ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"openapi": "3.1.0", "info": d.info, "servers": []any{map[string]string{"url": "/"}}, "paths": d.paths,
		"security": []any{map[string][]string{"bearer": {}}, map[string][]string{"key": {}}},
		"components": map[string]any{"schemas": d.schemas, "securitySchemes": map[string]any{
			"bearer": map[string]string{"type": "http", "scheme": "bearer"},
			"key":    map[string]string{"type": "apiKey", "in": "header", "name": "X-Api-Key"}}},
	}, "", " ")
}
