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
		{"rounds whole numbers", nodeDef("y", "Round", "k")},
		{"", nodeDef("y", "TensorScatterUpdate", "x", "k", "x").with("bad_indices_policy", policy("DEFAULT"))},
		{"", nodeDef("y", "TensorScatterUpdate", "x", "k", "x").with("bad_indices_policy", policy("ERROR"))},
		{"", nodeDef("y", "TensorScatterUpdate", "x", "k", "x").with("bad_indices_policy", policy(""))},
	} {
		made := crafted{output: "y:0", nodes: []proto{places, c.node}}
		if c.word != "" {
			refusedFor(t, string(c.node), made.files(), "", c.word)
		} else if _, err := Read(sources(made.files()), ""); err != nil {
			t.Error(err)
		}
	}
}
