package onnx

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is one field of a decoded message.
type field struct {
	number protowire.Number
	value  []byte // bytes, or the text of a number
}

func decode(t *testing.T, b []byte) (fields []field) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatalf("bad tag: %v", protowire.ParseError(n))
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			fields, b = append(fields, field{num, fmt.Append(nil, int64(v))}), b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			fields, b = append(fields, field{num, v}), b[n:]
		case protowire.Fixed32Type:
			v, n := protowire.ConsumeFixed32(b)
			fields, b = append(fields, field{num, fmt.Appendf(nil, "%08x", v)}), b[n:]
		default:
			t.Fatalf("wire type %d", typ)
		}
	}
	return fields
}

// messages are the fields of ModelProto that are messages, by path of field numbers, so that the dump can descend.
var messages = []string{"7", "7.1", "7.1.5", "7.5", "7.5.13", "7.11", "7.11.2", "7.11.2.1", "7.11.2.1.2", "7.11.2.1.2.1", "7.12", "7.12.2", "7.12.2.1", "7.12.2.1.2", "7.12.2.1.2.1", "8"}

func dump(t *testing.T, out *bytes.Buffer, path string, b []byte) {
	for _, f := range decode(t, b) {
		at := strings.TrimPrefix(fmt.Sprintf("%s.%d", path, f.number), ".")
		isMessage := false
		for _, m := range messages {
			isMessage = isMessage || m == at
		}
		switch {
		case isMessage:
			fmt.Fprintf(out, "%s {}\n", at)
			dump(t, out, at, f.value)
		case at == "7.5.9":
			fmt.Fprintf(out, "%s %s\n", at, hex.EncodeToString(f.value))
		default:
			fmt.Fprintf(out, "%s %s\n", at, f.value)
		}
	}
}

// TestBytes compares a model with its fields as onnx.proto numbers them (testdata/model.txt; the numbers there were read from the
// specification, and package ort's tests show that the runtime agrees).
func TestBytes(t *testing.T) {
	g := New("small", 21)
	x := g.Input("x", Float, Free("B"), Fixed(2))
	w := g.External("w", BFloat16, []int64{2, 2}, Range{File: "weights", Offset: 16, Length: 8})
	c := g.Op(Op{Name: "Cast"}, []string{w}, Int("to", int(Float)))
	y := g.Op(Op{Domain: Microsoft, Name: "FusedMatMul"}, []string{x, c}, Int("transB", 1), Real("alpha", 0.5), Text("note", "n"))
	one := g.Inline("one", Float, []int64{1}, []byte{0, 0, 0x80, 0x3f})
	g.Node(Op{Name: "Clip"}, []string{y, "", one}, []string{"y"})
	g.Output("y", Float, Free("B"), Fixed(2))
	if g.Nodes() != 3 || !g.Has("w") || g.Has("v") {
		t.Errorf("%d nodes, w %v, v %v", g.Nodes(), g.Has("w"), g.Has("v"))
	}
	m, err := g.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	dump(t, &got, "", m)
	want, err := os.ReadFile("testdata/model.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s", got.String())
	}
}

func TestMisuse(t *testing.T) {
	for name, build := range map[string]func(*Graph){
		"twice":            func(g *Graph) { g.Input("x", Float); g.Inline("x", Float, nil, nil) },
		"undefined input":  func(g *Graph) { g.Op(Op{Name: "Relu"}, []string{"x"}) },
		"undefined output": func(g *Graph) { g.Output("y", Float) },
	} {
		g := New("bad", 21)
		build(g)
		if _, err := g.Bytes(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
