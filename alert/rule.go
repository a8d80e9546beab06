package alert

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/skein-project/skein/series"
)

// Limits of rules.
const (
	MaxRules   = 16384           // rules in force
	MaxID      = 64              // characters of an id
	MaxExpr    = 1024            // characters of an expression
	MaxNodes   = 128             // numbers, operators and functions of an expression
	MaxDepth   = 32              // of nesting in an expression
	MaxCalls   = 16              // functions of an expression
	MaxText    = 1024            // bytes of a summary, a comment, a link
	MaxLabels  = 16              // labels of a rule, matchers of a silence
	MaxValues  = 64              // values of a matcher
	MaxFor     = 24 * time.Hour  // of For and Keep
	MinEvery   = time.Minute     // between two actions
	MaxScaleBy = 64              // replicas
	Day        = 24 * time.Hour  // the unit "d"
	maxWindow  = series.Longest  // of a function
	minWindow  = 5 * time.Second // of a function
)

// Invalid says why a rule, a silence or a receiver is refused.
type Invalid struct {
	What string // "rule high-latency"
	Why  string
	Err  error // ErrCost, or nil
}

func (e *Invalid) Error() string { return "alert: " + e.What + ": " + e.Why }

// Unwrap gives ErrCost if that is the reason.
func (e *Invalid) Unwrap() error { return e.Err }

// ErrCost says that an expression could run too long, or is too large to be looked at.
var ErrCost = errors.New("alert: an expression that could run too long")

// Duration is a time.Duration that is written as in Prometheus: 90s, 5m, 1h, 7d.
type Duration time.Duration

// ParseDuration reads a whole number with one of the units s, m, h, d.
func ParseDuration(s string) (Duration, error) {
	n, unit := 0, time.Duration(0)
	for i, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9' && n < 1e8:
			n = 10*n + int(c-'0')
			continue
		case i > 0 && i == len(s)-1:
			unit = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': Day}[c]
		}
		break
	}
	if unit == 0 || time.Duration(n) > 366*Day/unit {
		return 0, fmt.Errorf("%.32q is not a duration: want a number and s, m, h or d, such as 5m", s)
	}
	return Duration(time.Duration(n) * unit), nil
}

