package savedmodel

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/skein-project/skein/convert/onnxgraph"
)

// attributes lists the names that mappings look at, and whether what they hold is a list.
var attributes = map[string]bool{
	"begin_mask": false, "end_mask": false, "ellipsis_mask": false, "new_axis_mask": false, "shrink_axis_mask": false, "axis": false, "batch_dims": false,
	"keep_dims": false, "num": false, "num_split": false, "block_size": false, "is_training": false, "squeeze_dims": true, "strides": true, "ksize": true,
	"dilations": true, "explicit_paddings": true, "transpose_a": false, "adj_x": false,
}

// wholeConst is a Const of I32 numbers.
func wholeConst(name string, scalar bool, list []int64) proto {
	t := proto(nil).num(1, 3)
	if scalar {
		t, list = t.msg(2, shapeOf()), list[:1]
	} else {
		t = t.msg(2, shapeOf(int64(len(list))))
	}
	packed := proto{}
	for _, n := range list {
		packed = protowire.AppendVarint(packed, uint64(n))
	}
	return nodeDef(name, "Const").with("dtype", proto(nil).num(6, 3)).with("value", proto(nil).msg(8, t.msg(7, packed)))
}

// Whatever operations follow each other, with whatever inputs and attributes, is mapped or refused; what is mapped passes the check.
func TestAnyGraph(t *testing.T) {
	ops := slices.Sorted(maps.Keys(operations))
	mapped, rounds := 0, 30 // of 100 graphs
	if full() {
		rounds = 2000
	}
	for range rounds {
		rapid.Check(t, func(t *rapid.T) { mapped += anyGraph(t, ops) })
	}
	if mapped < 10*rounds {
		t.Errorf("%d graphs of %d were mapped: the generator makes no sense", mapped, 100*rounds)
	}
}

// anyGraph tries one graph, and gives 1 where it was mapped.
func anyGraph(t *rapid.T, ops []string) int {
	c := crafted{inner: rapid.Int64Range(0, 4).Draw(t, "second dimension")}
	names := []string{"x"}
	for i := range rapid.IntRange(1, 4).Draw(t, "constants") {
		name := fmt.Sprintf("c%d", i)
		list := rapid.SliceOfN(rapid.Int64Range(-3, 5), 1, 4).Draw(t, name)
		switch rapid.IntRange(0, 2).Draw(t, name+" is") {
		case 0:
			c.nodes = append(c.nodes, wholeConst(name, true, list))
		case 1:
			c.nodes = append(c.nodes, wholeConst(name, false, list))
		default:
			dims := rapid.SliceOfN(rapid.Int64Range(0, 3), 0, 4).Draw(t, name+"'s shape")
			n := int64(1)
			for _, d := range dims {
				n *= d
			}
			c.nodes = append(c.nodes, constantOf(name, dims, make([]float32, n)))
		}
		names = append(names, name)
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "operations") {
		name := fmt.Sprintf("n%d", i)
		op := rapid.SampledFrom(ops).Draw(t, name)
		inputs := operations[op].least
		if operations[op].most < 0 {
			inputs += rapid.IntRange(0, 2).Draw(t, name+"'s further inputs")
		}
		n := nodeDef(name, op)
		for j := range inputs {
			n = n.text(3, rapid.SampledFrom(names).Draw(t, fmt.Sprintf("%s input %d", name, j)))
		}
		for _, a := range rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(attributes))), 0, 4, rapid.ID).Draw(t, name+"'s attributes") {
			value := proto(nil).num(3, uint64(rapid.Int64Range(-2, 5).Draw(t, a)))
			if attributes[a] {
				list := proto{}
				for _, v := range rapid.SliceOfN(rapid.Int64Range(-1, 3), 0, 8).Draw(t, a+"s") {
					list = list.num(3, uint64(v))
				}
				value = proto(nil).msg(1, list)
			}
			n = n.with(a, value)
		}
		n = n.with("padding", proto(nil).text(2, rapid.SampledFrom([]string{"SAME", "VALID", "EXPLICIT"}).Draw(t, "padding"))).
			with("equation", proto(nil).text(2, rapid.SampledFrom([]string{"ab->a", "a,b->ab", "...a->a...", "->"}).Draw(t, "equation"))).
			with("DstT", proto(nil).num(6, uint64(rapid.SampledFrom([]int{1, 3, 9, 10}).Draw(t, "type")))).
			with("dtype", proto(nil).num(6, 1))
		if rapid.IntRange(0, 9).Draw(t, name+" runs after") == 0 { // after one that is there, or after nothing
			c.nodes = append(c.nodes, nodeDef("z"+name, "NoOp", rapid.SampledFrom([]string{"^x", "x", "^", ""}).Draw(t, "before z"+name)))
			n = n.text(3, "^z"+name)
		}
		c.nodes = append(c.nodes, n)
		names = append(names, name)
	}
	c.output = names[len(names)-1] + ":0"
	m, err := Read(sources(c.files()), "")
	if err != nil {
		if !typed(err) {
			t.Fatal(err)
		}
		return 0
	}
	if err := onnxgraph.Check(m.Graph); err != nil {
		t.Fatal(err)
	}
	return 1
}
