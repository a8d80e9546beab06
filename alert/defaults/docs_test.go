package defaults

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/internal/golden"
	"github.com/skein-project/skein/series"
)

// example is a rule of an operator, as JSON.
const example = `{"id": "search-is-slow", "over": "version", "where": [{"name": "version", "values": ["search@3"]}],
 "expr": "p(\"gen_ai_server_request_duration_seconds\", 0.95, \"5m\") > 2.0 && rate(\"skein_gateway_requests_total\", \"5m\") > 1.0",
 "for": "5m", "severity": "warning", "labels": {"team": "search"},
 "annotations": {"summary": "{version} takes {value} s", "runbook": "https://wiki.example.com/search"},
 "action": {"kind": "scale", "by": 1, "every": "1h"}}
`

// The page about rules is written from the tables that rules are checked by.
func TestDocumentation(t *testing.T) {
	var r alert.Rule
	if err := json.Unmarshal([]byte(example), &r); err != nil {
		t.Fatal(err)
	}
	if err := r.Validate(); err != nil {
		t.Error(err)
	}
	var b strings.Builder
	b.WriteString(`# Alert rules

This page is written by the test of package alert/defaults from the tables that rules are checked by (` + "`go test ./alert/defaults -run Documentation -rewrite`" + `).

A rule is a condition in [CEL](https://cel.dev), looked at every 15 s for each subject of its scope (` + "`over`" + `). When it has held for the time ` + "`for`" + `,
an incident opens; when it has not held for the time ` + "`keep`" + ` (1 min unless said otherwise, longer for what flaps), the incident ends.

`)
	b.WriteString("```json\n" + example + "```\n\n")
	b.WriteString(`A condition is made of numbers (in arithmetic with a point: 3.0), + - * /, comparisons, && and ||, and the functions below. So every
rule is also a rule of Prometheus; what is not, such as a loop or a text, is refused with the reason. Where a series has no values, what
compares it is neither true nor false, and the rule does not fire.

Every coordinator measures the whole fleet, and keeps what it measured in memory only. So another leader goes on with the same history; a coordinator that
starts again begins with none: baselines and long windows are full again after as long as they look back. Who wants years scrapes /metrics.

## Functions

`)
	b.WriteString("| function | of | gives |\n|---|---|---|\n")
	for _, f := range alert.Functions {
		var kinds []string
		for _, k := range f.Kinds {
			kinds = append(kinds, k.String())
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, strings.Join(kinds, ", "), f.Help)
	}
	b.WriteString("\nArguments are the name of a series, a window (`30s`, `5m`, `1h`, `7d`; `p` has the quantile before it), and, if wanted, labels: `{\"outcome\": \"failed\"}` or `{\"outcome\": [\"failed\", \"refused\"]}`.\n\n## Scopes\n\n| over | a subject is told apart by | actions |\n|---|---|---|\n")
	for _, s := range alert.Scopes {
		var actions []string
		for _, k := range []alert.ActionKind{alert.Rollback, alert.Scale, alert.Quarantine} {
			r := alert.Rule{ID: "x", Over: s.Scope, Severity: alert.Info, Annotations: alert.Annotations{Summary: "x"}, Action: alert.Action{Kind: k}}
			if err := check(t, r); !strings.Contains(err, "the action") {
				actions = append(actions, string(k))
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Scope, strings.Join(s.Labels, ", "), strings.Join(actions, ", "))
	}
	b.WriteString("\n## Series\n\n| name | kind | labels | is |\n|---|---|---|---|\n")
	for _, f := range series.Families {
		var labels []string
		for _, c := range f.Labels {
			labels = append(labels, c.Name)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(labels, ", "), f.Help)
	}
	var outcomes []string
	for _, o := range series.Outcomes {
		outcomes = append(outcomes, fmt.Sprintf("`%s` (in Prometheus %s)", o.Name, strings.Join(o.Exported, ", ")))
	}
	b.WriteString("\nOutcomes are " + strings.Join(outcomes, ", ") + ".\n\n## Rules that every cluster begins with\n\n| rule | over | severity | for | condition |\n|---|---|---|---|---|\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "| [%s](runbooks/%s.md) | %s | %s | %s | `%s` |\n", r.ID, r.ID, r.Over, r.Severity, r.For, strings.ReplaceAll(r.Expr, "|", "\\|"))
	}
	golden.Equal(t, "../../docs/alerts.md", b.String())
}

func check(t *testing.T, r alert.Rule) string {
	t.Helper()
	r.Expr = "1.0 > 0.0"
	err := r.Validate()
	if err == nil {
		t.Fatal("a rule about nothing is taken")
	}
	return err.Error()
}
