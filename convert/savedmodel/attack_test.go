package savedmodel

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/convert/tfbundle"
)

// typed says that an error is a refusal, which is what whoever uploads must get.
func typed(err error) bool {
	_, a := errors.AsType[Refused](err)
	_, b := errors.AsType[tfbundle.Invalid](err)
	_, c := errors.AsType[onnxgraph.Refused](err)
	return a || b || c || errors.Is(err, tfbundle.ErrChecksum)
}

// refusedFor checks that files are refused, and that the reason says a word.
func refusedFor(t *testing.T, name string, files map[string][]byte, signature, word string) {
	t.Helper()
	_, err := Read(sources(files), signature)
	if err == nil || !typed(err) || !strings.Contains(err.Error(), word) {
		t.Errorf("%s: %v, want a refusal that says %q", name, err, word)
	}
}

// What is crafted well is read, so that what follows is refused for what it says.
func TestCrafted(t *testing.T) {
	data := make([]byte, 16)
	c := summing(2)
	files := c.files()
	files[bundle+".index"] = bundleIndex(1, map[string]variableEntry{"w0": {[]int64{2}, 0, 8, masked(data[:8]), nil}, "w1": {[]int64{2}, 8, 8, masked(data[8:]), nil}})
	files[bundle+".data-00000-of-00001"] = data
	m, err := Read(sources(files), "")
	if err != nil || len(m.Graph.Nodes) != 3 || m.Signature != "serving_default" {
		t.Fatal(m, err)
	}
	_, err = Read(sources(crafted{output: "y:0", functions: []proto{functionDef("f", "n:y:0", nodeDef("n", "Neg", "x"))}, nodes: []proto{callOf("y", "f", "x")}}.files()), "")
	if err != nil {
		t.Fatal(err)
	}
}

// Attack 14: a message whose lengths lie, or that ends anywhere.
func TestProtobufLies(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":                       {},
		"a length of 2^63":            {0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"a length of 2 GiB":           {0x12, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00},
		"a number of 11 bytes":        {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"field number 0":              {0x00, 0x00},
		"a group":                     {0x13, 0x14},
		"wire type 6":                 {0x16},
		"graphs that are numbers":     {0x10, 0x01},
		"a fixed number at the end":   {0x0d, 0x00},
		"text where a node should be": crafted{output: "y:0", nodes: []proto{proto("no message")}}.bytes(),
		"no graph":                    proto(nil).num(1, 1),
		"a graph for training only":   proto(nil).msg(2, proto(nil).msg(1, proto(nil).text(4, "train"))),
		"version 2":                   proto(nil).num(1, 2),
		"a name that is not UTF-8":    crafted{output: "y:0", nodes: []proto{nodeDef("y", "Neg\xff", "x")}}.bytes(),
		"a name of 1 MiB":             crafted{output: "y:0", nodes: []proto{nodeDef(repeated(1<<20), "Neg", "x")}}.bytes(),
		"65 graphs":                   bytes.Repeat(proto(nil).msg(2, nil), 65),
	} {
		refusedFor(t, name, map[string][]byte{File: b}, "", "")
	}
	// A length that leads out of its message, into the ones behind it.
	inner := append(proto(nil).text(4, "serve"), 0x2a, 100) // a field that says it has 100 bytes, of which there are none
	beyond := proto(nil).msg(1, inner).msg(2, proto(nil).msg(1, placeholder(repeated(200))))
	refusedFor(t, "a length beyond its message", map[string][]byte{File: proto(nil).msg(2, beyond)}, "", "do not fit a message of which 0 are left")
	// Numbers take eight times the bytes that they take in the file.
	many := crafted{output: "x:0"}
	numbers := proto(nil).msg(1, proto(nil).msg(3, make([]byte, maxList)))
	for i := range 10_000 {
		many.nodes = append(many.nodes, nodeDef(fmt.Sprint("n", i), "Neg", "x").with("list", numbers))
	}
	refusedFor(t, "packed numbers", many.files(), "", "names, texts, numbers")
	// Messages within each other are passed over without a stack.
	deep := proto{}
	for range 10_000 {
		deep = proto(nil).msg(1, deep)
	}
	c := crafted{output: "y:0", nodes: []proto{nodeDef("y", "Neg", "x").with("list", deep)}}
	if _, err := Read(sources(c.files()), ""); err != nil && !typed(err) {
		t.Error(err)
	}
}

// Attack 14: every prefix of each file of a SavedModel is refused.
func TestTruncated(t *testing.T) {
	for _, name := range []string{"half_plus_two", "half_plus_two_v1"} {
		whole := folder(t, filepath.Join("testdata", "models", name))
		delete(whole, "golden.json")
		for file, b := range whole {
			if strings.HasPrefix(file, "assets") {
				continue
			}
			step := 1
			if len(b) > 4096 && !full() {
				step = 7
			}
			for n := 0; n < len(b); n += step {
				files := maps.Clone(whole)
				files[file] = b[:n]
				refusedFor(t, fmt.Sprintf("%s: %s cut to %d bytes", name, file, n), files, "", "")
			}
		}
	}
}

// A byte that is another somewhere in a real file gives a refusal or a graph that passes all checks, never anything else.
func TestFlipped(t *testing.T) {
	rounds := 60
	if full() {
		rounds = 20_000
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"half_plus_two", "half_plus_two_v1", "resource_v1", "keras_text", "keras_image", "bert"} {
		whole := sources(folder(t, filepath.Join("testdata", "models", name)))
		b, err := os.ReadFile(filepath.Join("testdata", "models", name, File))
		if err != nil {
			t.Fatal(err)
		}
		for range rounds {
			at, bit := random.IntN(len(b)), byte(1)<<random.IntN(8)
			b[at] ^= bit
			whole[File] = onnxgraph.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: whole[File].Digest}
			if _, err := Read(whole, ""); err != nil && !typed(err) {
				t.Errorf("%s, byte %d ^ %d: %v", name, at, bit, err)
			}
			b[at] ^= bit
		}
	}
}

