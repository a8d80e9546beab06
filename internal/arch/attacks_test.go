package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// attacked are the attacks that docs/attacks.md must have a row for.
const attacked = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 22 23 27 30 31 32 33 34 35 36 38 39 40 41 42 43 a b c d e f g h i j k l m n o p q"

// Every test that docs/attacks.md names is there, and every attack has one.
func TestAttacks(t *testing.T) {
	text, err := os.ReadFile("../../docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, wrong := attacks(string(text), func(folder string) ([]string, error) {
		return filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
	})
	for _, w := range wrong {
		t.Error(w)
	}
	if want := strings.Fields(attacked); !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
	for text, want := range map[string]string{
		"| 1 | x | y | `internal/arch` TestAttacks |":            "",
		"| 1 | x | y | `internal/arch` TestAttacks, TestGone |":  "TestGone is not in internal/arch",
		"| 1 | x | y | `internal/arch` TestAttacks/nothing |":    "TestAttacks/nothing is not in internal/arch",
		"| 1 | x | y | `gone` TestAttacks |":                     "TestAttacks is not in gone",
		"| 1 | x | y | TestAttacks |":                            "row 1 names no test",
		"| 1 | x | y | `internal/arch` TestAttacks, Attacks |":   "row 1: what is \"Attacks\"?",
		"| 1 | x | y | `internal/arch` TestAttacks | `x` more |": "row 1 has 5 columns",
	} {
		_, wrong := attacks(text, func(folder string) ([]string, error) {
			return filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
		})
		if got := strings.Join(wrong, "\n"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

var (
	row   = regexp.MustCompile(`(?m)^\| ([0-9]+|[a-z]) \|.*$`)
	named = regexp.MustCompile("^`([a-z0-9/]+)` (.+)$")
	test  = regexp.MustCompile(`^(Test|Fuzz)[A-Z]\w*(/\w+)?$`)
)

// attacks lists the rows of the table of attacks, and what is wrong with the tests that they name. files lists the test files of a folder.
func attacks(text string, files func(folder string) ([]string, error)) (rows, wrong []string) {
	known := map[string]map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		rows = append(rows, m[1])
		cells := strings.Split(strings.Trim(m[0], "| "), " | ")
		if len(cells) != 4 {
			wrong = append(wrong, "row "+m[1]+" has "+string(rune('0'+len(cells)))+" columns")
			continue
		}
		for part := range strings.SplitSeq(cells[3], "; ") {
			n := named.FindStringSubmatch(part)
			if n == nil {
				wrong = append(wrong, "row "+m[1]+" names no test")
				continue
			}
			if known[n[1]] == nil {
				known[n[1]] = testsOf(n[1], files)
			}
			for name := range strings.SplitSeq(n[2], ", ") {
				if !test.MatchString(name) {
					wrong = append(wrong, "row "+m[1]+": what is \""+name+"\"?")
				} else if !known[n[1]][name] {
					wrong = append(wrong, name+" is not in "+n[1])
				}
			}
		}
	}
	return rows, wrong
}

// testsOf are the tests and fuzz targets of a folder, and, with a slash, the subtests whose names are constants.
func testsOf(folder string, files func(string) ([]string, error)) map[string]bool {
	out := map[string]bool{}
	list, err := files(folder)
	if err != nil {
		return out
	}
	for _, path := range list {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			continue
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil {
				continue
			}
			out[fn.Name.Name] = true
			ast.Inspect(fn, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 2 {
					s, isRun := call.Fun.(*ast.SelectorExpr)
					name, isText := call.Args[0].(*ast.BasicLit)
					if isRun && isText && s.Sel.Name == "Run" {
						out[fn.Name.Name+"/"+strings.Trim(name.Value, `"`)] = true
					}
				}
				return true
			})
		}
	}
	return out
}
