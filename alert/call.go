package alert

import (
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/skein-project/skein/series"
)

// query builds a call of a function of series.
func (b *builder) query(call ast.CallExpr) (*part, error) {
	f, _ := functionOf(call.FunctionName())
	args := call.Args()
	q := query{function: f.Name}
	var err error
	if q.family, err = b.family(f, args[0]); err != nil {
		return nil, err
	}
	next := 1
	if f.Name == "p" {
		share, ok := literal[types.Double](args[1])
		if !ok || !(share >= 0 && share <= 1) {
			return nil, refuse("the second argument of p is a number from 0.0 to 1.0")
		}
		q.permille, next = int(float64(share)*1000+0.5), 2
	}
	window, ok := literal[types.String](args[next])
	if !ok {
		return nil, refuse("the window of %s is a literal, such as \"5m\"", f.Name)
	}
	if q.window, err = ParseDuration(string(window)); err != nil {
		return nil, refuse("%s: %v", f.Name, err)
	}
	if w := time.Duration(q.window); w < minWindow || w > maxWindow {
		return nil, refuse("the window of %s is %s to %s", f.Name, Duration(minWindow), Duration(maxWindow))
	}
	if w := time.Duration(q.window); f.Name == "baseline" && (w%Day != 0 || w > 14*Day) {
		return nil, refuse("a baseline is of 1d to 14d")
	}
	if len(args) > next+1 {
		if q.match, err = b.match(q.family, args[next+1]); err != nil {
			return nil, err
		}
	}
	if len(b.program.queries) == MaxCalls {
		return nil, costly("it asks for more than %d series", MaxCalls)
	}
	text := q.String()
	kept := b.compiler.queries[text]
	if kept == nil {
		kept = &q
		b.compiler.queries[text] = kept
	}
	b.program.queries = append(b.program.queries, kept)
	return &part{op: opQuery, query: kept}, nil
}

func (b *builder) family(f Function, e ast.Expr) (series.Family, error) {
	name, ok := literal[types.String](e)
	if !ok {
		return series.Family{}, refuse("the first argument of %s is the name of a family of series", f.Name)
	}
	family, ok := series.FamilyOf(string(name))
	if !ok {
		return family, refuse("there is no series %.64q%s", string(name), near(string(name)))
	}
	if !slices.Contains(f.Kinds, family.Kind) {
		return family, refuse("%s is a %s, which %s does not take", family.Name, family.Kind, f.Name)
	}
	for _, l := range b.by {
		if _, ok := family.Column(l); !ok {
			return family, refuse("%s has no label %s, so it says nothing about a %s", family.Name, l, b.program.over)
		}
	}
	return family, nil
}

// near names families that share a word with a name that is none.
func near(name string) string {
	var list []string
	for _, f := range series.Families {
		if len(name) >= 4 && (strings.Contains(f.Name, name) || strings.Contains(name, f.Name)) {
			list = append(list, f.Name)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return ": there are " + strings.Join(list, ", ")
}

// match reads the labels of a call.
func (b *builder) match(f series.Family, e ast.Expr) (series.Match, error) {
	if e.Kind() != ast.MapKind {
		return nil, refuse("labels are a map of literals, such as {\"outcome\": \"failed\"}")
	}
	var m series.Match
	for _, entry := range e.AsMap().Entries() {
		pair := entry.AsMapEntry()
		name, ok := literal[types.String](pair.Key())
		if _, has := f.Column(string(name)); !ok || !has {
			return nil, refuse("%s has no label %.64q", f.Name, string(name))
		}
		values := []ast.Expr{pair.Value()}
		if pair.Value().Kind() == ast.ListKind {
			values = pair.Value().AsList().Elements()
		}
		x := series.Matcher{Name: string(name)}
		for _, v := range values {
			s, ok := literal[types.String](v)
			if !ok {
				return nil, refuse("the value of %s is a string, or a list of strings", name)
			}
			x.Values = append(x.Values, string(s))
		}
		m = append(m, x)
	}
	slices.SortFunc(m, func(a, b series.Matcher) int { return strings.Compare(a.Name, b.Name) })
	if why := checkMatch(m); why != "" {
		return nil, refuse("%s", why)
	}
	return m, nil
}

// literal is the value of a literal of a type.
func literal[T types.String | types.Double](e ast.Expr) (T, bool) {
	var none T
	if e.Kind() != ast.LiteralKind {
		return none, false
	}
	v, ok := e.AsLiteral().(T)
	return v, ok
}