// Attack 15: graphs without an end.
func TestEndless(t *testing.T) {
	neg := func(name, in string) proto { return nodeDef(name, "Neg", in) }
	var doubling []proto // each function calls the one before twice: 2^40 bodies
	doubling = append(doubling, functionDef("f0", "n:y:0", neg("n", "x")))
	for i := 1; i <= 40; i++ {
		f := fmt.Sprintf("f%d", i-1)
		doubling = append(doubling, functionDef(fmt.Sprintf("f%d", i), "s:sum:0", callOf("a", f, "x"), callOf("b", f, "x"), nodeDef("s", "AddV2", "a:output:0", "b:output:0")))
	}
	var nested []proto
	for i := range 200 {
		nested = append(nested, functionDef(fmt.Sprintf("g%d", i), "a:output:0", callOf("a", fmt.Sprintf("g%d", i+1), "x")))
	}
	loop := func(name, condition, body string) proto {
		f := func(name string) proto { return proto(nil).msg(10, proto(nil).text(1, name)) }
		return nodeDef(name, "While", "x").with("cond", f(condition)).with("body", f(body))
	}
	always := functionDef("always", "k:output:0", wholeConst("k", true, []int64{1}))
	unknown := functionDef("maybe", "l:z:0", nodeDef("l", "Less", "x", "x"))
	lists := []proto{wholeConst("n", true, []int64{4096}), wholeConst("i", true, []int64{0}), nodeDef("l", "TensorListReserve", "i", "n").with("element_dtype", floatType)}
	for i := range 4200 {
		from := "l"
		if i > 0 {
			from = fmt.Sprintf("l%d", i-1)
		}
		lists = append(lists, nodeDef(fmt.Sprintf("l%d", i), "TensorListSetItem", from, "i", "x"))
	}
	lists = append(lists, nodeDef("y", "TensorListGetItem", "l4199", "i", "i"))
	ranks := []proto{wholeConst("i", true, []int64{0})}
	for i, from := 0, "x"; i < 20; i++ {
		name := fmt.Sprintf("e%d", i)
		ranks, from = append(ranks, nodeDef(name, "ExpandDims", from, "i")), name
	}
	var million []proto
	for i := range 1_000_000 {
		million = append(million, neg(fmt.Sprint(i), "x"))
	}
	for _, c := range []struct {
		name, word string
		made       crafted
	}{
		{"a cycle", "cyclic", crafted{output: "a:0", nodes: []proto{neg("a", "b"), neg("b", "a")}}},
		{"a node that reads itself", "cyclic", crafted{output: "a:0", nodes: []proto{neg("a", "a")}}},
		{"a cycle of identities", "cyclic", crafted{output: "a:0", nodes: []proto{nodeDef("a", "Identity", "b"), nodeDef("b", "Identity", "a")}}},
		{"a cycle through a call", "cyclic", crafted{output: "a:0", nodes: []proto{callOf("a", "f", "b"), neg("b", "a")}, functions: []proto{functionDef("f", "x")}}},
		{"a function that calls itself", "calls itself", crafted{output: "a:0", nodes: []proto{callOf("a", "f", "x")}, functions: []proto{functionDef("f", "b:output:0", callOf("b", "f", "x"))}}},
		{"two that call each other", "calls itself", crafted{output: "a:0", nodes: []proto{callOf("a", "f", "x")},
			functions: []proto{functionDef("f", "b:output:0", callOf("b", "g", "x")), functionDef("g", "b:output:0", callOf("b", "f", "x"))}}},
		{"2^40 bodies", "more than", crafted{output: "a:0", nodes: []proto{callOf("a", "f40", "x")}, functions: doubling}},
		{"200 calls within each other", "within more than", crafted{output: "a:0", nodes: []proto{callOf("a", "g0", "x")}, functions: nested}},
		{"10^6 nodes", "more than 131072 nodes", crafted{output: "0:0", nodes: million}},
		{"a loop without an end", "runs more than", crafted{output: "y:0", nodes: []proto{loop("y", "always", "f")}, functions: []proto{always, functionDef("f", "x")}}},
		{"loops within loops", "runs more than", crafted{output: "y:0", nodes: []proto{loop("y", "always", "f")},
			functions: []proto{always, functionDef("f", "a:output:0", loop("a", "always", "g")), functionDef("g", "x")}}},
		{"a loop whose body is itself", "within more than", crafted{output: "y:0", nodes: []proto{loop("y", "always", "f")}, functions: []proto{always, functionDef("f", "a:output:0", loop("a", "always", "f"))}}},
		{"a loop whose end nobody knows", "says how they run", crafted{output: "y:0", nodes: []proto{loop("y", "maybe", "f")}, functions: []proto{unknown, functionDef("f", "x")}}},
		{"a loop of no function", "not there", crafted{output: "y:0", nodes: []proto{loop("y", "none", "none")}}},
		{"21 dimensions", "dimensions, more than", crafted{output: "e19:0", nodes: ranks}},
		{"lists of 17 million places", "places", crafted{output: "y:0", nodes: lists}},
		{"a list as an answer", "is said to be", crafted{output: "l:0", nodes: lists[:3]}},
		{"a list as a tensor", "takes a list", crafted{output: "y:0", nodes: append(slices.Clone(lists[:3]), nodeDef("y", "Neg", "l"))}},
		{"a loop of TensorFlow 1", "loops and branches", crafted{output: "e:0", nodes: []proto{nodeDef("m", "Merge", "x", "n"), nodeDef("n", "NextIteration", "m"), nodeDef("e", "Exit", "m")}}},
	} {
		refusedFor(t, c.name, c.made.files(), "", c.word)
	}
}

