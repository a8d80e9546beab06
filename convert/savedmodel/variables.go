package savedmodel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/skein-project/skein/convert/tfbundle"
	"github.com/skein-project/skein/model"
)

// variables finds the values of variables in the bundle.
type variables struct {
	meta   *metaGraph
	bundle *tfbundle.Bundle   // nil: the folder has none
	keys   map[*node]restored // variables of the main graph
	names  map[string]string  // full name → key, of the checkpoint's own objects
	made   map[string]*value  // key → what it became; its bytes are read and compared with their checksum once
}

// restored is where the graph's own operation of restoring takes a variable's value from.
type restored struct {
	key string
	why string // not "" where the value is not just one tensor of the bundle
}

// isVariable says that an operation stands for a variable.
func isVariable(op string) bool { return op == "VarHandleOp" || op == "VariableV2" || op == "Variable" }

// key is the key of a variable in the bundle.
func (v *variables) key(f *flat) (string, error) {
	if v.bundle == nil {
		return "", Refused{What: f.what(), Why: fmt.Sprintf("is a variable, and the folder has no %s.index", bundle)}
	}
	if v.keys == nil {
		if err := v.trace(); err != nil {
			return "", err
		}
	}
	if r, ok := v.keys[f.def]; ok {
		if r.why != "" {
			return "", Refused{What: f.what(), Why: r.why}
		}
		return r.key, nil
	}
	for _, name := range []string{f.def.attrs["shared_name"].text, f.def.name} {
		if _, ok := v.bundle.Entry(name); ok {
			return name, nil
		}
		if key, ok := v.names[name]; ok {
			return key, nil
		}
	}
	return "", Refused{What: f.what(), Why: "is a variable for which the bundle has no value"}
}

// trace reads what the operation of restoring does: which variable is assigned which tensor of the bundle. That is what TensorFlow itself
// runs when it loads the model, so names need not be guessed.
func (v *variables) trace() (err error) {
	v.keys = map[*node]restored{}
	if v.names, err = v.bundle.Names(); err != nil {
		return err
	}
	f := newFlattener(v.meta.graph, func(op string) bool {
		return isVariable(op) || op == "RestoreV2" || op == "Const" || op == "Placeholder"
	})
	id, _, _, ok := endpoint(v.meta.restore)
	i, there := v.meta.graph.byName[id]
	if v.meta.restore == "" || !ok || !there {
		return nil
	}
	f.control = []controlled{{f.main, id}}
	if _, called := f.body(&v.meta.graph.nodes[i]); called {
		f.main.seen[i] = &visit{edges: map[int]edge{}}
	}
	seen := map[spot]bool{}
	for len(f.control) > 0 {
		c := f.control[len(f.control)-1]
		f.control = f.control[:len(f.control)-1]
		id, _, _, ok := endpoint(c.node)
		i, there := c.at.byName[id]
		if !ok || !there || seen[spot{c.at, i}] {
			continue
		}
		n := &c.at.nodes[i]
		if seen[spot{c.at, i}] = true; len(seen) > MaxNodes {
			return Refused{Why: fmt.Sprintf("more than %d nodes restore variables, with all calls in place", MaxNodes)}
		}
		if err := v.step(f, c.at, i, n); err != nil {
			return err
		}
		for _, in := range n.inputs {
			if before, ok := strings.CutPrefix(in, "^"); ok {
				f.control = append(f.control, controlled{c.at, before})
			}
		}
	}
	return nil
}

// step reads one node of the operation of restoring.
func (v *variables) step(f *flattener, at *scope, i int, n *node) error {
	if fn, calls := f.body(n); calls {
		if at.seen[i] == nil {
			at.seen[i] = &visit{edges: map[int]edge{}}
		}
		body, err := f.enter(at, i, fn)
		if err != nil {
			return err
		}
		for j := range fn.nodes {
			if fn.nodes[j].op == "AssignVariableOp" || fn.nodes[j].op == "Assign" {
				f.control = append(f.control, controlled{body, fn.nodes[j].name})
			}
		}
		return nil
	}
	in := dataInputs(n)
	if n.op != "AssignVariableOp" && n.op != "Assign" || len(in) != 2 {
		return nil
	}
	to, err := f.value(at, in[0])
	if err != nil {
		return ignoreRefusal(err)
	}
	if !isVariable(to.node.def.op) {
		return nil
	}
	from, err := f.value(at, in[1])
	switch {
	case ignoreRefusal(err) != nil:
		return err
	case err != nil || from.node.def.op != "RestoreV2":
		v.keys[to.node.def] = restored{why: "its value is computed when the model is loaded, not only read"}
		return nil
	}
	v.keys[to.node.def] = source(from)
	return nil
}

// ignoreRefusal is nil for what a variable that nobody may need does not refuse the model for.
func ignoreRefusal(err error) error {
	if _, ok := errors.AsType[Refused](err); ok {
		return nil
	}
	return err
}

// source reads which tensor an output of RestoreV2 is.
func source(e edge) restored {
	in := e.node.in
	if len(in) != 3 {
		return restored{why: "its value is restored from no names"}
	}
	var texts [2][]string
	for i := range texts {
		t, err := readConst(in[i+1].node)
		if err != nil || t.dtype != model.Bytes || e.out >= len(t.texts) {
			return restored{why: "its value is restored from a name that is no constant"}
		}
		texts[i] = t.texts
	}
	if texts[1][e.out] != "" {
		return restored{why: "is a part of a variable; save the model without a partitioner"}
	}
	return restored{key: texts[0][e.out]}
}
