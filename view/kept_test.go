package view

import (
	"errors"
	"strings"
	"testing"
)

var one = View{Format: JSON, Fields: []Field{{Name: "a"}}}

func TestVersions(t *testing.T) {
	k := Kept{}
	for range MaxVersions + 3 {
		k = k.Next(one, 1)
	}
	if err := k.Validate(); err != nil || len(k.Versions) != MaxVersions || k.Versions[0].Number != 4 {
		t.Fatal(err, k.Versions[0].Number)
	}
	for number, want := range map[int]int{0: MaxVersions + 3, 4: 4, 3: 0, 99: 0} {
		if v, ok := k.Of(number); v.Number != want || ok != (want > 0) {
			t.Errorf("%d: %d, %v", number, v.Number, ok)
		}
	}
	if _, ok := (Kept{}).Of(0); ok {
		t.Error("a view without versions has one")
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		models, operations, model, operation string
		want                                 int
	}{
		{"*", "", "calc", "chat", 2},
		{"calc", "", "calc", "chat", 5},
		{"calc", "", "calc2", "chat", 0},
		{"team/*", "", "team/a", "chat", 7},
		{"team/*", "", "team", "chat", 0},
		{"team/*,*", "", "other", "chat", 2},
		{"*", "classify", "calc", "chat", 0},
		{"*", "classify", "calc", "classify", 2},
		{"", "", "calc", "chat", 0},
	} {
		k := Kept{Models: fields(c.models), Operations: fields(c.operations)}
		if got := k.Fits(c.model, c.operation); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func fields(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }

func TestNames(t *testing.T) {
	for s, want := range map[string]Name{"flat": {"flat", 0}, "flat@3": {"flat", 3}, "A.b_c-9@12": {"A.b_c-9", 12}} {
		if n, err := ParseName(s); err != nil || n != want {
			t.Errorf("%s: %+v, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "@1", "a/b", "a b", "a@", "a@0", "a@-1", "a@01", "a@1@2", "ä", strings.Repeat("a", 65)} {
		if _, err := ParseName(s); !errors.As(err, new(Invalid)) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestKeptIsChecked(t *testing.T) {
	for what, k := range map[string]Kept{
		"no version":      {},
		"a bad view":      {Versions: []Version{{Number: 1}}},
		"numbers fall":    {Versions: []Version{{Number: 2, View: one}, {Number: 1, View: one}}},
		"a star within":   {Models: []string{"a*b"}, Versions: []Version{{Number: 1, View: one}}},
		"half a pattern":  {Models: []string{"calc*"}, Versions: []Version{{Number: 1, View: one}}},
		"too many models": {Models: make([]string, MaxModels+1), Versions: []Version{{Number: 1, View: one}}},
	} {
		if err := k.Validate(); !errors.As(err, new(Invalid)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
