package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of what is kept of a view.
const (
	MaxVersions = 16 // the oldest goes
	MaxModels   = 64
)

// Kept is a view with a name, as a tenant keeps it. A version never changes: a change makes the next one.
type Kept struct {
	Models     []string  `json:"models,omitempty"`     // whose answers take this form by themselves: names, "team/*" or "*"; none = only when it is asked for
	Operations []string  `json:"operations,omitempty"` // and of these operations only, such as "classify"; none = all
	Versions   []Version `json:"versions"`             // oldest first, by number
}

// Version is one state of a view.
type Version struct {
	Number int   `json:"number"` // from 1
	At     int64 `json:"at"`     // Unix time in milliseconds
	View   View  `json:"view"`
}

// Validate checks patterns, numbers and views. Errors are of type Invalid.
func (k Kept) Validate() error {
	if len(k.Models) > MaxModels || len(k.Operations) > MaxModels {
		return Invalid{"models", fmt.Sprintf("%d models and %d operations, at most %d of each are allowed", len(k.Models), len(k.Operations), MaxModels)}
	}
	for _, m := range k.Models {
		if m == "" || len(m) > MaxName || strings.Contains(strings.TrimSuffix(m, "*"), "*") || m != "*" && strings.HasSuffix(m, "*") && !strings.HasSuffix(m, "/*") {
			return Invalid{"models", fmt.Sprintf("%.80q is neither a name, nor as team/*, nor *", m)}
		}
	}
	if n := len(k.Versions); n < 1 || n > MaxVersions {
		return Invalid{"versions", fmt.Sprintf("%d are not 1 to %d", n, MaxVersions)}
	}
	for i, v := range k.Versions {
		if v.Number < 1 || i > 0 && v.Number <= k.Versions[i-1].Number {
			return Invalid{"versions", "numbers do not rise"}
		}
		if err := v.View.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Next adds a version and lets the oldest go.
func (k Kept) Next(v View, at int64) Kept {
	number := 1
	if n := len(k.Versions); n > 0 {
		number = k.Versions[n-1].Number + 1
	}
	k.Versions = append(slices.Clone(k.Versions), Version{Number: number, At: at, View: v})
	k.Versions = k.Versions[max(0, len(k.Versions)-MaxVersions):]
	return k
}

// Of finds a version; 0 is the newest.
func (k Kept) Of(number int) (Version, bool) {
	if number == 0 && len(k.Versions) > 0 {
		return k.Versions[len(k.Versions)-1], true
	}
	i := slices.IndexFunc(k.Versions, func(v Version) bool { return v.Number == number })
	if i < 0 {
		return Version{}, false
	}
	return k.Versions[i], true
}

// Fits says how well a view that applies by itself fits a model and an operation: 0 = not; more = the longer pattern.
func (k Kept) Fits(model, operation string) (score int) {
	if len(k.Operations) > 0 && !slices.Contains(k.Operations, operation) {
		return 0
	}
	for _, p := range k.Models {
		if p == "*" || p == model || strings.HasSuffix(p, "/*") && strings.HasPrefix(model, strings.TrimSuffix(p, "*")) {
			score = max(score, len(p)+1)
		}
	}
	return score
}

// Name is how a view is asked for: "flat" or, of a fixed version, "flat@3".
type Name struct {
	View   string
	Number int // 0 = the newest
}

// ParseName reads a name.
func ParseName(s string) (Name, error) {
	name, number, fixed := strings.Cut(s, "@")
	n := Name{View: name}
	if !ValidName(name) {
		return n, Invalid{"name", fmt.Sprintf("%.80q is not 1 to 64 letters, digits, '.', '_' and '-'", name)}
	}
	if fixed {
		i, err := strconv.Atoi(number)
		if err != nil || i < 1 || strconv.Itoa(i) != number {
			return n, Invalid{"name", fmt.Sprintf("%.20q is no number of a version", number)}
		}
		n.Number = i
	}
	return n, nil
}

// ValidName says whether a text may name a view.
func ValidName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '.' && r != '_' && r != '-'
	})
}

// ID is what a view is kept under.
func ID(tenant, name string) string { return tenant + "/" + name }

// Prefix is how the ids of a tenant's views begin.
func Prefix(tenant string) string { return tenant + "/" }
