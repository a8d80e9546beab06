package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/skein-project/skein/"

// layers lists every package, lowest first. A package imports only packages of lower layers; in layers 0 to 4 also packages to its
// left in its own row. Adapters and servers do not import their neighbours, except inside one top-level folder. A package that is
// listed and does not exist yet is no error; one that exists and is not listed is.
var layers = [][]string{
	0: {"internal/invariant", "internal/table", "internal/strictjson", "internal/jinja", "internal/toolcall", "internal/openapi", "gpu", "blob", "model", "tensor", "token", "api/**", "access", "series", "internal/npy"},                                                           // facts
	1: {"shard", "results", "view", "engine/onnx", "engine/graph", "audit", "quota", "spans", "grammar"},                                                                                                                                                                             // cutting
	2: {"cluster"},                                                                                                                                                                                                                                                                   // truth
	3: {"placement", "router", "fair", "bill", "queueing", "engine/sample", "engine/kv", "engine/batch", "job"},                                                                                                                                                                      // choices
	4: {"scheduler", "agent", "alert", "alert/defaults", "alert/act", "alert/kept", "library", "alert/measure"},                                                                                                                                                                      // loops
	5: {"raftstore", "audit/journal", "backup", "telemetry", "notify", "internal/live", "internal/egress", "wire", "gossip", "hub", "convert", "convert/*", "blob/disk", "blob/s3", "people", "gpu/nvml", "gpu/nvml/*", "gpu/host", "engine/ort", "engine", "engine/*", "results/*"}, // adapters
	6: {"worker", "worker/*", "gateway", "gateway/*", "admin", "coordinator", "coordinator/*", "node", "node/*", "client"},                                                                                                                                                           // servers
	7: {"cmd/*", "sim", "internal/bigmodel", "internal/e2e", "internal/bench", "internal/*", "bench/*", "tools/*", "conformance"},                                                                                                                                                    // programs
}

// deciders is the first layer that may do I/O. Packages below it decide: they do no I/O, hold no locks, start no goroutines, and
// are told the time.
const deciders = 5

// forbidden lists what a decider may not import, with the reason.
var forbidden = map[string]string{
	"context":      "nothing to wait for",
	"crypto/rand":  "randomness is an argument",
	"io/fs":        "no I/O",
	"log":          "explain in the output",
	"log/slog":     "explain in the output",
	"math/rand":    "randomness is an argument",
	"math/rand/v2": "randomness is an argument",
	"net":          "no I/O",
	"net/http":     "no I/O",
	"os":           "no I/O",
	"os/exec":      "no I/O",
	"os/signal":    "no I/O",
	"runtime":      "the same on every machine",
	"sync":         "one goroutine owns it",
	"sync/atomic":  "one goroutine owns it",
	"syscall":      "no I/O",
	"time/tzdata":  "the same on every machine",
	"unsafe":       "the same on every machine",
}

// excused lists imports that a layer-0 row has in spite of forbidden, with the reason.
var excused = map[[2]string]string{}

// clocks are the functions of package time that read the clock or wait.
var clocks = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// pkg is what go list says about a package.
type pkg struct {
	ImportPath, Dir  string
	Imports, GoFiles []string
	CgoFiles         []string
}

func TestLayers(t *testing.T) {
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Imports,GoFiles,CgoFiles", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, breach := range checkImports(strings.TrimPrefix(p.ImportPath, module), p.Imports) {
			t.Error(breach)
		}
		if at, _, ok := place(strings.TrimPrefix(p.ImportPath, module)); ok && at < deciders && !generated(p.ImportPath) {
			for _, name := range append(p.GoFiles, p.CgoFiles...) {
				src, err := os.ReadFile(filepath.Join(p.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				for _, breach := range checkPure(filepath.Join(p.ImportPath, name), string(src)) {
					t.Error(breach)
				}
			}
		}
	}
	if seen < 5 {
		t.Errorf("go list found %d packages", seen)
	}
}

// generated says that a package's code is written by a generator, which has its own idea of purity.
func generated(path string) bool { return strings.HasPrefix(path, module+"api/") }

// place finds the layer and the column of a package. Exact names come before patterns: "x/*" is every package directly in folder x,
// "x/**" every one below it.
func place(name string) (layer, column int, ok bool) {
	for _, fits := range []func(pattern string) bool{
		func(pattern string) bool { return pattern == name },
		func(pattern string) bool { return !strings.HasSuffix(pattern, "/**") && match(pattern, name) },
		func(pattern string) bool {
			folder, deep := strings.CutSuffix(pattern, "/**")
			return deep && strings.HasPrefix(name, folder+"/")
		},
	} {
		for i, row := range layers {
			for j, pattern := range row {
				if fits(pattern) {
					return i, j, true
				}
			}
		}
	}
	return 0, 0, false
}

func match(pattern, name string) bool {
	ok, err := filepath.Match(pattern, name)
	return err == nil && ok
}

