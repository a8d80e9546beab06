package series

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Label is a name and a value.
type Label struct {
	Name, Value string
}

// Labels say what a series measures. They are sorted by name, and no name comes twice.
type Labels []Label

// Of makes labels from names and values in turn. A label with an empty value is left out, as in Prometheus.
func Of(pairs ...string) Labels {
	l := make(Labels, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			l = append(l, Label{pairs[i], pairs[i+1]})
		}
	}
	slices.SortStableFunc(l, func(a, b Label) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(l, func(a, b Label) bool { return a.Name == b.Name })
}

// Get is the value of a label, "" without it.
func (l Labels) Get(name string) string {
	for i := range l {
		if l[i].Name == name {
			return l[i].Value
		}
	}
	return ""
}

// With adds a label or replaces its value.
func (l Labels) With(name, value string) Labels {
	out := slices.DeleteFunc(slices.Clone(l), func(x Label) bool { return x.Name == name })
	if value == "" {
		return out
	}
	at, _ := slices.BinarySearchFunc(out, name, func(x Label, n string) int { return cmp.Compare(x.Name, n) })
	return slices.Insert(out, at, Label{name, value})
}

// Only keeps the labels of these names, with the same order whatever the order of the names.
func (l Labels) Only(names ...string) Labels {
	out := make(Labels, 0, len(names))
	for _, x := range l {
		if slices.Contains(names, x.Name) {
			out = append(out, x)
		}
	}
	return out
}

// Compare orders labels.
func (l Labels) Compare(o Labels) int {
	return slices.CompareFunc(l, o, func(a, b Label) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
}

// String writes labels as Prometheus does: {model="m",version="3"}.
func (l Labels) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, x := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(x.Name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(x.Value))
	}
	b.WriteByte('}')
	return b.String()
}

// MarshalJSON writes an object.
func (l Labels) MarshalJSON() ([]byte, error) {
	m := make(map[string]string, len(l))
	for _, x := range l {
		m[x.Name] = x.Value
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads an object of strings.
func (l *Labels) UnmarshalJSON(b []byte) error {
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("series: labels: %w", err)
	}
	if m == nil {
		*l = nil
		return nil
	}
	out := make(Labels, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] != "" {
			out = append(out, Label{name, m[name]})
		}
	}
	*l = out
	return nil
}

// Matcher wants a label to have one of some values.
type Matcher struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// Match wants all its matchers to hold; an empty one holds for everything.
type Match []Matcher

// Is matches labels that have all of these.
func Is(l Labels) Match {
	m := make(Match, len(l))
	for i, x := range l {
		m[i] = Matcher{x.Name, []string{x.Value}}
	}
	return m
}

// Fits says whether labels match.
func (m Match) Fits(l Labels) bool {
	for i := range m {
		if !slices.Contains(m[i].Values, l.Get(m[i].Name)) {
			return false
		}
	}
	return true
}