// Names that lead nowhere.
func TestDangling(t *testing.T) {
	for _, c := range []struct {
		name, word string
		made       crafted
	}{
		{"an output of no node", "not there", crafted{output: "y:0"}},
		{"an input of no node", "not there", crafted{output: "y:0", nodes: []proto{nodeDef("y", "Neg", "z")}}},
		{"an input without a name", "without a name", crafted{output: "y:0", nodes: []proto{nodeDef("y", "Neg", "")}}},
		{"an input without a name of a node that only runs before", "without a name", crafted{output: "y:0", nodes: []proto{nodeDef("a", "NoOp", ""), nodeDef("y", "Neg", "x", "^a")}}},
		{"an input without a name of what restores", "without a name", crafted{output: "y:0", restore: "r", nodes: []proto{nodeDef("r", "NoOp", ""), nodeDef("y", "Neg", "x")}}},
		{"an input that is only a mark", "", crafted{output: "y:0", nodes: []proto{nodeDef("y", "Neg", "^")}}},
		{"output −1", "no name of a tensor", crafted{output: "x:-1"}},
		{"output 2^40", "no name of a tensor", crafted{output: "x:1099511627776"}},
		{"an output that the operation lacks", "has none", crafted{output: "y:7", nodes: []proto{nodeDef("y", "Neg", "x")}}},
		{"a node twice", "there twice", crafted{output: "y:0", nodes: []proto{nodeDef("y", "Neg", "x"), nodeDef("y", "Neg", "x")}}},
		{"a function twice", "there twice", crafted{output: "x:0", functions: []proto{functionDef("f", "x"), functionDef("f", "x")}}},
		{"a call of nothing", "not there", crafted{output: "y:0", nodes: []proto{callOf("y", "f", "x")}}},
		{"a call without arguments", "gives 0 arguments", crafted{output: "y:0", nodes: []proto{callOf("y", "f")}, functions: []proto{functionDef("f", "x")}}},
		{"a function that gives nothing", "not there", crafted{output: "y:0", nodes: []proto{callOf("y", "f", "x")}, functions: []proto{functionDef("f", "z:y:0")}}},
		{"too few inputs", "how many", crafted{output: "y:0", nodes: []proto{nodeDef("y", "AddV2", "x")}}},
		{"a placeholder that nobody fills", "not supported", crafted{output: "z:0", nodes: []proto{placeholder("z")}}},
		{"a variable without a bundle", "variables", summing(1)},
	} {
		refusedFor(t, c.name, c.made.files(), "", c.word)
	}
}

