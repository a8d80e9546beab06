package results

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return invalid("where", "%.80q: want UTF-8 without NUL, which is all that records hold", condition)
	}
	column := f.columns()[field]
	switch {
	case field == "status" && op == "!=":
		f.NotStatuses = append(f.NotStatuses, value)
	case column != nil && op == "=":
		*column = append(*column, value)
	case field == "version" && op == "=":
		n, err := strconv.Atoi(strings.TrimPrefix(value, "v"))
		if err != nil || n < 1 || n > math.MaxInt32 {
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
		from, until, err := ParseTime(value)
		if err != nil {
			return err
		}
		return f.time(condition, op, from, until)
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

// time takes a moment or a day, which is an interval: after a day is when it is over, up to a day is with all of it.
func (f *Filter) time(condition, op string, from, until int64) error {
	switch op {
	case ">=":
		f.From = max(f.From, from)
	case ">":
		f.From = max(f.From, until)
	case "<", "<=":
		if op == "<" {
			until = from
		}
		if f.Until == 0 || until < f.Until {
			f.Until = until
		}
	default:
		return invalid("where", "%.80q: want at with >=, >, <= or <", condition)
	}
	return nil
}

// ParseTime reads a moment (RFC 3339), which is a millisecond, or a day in UTC: from when to when it is, without the latter, in Unix milliseconds.
func ParseTime(text string) (from, until int64, err error) {
	for _, form := range []struct {
		layout string
		long   int64
	}{{time.RFC3339Nano, 1}, {time.DateOnly, Day}} {
		if t, err := time.Parse(form.layout, text); err == nil {
			if ms := t.UnixMilli(); ms > 0 && ms <= maxMillis {
				return ms, ms + form.long, nil
			}
		}
	}
	return 0, 0, invalid("time", "%.40q: want a moment as 2026-11-26T13:00:00Z, or a day as 2026-11-26", text)
}

// Noted are conditions as an audit log may keep them for good: of a text that is looked for a hash (SHA-256, its first half).
func Noted(where []string) []string {
	out := slices.Clone(where)
	for i, w := range out {
		at := strings.IndexAny(w, "!=<>~")
		if at < 0 || w[at] != '~' {
			continue
		}
		sum := sha256.Sum256([]byte(strings.TrimSpace(w[at+1:])))
		out[i] = strings.TrimSpace(w[:at]) + "~sha256:" + hex.EncodeToString(sum[:16])
	}
	return out
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
