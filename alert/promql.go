package alert

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/skein-project/skein/series"
)

// PromQL writes the program as a query of Prometheus whose result has a sample for each subject that the condition holds for, with the
// labels of the program's scope. Two differences are left: Prometheus extrapolates rates to the ends of a window, and the buckets
// of its histograms are those of telemetry.
func (p *Program) PromQL(where series.Match) string {
	return p.root.promql(promql{p.by, where})
}

// promql is what a program is written for.
type promql struct {
	by    []string
	where series.Match
}

func (p *part) promql(w promql) string {
	switch p.op {
	case opNumber:
		return strconv.FormatFloat(p.value, 'g', -1, 64)
	case opQuery:
		return w.query(p.query)
	}
	return "(" + p.left.promql(w) + " " + opNames[p.op] + " " + p.right.promql(w) + ")"
}

func (w promql) query(q *query) string {
	inner := w.by
	renamed := false
	for i, l := range w.by {
		if c, _ := q.family.Column(l); c.As != "" {
			if !renamed {
				inner = slices.Clone(inner)
			}
			inner[i], renamed = c.As, true
		}
	}
	s := w.aggregate(q, inner)
	for _, l := range w.by {
		if c, _ := q.family.Column(l); c.As != "" {
			s = fmt.Sprintf("label_replace(%s, %q, \"$1\", %q, \"(.*)\")", s, l, c.As)
		}
	}
	if renamed {
		s = "sum" + group(w.by) + " (" + s + ")"
	}
	return s
}

// aggregate writes a query with the names that the labels have in Prometheus.
func (w promql) aggregate(q *query, by []string) string {
	window := q.window.String()
	name := q.family.Name
	if q.family.Kind == series.Durations {
		name += "_count"
	}
	sel := w.selector(q, name)
	over := func(outer, inner string) string {
		return fmt.Sprintf("%s%s (%s(%s[%s]))", outer, group(by), inner, sel, window)
	}
	switch q.function {
	case "rate":
		return over("sum", "rate")
	case "increase":
		return over("sum", "increase")
	case "avg":
		return over("avg", "avg_over_time")
	case "max":
		return over("max", "max_over_time")
	case "min":
		return over("min", "min_over_time")
	case "last":
		return over("max", "last_over_time")
	case "sum":
		return over("sum", "avg_over_time")
	case "p":
		return fmt.Sprintf("histogram_quantile(%s, sum%s (rate(%s[%s])))", strconv.FormatFloat(float64(q.permille)/1000, 'g', -1, 64),
			group(append(slices.Clone(by), "le")), w.selector(q, q.family.Name+"_bucket"), window)
	case "absent":
		return fmt.Sprintf("(count%s (last_over_time(%s[%s])) unless count%s (last_over_time(%s[%s])))", group(by), sel, Duration(Day), group(by), sel, window)
	}
	return w.baseline(q, sel, by)
}

// baseline writes the mean of some days. Each day is given a label of its own, so that days without samples do not count.
func (w promql) baseline(q *query, sel string, by []string) string {
	rate := "rate"
	if q.family.Kind == series.Gauge {
		rate = "avg_over_time"
	}
	var days []string
	for day := 1; day <= int(time.Duration(q.window)/Day); day++ {
		back := time.Duration(day)*Day - series.Around/2
		days = append(days, fmt.Sprintf("label_replace(sum%s (%s(%s[%s] offset %s)), \"day\", \"%d\", \"\", \"\")",
			group(by), rate, sel, Duration(series.Around), Duration(back), day))
	}
	return fmt.Sprintf("avg%s (%s)", group(by), strings.Join(days, " or "))
}

func group(by []string) string {
	if len(by) == 0 {
		return ""
	}
	return " by (" + strings.Join(by, ", ") + ")"
}

// selector writes which series are meant.
func (w promql) selector(q *query, name string) string {
	var list []string
	for _, m := range append(slices.Clip(slices.Clone(q.match)), w.where...) {
		c, _ := q.family.Column(m.Name)
		values := m.Values
		if m.Name == "outcome" {
			values = outcomes(values)
		}
		if len(values) == 1 {
			list = append(list, fmt.Sprintf("%s=%s", c.Exported(), strconv.Quote(values[0])))
			continue
		}
		quoted := make([]string, len(values))
		for i, v := range values {
			quoted[i] = quoteRegexp(v)
		}
		list = append(list, fmt.Sprintf("%s=~%s", c.Exported(), strconv.Quote(strings.Join(quoted, "|"))))
	}
	if len(list) == 0 {
		return name
	}
	return name + "{" + strings.Join(list, ",") + "}"
}

// outcomes are what Prometheus calls the outcomes of requests.
func outcomes(values []string) []string {
	var out []string
	for _, v := range values {
		exported := []string{v}
		for _, o := range series.Outcomes {
			if o.Name == v {
				exported = o.Exported
			}
		}
		out = append(out, exported...)
	}
	return out
}

// quoteRegexp makes a regular expression of a text.
func quoteRegexp(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(`\.+*?()|[]{}^$`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Prometheus writes the enabled rules as a Prometheus rule file (prometheus.io/docs/prometheus/latest/configuration/alerting_rules).
// Rules that do not compile are left out and named in the error, which does not keep the others from being written.
func (c *Compiler) Prometheus(rules []Rule) ([]byte, error) {
	type promRule struct {
		Alert       string            `yaml:"alert"`
		Expr        string            `yaml:"expr"`
		For         string            `yaml:"for,omitempty"`
		Keep        string            `yaml:"keep_firing_for,omitempty"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	}
	type group struct {
		Name     string     `yaml:"name"`
		Interval string     `yaml:"interval"`
		Rules    []promRule `yaml:"rules"`
	}
	g := group{Name: "skein", Interval: Duration(DefaultEvery).String()}
	var bad []string
	for i := range rules {
		r := &rules[i]
		if r.Disabled {
			continue
		}
		p, err := c.Compile(r.Expr, r.Over)
		if err != nil {
			bad = append(bad, r.ID)
			continue
		}
		x := promRule{Alert: r.ID, Expr: p.PromQL(r.Where), Keep: Duration(r.keep()).String(), Labels: map[string]string{"severity": string(r.Severity)}}
		if r.For > 0 {
			x.For = r.For.String()
		}
		for _, l := range r.Labels {
			x.Labels[l.Name] = l.Value
		}
		x.Annotations = map[string]string{"summary": fill(r.Annotations.Summary, func(name string) string { return r.template(name) })}
		if r.Annotations.Runbook != "" {
			x.Annotations["runbook_url"] = r.Annotations.Runbook
		}
		g.Rules = append(g.Rules, x)
	}
	var b strings.Builder
	b.WriteString("# Written by Skein from its alert rules. Edit the rules there.\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(map[string][]group{"groups": {g}}); err != nil {
		return nil, err
	}
	if len(bad) > 0 {
		return []byte(b.String()), &Invalid{What: "rules", Why: "left out, they do not compile: " + strings.Join(bad, ", ")}
	}
	return []byte(b.String()), nil
}

// template is how Prometheus writes what a summary names.
func (r *Rule) template(name string) string {
	switch name {
	case "value":
		return "{{ $value }}"
	case "alertname", "rule":
		return r.ID
	}
	return "{{ $labels." + name + " }}"
}