// Attack 15: constants and variables whose bytes are not what their shapes need.
func TestTensorLies(t *testing.T) {
	constants := []struct {
		name, word string
		node       proto
	}{
		{"bytes missing", "do not hold", constantOf("y", []int64{3}, []float32{1})},
		{"a product that overflows", "not known", constantOf("y", []int64{1 << 32, 1 << 32}, []float32{1})},
		{"a dimension of −1", "not known", constantOf("y", []int64{-1}, []float32{1})},
		{"a dimension of −5", "neither a length nor free", constantOf("y", []int64{-5}, []float32{1})},
		{"2^40 of nothing", "more than", nodeDef("y", "AddV2", "x", "c")},
		{"17 dimensions", "dimensions", constantOf("y", slices.Repeat([]int64{1}, 17), []float32{1})},
	}
	for _, c := range constants {
		made := crafted{output: "y:0", nodes: []proto{c.node, constantOf("c", []int64{1 << 20, 1 << 20}, nil)}}
		refusedFor(t, c.name, made.files(), "", c.word)
	}
	data := make([]byte, 16)
	crc := masked(data[:8])
	good := map[string]variableEntry{"w0": {[]int64{2}, 0, 8, crc, nil}, "w1": {[]int64{2}, 8, 8, crc, nil}}
	change := func(e variableEntry) map[string]variableEntry {
		m := maps.Clone(good)
		m["w1"] = e
		return m
	}
	for _, c := range []struct {
		name, word string
		shards     uint64
		entries    map[string]variableEntry
	}{
		{"overlapping", "overlap", 1, change(variableEntry{[]int64{2}, 4, 8, crc, nil})},
		{"the same bytes twice", "overlap", 1, change(variableEntry{[]int64{2}, 0, 8, crc, nil})},
		{"beyond the file", "not within", 1, change(variableEntry{[]int64{2}, 12, 8, crc, nil})},
		{"an offset of −1", "not within", 1, change(variableEntry{[]int64{2}, -1, 8, crc, nil})},
		{"a length of 2^62", "not within", 1, change(variableEntry{[]int64{2}, 8, 1 << 62, crc, nil})},
		{"more bytes than the shape", "do not hold", 1, change(variableEntry{[]int64{1}, 8, 8, crc, nil})},
		{"a shape that overflows", "not possible", 1, change(variableEntry{[]int64{1 << 62, 1 << 62}, 8, 8, crc, nil})},
		{"another shape than the graph's", "of shape", 1, change(variableEntry{[]int64{2, 1}, 8, 8, crc, nil})},
		{"another length than the graph's", "of shape", 1, change(variableEntry{[]int64{1}, 8, 4, masked(data[:4]), nil})},
		{"another checksum", "checksum", 1, change(variableEntry{[]int64{2}, 8, 8, crc + 1, nil})},
		{"a data file that is not counted", "is not one of", 1, change(variableEntry{[]int64{2}, 8, 8, crc, proto(nil).num(3, 1)})},
		{"parts of a variable", "in parts", 1, change(variableEntry{[]int64{2}, 8, 8, crc, proto(nil).msg(7, nil)})},
		{"another type than the graph's", "of type", 1, change(variableEntry{[]int64{2}, 8, 8, crc, proto(nil).num(1, 3)})},
		{"two data files of which one is missing", "is missing", 2, good},
		{"no data files", "data files", 0, good},
		{"2^40 data files", "data files", 1 << 40, good},
		{"a variable less", "no value", 1, map[string]variableEntry{"w0": good["w0"]}},
	} {
		files := summing(2).files()
		files[bundle+".index"] = bundleIndex(c.shards, c.entries)
		files[bundle+".data-00000-of-00001"] = data
		refusedFor(t, c.name, files, "", c.word)
	}
}

