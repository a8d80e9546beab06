package savedmodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// flat is a node of the graph that has every call replaced by the body that is called.
type flat struct {
	path  string // names of the calls around it and its own, for messages
	depth int    // calls around it
	def   *node
	in    []edge
}

func (f *flat) what() string {
	p := f.path
	if n := len(p); n > 160 {
		p = "…" + strings.ToValidUTF8(p[n-160:], "")
	}
	return fmt.Sprintf("node %q (%.60s)", p, f.def.op)
}

// edge is an output of a node.
type edge struct {
	node *flat
	out  int
}

// scope is the main graph, or the body of one call.
type scope struct {
	caller *scope    // nil: the main graph, or a body whose arguments are bound
	call   int       // node of the caller
	fn     *function // nil: the main graph
	bound  []edge    // arguments of a body that no node calls just once: that of a loop, or of a branch
	depth  int
	path   string
	nodes  []node
	byName map[string]int
	seen   map[int]*visit
}

// spot is a node of a scope.
type spot struct {
	s *scope
	i int
}

// visit is what is known of a node of a scope.
type visit struct {
	open  bool // being followed: coming here again is a cycle
	node  *flat
	edges map[int]edge // outputs of nodes that stand for others
	body  *scope
}

// flattener follows tensors back to where they come from. Only what is asked for is followed, and what it needs.
type flattener struct {
	graph   *graph
	main    *scope
	fed     map[string]*flat     // tensors of the main graph that come from outside, "name:0"
	knows   func(op string) bool // operations that may be met
	order   []*flat              // each after what it needs
	count   int                  // nodes followed, in all bodies
	deads   map[outlet]bool      // answers of dead
	asking  map[outlet]bool      // questions of dead that are open: coming there again is a loop
	control []controlled         // nodes that run before one that was followed
	entered []*scope             // bodies of functions
}

// controlled is a node that runs for what it does, not for what it gives.
type controlled struct {
	at   *scope
	node string
}

func newFlattener(g *graph, knows func(op string) bool) *flattener {
	return &flattener{graph: g, knows: knows, main: &scope{nodes: g.nodes, byName: g.byName, seen: map[int]*visit{}}, fed: map[string]*flat{},
		deads: map[outlet]bool{}, asking: map[outlet]bool{}}
}

// endpoint splits the name of a tensor into its node's, its output's name ("" in the main graph), and its number.
func endpoint(name string) (node, output string, n int, ok bool) {
	parts := strings.Split(name, ":")
	if len(parts) == 1 {
		return name, "", 0, true
	}
	n, err := strconv.Atoi(parts[len(parts)-1])
	if err != nil || n < 0 || n > MaxEdges || len(parts) > 3 {
		return "", "", 0, false
	}
	if len(parts) == 3 {
		output = parts[1]
	}
	return parts[0], output, n, true
}

// passes are operations whose output is their input.
var passes = map[string]bool{
	"Identity": true, "IdentityN": true, "StopGradient": true, "PreventGradient": true, "Snapshot": true, "CheckNumerics": true, "PlaceholderWithDefault": true,
}

// outputs names the outputs of operations that have several kinds, in order; in bodies of functions tensors are named after them.
var outputs = map[string][]string{
	"TopK": {"values", "indices"}, "TopKV2": {"values", "indices"},
	"FusedBatchNorm":   {"y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"},
	"FusedBatchNormV2": {"y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"},
	"FusedBatchNormV3": {"y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"},
	"Unique":           {"y", "idx"}, "UniqueV2": {"y", "idx"}, "Switch": {"output_false", "output_true"}, "Merge": {"output", "value_index"},
}

// body finds the function that a node calls.
func (f *flattener) body(n *node) (*function, bool) {
	switch n.op {
	case "PartitionedCall", "StatefulPartitionedCall":
		return f.graph.functions[n.attrs["f"].text], true
	}
	fn, ok := f.graph.functions[n.op]
	return fn, ok
}

// value follows a tensor of a scope, by its name there.
func (f *flattener) value(s *scope, name string) (edge, error) {
	id, output, out, ok := endpoint(name)
	if !ok {
		return edge{}, Refused{What: fmt.Sprintf("%stensor %.120q", s.path, name), Why: "is no name of a tensor"}
	}
	if s.fn == nil {
		if fed, ok := f.fed[id+":"+strconv.Itoa(out)]; ok {
			return edge{fed, 0}, nil
		}
	} else if i := slices.Index(s.fn.args, id); i >= 0 && !strings.Contains(name, ":") {
		return f.argument(s, i)
	}
	i, ok := s.byName[id]
	if !ok {
		return edge{}, Refused{What: fmt.Sprintf("%stensor %.120q", s.path, name), Why: "is of a node that is not there"}
	}
	if names, ok := outputs[s.nodes[i].op]; ok && output != "" {
		if out += slices.Index(names, output); !slices.Contains(names, output) {
			return edge{}, Refused{What: s.path + nodeName(&s.nodes[i]), Why: fmt.Sprintf("has no output %.80q", output)}
		}
	}
	return f.follow(s, i, out)
}

