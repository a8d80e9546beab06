package openapi

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Services adds the procedures of services as Connect serves them (https://connectrpc.com/docs/protocol): messages in the JSON form of protocol
// buffers. What is streamed goes in enveloped messages.
func (d *Document) Services(files ...protoreflect.FileDescriptor) {
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				d.procedure(s, s.Methods().Get(j))
			}
		}
	}
}

func (d *Document) procedure(s protoreflect.ServiceDescriptor, m protoreflect.MethodDescriptor) {
	kind, summary := "application/json", "A call of Connect, gRPC or gRPC-Web"
	if m.IsStreamingServer() || m.IsStreamingClient() {
		kind, summary = "application/connect+json", "A stream of Connect, gRPC or gRPC-Web"
	}
	name := string(s.FullName()) + "/" + string(m.Name())
	d.put("POST", "/"+name, map[string]any{"summary": summary, "tags": []string{string(s.FullName())}, "operationId": notWord.ReplaceAllString(name, "_"),
		"requestBody": map[string]any{"required": true, "content": content(kind, d.message(m.Input()))},
		"responses": map[string]any{"200": map[string]any{"description": "The answer", "content": content(kind, d.message(m.Output()))},
			"default": map[string]any{"description": "An error", "content": content("application/json", Object("code", Text(), "message", Text(), "details", List(Schema{"type": "object"})))}}})
}

// message is the schema of a message, which is added to the document.
func (d *Document) message(m protoreflect.MessageDescriptor) Schema {
	name := string(m.FullName())
	if _, there := d.schemas[name]; there {
		return Ref(name)
	}
	properties := map[string]Schema{}
	s := Schema{"type": "object", "properties": properties}
	d.schemas[name] = s
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		of := d.field(f)
		switch {
		case f.IsMap():
			of = Schema{"type": "object", "additionalProperties": d.field(f.MapValue())}
		case f.IsList():
			of = List(of)
		}
		properties[f.JSONName()] = of
	}
	return Ref(name)
}

// field is the schema of one value of a field.
func (d *Document) field(f protoreflect.FieldDescriptor) Schema {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return Schema{"type": "boolean"}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return Schema{"type": "integer"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return Schema{"type": "integer", "minimum": 0}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return Schema{"type": []string{"string", "integer"}} // JSON numbers of others lose digits
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return Schema{"type": []string{"number", "string"}} // NaN and infinity are strings
	case protoreflect.BytesKind:
		return Schema{"type": "string", "contentEncoding": "base64"}
	case protoreflect.EnumKind:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, string(f.Enum().Values().Get(i).Name()))
		}
		return Schema{"type": "string", "enum": names}
	case protoreflect.MessageKind, protoreflect.GroupKind:
		if f.IsMap() {
			return Schema{}
		}
		return d.message(f.Message())
	}
	return Text()
}
