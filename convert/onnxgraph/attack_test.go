package onnxgraph

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/model"
)

// refuses checks that a file is refused for a reason, at a bounded cost in memory.
func refuses(t *testing.T, what string, b []byte, beside Folder, why string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Read(source(b), beside)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<20 {
		t.Errorf("%s: %d bytes were allocated", what, got)
	}
	if !errors.As(err, new(Refused)) || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: %v, want a refusal with %q", what, err, why)
	}
}

var identity = node("Identity", []string{"x"}, []string{"y"})

func TestPlainGraph(t *testing.T) {
	g, err := Read(source(file(graph(withNode(identity)))), none)
	if err != nil || len(g.Nodes) != 1 || g.Opset != 17 || g.Inputs[0].Shape[0] != model.Free || g.Inputs[0].Shape[1] != 4 {
		t.Errorf("%+v, %v", g, err)
	}
}

// TestExternalData is attack 13: the bytes of a tensor come from a file of the folder and from nowhere else.
func TestExternalData(t *testing.T) {
	data := make([]byte, 4096)
	folder := func(name string) (Source, bool) {
		if name == "w.data" || name == "sub/w.data" {
			return source(data), true
		}
		return Source{}, false
	}
	add := node("Add", []string{"x", "w"}, []string{"y"})
	with := func(keys ...string) []byte {
		return file(graph(withInit(external("w", []int64{256, 4}, keys...)), withNode(add)))
	}
	for _, ok := range [][]string{{"location", "w.data"}, {"location", "w.data", "offset", "0", "length", "4096"}, {"location", "sub/w.data", "length", "4096"},
		{"location", "w.data", "checksum", "abc"}} {
		if g, err := Read(source(with(ok...)), folder); err != nil || g.Initializers[0].Ref != (blob.Ref{Digest: blob.Of(data).Digest(), Len: 4096}) {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, location := range []string{"", "/etc/passwd", "../w.data", "a/../../w.data", "..", ".", "./w.data", "a//w.data", "w.data/", `..\w.data`, `C:\w.data`, "file:///etc/passwd",
		"http://example.com/w.data", "w.data\x00", "*/_ORT_MEM_ADDR_/*", "_ORT_MEM_ADDR_/*", "a?b", strings.Repeat("a", 600)} {
		refuses(t, fmt.Sprintf("location %.40q", location), with("location", location, "offset", "0", "length", "4096"), folder, "plain name")
	}
	refuses(t, "no such file", with("location", "v.data"), folder, "not in the folder")
	refuses(t, "a link's name", with("location", "sub"), folder, "not in the folder")
	for _, c := range [][3]string{{"offset", "-1", "whole numbers"}, {"offset", "1", "do not fit"}, {"offset", "4096", "do not fit"}, {"offset", "9223372036854775807", "whole numbers"},
		{"offset", "99999999999999999999", "whole numbers"}, {"offset", "0x10", "whole numbers"}, {"offset", "+1", "whole numbers"}, {"offset", "01", "whole numbers"}, {"offset", " 1", "whole numbers"},
		{"offset", "", "whole numbers"}, {"length", "4095", "do not hold"}, {"length", "0", "do not hold"}, {"length", "-4096", "whole numbers"}, {"length", "18446744073709551615", "whole numbers"},
		{"location", "w.data", "twice"}, {"basepath", "/", "not known"}, {"Location", "w.data", "not known"}, {"", "", "not known"}} {
		refuses(t, fmt.Sprintf("%s %q", c[0], c[1]), with("location", "w.data", c[0], c[1]), folder, c[2])
	}
	refuses(t, "no location", with("offset", "0"), folder, "plain name")
	refuses(t, "flag without data", file(graph(withInit(pb{}.varint(1, 4).varint(2, 1).text(8, "w").varint(14, 1)), withNode(add))), folder, "both that its data")
	refuses(t, "data without flag", file(graph(withInit(pb{}.varint(1, 4).varint(2, 1).text(8, "w").bytes(13, pb{}.text(1, "location").text(2, "w.data"))), withNode(add))), folder, "both that its data")
	refuses(t, "data twice", file(graph(withInit(external("w", []int64{256, 4}, "location", "w.data").bytes(9, data)), withNode(add))), folder, "more than once")
	overlap := func(off string) []byte {
		return file(graph(withInit(external("w", []int64{128, 4}, "location", "w.data")), withInit(external("v", []int64{128, 4}, "location", "w.data", "offset", off)), withNode(add)))
	}
	refuses(t, "overlap", overlap("2044"), folder, "overlap")
	for _, off := range []string{"0", "2048"} {
		if _, err := Read(source(overlap(off)), folder); err != nil {
			t.Errorf("shared or apart, at %s: %v", off, err)
		}
	}
	self := with("location", "self")
	refuses(t, "the model itself", self, func(string) (Source, bool) { return source(self), true }, "in the model file itself")
}

// TestLyingProtobuf is attack 14.
func TestLyingProtobuf(t *testing.T) {
	whole := file(graph(withInit(tensorOf("w", 1, []int64{4}, float32s(1, 2, 3, 4))), withNode(node("Add", []string{"x", "w"}, []string{"y"}))))
	if _, err := Read(source(whole), none); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		refuses(t, fmt.Sprintf("cut to %d of %d bytes", n, len(whole)), whole[:n], none, "")
	}
	deep := pb{}
	for range 10_000 {
		deep = protowire.AppendTag(deep, 7, protowire.StartGroupType)
	}
	nested := pb{}
	for range 2_000 {
		nested = pb{}.bytes(7, nested)
	}
	bomb := pb{}
	for range maxUnknown + 1 {
		bomb = bomb.varint(999, 1)
	}
	fields := graph()
	for range maxFields {
		fields = append(fields, 0x10|2, 0) // name = ""
	}
	packed := graph(withNode(identity))
	for i := range 200 { // each takes 64 KiB of the file, and eight times that when it is read
		packed = packed.bytes(1, node("Identity", []string{"x"}, []string{fmt.Sprint("o", i)}, pb{}.text(1, "axes").bytes(8, make([]byte, MaxList)).varint(20, 7)))
	}
	for what, c := range map[string]struct {
		b   []byte
		why string
	}{
		"packed numbers":     {file(packed), "names, texts, numbers"},
		"nothing":            {nil, "holds 0 graphs"},
		"groups":             {deep, "wire type 3"},
		"nested models":      {nested, ""},
		"2 GiB":              {pb{}.lie(7, 1<<31), "do not fit"},
		"2^63":               {pb{}.lie(7, 1<<63), "do not fit"},
		"2^64 - 1":           {pb{}.lie(7, math.MaxUint64), "do not fit"},
		"inner 2 GiB":        {file(graph(func(g pb) pb { return g.lie(1, 1<<31) })), "do not fit"},
		"inner beyond outer": {file(graph(func(g pb) pb { return g.lie(5, 40) })), "do not fit"},
		"endless varint":     {pb(strings.Repeat("\xff", 100)), ""},
		"field 0":            {pb{0, 0}, "field number"},
		"unknown fields":     {append(file(graph(withNode(identity))), bomb...), "that ONNX does not define"},
		"many fields":        {file(fields), "more than 4194304 fields"},
		"two graphs":         {append(file(graph(withNode(identity))), file(graph(withNode(identity)))...), "holds 2 graphs"},
		"graph as number":    {pb{}.varint(7, 1), "wire type"},
		"name not UTF-8":     {file(graph(withNode(node("Identity", []string{"\xff"}, []string{"y"})))), "not UTF-8"},
		"a name of 1 MiB":    {file(graph(withNode(node("Identity", []string{strings.Repeat("a", 1<<20)}, []string{"y"})))), "more than"},
		"a text file":        {[]byte("#!/bin/sh\necho hello\n"), ""},
		"training":           {append(file(graph(withNode(identity))), pb{}.bytes(20, nil)...), "training"},
		"functions":          {append(file(graph(withNode(identity))), pb{}.bytes(25, pb{}.text(1, "f"))...), "inline_local_functions"},
		"no opset":           {pb{}.varint(1, 8).bytes(7, graph(withNode(identity))), "opset: 0"},
		"opset 999":          {pb{}.bytes(7, graph(withNode(identity))).bytes(8, pb{}.varint(2, 999)), "opset: 999"},
		"opset -1":           {pb{}.bytes(7, graph(withNode(identity))).bytes(8, pb{}.varint(2, math.MaxUint64)), "opset: -1"},
		"two opsets":         {append(file(graph(withNode(identity))), pb{}.bytes(8, pb{}.text(1, "ai.onnx").varint(2, 16))...), "two versions"},
	} {
		refuses(t, what, c.b, none, c.why)
	}
}

// TestLyingTensors is attack 15: constants and what they demand.
func TestLyingTensors(t *testing.T) {
	add := withNode(node("Add", []string{"x", "w"}, []string{"y"}))
	init := func(elem uint64, dims []int64, raw []byte) []byte {
		return file(graph(withInit(tensorOf("w", elem, dims, raw)), add))
	}
	demand := func(op string, nodes []pb, inits ...pb) []byte {
		fields := []func(pb) pb{}
		for _, x := range inits {
			fields = append(fields, withInit(x))
		}
		for _, n := range nodes {
			fields = append(fields, withNode(n))
		}
		return file(graph(append(fields, withNode(node("Mul", []string{"x", op}, []string{"y"})))...))
	}
	huge := int64s(65537, 65537)
	dims2 := tensorOf("d", 7, []int64{2}, huge)
	many := graph(add)
	for i := range MaxInitializers + 1 {
		many = many.bytes(5, tensorOf(fmt.Sprint("w", i), 1, []int64{1}, float32s(1)))
	}
	million := graph(add)
	for range 1_000_000 {
		million = million.bytes(5, nil)
	}
	for what, c := range map[string]struct {
		b   []byte
		why string
	}{
		"dim -1":             {init(1, []int64{-1, 4}, float32s(1, 2, 3, 4)), "no number of bytes"},
		"dim 2^32":           {init(1, []int64{1 << 32}, float32s(1)), "do not hold"},
		"dim 2^63-1":         {init(1, []int64{math.MaxInt64}, float32s(1)), "no number of bytes"},
		"overflow":           {init(1, []int64{1 << 31, 1 << 31, 1 << 31}, nil), "no number of bytes"},
		"overflow to 4":      {init(1, []int64{1 << 62, 1 << 62, 4}, float32s(1)), "no number of bytes"},
		"too few bytes":      {init(1, []int64{4}, float32s(1, 2, 3)), "do not hold"},
		"too many bytes":     {init(1, []int64{4}, float32s(1, 2, 3, 4, 5)), "do not hold"},
		"no bytes":           {file(graph(withInit(pb{}.varint(1, 4).varint(2, 1).text(8, "w")), add)), "do not hold"},
		"17 dimensions":      {init(1, make([]int64, 17), nil), "more than 16"},
		"type 0":             {init(0, []int64{1}, float32s(1)), "type 0"},
		"type 8, text":       {init(8, []int64{1}, float32s(1)), "type 8"},
		"type 14, complex":   {init(14, []int64{1}, int64s(1)), "type 14"},
		"type 2^31":          {init(1<<31, []int64{1}, float32s(1)), "is not supported"},
		"varints too few":    {file(graph(withInit(pb{}.varint(1, 3).varint(2, 7).text(8, "w").bytes(7, []byte{1, 2})), add)), "do not hold"},
		"varints too many":   {file(graph(withInit(pb{}.varint(1, 1).varint(2, 7).text(8, "w").bytes(7, []byte{1, 2})), add)), "more elements"},
		"varints of floats":  {file(graph(withInit(pb{}.varint(1, 1).varint(2, 1).text(8, "w").bytes(7, []byte{1})), add)), "not of type F32"},
		"varints of 2^40":    {file(graph(withInit(pb{}.varint(1, 1<<37).varint(2, 7).text(8, "w").bytes(7, []byte{1})), add)), "number by number"},
		"floats as doubles":  {file(graph(withInit(pb{}.varint(1, 2).varint(2, 1).text(8, "w").bytes(10, int64s(1))), add)), "do not hold"},
		"10^6 empty":         {file(million), ""},
		"too many":           {file(many), "more than 32768 initializers"},
		"a sparse one":       {file(graph(func(g pb) pb { return g.bytes(15, nil) }, add)), "sparse"},
		"ConstantOfShape":    {demand("c", []pb{node("ConstantOfShape", []string{"d"}, []string{"c"})}, dims2), "constants demand"},
		"EyeLike":            {demand("c", []pb{node("ConstantOfShape", []string{"e"}, []string{"b"}), node("EyeLike", []string{"b"}, []string{"c"})}, tensorOf("e", 7, []int64{2}, int64s(65537, 65536))), "constants demand"},
		"Expand":             {demand("c", []pb{node("Expand", []string{"one", "d"}, []string{"c"})}, dims2, tensorOf("one", 1, []int64{1}, float32s(1))), "constants demand"},
		"Expand of an input": {demand("c", []pb{node("Expand", []string{"x", "d"}, []string{"c"})}, dims2), "constants demand"},
		"Tile":               {demand("c", []pb{node("Tile", []string{"one", "d"}, []string{"c"})}, dims2, tensorOf("one", 1, []int64{1, 1}, float32s(1))), "constants demand"},
		"Range": {demand("c", []pb{node("Range", []string{"from", "to", "step"}, []string{"c"})}, tensorOf("from", 7, nil, int64s(0)), tensorOf("to", 7, nil, int64s(1<<40)),
			tensorOf("step", 7, nil, int64s(1))), "constants demand"},
		"OneHot": {demand("c", []pb{node("OneHot", []string{"i", "depth", "v"}, []string{"c"})}, tensorOf("i", 7, []int64{4}, int64s(1, 2, 3, 4)), tensorOf("depth", 7, nil, int64s(1<<34)),
			tensorOf("v", 1, []int64{2}, float32s(0, 1))), "constants demand"},
		"by arithmetic": {demand("c", []pb{node("Mul", []string{"a", "a"}, []string{"b"}), node("Concat", []string{"b", "b"}, []string{"s"}), node("ConstantOfShape", []string{"s"}, []string{"c"})},
			tensorOf("a", 7, []int64{1}, int64s(257))), "constants demand"},
		"by an outer product": {demand("c", []pb{node("ConstantOfShape", []string{"d"}, []string{"r"}), node("ConstantOfShape", []string{"e"}, []string{"q"}), node("MatMul", []string{"r", "q"}, []string{"c"})},
			tensorOf("d", 7, []int64{2}, int64s(65537, 1)), tensorOf("e", 7, []int64{2}, int64s(1, 65537))), "constants demand"},
		"many at once": {demand("c", func() (list []pb) {
			for i := range 64 {
				list = append(list, node("ConstantOfShape", []string{"d"}, []string{fmt.Sprint("c", i)}))
			}
			return append(list, node("Identity", []string{"c1"}, []string{"c"}))
		}(), tensorOf("d", 7, []int64{1}, int64s(1<<27))), "together"},
		"by Abs":         {demand("c", []pb{node("Abs", []string{"d"}, []string{"e"}), node("ConstantOfShape", []string{"e"}, []string{"c"})}, dims2), "constants demand"},
		"by Max":         {demand("c", []pb{node("Max", []string{"d", "d"}, []string{"e"}), node("ConstantOfShape", []string{"e"}, []string{"c"})}, dims2), "constants demand"},
		"by Pow":         {demand("c", []pb{node("Pow", []string{"a", "a"}, []string{"e"}), node("ConstantOfShape", []string{"e"}, []string{"c"})}, tensorOf("a", 7, []int64{1}, int64s(12))), "constants demand"},
		"by Tile":        {demand("c", []pb{node("Tile", []string{"d", "one"}, []string{"e"}), node("ConstantOfShape", []string{"e"}, []string{"c"})}, dims2, tensorOf("one", 7, []int64{1}, int64s(1))), "nobody knows"},
		"by Neg twice":   {demand("c", []pb{node("Neg", []string{"d"}, []string{"n"}), node("Neg", []string{"n"}, []string{"e"}), node("ConstantOfShape", []string{"e"}, []string{"c"})}, dims2), "constants demand"},
		"by Sin":         {demand("c", []pb{node("Sin", []string{"f"}, []string{"g"}), node("Cast", []string{"g"}, []string{"s"}, pb{}.text(1, "to").varint(3, 7).varint(20, 2)), node("ConstantOfShape", []string{"s"}, []string{"c"})}, tensorOf("f", 1, []int64{1}, float32s(3))), "nobody knows"},
		"Expand, hidden": {demand("c", []pb{node("Sign", []string{"d"}, []string{"e"}), node("Expand", []string{"x", "e"}, []string{"c"})}, dims2), "nobody knows"},
		"a matrix of lengths": {demand("c", []pb{node("Mul", []string{"p", "q"}, []string{"m"}), node("Reshape", []string{"m", "open"}, []string{"s"}), node("ConstantOfShape", []string{"s"}, []string{"c"})},
			tensorOf("p", 7, []int64{2, 1}, int64s(1, 1<<27)), tensorOf("q", 7, []int64{2}, int64s(1, 1)), tensorOf("open", 7, []int64{1}, int64s(-1))), "nobody knows"},
		"half, twice": {demand("c", []pb{node("Div", []string{"one", "two"}, []string{"h"}), node("Mul", []string{"h", "far"}, []string{"to"}), node("Range", []string{"zero", "to", "one"}, []string{"c"})},
			tensorOf("zero", 1, nil, float32s(0)), tensorOf("one", 1, nil, float32s(1)), tensorOf("two", 1, nil, float32s(2)), tensorOf("far", 1, nil, float32s(1<<40))), "constants demand"},
		"a step of 1/2^30": {demand("c", []pb{node("Range", []string{"zero", "one", "step"}, []string{"c"})},
			tensorOf("zero", 1, nil, float32s(0)), tensorOf("one", 1, nil, float32s(1)), tensorOf("step", 1, nil, float32s(1.0/(1<<30)))), "constants demand"},
		"-1 as a positive number": {demand("c", []pb{node("Cast", []string{"m"}, []string{"u"}, pb{}.text(1, "to").varint(3, 12).varint(20, 2)), node("Cast", []string{"u"}, []string{"i"}, pb{}.text(1, "to").varint(3, 7).varint(20, 2)),
			node("Range", []string{"zero", "i", "one"}, []string{"c"})}, tensorOf("m", 7, nil, int64s(-1)), tensorOf("zero", 7, nil, int64s(0)), tensorOf("one", 7, nil, int64s(1))), "nobody knows"},
		"Einsum": {demand("c", []pb{node("ConstantOfShape", []string{"d"}, []string{"r"}), node("Einsum", []string{"r", "r"}, []string{"c"}, pb{}.text(1, "equation").text(4, "a,b->ab").varint(20, 3))},
			tensorOf("d", 7, []int64{1}, int64s(1<<17))), "constants demand"},
		"an empty product": {demand("c", []pb{node("ReduceSum", []string{"w"}, []string{"c"})}, tensorOf("w", 1, []int64{1 << 40, 0}, []byte{})), "constants demand"},
		"Concat of itself": {demand("c", func() (list []pb) {
			list = append(list, node("ConstantOfShape", []string{"d"}, []string{"c0"}))
			for i := range 3 {
				list = append(list, node("Concat", slices.Repeat([]string{fmt.Sprint("c", i)}, 8), []string{fmt.Sprint("c", i+1)}, pb{}.text(1, "axis").varint(3, 0).varint(20, 2)))
			}
			return append(list, node("Identity", []string{"c3"}, []string{"c"}))
		}(), tensorOf("d", 7, []int64{1}, int64s(1<<22))), "constants demand"},
		"60 sums": {demand("c", func() (list []pb) {
			list = append(list, node("ConstantOfShape", []string{"d"}, []string{"c0"}))
			for i := range 60 {
				list = append(list, node("Add", []string{fmt.Sprint("c", i), "one"}, []string{fmt.Sprint("c", i+1)}))
			}
			return append(list, node("Identity", []string{"c60"}, []string{"c"}))
		}(), tensorOf("d", 7, []int64{1}, int64s(1<<28)), tensorOf("one", 1, []int64{1}, float32s(1))), "together"},
		"100000 dimensions": {demand("c", func() (list []pb) {
			list = append(list, node("Unsqueeze", []string{"one", "zero"}, []string{"c0"}))
			for i := range 100_000 {
				list = append(list, node("Unsqueeze", []string{fmt.Sprint("c", i), "zero"}, []string{fmt.Sprint("c", i+1)}))
			}
			return append(list, node("ConstantOfShape", []string{"c100000"}, []string{"c"}))
		}(), tensorOf("zero", 7, []int64{1}, int64s(0)), tensorOf("one", 7, []int64{2}, int64s(1<<40, 1<<40))), "nobody knows"},
		"Resize":       {demand("c", []pb{node("Resize", []string{"x", "", "scales"}, []string{"c"})}, tensorOf("scales", 1, []int64{2}, float32s(1<<20, 1<<20))), "constants demand"},
		"Pad":          {demand("c", []pb{node("Pad", []string{"x", "pads"}, []string{"c"})}, tensorOf("pads", 7, []int64{4}, int64s(1<<20, 1<<20, 0, 0))), "constants demand"},
		"a padded sum": {demand("c", []pb{node("MaxPool", []string{"x"}, []string{"c"}, pb{}.text(1, "pads").bytes(8, []byte{0x80, 0x80, 0x80, 1, 0x80, 0x80, 0x80, 1, 0, 0}).varint(20, 7))}), "constants demand"},
	} {
		refuses(t, what, c.b, none, c.why)
	}
	for what, b := range map[string][]byte{
		"dim 0":       file(graph(withInit(tensorOf("w", 1, []int64{0, 4}, []byte{})), withNode(identity))),
		"a scalar":    init(1, nil, float32s(1)),
		"packed dims": file(graph(withInit(pb{}.bytes(1, []byte{2, 2}).varint(2, 1).text(8, "w").bytes(9, float32s(1, 2, 3, 4))), withNode(identity))),
		"a followed shape": demand("c", []pb{node("Shape", []string{"w"}, []string{"s"}), node("Abs", []string{"s"}, []string{"a"}), node("Slice", []string{"a", "zero", "one"}, []string{"b"}), node("Concat", []string{"b", "b"}, []string{"e"}, pb{}.text(1, "axis").varint(3, 0).varint(20, 2)),
			node("ConstantOfShape", []string{"e"}, []string{"f"}), node("ReduceSum", []string{"f"}, []string{"c"})}, tensorOf("w", 1, []int64{4}, float32s(1, 2, 3, 4)), tensorOf("zero", 7, []int64{1}, int64s(0)), tensorOf("one", 7, []int64{1}, int64s(1))),
		"followed rows": demand("c", []pb{node("Concat", []string{"p", "p"}, []string{"q"}, pb{}.text(1, "axis").varint(3, 0).varint(20, 2)), node("Reshape", []string{"q", "open"}, []string{"e"}),
			node("ConstantOfShape", []string{"e"}, []string{"f"}), node("ReduceSum", []string{"f"}, []string{"c"})}, tensorOf("p", 7, []int64{1, 2}, int64s(3, 4)), tensorOf("open", 7, []int64{1}, int64s(-1))),
		"a followed matrix": demand("c", []pb{node("Transpose", []string{"p"}, []string{"t"}), node("Split", []string{"t"}, []string{"a", "b"}), node("Squeeze", []string{"b"}, []string{"e"}),
			node("ConstantOfShape", []string{"e"}, []string{"f"}), node("ReduceSum", []string{"f"}, []string{"c"})}, tensorOf("p", 7, []int64{2, 2}, int64s(1<<40, 1, 1<<40, 1))),
		"int32 varints": file(graph(withInit(pb{}.varint(1, 2).varint(2, 10).text(8, "w").bytes(5, []byte{1, 0x80, 0x78})), withNode(identity))),
		"float_data":    file(graph(withInit(pb{}.varint(1, 2).varint(2, 1).text(8, "w").bytes(4, float32s(1, 2))), add)),
	} {
		if _, err := Read(source(b), none); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestHostileGraphs is attack 15: what a graph does.
func TestHostileGraphs(t *testing.T) {
	body := pb{}.text(1, "body").bytes(6, graph(withNode(identity))).varint(20, 5)
	custom := node("Evil", []string{"x"}, []string{"y"}).text(7, "com.example")
	for what, c := range map[string]struct {
		nodes []pb
		why   string
	}{
		"a cycle":             {[]pb{node("Add", []string{"x", "b"}, []string{"a"}), node("Relu", []string{"a"}, []string{"b"}), node("Relu", []string{"b"}, []string{"y"})}, "cyclic"},
		"a loop of one":       {[]pb{node("Add", []string{"x", "y"}, []string{"y"})}, "cyclic"},
		"out of order":        {[]pb{node("Relu", []string{"a"}, []string{"y"}), node("Relu", []string{"x"}, []string{"a"})}, "out of order"},
		"from nowhere":        {[]pb{node("Relu", []string{"z"}, []string{"y"})}, "nothing makes"},
		"made twice":          {[]pb{identity, identity}, "made twice"},
		"an input again":      {[]pb{node("Relu", []string{"x"}, []string{"x"}), identity}, "made twice"},
		"no output":           {[]pb{node("Relu", []string{"x"}, nil), identity}, "and an output"},
		"y is missing":        {[]pb{node("Relu", []string{"x"}, []string{"z"})}, "nothing makes it"},
		"a bare name":         {[]pb{node("Identity", []string{"x"}, []string{strings.Repeat("n", 513)})}, ""},
		"Loop":                {[]pb{node("Loop", []string{"x"}, []string{"y"}, body)}, "graph of their own"},
		"If":                  {[]pb{node("If", []string{"x"}, []string{"y"}, body)}, "graph of their own"},
		"Scan":                {[]pb{node("Scan", []string{"x"}, []string{"y"}, body)}, "graph of their own"},
		"Loop without a body": {[]pb{node("Loop", []string{"x"}, []string{"y"})}, "any number of times"},
		"a custom library":    {[]pb{custom}, "never loaded"},
		"PyOp":                {[]pb{node("PyOp", []string{"x"}, []string{"y"}).text(7, "pyopmulti_1")}, "never loaded"},
		"aten":                {[]pb{node("ATen", []string{"x"}, []string{"y"}).text(7, "org.pytorch.aten")}, "never loaded"},
		"classical":           {[]pb{node("TreeEnsembleRegressor", []string{"x"}, []string{"y"}).text(7, "ai.onnx.ml")}, "never loaded"},
		"unknown":             {[]pb{node("ReadFile", []string{"x"}, []string{"y"})}, `operator "ReadFile" is not supported`},
		"unknown Microsoft":   {[]pb{node("Snpe", []string{"x"}, []string{"y"}).text(7, "com.microsoft")}, "of domain com.microsoft"},
		"EPContext":           {[]pb{node("EPContext", []string{"x"}, []string{"y"}).text(7, "com.microsoft")}, "of domain com.microsoft"},
		"random":              {[]pb{node("RandomNormalLike", []string{"x"}, []string{"y"})}, "is random"},
		"a function's":        {[]pb{node("Relu", []string{"x"}, []string{"y"}, pb{}.text(1, "a").text(21, "b"))}, "functions"},
		"an attribute twice":  {[]pb{node("LeakyRelu", []string{"x"}, []string{"y"}, pb{}.text(1, "alpha").varint(3, 1).varint(20, 2), pb{}.text(1, "alpha").varint(3, 1).varint(20, 2))}, "twice"},
		"kind 999":            {[]pb{node("Relu", []string{"x"}, []string{"y"}, pb{}.text(1, "a").varint(20, 999))}, "kind 999"},
		"no tensor":           {[]pb{node("Relu", []string{"x"}, []string{"y"}, pb{}.text(1, "a").varint(20, 4))}, "no tensor"},
		"large attribute":     {[]pb{node("Relu", []string{"x"}, []string{"y"}, pb{}.text(1, "a").bytes(5, tensorOf("", 1, []int64{1024}, make([]byte, 4096))).varint(20, 4))}, "more than 1024"},
		"a text constant":     {[]pb{node("Constant", nil, []string{"c"}, pb{}.text(1, "value_string").text(4, "a").varint(20, 3)), identity}, "not supported"},
		"training dropout":    {[]pb{node("Constant", nil, []string{"t"}, pb{}.text(1, "value").bytes(5, tensorOf("", 9, nil, []byte{1})).varint(20, 4)), node("Dropout", []string{"x", "", "t"}, []string{"y"})}, "training"},
	} {
		var fields []func(pb) pb
		for _, n := range c.nodes {
			fields = append(fields, withNode(n))
		}
		refuses(t, what, file(graph(fields...)), none, c.why)
	}
	for what, g := range map[string]pb{
		"no type":      pb{}.text(2, "g").bytes(11, pb{}.text(1, "x")).bytes(12, port("y", 1, 4)).bytes(1, identity),
		"no shape":     pb{}.text(2, "g").bytes(11, pb{}.text(1, "x").bytes(2, pb{}.bytes(1, pb{}.varint(1, 1)))).bytes(12, port("y", 1, 4)).bytes(1, identity),
		"text":         pb{}.text(2, "g").bytes(11, port("x", 8, 4)).bytes(12, port("y", 8, 4)).bytes(1, identity),
		"negative":     pb{}.text(2, "g").bytes(11, pb{}.text(1, "x").bytes(2, pb{}.bytes(1, pb{}.varint(1, 1).bytes(2, pb{}.bytes(1, pb{}.varint(1, math.MaxUint64)))))).bytes(12, port("y", 1, 4)).bytes(1, identity),
		"a sequence":   pb{}.text(2, "g").bytes(11, pb{}.text(1, "x").bytes(2, pb{}.bytes(4, nil))).bytes(12, port("y", 1, 4)).bytes(1, identity),
		"no inputs":    pb{}.text(2, "g").bytes(12, port("y", 1, 4)).bytes(1, identity),
		"inputs twice": graph(func(g pb) pb { return g.bytes(11, port("x", 1, 4)) }, withNode(identity)),
		"no outputs":   pb{}.text(2, "g").bytes(11, port("x", 1, 4)).bytes(1, identity),
		"300 inputs": graph(func(g pb) pb {
			for i := range 300 {
				g = g.bytes(11, port(fmt.Sprint("x", i), 1, 4))
			}
			return g
		}, withNode(identity)),
	} {
		refuses(t, "port: "+what, file(g), none, "")
	}
}

// FuzzRead: whatever a file holds, it is refused or its graph can be written and is what Check accepts.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"mlp", "external"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "onnx", name, "model.onnx"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(file(graph(withInit(tensorOf("w", 1, []int64{4}, float32s(1, 2, 3, 4))), withNode(node("Add", []string{"x", "w"}, []string{"y"}))))))
	f.Add([]byte(file(graph(withInit(external("w", []int64{256, 4}, "location", "weights.data", "offset", "16", "length", "4096")), withNode(node("Add", []string{"x", "w"}, []string{"y"}))))))
	data := make([]byte, 8192)
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Read(source(b), func(name string) (Source, bool) { return source(data), name == "weights.data" })
		if err != nil {
			if !errors.As(err, new(Refused)) {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		out, err := Encode(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range g.Weights() {
			size := int64(len(b))
			if w.Ref.Digest == blob.Of(data).Digest() {
				size = int64(len(data))
			}
			if w.Ref.Off < 0 || w.Ref.Len < 1 || w.Ref.Off+w.Ref.Len > size {
				t.Fatalf("%s is %d bytes at %d of %d", w.Name, w.Ref.Len, w.Ref.Off, size)
			}
		}
		again, err := Read(source(out), none)
		if len(g.Weights()) == 0 && (err != nil || len(again.Nodes) != len(g.Nodes) || len(again.Initializers) != len(g.Initializers)) {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