// A changed byte of any weight is found, also of one that stays where it is.
func TestChangedWeights(t *testing.T) {
	const data = bundle + ".data-00000-of-00001"
	files := folder(t, filepath.Join("testdata", "models", "keras_text"))
	m, err := Read(sources(files), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range m.Graph.Weights() {
		for _, at := range []int64{w.Ref.Off, w.Ref.Off + w.Ref.Len - 1} {
			files[data] = bytes.Clone(files[data])
			files[data][at] ^= 1
			refusedFor(t, w.Name, files, "", "checksum")
			files[data][at] ^= 1
		}
	}
	if len(m.Graph.Weights()) < 2 {
		t.Error(m.Graph.Weights())
	}
}

// counting counts the bytes that are read.
type counting struct {
	onnxgraph.Source
	n int64
}

func (c *counting) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.Source.ReadAt(b, off)
	c.n += int64(n)
	return n, err
}

// The bytes of a variable are read once, and it is one weight, in however many bodies it is.
func TestVariableOnce(t *testing.T) {
	const calls, size = 100, 1 << 16
	made := crafted{output: fmt.Sprintf("c%d:0", calls-1), functions: []proto{functionDef("f", "s:sum:0", nodeDef("v", "VarHandleOp").with("dtype", floatType).with("shared_name", proto(nil).text(2, "w")),
		nodeDef("r", "ReadVariableOp", "v:resource:0"), wholeConst("axes", false, []int64{0}), nodeDef("k", "Mean", "r:value:0", "axes:output:0"), nodeDef("s", "AddV2", "x", "k:output:0"))}}
	for i, last := 0, "x"; i < calls; i++ {
		made.nodes, last = append(made.nodes, callOf(fmt.Sprintf("c%d", i), "f", last)), fmt.Sprintf("c%d:0", i)
	}
	data := make([]byte, size)
	files := made.files()
	files[bundle+".index"] = bundleIndex(1, map[string]variableEntry{"w": {[]int64{size / 4}, 0, size, masked(data), nil}})
	files[bundle+".data-00000-of-00001"] = data
	uploaded := sources(files)
	read := &counting{Source: uploaded[bundle+".data-00000-of-00001"]}
	uploaded[bundle+".data-00000-of-00001"] = onnxgraph.Source{ReaderAt: read, Size: size, Digest: read.Digest}
	m, err := Read(uploaded, "")
	if err != nil {
		t.Fatal(err)
	}
	if read.n != size || len(m.Graph.Weights()) != 1 {
		t.Errorf("%d bytes are read of %d, for %d weights", read.n, size, len(m.Graph.Weights()))
	}
}

