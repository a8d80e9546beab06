package openapi

import (
	"encoding/json"
	"reflect"
	"testing"
)

type leaf struct {
	Name string `json:"name"`
	Next *leaf  `json:"next,omitempty"`
}

type either string

type inner struct {
	Shared int `json:"shared"`
}

type ask struct {
	inner
	Shared string            `json:"shared"` // nearer than the embedded one
	Of     either            `json:"of"`
	Raw    json.RawMessage   `json:"raw"`
	Bytes  []byte            `json:"bytes"`
	Map    map[string]int    `json:"map"`
	List   []leaf            `json:"list"`
	Free   any               `json:"free"`
	Hidden int               `json:"-"`
	lost   map[string]string //nolint:unused // not exported, so not in JSON
}

// The schema of a type is what encoding/json does with it.
func TestSchema(t *testing.T) {
	d := New("t", "1", "", map[reflect.Type]Schema{reflect.TypeFor[either](): Either(Text(), List(Text()))})
	d.Add(Operation{Method: "POST", Path: "/a/{id}", Tag: "x", Summary: "s", Query: []string{"q"}, Request: ask{}, Answer: leaf{}, Event: leaf{}, Failure: leaf{}})
	d.Add(Operation{Method: "GET", Path: "/b", Public: true})
	d.Add(Operation{Method: "POST", Path: "/c", Request: FormOf([]string{"file"}, "file", File(), "more", Text())})
	b, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct{ Name, In string }
			Security    *[]any
			RequestBody struct{ Content map[string]any }
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal([]byte(`{
		"Ask": {"type": "object", "properties": {"shared": {"type": "string"}, "of": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, "raw": {},
			"bytes": {"type": "string", "contentEncoding": "base64"}, "map": {"type": "object", "additionalProperties": {"type": "integer"}},
			"list": {"type": "array", "items": {"$ref": "#/components/schemas/Leaf"}}, "free": {}}},
		"Leaf": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/components/schemas/Leaf"}, {"type": "null"}]}}},
		"LeafInput": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/components/schemas/LeafInput"}, {"type": "null"}]}}, "required": ["name"]}
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(doc.Components.Schemas, want) {
		got, _ := json.MarshalIndent(doc.Components.Schemas, "", " ")
		t.Errorf("%s", got)
	}
	a, open := doc.Paths["/a/{id}"]["post"], doc.Paths["/b"]["get"]
	if a.OperationID != "post_a_id" || len(a.Parameters) != 2 || a.Security != nil || open.Security == nil || len(*open.Security) != 0 {
		t.Errorf("%+v, %+v", a, open)
	}
	form := map[string]any{"multipart/form-data": map[string]any{"schema": map[string]any{"type": "object", "required": []any{"file"},
		"properties": map[string]any{"file": map[string]any{"type": "string", "contentMediaType": "application/octet-stream"}, "more": map[string]any{"type": "string"}}}}}
	if got := doc.Paths["/c"]["post"].RequestBody.Content; !reflect.DeepEqual(got, form) {
		t.Errorf("a form: %v", got)
	}
}
