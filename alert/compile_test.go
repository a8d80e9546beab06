package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"pgregory.net/rapid"

	"github.com/skein-project/skein/internal/golden"
	"github.com/skein-project/skein/series"
)

const requests = "skein_gateway_requests_total"

func compiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// valid is a rule that is not refused.
func valid() Rule {
	return Rule{
		ID: "too-many", Expr: `rate("skein_gateway_requests_total", "5m") > 10.0`, Over: OverVersion, Severity: Warning,
		Annotations: Annotations{Summary: "{version} gets {value} requests a second"},
	}
}

// The words of people that the checks refuse, and why.
func TestRefused(t *testing.T) {
	c := compiler(t)
	r := valid()
	if err := c.Check(&r); err != nil {
		t.Fatal(err)
	}
	for expr, why := range map[string]string{
		``:      "",
		`true`:  "want a condition",
		`1 > 0`: "always true",
		`absent("skein_gateway_requests_total", "5m") || 1.0 > 2.0`:            "always true",
		`rate("skein_gateway_requests_total", "5m")`:                           "a condition is",
		`rate("skein_gateway_requests_total", "5m") > 10.0 ? true : false`:     "not PromQL",
		`!(rate("skein_gateway_requests_total", "5m") > 10.0)`:                 "not PromQL",
		`rate("skein_gateway_request_total", "5m") > 10.0`:                     "no series",
		`rate("skein_gateway_requests", "5m") > 10.0`:                          "there are skein_gateway_requests_total",
		`rate("skein_gpu_healthy", "5m") > 10.0`:                               "is a gauge",
		`avg("skein_gpu_healthy", "5m") > 10.0`:                                "no label version",
		`rate("skein_gateway_requests_total", "5 minutes") > 10.0`:             "not a duration",
		`rate("skein_gateway_requests_total", "1s") > 10.0`:                    "the window",
		`rate("skein_gateway_requests_total", "99d") > 10.0`:                   "the window",
		`rate("skein_gateway_requests_total", "99999999999999999999d") > 10.0`: "not a duration",
		`rate("skein_gateway_requests_total", "5" + "m") > 10.0`:               "literal",
		`rate("skein_gateway_requests_total", "5m", {"colour": "red"}) > 10.0`: "no label \"colour\"",
		`rate("skein_gateway_requests_total", "5m", {"outcome": 5}) > 10.0`:    "a list of strings",
		`rate("skein_gateway_requests_total", "5m", {"outcome": []}) > 10.0`:   "1 to 64 values",
		`3 * rate("skein_gateway_requests_total", "5m") > 10.0`:                "3.0",
		`rate("skein_gateway_requests_total", "5m") > 1 + 2`:                   "3.0",
		`baseline("skein_gateway_requests_total", "36h") > 10.0`:               "1d to 14d",
		`p("gen_ai_server_request_duration_seconds", 95.0, "5m") > 10.0`:       "0.0 to 1.0",
		`version == "m"`:       "undeclared",
		`[1, 2].all(x, x > 0)`: "undeclared",
		`rate("skein_gateway_requests_total", "5m") > double(5)`:                     "not PromQL",
		`rate("skein_gateway_requests_total", "5m") in [1.0]`:                        "not PromQL",
		`rate("skein_gateway_requests_total", "5m") > 10.0 // a comment without end`: "OK",
		"rate(\"skein_gateway_requests_total\", \"5m\") >\n10.0":                     "OK",
	} {
		r.Expr = expr
		err := c.Check(&r)
		var invalid *Invalid
		if why == "OK" {
			if err != nil {
				t.Errorf("%s: %v", expr, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), why) || !errors.As(err, &invalid) {
			t.Errorf("%s: %v, want %q", expr, err, why)
		}
	}
	for why, break_ := range map[string]func(r *Rule){
		"an id":                         func(r *Rule) { r.ID = "Too Many" },
		"severity":                      func(r *Rule) { r.Severity = "bad" },
		"no such scope":                 func(r *Rule) { r.Over = "planet" },
		"a summary is needed":           func(r *Rule) { r.Annotations.Summary = "" },
		"asks for {tenant}":             func(r *Rule) { r.Annotations.Summary = "{tenant}" },
		"without {{":                    func(r *Rule) { r.Annotations.Summary = "{{ $labels.version }}" },
		"for and keep":                  func(r *Rule) { r.For = Duration(MaxFor + 1) },
		"is set by the incident":        func(r *Rule) { r.Labels = series.Of("version", "x") },
		`the label "__a" is not valid`:  func(r *Rule) { r.Labels = series.Of("__a", "x") },
		"has no label colour":           func(r *Rule) { r.Where = series.Match{{Name: "colour", Values: []string{"red"}}} },
		"where: a matcher":              func(r *Rule) { r.Where = series.Match{{Name: "version"}} },
		"no action \"explode\"":         func(r *Rule) { r.Action.Kind = "explode" },
		"the action quarantine is for":  func(r *Rule) { r.Action.Kind = Quarantine },
		"by is a number of replicas":    func(r *Rule) { r.Action = Action{Kind: Rollback, By: 2} },
		"every is at least 1m":          func(r *Rule) { r.Action = Action{Kind: Rollback, Every: Duration(time.Second)} },
		"no action has no parameters":   func(r *Rule) { r.Action.By = 1 },
		"texts have at most 1024 bytes": func(r *Rule) { r.Annotations.Summary = strings.Repeat("a", MaxText+1) },
		"the expression already names o": func(r *Rule) {
			r.Expr = `rate("skein_gateway_requests_total", "5m", {"outcome": "ok"}) > 10.0`
			r.Where = series.Match{{Name: "outcome", Values: []string{"ok"}}}
		},
	} {
		r := valid()
		break_(&r)
		var invalid *Invalid
		if err := c.Check(&r); !errors.As(err, &invalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
}

// A rule that would never end, or take the machine with it, is refused within a moment and says so.
func TestNeverEnds(t *testing.T) {
	c := compiler(t)
	rate := `rate("skein_gateway_requests_total", "5m")`
	loop := "[1,2,3,4,5,6,7,8,9].all(a, true)"
	for range 6 {
		loop = "[1,2,3,4,5,6,7,8,9].all(a, " + loop + ")"
	}
	for name, x := range map[string]struct {
		expr string
		cost bool
	}{
		"nested loops":    {loop, false},
		"a map of a list": {`[1,2,3].map(x, [x,x]).size() > 1`, false},
		"a huge list":     {`[` + strings.Repeat("1,", 500) + `1].exists(x, x == 2)`, false},
		"a long text":     {strings.Repeat(rate+" > 1.0 || ", 10_000) + rate + " > 1.0", true},
		"many brackets":   {strings.Repeat("(", 400) + rate + strings.Repeat(")", 400) + " > 1.0", true},
		"many signs":      {strings.Repeat("-", 400) + rate + " > 1.0", true},
		"many nots":       {strings.Repeat("!", 900) + "true", true},
		"open brackets":   {strings.Repeat("(", 1000), true},
		"open maps":       {strings.Repeat("{1:", 340), true},
		"many parts":      {rate + " > 1.0" + strings.Repeat("+1.0", 200), true},
		"many functions":  {`absent("skein_replicas_ready", "5m")` + strings.Repeat(`||absent("skein_replicas_ready","5m")`, 20), true},
		"a regex":         {`"aaaaaaaaaaaaaaaaaaaaaaaa".matches("(a+)+$") && ` + rate + ` > 1.0`, false},
		"a string bomb":   {`(` + strings.Repeat(`"aaaaaaaa"+`, 60) + `"a").size() > 1`, false},
	} {
		began := time.Now()
		_, err := c.Compile(x.expr, OverVersion)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: refused after %s", name, took)
		}
		var invalid *Invalid
		if !errors.As(err, &invalid) || errors.Is(err, ErrCost) != x.cost {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	c := compiler(f)
	f.Add(`rate("skein_gateway_requests_total", "5m", {"outcome": ["failed"]}) / 2.0 > 10.0 && absent("skein_replicas_ready", "1h")`)
	f.Add(`[1].all(x, x > 0) || -p("gen_ai_server_request_duration_seconds", 0.95, "5m") < 1`)
	f.Fuzz(func(t *testing.T, expr string) {
		p, err := c.Compile(expr, OverVersion)
		if err != nil {
			return
		}
		if q := p.PromQL(nil); strings.Count(q, "(") != strings.Count(q, ")") && !strings.Contains(expr, "'") && !strings.Contains(expr, "\"") {
			t.Errorf("%s became %s", expr, q)
		}
		p.Eval(series.New(0, 0), time.Unix(1, 0), series.Of("version", "m@1"), nil)
	})
}

// fake is the value of a function in the property below; some have none.
func fake(function, family, window string) answer {
	h := fnv.New64a()
	fmt.Fprint(h, function, family, window)
	n := h.Sum64()
	return answer{float64(n>>8%7) - 2, n%4 != 0}
}

// Our evaluation gives what cel-go's interpreter gives, with errors for series without values.
func TestAgainstCEL(t *testing.T) {
	var options []cel.EnvOption
	options = append(options, cel.CrossTypeNumericComparisons(true))
	for _, f := range Functions {
		name := f.Name
		options = append(options, cel.Function(name, cel.Overload(name+"_test", []*cel.Type{cel.StringType, cel.StringType},
			map[bool]*cel.Type{true: cel.BoolType, false: cel.DoubleType}[name == "absent"],
			cel.BinaryBinding(func(family, window ref.Val) ref.Val {
				a := fake(name, string(family.(types.String)), string(window.(types.String)))
				if name == "absent" {
					return types.Bool(a.known)
				}
				if !a.known {
					return types.NewErr("no values")
				}
				return types.Double(a.value)
			}))))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		t.Fatal(err)
	}
	c := compiler(t)
	seen := map[Truth]int{}
	rapid.Check(t, func(t *rapid.T) {
		var number func(depth int) string
		number = func(depth int) string {
			kind := rapid.IntRange(0, 5).Draw(t, "number")
			if depth > 3 {
				kind = rapid.IntRange(0, 2).Draw(t, "leaf")
			}
			switch kind {
			case 0:
				return fmt.Sprintf("%d.5", rapid.IntRange(0, 9).Draw(t, "constant"))
			case 1, 2:
				return fmt.Sprintf(`%s("skein_replicas_ready", "%dm")`, rapid.SampledFrom([]string{"avg", "max", "min", "last", "sum"}).Draw(t, "f"), rapid.IntRange(1, 9).Draw(t, "w"))
			case 3:
				return "-" + number(depth+1)
			}
			return "(" + number(depth+1) + rapid.SampledFrom([]string{" + ", " - ", " * ", " / "}).Draw(t, "op") + number(depth+1) + ")"
		}
		var condition func(depth int) string
		condition = func(depth int) string {
			kind := rapid.IntRange(0, 5).Draw(t, "condition")
			switch {
			case kind == 0:
				return fmt.Sprintf(`absent("skein_replicas_ready", "%dm")`, rapid.IntRange(1, 9).Draw(t, "w"))
			case kind < 3 || depth > 2:
				return number(1) + rapid.SampledFrom([]string{" > ", " >= ", " < ", " <= ", " == ", " != "}).Draw(t, "cmp") + number(1)
			}
			return "(" + condition(depth+1) + rapid.SampledFrom([]string{" && ", " || "}).Draw(t, "logic") + condition(depth+1) + ")"
		}
		expr := condition(0)
		p, err := c.Compile(expr, OverVersion)
		if err != nil {
			t.Skip(err)
		}
		got := p.root.decide(func(q *query) answer { return fake(q.function, q.family.Name, q.window.String()) })
		checked, issues := env.Compile(expr)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := env.Program(checked)
		if err != nil {
			t.Fatal(err)
		}
		want := Unknown
		if v, _, err := program.Eval(cel.NoVars()); err == nil {
			want = map[bool]Truth{true: True, false: False}[bool(v.(types.Bool))]
		}
		seen[want]++
		if got.Truth != want {
			t.Fatalf("%s is %d, CEL says %d", expr, got.Truth, want)
		}
	})
	if len(seen) != 3 {
		t.Errorf("only these truths were seen: %v", seen)
	}
}

// put fills a store with n seconds of two versions, m@1 with errors.
func filled(t testing.TB, n int) (*series.Store, time.Time) {
	t.Helper()
	s := series.New(0, 0)
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for range n {
		at = at.Add(time.Second)
		for _, v := range []string{"m@1", "m@2"} {
			var h series.Histogram
			h.Add(map[string]int64{"m@1": 3000, "m@2": 300}[v])
			if err := errors.Join(s.Add(at, requests, series.Of("version", v, "outcome", "ok", "tenant", "a"), 9),
				s.Add(at, requests, series.Of("version", v, "outcome", "failed", "tenant", "b"), map[string]int64{"m@1": 1}[v]),
				s.Put(at, "skein_replicas_ready", series.Of("version", v), 2),
				s.Observe(at, "gen_ai_server_request_duration_seconds", series.Of("version", v), &h)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s, at
}

func TestEval(t *testing.T) {
	s, now := filled(t, 900)
	c := compiler(t)
	for _, x := range []struct {
		expr    string
		subject string
		want    Truth
		value   float64
	}{
		{`rate("skein_gateway_requests_total", "5m") > 9.5`, "m@1", True, 10},
		{`rate("skein_gateway_requests_total", "5m") > 9.5`, "m@2", False, 9},
		{`9.5 < rate("skein_gateway_requests_total", "5m")`, "m@1", True, 10},
		{`rate("skein_gateway_requests_total", "5m") > 9.5`, "m@3", Unknown, 0},
		{`rate("skein_gateway_requests_total", "5m", {"outcome": "failed"}) / rate("skein_gateway_requests_total", "5m") > 0.05`, "m@1", True, 0.1},
		{`rate("skein_gateway_requests_total", "5m", {"outcome": ["failed", "ok"], "tenant": "a"}) == 9.0`, "m@1", True, 9},
		{`increase("skein_gateway_requests_total", "1m") >= 540`, "m@2", True, 540},
		{`p("gen_ai_server_request_duration_seconds", 0.5, "5m") > 2.0`, "m@1", True, 3.5},
		{`p("gen_ai_server_request_duration_seconds", 0.5, "5m") > 2.0`, "m@2", False, 0.3},
		{`avg("skein_replicas_ready", "5m") == 2.0 && max("skein_replicas_ready", "5m") == 2.0 && min("skein_replicas_ready", "5m") == 2.0`, "m@1", True, 2},
		{`last("skein_replicas_ready", "5m") != 2.0 || sum("skein_replicas_ready", "5m") < 3.0`, "m@1", True, 2},
		{`absent("skein_replicas_ready", "5m")`, "m@1", False, 0},
		{`absent("skein_replicas_ready", "5m")`, "m@3", False, 0},
		{`-avg("skein_replicas_ready", "5m") + 1.0 < 0.0 && avg("skein_replicas_wanted", "5m") > 1.0`, "m@1", Unknown, 0},
	} {
		p, err := c.Compile(x.expr, OverVersion)
		if err != nil {
			t.Errorf("%s: %v", x.expr, err)
			continue
		}
		got := p.Eval(s, now, series.Of("version", x.subject), nil)
		if got.Truth != x.want || x.want != Unknown && math.Abs(got.Value-x.value) > 0.2*x.value {
			t.Errorf("%s for %s: %+v, want %d and %g", x.expr, x.subject, got, x.want, x.value)
		}
	}
	p, err := c.Compile(`absent("skein_replicas_ready", "5m")`, OverVersion)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Eval(s, now.Add(time.Hour), series.Of("version", "m@1"), nil); got.Truth != True {
		t.Errorf("absent after an hour of silence: %+v", got)
	}
	if got := p.Subjects(s, series.Match{{Name: "version", Values: []string{"m@2", "m@9"}}}); len(got) != 1 || got[0].Get("version") != "m@2" {
		t.Errorf("subjects: %v", got)
	}
}

func TestRuleJSON(t *testing.T) {
	r := valid()
	r.For, r.Where = Duration(90*time.Second), series.Match{{Name: "version", Values: []string{"a"}}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Rule
	if err := json.Unmarshal(b, &back); err != nil || fmt.Sprint(back) != fmt.Sprint(r) || !strings.Contains(string(b), `"for":"90s"`) {
		t.Errorf("%s: %v, %v", b, back, err)
	}
	for text, want := range map[string]Duration{"90s": Duration(90 * time.Second), "5m": Duration(5 * time.Minute), "7d": Duration(7 * Day), "24h": Duration(Day)} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

// translated are rules of each form.
func translated() []Rule {
	var rules []Rule
	for i, x := range []struct {
		over  Scope
		expr  string
		where series.Match
	}{
		{OverVersion, `rate("skein_gateway_requests_total", "5m", {"outcome": "failed"}) / rate("skein_gateway_requests_total", "5m") > 0.05`, nil},
		{OverVersion, `p("gen_ai_server_request_duration_seconds", 0.95, "5m") > 2.0 && sum("skein_gateway_waiting_requests", "1m") >= 3`, series.Match{{Name: "version", Values: []string{"m.x@1", "m@2"}}}},
		{OverTenant, `increase("skein_gateway_requests_total", "1h") < 3.0 * baseline("skein_gateway_requests_total", "2d")`, nil},
		{OverDevice, `min("DCGM_FI_DEV_GPU_TEMP", "2m") > 87.0 || absent("DCGM_FI_DEV_GPU_TEMP", "5m")`, nil},
		{OverCluster, `last("skein_raft_voters", "2m") > 1 && max("skein_raft_voters_spare", "1m") < 1.0`, nil},
		{OverMember, `-avg("skein_certificate_left_seconds", "5m") + 1.5e4 != 0.0`, nil},
		{OverGateway, `rate("gen_ai_server_request_duration_seconds", "5m") == 1.0`, nil},
	} {
		r := Rule{ID: fmt.Sprintf("rule-%d", i), Over: x.over, Expr: x.expr, Where: x.where, Severity: Info, Annotations: Annotations{Summary: "it is {value}: \"quoted\" & 100 %"}}
		if i == 0 {
			r.For, r.Labels, r.Annotations = Duration(2*time.Minute), series.Of("team", "a: b"), Annotations{Summary: "{version} of {team}, {severity}", Runbook: "docs/x.md"}
		}
		rules = append(rules, r)
	}
	return rules
}

func TestPrometheus(t *testing.T) {
	rules := translated()
	c := compiler(t)
	out, err := c.Prometheus(rules)
	var invalid *Invalid
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "rule-6") || strings.Contains(err.Error(), "rule-5") {
		t.Errorf("the rule that says nothing of gateways: %v", err)
	}
	golden.Equal(t, filepath.Join("testdata", "prometheus.yml"), string(out))
	Promtool(t, out)
}

// Promtool has the real promtool check a rule file: SKEIN_PROMTOOL, or the one on the PATH.
func Promtool(t *testing.T, file []byte) {
	t.Helper()
	tool := os.Getenv("SKEIN_PROMTOOL")
	if tool == "" {
		tool, _ = exec.LookPath("promtool")
	}
	if tool == "" {
		t.Log("no promtool: neither SKEIN_PROMTOOL nor on the PATH")
		return
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
