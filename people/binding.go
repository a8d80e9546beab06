package people

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skein-project/skein/access"
)

// ErrBinding is wrapped by what Binding.Validate says.
var ErrBinding = errors.New("people: not a usable binding")

// Binding gives roles to those of a provider's people who have a subject, an address or a group: exactly one of the three.
type Binding struct {
	Issuer  string        `json:"issuer"`
	Subject string        `json:"subject,omitempty"`
	Email   string        `json:"email,omitempty"` // counts only where the provider has verified it
	Group   string        `json:"group,omitempty"`
	Roles   []access.Role `json:"roles"`
	Tenant  string        `json:"tenant,omitempty"` // in whose name; "" = of the whole fleet
}

// Validate checks a binding by itself. Roles that count within a tenant need one.
func (b Binding) Validate() error {
	named := 0
	for _, s := range []string{b.Subject, b.Email, b.Group} {
		if s != "" {
			named++
		}
	}
	switch {
	case named != 1:
		return fmt.Errorf("%w: name a subject, an email or a group", ErrBinding)
	case b.Issuer == "":
		return fmt.Errorf("%w: no issuer", ErrBinding)
	case len(b.Roles) == 0:
		return fmt.Errorf("%w: no role", ErrBinding)
	}
	for _, s := range []string{b.Issuer, b.Subject, b.Email, b.Group, b.Tenant} {
		if !plain(s) {
			return fmt.Errorf("%w: %.255q is longer than %d bytes or not printable", ErrBinding, s, MaxName)
		}
	}
	for _, r := range b.Roles {
		if !r.Valid() {
			return fmt.Errorf("%w: there is no role %.64q", ErrBinding, r)
		}
		if b.Tenant == "" && r.Confined() {
			return fmt.Errorf("%w: a %s needs a tenant", ErrBinding, r)
		}
	}
	return nil
}

// fits says whether a binding speaks of a person.
func (b Binding) fits(p Person) bool {
	named := false
	switch {
	case b.Issuer != p.Issuer:
	case b.Subject != "":
		named = b.Subject == p.Subject
	case b.Email != "":
		named = p.EmailVerified && lower(b.Email) == lower(p.Email)
	default:
		named = slices.Contains(p.Groups, b.Group)
	}
	return named && b.Validate() == nil
}

// lower changes ASCII letters only: other letters that a fold would make equal may be another person's.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

// Grant is what a person may do in the name of one tenant ("" = of none).
type Grant struct {
	Tenant string
	Roles  []access.Role // in the order of access.Roles, none twice
}

// GrantOf says what a person may do: in the name of a wanted tenant, or, if none is wanted, of the first by id that a binding names. Roles
// of other tenants do not count, those of the whole fleet always do. Without any role ok is false.
func GrantOf(p Person, bindings []Binding, wanted string) (g Grant, ok bool) {
	g.Tenant = wanted
	fit := slices.DeleteFunc(slices.Clone(bindings), func(b Binding) bool { return !b.fits(p) })
	if wanted == "" {
		for _, b := range fit {
			if b.Tenant != "" && (g.Tenant == "" || b.Tenant < g.Tenant) {
				g.Tenant = b.Tenant
			}
		}
	}
	for _, r := range access.Roles() {
		if slices.ContainsFunc(fit, func(b Binding) bool {
			return (b.Tenant == "" || b.Tenant == g.Tenant) && slices.Contains(b.Roles, r)
		}) {
			g.Roles = append(g.Roles, r)
		}
	}
	return g, len(g.Roles) > 0
}
