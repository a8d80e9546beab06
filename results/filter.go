package results

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of filters.
const (
	MaxConditions = 32  // of a filter
	MaxNeedle     = 256 // bytes of a text that is looked for
)

// Filter says which records are meant: those that meet every condition. A list is met by any of its elements; what is zero is no condition.
type Filter struct {
	From, Until                                           int64 // of At, Unix milliseconds; without Until
	IDs, Tenants, Apps, Keys, Models, Aliases, Operations []string
	Statuses, NotStatuses                                 []string
	Labels                                                []string // of any input
	Versions                                              []int
	AtLeast, AtMost                                       int64  // of Latency, microseconds
	Text                                                  string // somewhere in the request or the answer, within one JSON string
	Asked                                                 bool   // records that hold their request
}

// columns are the conditions on a text, by the name of their field.
func (f *Filter) columns() map[string]*[]string {
	return map[string]*[]string{"id": &f.IDs, "tenant": &f.Tenants, "app": &f.Apps, "key": &f.Keys, "model": &f.Models, "alias": &f.Aliases,
		"operation": &f.Operations, "status": &f.Statuses, "label": &f.Labels}
}

// ParseFilter reads conditions as people write them: "model=team/spam", "version=8", "label=spam", "status!=ok", "latency>=250ms", "text~refund",
// "at>=2026-11-26T00:00:00Z". Two conditions on a field with = are alternatives; all others must be met together. The error is an *Invalid.
func ParseFilter(where []string) (f Filter, err error) {
	if len(where) > MaxConditions {
		return f, invalid("where", "%d conditions, at most %d are allowed", len(where), MaxConditions)
	}
	for _, w := range where {
		if err := f.add(w); err != nil {
			return f, err
		}
	}
	return f, nil
}

// operators, the longer before their beginnings.
var operators = []string{"!=", ">=", "<=", "=", "~", ">", "<"}

func (f *Filter) add(condition string) error {
	at := strings.IndexAny(condition, "!=<>~")
	if at < 0 {
		return invalid("where", "%.80q: want a field, one of = != >= > <= < ~, and a value", condition)
	}
	field, op, value := strings.TrimSpace(condition[:at]), "", ""
	for _, o := range operators {
		if rest, ok := strings.CutPrefix(condition[at:], o); ok {
			op, value = o, strings.TrimSpace(rest)
			break
		}
	}
	if len(value) > MaxNeedle || value == "" {
		return invalid("where", "%.80q: want a value of 1 to %d bytes", condition, MaxNeedle)
	}
	column := f.columns()[field]
	switch {
	case field == "status" && op == "!=":
		f.NotStatuses = append(f.NotStatuses, value)
	case column != nil && op == "=":
		*column = append(*column, value)
	case field == "version" && op == "=":
		n, err := strconv.Atoi(strings.TrimPrefix(value, "v"))
		if err != nil || n < 1 {
			return invalid("where", "%.80q: want the number of a version, as 8", condition)
		}
		f.Versions = append(f.Versions, n)
	case field == "latency":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return invalid("where", "%.80q: want a duration, as 250ms", condition)
		}
		return f.latency(condition, op, d.Microseconds())
	case field == "at":
		t, err := ParseTime(value)
		if err != nil {
			return err
		}
		return f.time(condition, op, t)
	case field == "text" && op == "~":
		if f.Text != "" {
			return invalid("where", "%.80q: one text is looked for at a time", condition)
		}
		f.Text = value
	default:
		return invalid("where", "%.80q: this is no condition: fields are id, tenant, app, key, model, alias, operation, label (=), status (=, !=), version (=), latency, at (>=, >, <=, <) and text (~)", condition)
	}
	return nil
}

func (f *Filter) latency(condition, op string, us int64) error {
	switch op {
	case ">=":
		f.AtLeast = max(f.AtLeast, us)
	case ">":
		f.AtLeast = max(f.AtLeast, us+1)
	case "<=", "<":
		if op == "<" {
			us--
		}
		if us < 1 {
			return invalid("where", "%.80q: no request is that fast", condition)
		}
		if f.AtMost == 0 || us < f.AtMost {
			f.AtMost = us
		}
	default:
		return invalid("where", "%.80q: want latency with >=, >, <= or <", condition)
	}
	return nil
}

func (f *Filter) time(condition, op string, ms int64) error {
	switch op {
	case ">=":
		f.From = max(f.From, ms)
	case ">":
		f.From = max(f.From, ms+1)
	case "<", "<=":
		if op == "<=" {
			ms++
		}
		if f.Until == 0 || ms < f.Until {
			f.Until = ms
		}
	default:
		return invalid("where", "%.80q: want at with >=, >, <= or <", condition)
	}
	return nil
}

// ParseTime reads a moment: RFC 3339, or a day in UTC. It gives Unix milliseconds.
func ParseTime(text string) (int64, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			if ms := t.UnixMilli(); ms > 0 && ms <= maxMillis {
				return ms, nil
			}
		}
	}
	return 0, invalid("time", "%.40q: want a moment as 2026-11-26T13:00:00Z, or a day as 2026-11-26", text)
}

// Meets says whether a record meets a filter.
func (f Filter) Meets(r Record) bool {
	any := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	return r.At >= f.From && (f.Until == 0 || r.At < f.Until) &&
		any(f.IDs, r.ID) && any(f.Tenants, r.Tenant) && any(f.Apps, r.App) && any(f.Keys, r.Key) && any(f.Models, r.Model) && any(f.Aliases, r.Alias) &&
		any(f.Operations, r.Operation) && any(f.Statuses, r.Status) && !slices.Contains(f.NotStatuses, r.Status) &&
		(len(f.Versions) == 0 || slices.Contains(f.Versions, r.Version)) &&
		(len(f.Labels) == 0 || slices.ContainsFunc(r.Labels, func(l Label) bool { return slices.Contains(f.Labels, l.Name) })) &&
		r.Latency >= f.AtLeast && (f.AtMost == 0 || r.Latency <= f.AtMost) && (!f.Asked || r.Request != nil) &&
		(f.Text == "" || strings.Contains(string(r.Request), Quoted(f.Text)) || strings.Contains(string(r.Answer), Quoted(f.Text)))
}

// Quoted is a text as it stands within a JSON string that is written in the plain way.
func Quoted(text string) string {
	q := Plain(quote(text))
	return string(q[1 : len(q)-1])
}
