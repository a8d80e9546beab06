package jinja_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/skein-project/skein/internal/jinja"
)

// python is a running tools/py/make_jinja_cases.py --serve.
type python struct {
	in  *json.Encoder
	out *bufio.Scanner
}

func startPython(t *testing.T, interpreter string) *python {
	t.Helper()
	cmd := exec.Command(interpreter, "../../tools/py/make_jinja_cases.py", "--serve")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 64<<20)
	enc := json.NewEncoder(in)
	enc.SetEscapeHTML(false)
	return &python{enc, sc}
}

func (p *python) render(t *testing.T, template string, vars json.RawMessage) reference {
	t.Helper()
	if err := p.in.Encode(map[string]any{"template": template, "vars": vars}); err != nil {
		t.Fatal(err)
	}
	if !p.out.Scan() {
		t.Fatalf("python stopped: %v", p.out.Err())
	}
	ref := reference{Template: template}
	if err := json.Unmarshal(p.out.Bytes(), &ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestDifferential renders random templates here and in Python, which SKEIN_PYTHON names (an interpreter with
// tools/py/requirements.txt installed). SKEIN_JINJA_ROUNDS is how many, 3000 by default; SKEIN_JINJA_SEED where to
// start.
func TestDifferential(t *testing.T) {
	interpreter := os.Getenv("SKEIN_PYTHON")
	if interpreter == "" {
		t.Skip("SKEIN_PYTHON is not set")
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	p := startPython(t, interpreter)
	text, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vars json.RawMessage `json:"vars"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	vars := readVars(t, file.Vars)
	counts := map[string]int{}
	rounds, seed := number("SKEIN_JINJA_ROUNDS", 3000), number("SKEIN_JINJA_SEED", 1)
	for i := range rounds {
		g := &grammar{rand.New(rand.NewPCG(uint64(seed+i), 0))}
		template := g.template()
		got, err := render(template, vars, jinja.Limits{})
		if class(err) == "limit" {
			counts["limit"]++
			continue
		}
		ref := p.render(t, template, file.Vars)
		// Not comparable: where jinja2 itself breaks, prints an address, or folds a slice of a constant that has none
		// to an undefined value, while it refuses the same slice of a variable; and what this package does not have.
		if ref.Error == "compile" || ref.Error == "memory" || ref.Output != nil && hasAddress(*ref.Output) ||
			err != nil && hasAny(err.Error(), "slice", "complex", "'dict_") {
			counts["not comparable"]++
			continue
		}
		counts[class(err)]++
		if diff := ref.differs(got, err); diff != "" {
			t.Errorf("seed %d: %q\n%s", seed+i, template, diff)
		}
	}
	t.Logf("%d templates: %v", rounds, counts)
}

// hasAddress says that Python printed an object by its address, which no other program can.
func hasAddress(s string) bool {
	s = strings.ToLower(s)
	return hasAny(s, " at 0x", "<class ", "<built-in ", "<function ", "<bound method ")
}

func hasAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// grammar writes random templates, mostly sensible ones.
type grammar struct{ *rand.Rand }

func pick[T any](g *grammar, from ...T) T { return from[g.IntN(len(from))] }

func (g *grammar) template() string {
	if g.IntN(3) > 0 {
		return "{{ " + g.expr(1+g.IntN(4)) + " }}"
	}
	return g.body(3)
}

func (g *grammar) body(depth int) string {
	var b strings.Builder
	for range 1 + g.IntN(4) {
		b.WriteString(g.statement(depth))
	}
	return b.String()
}

func (g *grammar) tag(s string) string {
	return "{%" + pick(g, "", "", "", "-", "+") + " " + s + " " + pick(g, "", "", "", "-", "+") + "%}"
}

func (g *grammar) print(s string) string {
	return "{{" + pick(g, "", "", "-", "+") + " " + s + " " + pick(g, "", "", "-") + "}}"
}

func (g *grammar) statement(depth int) string {
	if depth == 0 {
		return g.text()
	}
	name := pick(g, "a", "b", "n", "s", "l", "q")
	switch g.IntN(14) {
	case 0, 1:
		return g.tag("if "+g.expr(2)) + g.body(depth-1) + pick(g, "", g.tag("else")+g.body(depth-1),
			g.tag("elif "+g.expr(2))+g.body(depth-1)) + g.tag("endif")
	case 2, 3:
		return g.tag("for "+pick(g, name, name, name+", w")+" in "+g.sequence(2)+pick(g, "", "", " if "+g.expr(2))) +
			g.loopBody(depth-1) + pick(g, "", "", g.tag("else")+g.body(depth-1)) + g.tag("endfor")
	case 4, 5:
		return g.tag("set " + name + " = " + g.expr(2))
	case 6:
		return g.tag("set "+name+pick(g, "", " | upper", " | trim | length")) + g.body(depth-1) + g.tag("endset")
	case 7:
		m := pick(g, "m", "k")
		return g.tag("macro "+m+"("+pick(g, "", name, name+", z=1", "z="+g.expr(1))+")") + g.body(depth-1) +
			g.tag("endmacro") + g.print(m+"("+pick(g, "", g.expr(1), "z="+g.expr(1), g.expr(1)+", "+g.expr(1))+")")
	case 8:
		return g.tag("set ns = namespace(v="+g.expr(1)+")") + g.tag("for i in "+g.sequence(1)) +
			g.tag("set ns.v = "+g.expr(2)) + g.print("ns.v") + g.tag("endfor")
	case 9:
		return g.tag("with "+name+" = "+g.expr(1)) + g.body(depth-1) + g.tag("endwith")
	case 10:
		return g.tag("filter "+pick(g, "upper", "trim", "replace('a', 'bb')", "indent(2)", "title")) + g.body(depth-1) + g.tag("endfilter")
	case 11:
		return "{#" + pick(g, "", "-") + " note " + pick(g, "", "-") + "#}" + g.text()
	case 12:
		return g.tag("raw") + g.text() + "{{ x }}" + g.tag("endraw")
	}
	return g.text() + g.print(g.expr(3))
}

func (g *grammar) loopBody(depth int) string {
	b := g.body(depth)
	switch g.IntN(5) {
	case 0:
		b += g.tag("if "+g.expr(1)) + g.tag(pick(g, "break", "continue")) + g.tag("endif") + g.text()
	case 1:
		b += g.print("loop." + pick(g, "index", "index0", "first", "last", "length", "revindex", "revindex0", "depth",
			"previtem", "nextitem", "cycle('x', 'y')", "changed(i)"))
	}
	return b
}

func (g *grammar) text() string {
	return pick(g, "", " ", "\n", "  \n  ", "text", "a\n", "\n  b", "é", "}}", "\t", "\u00a0", "x\n\n")
}

func (g *grammar) name() string {
	return pick(g, "s", "u", "ws", "lines", "empty", "n", "neg", "f", "zero", "yes", "no", "nil", "l", "words", "mixed",
		"d", "nested", "users", "html", "schema", "x", "a", "b", "i", "q", "users[0]", "users[1].addr")
}

func (g *grammar) literal() string {
	return pick(g, "0", "1", "2", "-1", "3", "10", "1.5", "0.1", "1e3", "true", "false", "none", "''", "'a'", `"b'c"`, "'l'",
		"' '", "','", "'x y z'", `'\n'`, "'é'", "'42'", "'3.5'", "[]", "{}", "()", "[1, 2, 3]", "['b', 'a']", "(1, 'a')",
		"{'k': 1, 'j': [2]}", "'%s'", "'{}'", "range(4)", "[[1, 2], [0, 5]]", "[{'k': 2}, {'k': 1}]", "'A-b c'", "'ß'", "12345",
		"-7", "2.5", "3.0", "'name'", "'age'", "'tags'")
}

func (g *grammar) sequence(depth int) string {
	if g.IntN(3) == 0 {
		return g.expr(depth)
	}
	return pick(g, "l", "words", "users", "mixed", "d", "d.items()", "s", "range(3)", "[1, 2, 3]", "x", "nested.x.y", "'abc'",
		"[(1, 2), (3, 4)]", "d | dictsort", "users | map(attribute='name')", "l | select('odd')", "l | sort", "words | reverse")
}

func (g *grammar) expr(depth int) string {
	if depth == 0 {
		return pick(g, g.name(), g.literal())
	}
	e := func() string { return g.expr(depth - 1) }
	switch g.IntN(15) {
	case 0, 1:
		return g.expr(0)
	case 2:
		return "(" + e() + " " + pick(g, "+", "-", "*", "/", "//", "%", "**", "~", "+", "~") + " " + e() + ")"
	case 3:
		return "(" + e() + " " + pick(g, "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or") + " " + e() + ")"
	case 4:
		return "(" + pick(g, "not ", "-", "+") + e() + ")"
	case 5:
		return "(" + e() + " if " + e() + pick(g, "", " else "+e()) + ")"
	case 6, 7, 8:
		return "(" + e() + " | " + g.filter(depth-1) + ")"
	case 9:
		return "(" + e() + " is " + pick(g, "", "not ") + g.test(depth-1) + ")"
	case 10:
		return e() + "[" + pick(g, e(), "0", "-1", "1:", ":2", "::-1", "::2", "-2:", "1:3", "'a'", "'name'", e()+":"+e()) + "]"
	case 11:
		return e() + "." + pick(g, "name", "a", "b", "x", "k", "items", "addr.city", "y", "0", "title", "tags")
	case 12, 13:
		return g.method(depth - 1)
	}
	return pick(g, "["+e()+", "+e()+"]", "("+e()+", "+e()+")", "{"+g.expr(0)+": "+e()+"}", "dict(k="+e()+")")
}

func (g *grammar) filter(depth int) string {
	e := func() string { return g.expr(min(depth, 1)) }
	return pick(g, "abs", "upper", "lower", "title", "capitalize", "trim", "trim("+e()+")", "length", "count", "first", "last",
		"list", "string", "int", "float", "int("+e()+")", "round", "round("+pick(g, "0", "1", "2", "-1")+")", "join", "join("+e()+")",
		"default("+e()+")", "default("+e()+", true)", "d", "replace("+e()+", "+e()+")", "replace('l', 'LL', 1)", "reverse", "reverse | list",
		"sort", "sort(reverse=true)", "sort(attribute="+e()+")", "unique | list", "min", "max", "sum", "tojson", "tojson(indent=2)",
		"tojson(sort_keys=true)", "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))", "items | list", "dictsort", "dictsort(by='value')",
		"map('upper') | list", "map('string') | list", "map('length') | list", "map(attribute="+e()+") | list",
		"map(attribute='name', default='?') | list", "map('default', 1) | join", "select | list", "reject | list", "select('odd') | list",
		"select('string') | list", "select('defined')|list", "reject('none') | list", "selectattr('name') | list", "selectattr('age', 'gt', 20) | list",
		"rejectattr('tags') | list", "rejectattr('name', 'equalto', "+e()+")|list", "batch(2) | list", "batch(3, 'x') | list", "slice(2) | list",
		"groupby('age')", "groupby(0) | list", "e", "escape | upper", "safe", "indent", "indent(2, true)", "indent(1, blank=true)", "center(9)",
		"wordcount", "truncate(5)", "truncate(6, true, '')", "format("+e()+")", "attr('upper')", "map('int') | sum", "map('first') | list",
		"min(attribute='age')", "join(', ', attribute='name')", "unique(case_sensitive=true) | join", "string | length", "list | tojson", "select('in', 'abc')|list",
		"float | round(1)", "sum(start="+e()+")", "round(1, 'ceil')", "round(0, 'floor')", "int(base=16)", "forceescape")
}

func (g *grammar) test(depth int) string {
	e := g.expr(min(depth, 1))
	return pick(g, "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping",
		"iterable", "sequence", "odd", "even", "divisibleby 2", "divisibleby("+e+")", "eq("+e+")", "ne("+e+")", "gt("+e+")",
		"lt("+e+")", "ge("+e+")", "le("+e+")", "in("+e+")", "equalto("+e+")", "upper", "lower", "callable", "escaped", "in [1, 'a']")
}

func (g *grammar) method(depth int) string {
	e := func() string { return g.expr(min(depth, 1)) }
	on := func() string {
		return pick(g, "s", "u", "ws", "lines", "'a,b,c'", "'Hello'", "html", "words[0]", "("+e()+")", "' x  y '")
	}
	switch g.IntN(4) {
	case 0:
		return pick(g, "d", "nested", "users[0]", "schema", "("+e()+")") + "." +
			pick(g, "items()", "keys()", "values()", "get('a')", "get("+e()+")", "get("+e()+", "+e()+")", "copy()", "keys() | list", "items() | list")
	case 1:
		return pick(g, "l", "words", "(1, 2)", "range(3)", "("+e()+")") + "." + pick(g, "index("+e()+")", "count("+e()+")", "index(1)", "count(1)")
	case 2:
		return on() + "." + pick(g, "strip()", "lstrip()", "rstrip()", "strip("+e()+")", "split()", "split(',')", "split("+e()+")", "split('l', 1)",
			"rsplit(' ', 1)", "split(none, 1)", "rsplit(none, 1)", "splitlines()", "splitlines(true)", "startswith("+e()+")", "endswith(('d', 'c'))",
			"replace('l', "+e()+")", "replace("+e()+", 'x', 1)", "find("+e()+")", "rfind('l')", "find('l', 3)", "count('l')", "count("+e()+")", "find('', -3)",
			"partition(',')", "rpartition(' ')", "removeprefix('H')", "removesuffix('d')", "index('l')", "rindex('l')", "startswith('l', 2)", "endswith('', 3, 2)")
	}
	if g.IntN(3) == 0 {
		return "(" + pick(g, "'%s'", "'%d|%s'", "'%5.1f'", "'%-6sx'", "'%05d'", "'%x'", "'%r'", "'%%'", "'%e'", "'%g'", "'%+d'", "'%.2s'", "'% d'", "'%#o'", "'%c'", "'%(a)s'") +
			" % " + pick(g, e(), "("+e()+", "+e()+")", "d", "{'a': "+e()+"}") + ")"
	}
	return on() + "." + pick(g, "upper()", "lower()", "title()", "capitalize()", "swapcase()", "casefold()", "isdigit()", "isalpha()", "isalnum()",
		"isspace()", "isupper()", "islower()", "istitle()", "isnumeric()", "isascii()", "isidentifier()", "isprintable()", "center(8)", "ljust(8)", "rjust(8, '.')",
		"zfill(6)", "join("+e()+")", "join(words)", fmt.Sprintf("format(%s, %s)", e(), e())) + pick(g, "", "", " ~ '{:>5}|{:<4}|{!r}'.format("+e()+", "+e()+", "+e()+")",
		" ~ '{0:.1f} {1:,} {0:+}'.format(f, n)", " ~ '{:^7}{:05}'.format("+e()+", "+e()+")", " ~ '{a[0]} {a.x}'.format(a="+e()+")")
}
