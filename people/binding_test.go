package people

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/access"
)

func TestGrantOf(t *testing.T) {
	ann := Person{Issuer: issuer, Subject: "u1", Email: "Ann@example.com", EmailVerified: true, Groups: []string{"ops", "ml"}}
	bindings := []Binding{
		{Issuer: issuer, Group: "ops", Roles: []access.Role{access.Operator}},
		{Issuer: issuer, Email: "ann@EXAMPLE.com", Roles: []access.Role{access.Publisher, access.Caller}, Tenant: "beta"},
		{Issuer: issuer, Subject: "u1", Roles: []access.Role{access.Caller}, Tenant: "acme"},
		{Issuer: issuer, Group: "OPS", Roles: []access.Role{access.Admin}},
		{Issuer: "https://other.example.com", Subject: "u1", Roles: []access.Role{access.Admin}},
		{Issuer: issuer, Email: "\u212Aim@example.com", Roles: []access.Role{access.Admin}}, // K is the Kelvin sign
		{Issuer: issuer, Roles: []access.Role{access.Admin}},                                // names nobody: no binding
		{Issuer: issuer, Subject: "u1", Roles: []access.Role{access.Publisher}},             // no tenant: no binding
	}
	unverified, stranger, kim := ann, ann, ann
	unverified.EmailVerified = false
	stranger.Issuer = "https://evil.example.com"
	kim.Email, kim.Subject, kim.Groups = "kim@example.com", "u2", nil
	backward := slices.Clone(bindings)
	slices.Reverse(backward)
	for name, c := range map[string]struct {
		who    Person
		wanted string
		tenant string
		roles  string
	}{
		"first tenant":   {ann, "", "acme", "caller operator"},
		"other tenant":   {ann, "beta", "beta", "caller publisher operator"},
		"no such tenant": {ann, "gamma", "gamma", "operator"},
		"unverified":     {unverified, "beta", "beta", "operator"},
		"stranger":       {stranger, "", "", ""},
		"folded letters": {kim, "", "", ""},
		"no groups":      {Person{Issuer: issuer, Subject: "u9"}, "", "", ""},
		"empty address":  {Person{Issuer: issuer, Subject: "u9", EmailVerified: true}, "acme", "acme", ""},
	} {
		for _, list := range [][]Binding{bindings, backward} {
			g, ok := GrantOf(c.who, list, c.wanted)
			var roles []string
			for _, r := range g.Roles {
				roles = append(roles, string(r))
			}
			if g.Tenant != c.tenant || strings.Join(roles, " ") != c.roles || ok != (c.roles != "") {
				t.Errorf("%s: %+v %v", name, g, ok)
			}
		}
	}
}

func TestBindingValidate(t *testing.T) {
	ok := Binding{Issuer: issuer, Subject: "u1", Roles: []access.Role{access.Viewer}}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Binding){
		"nobody":       func(b *Binding) { b.Subject = "" },
		"two":          func(b *Binding) { b.Group = "ops" },
		"no issuer":    func(b *Binding) { b.Issuer = "" },
		"no role":      func(b *Binding) { b.Roles = nil },
		"unknown role": func(b *Binding) { b.Roles = []access.Role{"root"} },
		"no tenant":    func(b *Binding) { b.Roles = []access.Role{access.Viewer, access.Caller} },
		"long":         func(b *Binding) { b.Subject = strings.Repeat("x", MaxName+1) },
		"two lines":    func(b *Binding) { b.Subject = "a\nb" },
	} {
		b := ok
		change(&b)
		if err := b.Validate(); !errors.Is(err, ErrBinding) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
