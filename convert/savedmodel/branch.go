package savedmodel

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skein-project/skein/model"
)

// Branches of TensorFlow 1: a Switch sends a tensor one of two ways, everything on the other way does not run, and a Merge takes what came.
// They are followed where the graph itself says which way, as with a placeholder of "is training" whose default is false.

// outlet is an output of a node of a scope.
type outlet struct {
	s    *scope
	node int
	out  int
}

// truth is a condition that is a constant; ok is false where it is none.
func (f *flattener) truth(s *scope, name string) (yes, ok bool, err error) {
	e, err := f.value(s, name)
	if err != nil {
		return false, false, err
	}
	n, flip := e.node, false
	for n.def.op == "LogicalNot" && len(n.in) == 1 {
		n, flip = n.in[0].node, !flip
	}
	if n.def.op != "Const" {
		return false, false, nil
	}
	c, err := readConst(n)
	if err != nil || c.dtype != model.Bool || len(c.raw) != 1 {
		return false, false, err
	}
	return (c.raw[0] != 0) != flip, true, nil
}

// way is which output of a Switch carries something: 0 where its condition is false, else 1.
func (f *flattener) way(s *scope, n *node) (int, error) {
	in := dataInputs(n)
	if len(in) != 2 {
		return 0, Refused{What: s.path + nodeName(n), Why: "has not two inputs"}
	}
	yes, ok, err := f.truth(s, in[1])
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, Refused{What: s.path + nodeName(n), Why: fmt.Sprintf("operation %q is not supported here: %s", n.op, byLength)}
	case yes:
		return 1, nil
	}
	return 0, nil
}

// switched follows an output of a Switch.
func (f *flattener) switched(s *scope, n *node, out int) (edge, error) {
	way, err := f.way(s, n)
	if err == nil && way != out {
		err = Refused{What: s.path + nodeName(n), Why: "is asked for the branch that does not run"}
	}
	if err != nil {
		return edge{}, err
	}
	return f.value(s, dataInputs(n)[0])
}

// merged follows what comes to a Merge.
func (f *flattener) merged(s *scope, n *node, out int) (edge, error) {
	if out != 0 {
		return edge{}, Refused{What: s.path + nodeName(n), Why: "is asked which branch ran, which is not mapped"}
	}
	for _, in := range dataInputs(n) {
		dead, err := f.dead(s, in)
		if err != nil {
			return edge{}, err
		}
		if !dead {
			return f.value(s, in)
		}
	}
	return edge{}, Refused{What: s.path + nodeName(n), Why: "gets nothing: no branch before it runs"}
}

// dead says that a tensor is on a way that does not run, because a Switch before it sent its tensor the other way.
func (f *flattener) dead(s *scope, name string) (bool, error) {
	id, output, out, ok := endpoint(strings.TrimPrefix(name, "^"))
	if s.fn != nil {
		return false, nil // bodies have no branches of this kind that lead out of them
	}
	if _, fed := f.fed[id+":"+strconv.Itoa(out)]; fed {
		return false, nil
	}
	i, there := s.byName[id]
	if !ok || !there || output != "" {
		return false, Refused{What: fmt.Sprintf("%stensor %.120q", s.path, name), Why: "is of a node that is not there"}
	}
	at := outlet{s, i, out}
	n := &s.nodes[i]
	if dead, known := f.deads[at]; known {
		return dead, nil
	}
	if f.asking[at] {
		return false, Refused{What: s.path + nodeName(n), Why: fmt.Sprintf("operation %q is not supported: %s", n.op, byLoop)}
	}
	f.asking[at] = true
	dead, err := f.starved(s, n, out)
	f.asking[at] = false
	f.deads[at] = dead
	return dead, err
}

// starved decides dead for a node: whether what it needs does not come.
func (f *flattener) starved(s *scope, n *node, out int) (bool, error) {
	inputs := n.inputs
	merge := n.op == "Merge" || n.op == "RefMerge"
	if n.op == "Switch" || n.op == "RefSwitch" {
		way, err := f.way(s, n)
		if err != nil || way != out {
			return err == nil, err
		}
	}
	if merge {
		inputs = dataInputs(n)
	}
	for _, in := range inputs {
		dead, err := f.dead(s, in)
		if err != nil || dead != merge {
			return dead, err
		}
	}
	return merge, nil
}
