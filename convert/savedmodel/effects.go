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
	for _, s := range f.entered {
		if err := f.inBody(s, bodies); err != nil {
			return err
		}
	}
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
			continue // what runs in it is looked at since it was entered
		}
		for _, in := range n.inputs {
			f.control = append(f.control, controlled{c.at, strings.TrimPrefix(in, "^")})
		}
	}
	return nil
}

// inBody refuses a body of a function in which something writes, also where nothing in it asks for that: TensorFlow runs it all the same.
// Calls and branches that were followed were looked at as such: of a branch, only the side that is taken runs.
func (f *flattener) inBody(s *scope, bodies map[string]bool) error {
	if bodies[s.fn.name] {
		return nil
	}
	bodies[s.fn.name] = true
	for i := range s.nodes {
		n := &s.nodes[i]
		switch {
		case writes(n.op):
			return changes(s.path, n)
		case s.seen[i] != nil:
			continue
		}
		if err := f.harmless(s.path, n, bodies); err != nil {
			return err
		}
	}
	return nil
}

// harmless refuses an operation that writes, and one that calls a function in which any does.
func (f *flattener) harmless(within string, n *node, bodies map[string]bool) error {
	if writes(n.op) {
		return changes(within, n)
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

func changes(within string, n *node) error {
	return Refused{What: within + nodeName(n), Why: fmt.Sprintf("operation %.60q changes a variable or a table whenever the signature is asked; export the model with training=False", n.op)}
}
