package savedmodel

import (
	"fmt"
	"strings"
)

// effects refuses a graph that changes variables or tables whenever it runs: what was followed computes the same without the nodes that only
// have to run before (checks, prints), but not without those.
func (f *flattener) effects() error {
	seen := map[spot]bool{}
	bodies := map[string]bool{}
	for len(f.control) > 0 {
		c := f.control[len(f.control)-1]
		f.control = f.control[:len(f.control)-1]
		id, _, _, ok := endpoint(c.node)
		i, there := c.at.byName[id]
		if !ok || !there || seen[spot{c.at, i}] {
			continue
		}
		if seen[spot{c.at, i}] = true; len(seen) > MaxNodes {
			return Refused{Why: fmt.Sprintf("more than %d nodes run before others", MaxNodes)}
		}
		n := &c.at.nodes[i]
		if err := f.harmless(c.at.path, n, bodies); err != nil {
			return err
		}
		if v := c.at.seen[i]; v != nil && v.body != nil {
			continue // what runs in it was noted when it was entered
		}
		for _, in := range n.inputs {
			f.control = append(f.control, controlled{c.at, strings.TrimPrefix(in, "^")})
		}
	}
	return nil
}

// harmless refuses an operation that writes, and one that calls a function in which any does.
func (f *flattener) harmless(within string, n *node, bodies map[string]bool) error {
	if writes(n.op) {
		return Refused{What: within + nodeName(n), Why: fmt.Sprintf("operation %.60q changes a variable or a table whenever the signature is asked; export the model with training=False", n.op)}
	}
	for _, a := range n.attrs {
		fn, ok := f.graph.functions[a.text]
		if a.kind != callAttr || !ok || bodies[fn.name] {
			continue
		}
		bodies[fn.name] = true
		for i := range fn.nodes {
			if err := f.harmless(within+n.name+"/", &fn.nodes[i], bodies); err != nil {
				return err
			}
		}
	}
	return nil
}
