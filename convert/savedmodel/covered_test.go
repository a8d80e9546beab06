package savedmodel

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
)

// Every operation that is mapped is met in a fixture, so TestParity has compared it with TensorFlow.
func TestCovered(t *testing.T) {
	met := map[string]bool{}
	for _, dir := range fixtures(t) {
		if filepath.Base(dir) == "refused" {
			continue
		}
		src := sources(folder(t, dir))[File]
		graphs, err := readSavedModel(&scanner{src: src})
		if err != nil {
			t.Fatal(err)
		}
		note := func(nodes []node) {
			for _, n := range nodes {
				met[n.op] = true
			}
		}
		for _, g := range graphs {
			note(g.graph.nodes)
			for _, f := range g.graph.functions {
				note(f.nodes)
			}
		}
	}
	for _, op := range slices.Sorted(maps.Keys(operations)) {
		if !met[op] {
			t.Errorf("%s is in no fixture", op)
		}
	}
}

// Operations whose attributes or types ask for what is not mapped are refused by name.
func TestAsked(t *testing.T) {
	policy := func(p string) proto { return proto(nil).text(2, p) }
	places := wholeConst("k", false, []int64{0, 1})
	for _, c := range []struct {
		word string // "" = fine
		node proto
	}{
		{"passes over places", nodeDef("y", "GatherNd", "x", "k").with("bad_indices_policy", policy("IGNORE"))},
		{"passes over places", nodeDef("y", "ScatterNd", "k", "x", "k").with("bad_indices_policy", policy("IGNORE"))},
		{"passes over places", nodeDef("y", "TensorScatterUpdate", "x", "k", "x").with("bad_indices_policy", policy("IGNORE"))},
		{"to I32, which is not mapped", nodeDef("y", "BatchMatMulV3", "m", "m").with("Tout", proto(nil).num(6, 3))},
		{"", nodeDef("y", "BatchMatMulV3", "m", "m").with("Tout", floatType)},
		{"rounds whole numbers", nodeDef("y", "Round", "k")},
		{"", nodeDef("y", "TensorScatterUpdate", "x", "k", "x").with("bad_indices_policy", policy("DEFAULT"))},
		{"", nodeDef("y", "TensorScatterUpdate", "x", "k", "x").with("bad_indices_policy", policy("ERROR"))},
		{"", nodeDef("y", "TensorScatterUpdate", "x", "k", "x").with("bad_indices_policy", policy(""))},
	} {
		made := crafted{output: "y:0", nodes: []proto{places, constantOf("m", []int64{1, 1, 1}, []float32{1}), c.node}}
		if c.word != "" {
			refusedFor(t, string(c.node), made.files(), "", c.word)
		} else if _, err := Read(sources(made.files()), ""); err != nil {
			t.Error(err)
		}
	}
}

// A box that begins nowhere, or beyond every number, is no reason to fail.
func TestSliceOfList(t *testing.T) {
	for _, begin := range [][]int64{{}, {1 << 31}, {-1}, {0, 0}, {3}} {
		made := crafted{output: "y:0", nodes: []proto{wholeConst("l", false, []int64{1, 2, 3}), wholeConst("b", false, begin), wholeConst("n", false, []int64{2}), nodeDef("s", "Slice", "l", "b", "n"),
			nodeDef("c", "Cast", "s").with("DstT", floatType), nodeDef("y", "AddV2", "x", "c")}}
		if _, err := Read(sources(made.files()), ""); err != nil && !typed(err) {
			t.Errorf("%v: %v", begin, err)
		}
	}
}

// The older Select means something else by a list of conditions than by a tensor of them: which it is must be known.
func TestSelectOfUnknownRank(t *testing.T) {
	unranked := nodeDef("c", "Squeeze", "b") // all lengths of 1 are taken away, and one is open
	made := crafted{inner: 3, output: "y:0", nodes: []proto{nodeDef("b", "Less", "x", "x"), unranked, nodeDef("y", "Select", "c", "x", "x")}}
	refusedFor(t, "Select", made.files(), "", "number of dimensions of input 0")
	made.nodes[2] = nodeDef("y", "SelectV2", "c", "x", "x")
	if _, err := Read(sources(made.files()), ""); err != nil {
		t.Error(err)
	}
}