// argument follows what the caller gives as an argument.
func (f *flattener) argument(s *scope, i int) (edge, error) {
	if s.bound != nil {
		return s.bound[i], nil
	}
	given := dataInputs(&s.caller.nodes[s.call])
	if i >= len(given) {
		return edge{}, Refused{What: s.caller.path + nodeName(&s.caller.nodes[s.call]), Why: fmt.Sprintf("gives %d arguments to a function of %d", len(given), len(s.fn.args))}
	}
	return f.value(s.caller, given[i])
}

// dataInputs are the inputs that carry tensors; control inputs come after them.
func dataInputs(n *node) []string {
	for i, in := range n.inputs {
		if strings.HasPrefix(in, "^") {
			return n.inputs[:i]
		}
	}
	return n.inputs
}

// follow gives output out of a node.
func (f *flattener) follow(s *scope, i, out int) (edge, error) {
	n := &s.nodes[i]
	v := s.seen[i]
	switch {
	case v == nil:
		v = &visit{edges: map[int]edge{}}
		s.seen[i] = v
		if f.count++; f.count > MaxNodes {
			return edge{}, Refused{Why: fmt.Sprintf("more than %d nodes are reached, with all calls in place", MaxNodes)}
		}
		for _, in := range n.inputs {
			if strings.HasPrefix(in, "^") {
				f.control = append(f.control, controlled{s, in[1:]})
			}
		}
	case v.open:
		return edge{}, Refused{What: s.path + nodeName(n), Why: "the graph is cyclic"}
	case v.node != nil:
		return edge{v.node, out}, nil
	}
	if e, ok := v.edges[out]; ok {
		return e, nil
	}
	v.open = true
	defer func() { v.open = false }()
	fn, calls := f.body(n)
	var e edge
	var err error
	switch {
	case calls:
		e, err = f.called(s, i, fn, out)
	case passes[n.op]:
		in := dataInputs(n)
		if out >= len(in) {
			return edge{}, Refused{What: s.path + nodeName(n), Why: fmt.Sprintf("has no output %d", out)}
		}
		e, err = f.value(s, in[out])
	case n.op == "Switch" || n.op == "RefSwitch":
		e, err = f.switched(s, n, out)
	case n.op == "Merge" || n.op == "RefMerge":
		e, err = f.merged(s, n, out)
	default:
		v.node, err = f.plain(s, n)
		return edge{v.node, out}, err
	}
	v.edges[out] = e
	return e, err
}

// plain follows the inputs of an operation.
func (f *flattener) plain(s *scope, n *node) (*flat, error) {
	node := &flat{path: s.path + n.name, depth: s.depth, def: n}
	if !f.knows(n.op) {
		why := fmt.Sprintf("operation %.60q is not supported", n.op)
		if way := wayOut(n.op); way != "" {
			why += ": " + way
		}
		return nil, Refused{What: node.what(), Why: why}
	}
	for _, in := range dataInputs(n) {
		e, err := f.value(s, in)
		if err != nil {
			return nil, err
		}
		node.in = append(node.in, e)
	}
	f.order = append(f.order, node)
	return node, nil
}

// called follows an output of a call into the body.
func (f *flattener) called(s *scope, i int, fn *function, out int) (edge, error) {
	n := &s.nodes[i]
	body, err := f.enter(s, i, fn)
	if err != nil {
		return edge{}, err
	}
	if out >= len(fn.result) {
		return edge{}, Refused{What: s.path + nodeName(n), Why: fmt.Sprintf("has no output %d", out)}
	}
	returned, ok := fn.returns[fn.result[out]]
	if !ok {
		return edge{}, Refused{What: fmt.Sprintf("function %.80q", fn.name), Why: fmt.Sprintf("gives nothing for output %.80q", fn.result[out])}
	}
	return f.value(body, returned)
}

// enter makes the scope of a call's body, once.
func (f *flattener) enter(s *scope, i int, fn *function) (*scope, error) {
	n := &s.nodes[i]
	v := s.seen[i]
	if v.body != nil {
		return v.body, nil
	}
	switch {
	case fn == nil:
		return nil, Refused{What: s.path + nodeName(n), Why: fmt.Sprintf("calls function %.80q, which is not there", n.attrs["f"].text)}
	case fn.lists:
		return nil, Refused{What: s.path + nodeName(n), Why: "calls a function with lists of tensors as arguments"}
	case s.depth >= MaxDepth:
		return nil, Refused{What: s.path + nodeName(n), Why: fmt.Sprintf("is a call within more than %d others", MaxDepth)}
	}
	for up := s; up != nil; up = up.caller {
		if up.fn == fn {
			return nil, Refused{What: s.path + nodeName(n), Why: fmt.Sprintf("function %.80q calls itself", fn.name)}
		}
	}
	p := s.path + n.name + "/"
	if len(p) > 4*MaxName {
		p = "…/" + n.name + "/"
	}
	v.body = f.open(fn, p, s.depth+1)
	v.body.caller, v.body.call = s, i
	return v.body, nil
}

// open makes the scope of a body.
func (f *flattener) open(fn *function, path string, depth int) *scope {
	s := &scope{fn: fn, depth: depth, path: path, nodes: fn.nodes, byName: fn.byName, seen: map[int]*visit{}}
	f.entered = append(f.entered, s)
	for _, run := range fn.runs {
		f.control = append(f.control, controlled{s, run})
	}
	return s
}