// family is the top-level folder: convert and convert/gpt2 are one family.
func family(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

// checkImports lists what is wrong with the imports of a package, given by its path inside the module.
func checkImports(name string, imports []string) (breaches []string) {
	if name == "internal/arch" {
		return nil
	}
	at, column, ok := place(name)
	if !ok {
		return []string{name + " is in no layer: give it one"}
	}
	breach := func(format string, args ...any) { breaches = append(breaches, fmt.Sprintf(format, args...)) }
	for _, imp := range imports {
		dep, ours := strings.CutPrefix(imp, module)
		if !ours {
			_, excuse := excused[[2]string{name, imp}]
			if why, bad := forbidden[imp]; bad && at < deciders && !excuse && !generated(module+name) {
				breach("%s decides, so it may not import %s: %s", name, imp, why)
			}
			continue
		}
		to, toColumn, ok := place(dep)
		switch {
		case !ok:
			breach("%s imports %s, which is in no layer", name, dep)
		case to > at, to == at && at < deciders && toColumn >= column && family(dep) != "api":
			breach("%s (layer %d) imports %s (layer %d): imports point down, or to the left", name, at, dep, to)
		case to == at && at >= deciders && at < len(layers)-1 && family(dep) != family(name):
			breach("%s imports its neighbour %s: adapters and servers meet only in programs", name, dep)
		case name == "sim" && to >= deciders:
			breach("sim imports %s, which does not decide", dep)
		}
	}
	return breaches
}

// checkPure lists what a decider's source does that it may not.
func checkPure(file, src string) (breaches []string) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, src, 0)
	if err != nil {
		return []string{err.Error()}
	}
	clock := clockName(f)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
			breaches = append(breaches, fmt.Sprintf("%s: deciders start no goroutines and use no channels", fset.Position(n.Pos())))
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				breaches = append(breaches, fmt.Sprintf("%s: no init functions", fset.Position(n.Pos())))
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == clock && slices.Contains(clocks, n.Sel.Name) {
				breaches = append(breaches, fmt.Sprintf("%s: time.%s: deciders are told the time", fset.Position(n.Pos()), n.Sel.Name))
			}
		}
		return true
	})
	return breaches
}

// clockName is the name under which a file imports package time, "" if it does not.
func clockName(f *ast.File) string {
	for _, imp := range f.Imports {
		if path, err := strconv.Unquote(imp.Path.Value); err != nil || path != "time" {
			continue
		}
		if imp.Name != nil {
			return imp.Name.Name
		}
		return "time"
	}
	return ""
}

// Every rule can be broken: planted breaches are found, and what is allowed is not.
func TestBreachesAreFound(t *testing.T) {
	for _, c := range []struct {
		name, imp string
		want      string // part of the breach, "" for none
	}{
		{"gpu", "fmt", ""},
		{"cluster", module + "gpu", ""},
		{"cluster", module + "scheduler", "imports point down"},
		{"gpu", module + "blob", "imports point down"},
		{"blob", module + "gpu", ""},
		{"agent", module + "scheduler", ""},
		{"scheduler", module + "agent", "imports point down"},
		{"scheduler", "os", "decides"},
		{"agent", "sync", "one goroutine owns it"},
		{"engine/batch", "context", "decides"},
		{"engine", "os", ""},
		{"engine", module + "engine/ort", ""},
		{"engine", module + "engine/batch", ""},
		{"engine/graph", module + "engine/ort", "imports point down"},
		{"raftstore", module + "wire", "neighbour"},
		{"gateway", module + "admin", "neighbour"},
		{"gateway", module + "gateway/openai", ""},
		{"gateway", module + "wire", ""},
		{"wire", module + "gateway", "imports point down"},
		{"gateway", module + "api/skein/inference/v1", ""},
		{"api/skein/inference/v1/inferencev1connect", module + "api/skein/inference/v1", ""},
		{"cmd/node", module + "node", ""},
		{"node", module + "cmd/node", "imports point down"},
		{"sim", module + "scheduler", ""},
		{"sim", module + "raftstore", "does not decide"},
		{"internal/e2e", module + "client", ""},
		{"gizmo", "fmt", "in no layer"},
		{"node", module + "gizmo", "in no layer"},
	} {
		got := strings.Join(checkImports(c.name, []string{c.imp}), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s importing %s: %q, want %q", c.name, c.imp, got, c.want)
		}
	}
	for src, want := range map[string]string{
		`import "time"; var t = time.Second`:                                   "",
		`import "time"; func f() time.Time { return time.Now() }`:              "time.Now",
		`import clock "time"; func f() { clock.Sleep(1) }`:                     "time.Sleep",
		`func f() { go f() }`:                                                  "goroutines",
		`func f(c chan int) { c <- 1 }`:                                        "channels",
		`func f() { select {} }`:                                               "channels",
		`func init() {}`:                                                       "init",
		`type t struct{}; func (t) init() {}`:                                  "",
		`type now struct{ Now int }; func f(time now) int { return time.Now }`: "",
		`func f( {`: "expected",
	} {
		got := strings.Join(checkPure("x.go", "package x\n"+src), "\n")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}

// A package's comment says its job in a sentence that starts with its name.
func TestPackageComments(t *testing.T) {
	out, err := exec.Command("go", "list", "-e", "-f", "{{.ImportPath}}\t{{.Name}}\t{{.Doc}}", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(out)) {
		path, rest, _ := strings.Cut(strings.TrimSpace(l), "\t")
		name, doc, _ := strings.Cut(rest, "\t")
		if breach := checkComment(path, name, doc); breach != "" {
			t.Error(breach)
		}
	}
	for _, c := range []struct{ name, doc, want string }{
		{"gpu", "Package gpu says what is there.", ""},
		{"gpu", "", "Package gpu"},
		{"gpu", "This package does much.", "Package gpu"},
		{"main", "Command skein is the CLI.", ""},
		{"main", "", "Command"},
	} {
		if got := checkComment(module+"x", c.name, c.doc); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s %q: %q, want %q", c.name, c.doc, got, c.want)
		}
	}
}

func checkComment(path, name, doc string) string {
	if generated(path) || name == "" {
		return ""
	}
	want := []string{"Package " + name + " "}
	if name == "main" {
		want = []string{"Command ", "Package main "}
	}
	for _, w := range want {
		if strings.HasPrefix(doc, w) {
			return ""
		}
	}
	return fmt.Sprintf("%s: its comment should start with %q", path, strings.TrimSpace(want[0]))
}