func (d Duration) String() string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{Day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if t := time.Duration(d); t >= u.unit && t%u.unit == 0 {
			return fmt.Sprintf("%d%s", t/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%ds", time.Duration(d)/time.Second)
}

// MarshalJSON writes a string, "" for 0.
func (d Duration) MarshalJSON() ([]byte, error) {
	if d == 0 {
		return []byte(`""`), nil
	}
	return json.Marshal(d.String())
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s == "" {
		*d = 0
		return nil
	}
	v, err := ParseDuration(s)
	*d = v
	return err
}

// Severity says how much an incident matters.
type Severity string

// Severities.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

var severities = []Severity{Info, Warning, Critical}

// Scope is what a rule is evaluated for, each by itself.
type Scope string

// Scopes.
const (
	OverVersion     Scope = "version"
	OverTenant      Scope = "tenant"
	OverNode        Scope = "node"
	OverDevice      Scope = "device"
	OverGateway     Scope = "gateway"
	OverCoordinator Scope = "coordinator"
	OverMember      Scope = "member" // a coordinator, a node or a gateway: whatever has a certificate
	OverLimit       Scope = "limit"  // one amount or rate of one subject
	OverCluster     Scope = "cluster"
)

// Scopes lists the scopes with the labels that tell their subjects apart, sorted.
var Scopes = []struct {
	Scope  Scope
	Labels []string
}{
	{OverVersion, []string{"version"}},
	{OverTenant, []string{"tenant"}},
	{OverNode, []string{"node"}},
	{OverDevice, []string{"Hostname", "UUID"}},
	{OverGateway, []string{"gateway"}},
	{OverCoordinator, []string{"coordinator"}},
	{OverMember, []string{"member"}},
	{OverLimit, []string{"limit", "meter", "model", "tenant", "window"}},
	{OverCluster, nil},
}

// Labels are the labels that tell the subjects of a scope apart; false if there is no such scope.
func (s Scope) Labels() ([]string, bool) {
	for _, x := range Scopes {
		if x.Scope == s {
			return x.Labels, true
		}
	}
	return nil, false
}

// ActionKind is what an incident has done.
type ActionKind string

// Actions.
const (
	None       ActionKind = ""
	Rollback   ActionKind = "rollback"   // aliases that lead to the version go back
	Scale      ActionKind = "scale"      // the version gets By replicas more
	Quarantine ActionKind = "quarantine" // the device or node takes no work
)

var actionScopes = map[ActionKind][]Scope{
	None:       nil,
	Rollback:   {OverVersion},
	Scale:      {OverVersion},
	Quarantine: {OverDevice, OverNode},
}

// Action is what an incident has done by itself, once.
type Action struct {
	Kind  ActionKind `json:"kind,omitempty"`
	By    int        `json:"by,omitempty"`    // replicas, of Scale; default 1
	Every Duration   `json:"every,omitempty"` // that lies between two of a rule for the same subject at least; default 1 h
}

// Annotations are texts for people. A name in braces is replaced by the value of that label of the incident, {value} by the value that
// the condition compared.
type Annotations struct {
	Summary string `json:"summary"`
	Runbook string `json:"runbook,omitempty"` // a link or a path
}

// Rule says when something is wrong.
type Rule struct {
	ID          string        `json:"id"`
	Expr        string        `json:"expr"`
	Over        Scope         `json:"over"`
	Where       series.Match  `json:"where,omitempty"` // of the subjects, and labels of the series; default all
	For         Duration      `json:"for,omitempty"`   // that the condition holds before an incident opens
	Keep        Duration      `json:"keep,omitempty"`  // that the condition does not hold before it ends; default 1 min
	Severity    Severity      `json:"severity"`
	Labels      series.Labels `json:"labels,omitempty"`
	Annotations Annotations   `json:"annotations"`
	Action      Action        `json:"action,omitzero"`
	Disabled    bool          `json:"disabled,omitempty"`
}

const defaultKeep = time.Minute

func (r *Rule) keep() time.Duration { return cmp.Or(time.Duration(r.Keep), defaultKeep) }

// Validate says with *Invalid why a rule is refused. It makes a Compiler; whoever checks many rules calls Compiler.Check.
func (r *Rule) Validate() error {
	c, err := NewCompiler()
	if err != nil {
		return err
	}
	return c.Check(r)
}

// Check says with *Invalid why a rule is refused, also if its expression is not PromQL.
func (c *Compiler) Check(r *Rule) error {
	if why := r.wrong(); why != "" {
		return &Invalid{What: fmt.Sprintf("rule %.64q", r.ID), Why: why}
	}
	p, err := c.Compile(r.Expr, r.Over)
	if err != nil {
		return fmt.Errorf("alert: rule %s: %w", r.ID, err)
	}
	if why := p.misses(r.Where); why != "" {
		return &Invalid{What: "rule " + r.ID, Why: why}
	}
	return nil
}

func (r *Rule) wrong() string {
	by, scoped := r.Over.Labels()
	switch {
	case !validID(r.ID):
		return fmt.Sprintf("an id has 1 to %d small letters, digits and '-', and begins with a letter", MaxID)
	case !slices.Contains(severities, r.Severity):
		return fmt.Sprintf("the severity %.32q is none of info, warning, critical", r.Severity)
	case !scoped:
		return fmt.Sprintf("over %.32q: there is no such scope", r.Over)
	case r.For < 0 || r.Keep < 0 || time.Duration(r.For) > MaxFor || time.Duration(r.Keep) > MaxFor:
		return fmt.Sprintf("for and keep are at most %s", Duration(MaxFor))
	case len(r.Labels) > MaxLabels:
		return fmt.Sprintf("more labels than %d", MaxLabels)
	case r.Annotations.Summary == "" || len(r.Annotations.Summary) > MaxText || len(r.Annotations.Runbook) > MaxText:
		return fmt.Sprintf("a summary is needed, and texts have at most %d bytes", MaxText)
	}
	for i, l := range r.Labels {
		if !validLabel(l.Name) || l.Value == "" || len(l.Value) > series.MaxValue || !text(l.Value) || strings.Contains(l.Value, "{{") || i > 0 && r.Labels[i-1].Name >= l.Name {
			return fmt.Sprintf("the label %.64q is not valid", l.Name)
		}
		if slices.Contains(by, l.Name) || slices.Contains(reserved, l.Name) {
			return fmt.Sprintf("the label %q is set by the incident", l.Name)
		}
	}
	if why := checkMatch(r.Where); why != "" {
		return "where: " + why
	}
	if why := r.texts(by); why != "" {
		return why
	}
	return r.Action.wrong(r.Over)
}

// reserved are labels that every incident has.
var reserved = []string{"alertname", "rule", "severity"}

func (a Action) wrong(over Scope) string {
	scopes, ok := actionScopes[a.Kind]
	switch {
	case !ok:
		return fmt.Sprintf("there is no action %.32q", a.Kind)
	case a.Kind == None && a != Action{}:
		return "no action has no parameters"
	case a.Kind != None && !slices.Contains(scopes, over):
		return fmt.Sprintf("the action %s is for rules over %v", a.Kind, scopes)
	case a.By != 0 && a.Kind != Scale || a.By < 0 || a.By > MaxScaleBy:
		return fmt.Sprintf("by is a number of replicas to add, at most %d", MaxScaleBy)
	case a.Every != 0 && time.Duration(a.Every) < MinEvery:
		return fmt.Sprintf("every is at least %s", Duration(MinEvery))
	}
	return ""
}

// texts checks the names in braces of the summary.
func (r *Rule) texts(by []string) string {
	for _, t := range []string{r.Annotations.Summary, r.Annotations.Runbook} {
		if !text(t) || strings.Contains(t, "{{") || strings.Contains(t, "}}") {
			return "texts are UTF-8 of one line, without {{ and }}"
		}
	}
	bad := ""
	fill(r.Annotations.Summary, func(name string) string {
		if name != "value" && !slices.Contains(by, name) && r.Labels.Get(name) == "" && !slices.Contains(reserved, name) {
			bad = fmt.Sprintf("the summary asks for {%.64s}, which a rule over %s does not have", name, r.Over)
		}
		return ""
	})
	return bad
}

// fill replaces names in braces.
func fill(s string, value func(name string) string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(before)
		b.WriteString(value(name))
		s = after
	}
}

func checkMatch(m series.Match) string {
	if len(m) > MaxLabels {
		return fmt.Sprintf("more matchers than %d", MaxLabels)
	}
	for i, x := range m {
		if !validLabel(x.Name) || len(x.Values) == 0 || len(x.Values) > MaxValues {
			return fmt.Sprintf("a matcher has a label's name and 1 to %d values", MaxValues)
		}
		if slices.ContainsFunc(x.Values, func(v string) bool { return len(v) > series.MaxValue || !text(v) }) {
			return fmt.Sprintf("a value of %s is too long, or not text", x.Name)
		}
		if slices.ContainsFunc(m[:i], func(o series.Matcher) bool { return o.Name == x.Name }) {
			return fmt.Sprintf("two matchers for %s", x.Name)
		}
	}
	return ""
}

func validID(s string) bool {
	return s != "" && len(s) <= MaxID && s[0] >= 'a' && s[0] <= 'z' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// validLabel says whether Prometheus takes a name of a label.
func validLabel(s string) bool {
	return s != "" && len(s) <= MaxID && (s[0] < '0' || s[0] > '9') && !strings.HasPrefix(s, "__") && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	})
}

// text says that a text is UTF-8 without control characters.
func text(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