// A function that restores is called once for each variable.
func TestRestoredTwice(t *testing.T) {
	made := summing(2)
	made.restore = "r"
	made.functions = []proto{functionDef("f", "x", textConst("name", "stored"), textConst("part", ""), nodeDef("get", "RestoreV2", "name:output:0", "name:output:0", "part:output:0"),
		nodeDef("set", "AssignVariableOp", "x", "get:tensors:0"))}
	made.nodes = append(made.nodes, callOf("r0", "f", "w0"), callOf("r1", "f", "w1"), nodeDef("r", "NoOp", "^r0", "^r1"))
	data := make([]byte, 8)
	files := made.files()
	files[bundle+".index"] = bundleIndex(1, map[string]variableEntry{"stored": {[]int64{2}, 0, 8, masked(data), nil}})
	files[bundle+".data-00000-of-00001"] = data
	if _, err := Read(sources(files), ""); err != nil {
		t.Error(err)
	}
}

// Attack 17: operations that reach beyond the model, wherever they are, and files that lie elsewhere.
func TestPrograms(t *testing.T) {
	reached := func(op string) crafted { return crafted{output: "y:0", nodes: []proto{nodeDef("y", op, "x")}} }
	list, err := os.ReadFile(filepath.Join("testdata", "harmful.txt"))
	if err != nil {
		t.Fatal(err)
	}
	fine := crafted{output: "x:0"}.bytes()
	for _, op := range strings.Fields(string(list)) {
		training := proto(nil).msg(2, proto(nil).msg(1, proto(nil).text(4, "train")).msg(2, proto(nil).msg(1, nodeDef("z", op, "x"))))
		refusedFor(t, op+" in a graph that is not served", map[string][]byte{File: append(training, fine...)}, "", "always refused")
		refusedFor(t, op+" in a graph behind the one that is served", map[string][]byte{File: append(bytes.Clone(fine), training...)}, "", "always refused")
		refusedFor(t, op+" that is reached", reached(op).files(), "", "always refused")
		refusedFor(t, op+" that is not reached", crafted{output: "x:0", nodes: []proto{nodeDef("z", op, "x")}}.files(), "", "always refused")
		refusedFor(t, op+" in a function that nobody calls", crafted{output: "x:0", functions: []proto{functionDef("f", "x", nodeDef("z", op, "x"))}}.files(), "", "always refused")
	}
	for _, op := range []string{"RestoreV2", "SaveV2", "MergeV2Checkpoints", "HashTableV2", "InitializeTableFromTextFileV2", "ParseExampleV2", "StringJoin", "NextIteration",
		"TensorListScatterV2", "ScalarSummary", "MergeSummary", "Print", "RandomUniform", "DecodeJpeg", "Bitcast", "MyOwnOp", "Placeholder", "_Retval"} {
		refusedFor(t, op, reached(op).files(), "", fmt.Sprintf("operation %q is not supported", op))
		if _, err := Read(sources(crafted{output: "x:0", nodes: []proto{nodeDef("z", op, "x")}}.files()), ""); err != nil {
			t.Errorf("%s that is not reached: %v", op, err)
		}
	}
	for _, name := range []string{"../../etc/passwd", "/etc/passwd", "a/../../b", "..", "", "C:\\boot.ini", "a\x00b", "./a"} {
		refusedFor(t, name, crafted{output: "x:0", assets: []string{name}}.files(), "", "is not in the folder assets")
	}
	elsewhere := proto(nil).msg(2, proto(nil).msg(1, proto(nil).text(4, "train")).msg(6, proto(nil).text(2, "../a")))
	refusedFor(t, "an asset of a graph that is not served", map[string][]byte{File: append(elsewhere, fine...)}, "", "is not in the folder assets")
	if _, err := Read(sources(crafted{output: "x:0", assets: []string{"vocab.txt", "a/b..c"}}.files()), ""); err != nil {
		t.Error(err)
	}
}

// A signature that changes variables is refused, also where only a control edge leads to the change; one that only checks is not.
func TestEffects(t *testing.T) {
	y := nodeDef("y", "Neg", "x", "^z")
	for _, c := range []struct {
		word string
		made crafted
	}{
		{"changes a variable", crafted{output: "y:0", nodes: []proto{y, nodeDef("z", "AssignAddVariableOp", "v", "x"), nodeDef("v", "VarHandleOp")}}},
		{"changes a variable", crafted{output: "y:0", nodes: []proto{y, nodeDef("z", "NoOp", "^w"), nodeDef("w", "AssignVariableOp", "v", "x"), nodeDef("v", "VarHandleOp")}}},
		{"changes a variable", crafted{output: "y:0", nodes: []proto{y, callOf("z", "f", "x")}, functions: []proto{functionDef("f", "x", nodeDef("w", "AssignSubVariableOp", "x", "x"))}}},
		{"changes a variable", crafted{output: "y:0", nodes: []proto{callOf("y", "f", "x")},
			functions: []proto{functionDef("f", "x", nodeDef("w", "LookupTableInsertV2", "x", "x")).msg(6, proto(nil).text(1, "c").text(2, "w"))}}},
		{"changes a variable", crafted{output: "y:0", nodes: []proto{callOf("y", "f", "x")},
			functions: []proto{functionDef("f", "n:y:0", nodeDef("n", "Neg", "x"), nodeDef("v", "VarHandleOp"), nodeDef("w", "AssignAddVariableOp", "v:resource:0", "x"))}}},
		{"changes a variable", crafted{output: "y:0", nodes: []proto{callOf("y", "f", "x")},
			functions: []proto{functionDef("f", "x", callOf("c", "g", "x")), functionDef("g", "x", nodeDef("w", "AssignAddVariableOp", "x", "x"))}}},
	} {
		refusedFor(t, c.word, c.made.files(), "", c.word)
	}
	fine := crafted{output: "y:0", nodes: []proto{y, nodeDef("z", "Assert", "x", "x")}}
	if _, err := Read(sources(fine.files()), ""); err != nil {
		t.Error(err)
	}
}

// What TensorFlow really writes for what is not mapped is refused by name, with the way out; other signatures of the same file are served.
func TestRefusedSignatures(t *testing.T) {
	files := folder(t, filepath.Join("testdata", "models", "refused"))
	for signature, words := range map[string][]string{
		"assign":  {"AssignAddVariableOp", "training=False"},
		"loop":    {`operation "`, "While", "says how they run"},
		"branch":  {`operation "`, "If", "says how they run"},
		"table":   {"carries text", "tokenizer"},
		"text":    {"carries text", "tokenizer"},
		"random":  {"RandomUniform", "training=False"},
		"missing": {`"missing" is not one of`, `"loop"`},
		"":        {"is not one of"},
	} {
		for _, word := range words {
			refusedFor(t, signature, files, signature, word)
		}
	}
	if _, err := Read(sources(files), "fine"); err != nil {
		t.Error(err)
	}
	v1 := folder(t, filepath.Join("testdata", "models", "half_plus_two_v1"))
	nameless := maps.Clone(v1)
	nameless[File] = bytes.ReplaceAll(v1[File], []byte("\n\x01x\x12\x1a\n\x03x:0"), []byte("\x1a\x01x\x12\x1a\n\x03x:0")) // the key of an input is a field that nobody knows
	refusedFor(t, "an input without a name", nameless, "", `input ""`)
	refusedFor(t, "examples", v1, "regress", "carries text")
}
