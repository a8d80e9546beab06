package cluster

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/skein-project/skein/access"
)

// DefaultTenant is the tenant of everything that names none. It exists in every cluster, also before it is written.
const DefaultTenant = "default"

// DefaultWeight is a tenant's weight in the fair share, unless it has another.
const DefaultWeight = 100

// Tenant is a business system: who calls, who owns models, who is billed.
type Tenant struct {
	ID       string   `json:"id"`
	Name     string   `json:"name,omitempty"`
	Weight   int      `json:"weight"`             // of its fair share when the fleet is full, 1 to MaxWeight
	Models   []string `json:"models,omitempty"`   // patterns of what it may call, see Granted
	Replicas int      `json:"replicas,omitempty"` // most that its deployments may want together, see Deployment.Most; 0 = no bound
	Disabled bool     `json:"disabled,omitempty"`
	Created  Millis   `json:"created"`
	Rev      Index    `json:"rev"`
}

// AppID names an application.
type AppID struct {
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
}

func (a AppID) String() string { return a.Tenant + "/" + a.ID }

// Compare orders applications by tenant and id.
func (a AppID) Compare(o AppID) int {
	if c := strings.Compare(a.Tenant, o.Tenant); c != 0 {
		return c
	}
	return strings.Compare(a.ID, o.ID)
}

// Application is a third party that calls in the name of a tenant: it may do less, for a while, from some places.
type Application struct {
	AppID
	Name     string         `json:"name,omitempty"`
	Models   []string       `json:"models,omitempty"`  // patterns; both these and the tenant's must match
	Sources  []netip.Prefix `json:"sources,omitempty"` // addresses it may call from; none = anywhere
	Expires  Millis         `json:"expires,omitempty"` // 0 = never
	Disabled bool           `json:"disabled,omitempty"`
	Created  Millis         `json:"created"`
	Rev      Index          `json:"rev"`
}

// Granted says whether one of the patterns covers a name that a client calls: "*" covers all, "team/*" what begins with "team/", any
// other only itself. The grant of a model covers its versions ("calc" covers "calc@2").
func Granted(patterns []string, name string) bool {
	if v, ok := ParseVersionID(name); ok {
		name = v.Model
	}
	return slices.ContainsFunc(patterns, func(p string) bool {
		front, all := strings.CutSuffix(p, "*")
		return p == name || all && strings.HasPrefix(name, front)
	})
}

// Roles are what a key may do.
func (k Key) RoleSet() []access.Role {
	if k.Admin {
		return []access.Role{access.Admin}
	}
	if len(k.Roles) == 0 {
		return []access.Role{access.Caller} // keys of feature level 1
	}
	return k.Roles
}

// Owner is the tenant that a key belongs to.
func (k Key) Owner() string {
	if k.Tenant == "" {
		return DefaultTenant
	}
	return k.Tenant
}

// Tenant finds a tenant.
func (s State) Tenant(id string) (Tenant, bool) {
	t, ok := s.tenants.Get(text(id))
	if !ok && id == DefaultTenant {
		return Tenant{ID: id, Weight: DefaultWeight, Models: []string{"*"}}, true
	}
	return t, ok
}

// Application finds an application.
func (s State) Application(id AppID) (Application, bool) { return s.apps.Get(id) }

// Refusal says why a key is not valid.
type Refusal string

// Refusals.
const (
	KeyUnknown  Refusal = "the key is not known"
	KeyRevoked  Refusal = "the key is revoked"
	KeySuspend  Refusal = "the key is suspended: the cluster was restored from a backup, and an admin has to resume it"
	KeyExpired  Refusal = "the key has expired"
	TenantGone  Refusal = "the key's tenant does not exist or is disabled"
	AppGone     Refusal = "the key's application does not exist, is disabled or has expired"
	SourceWrong Refusal = "the key's application may not call from this address"
)

// Admit says who presents a key, by the hash of it; "" = it is valid. now is the wall clock, from the address of the caller (the
// zero Addr = not known, which an application with sources refuses).
func (s State) Admit(hash string, now Millis, from netip.Addr) (Principal, Refusal) {
	k, ok := s.KeyByHash(hash)
	switch {
	case !ok:
		return Principal{}, KeyUnknown
	case k.Revoked:
		return Principal{}, KeyRevoked
	case k.Suspended:
		return Principal{}, KeySuspend
	case k.Expires != 0 && k.Expires <= now:
		return Principal{}, KeyExpired
	}
	p := Principal{Tenant: k.Owner(), App: k.App, Key: k.ID, Roles: k.RoleSet(), scopes: k.Models}
	if t, ok := s.Tenant(p.Tenant); !ok || t.Disabled {
		return p, TenantGone
	}
	if k.App == "" {
		return p, ""
	}
	a, ok := s.Application(AppID{p.Tenant, k.App})
	switch {
	case !ok, a.Disabled, a.Expires != 0 && a.Expires <= now:
		return p, AppGone
	case len(a.Sources) > 0 && !slices.ContainsFunc(a.Sources, func(n netip.Prefix) bool { return n.Contains(from.Unmap()) }):
		return p, SourceWrong
	}
	return p, ""
}

// Principal is who makes a call.
type Principal struct {
	Tenant string
	App    string // "" = the tenant itself
	Key    string // visible id; "" for a person
	Person string // who a person is, for people; "" for a key
	Roles  []access.Role
	scopes []string // the key's own patterns; none = all of the application's or tenant's
}

// String names a principal in records, without any secret.
func (p Principal) String() string {
	switch {
	case p.Person != "":
		return "person " + p.Person
	case p.App != "":
		return "key " + p.Key + " of " + p.Tenant + "/" + p.App
	}
	return "key " + p.Key + " of " + p.Tenant
}

// May says whether the principal's roles give a permission.
func (p Principal) May(want access.Permission) bool { return access.Allows(p.Roles, want) }

// MayCall says whether a principal may call a name: its tenant's grants, its application's and its key's own must all cover it.
func (s State) MayCall(p Principal, name string) bool {
	t, ok := s.Tenant(p.Tenant)
	if !ok || t.Disabled || !Granted(t.Models, name) {
		return false
	}
	if p.App != "" {
		a, ok := s.Application(AppID{p.Tenant, p.App})
		if !ok || a.Disabled || !Granted(a.Models, name) {
			return false
		}
	}
	return len(p.scopes) == 0 || Granted(p.scopes, name)
}

// PutTenant creates or changes a tenant. Created is set to the entry's time.
type PutTenant struct {
	Tenant Tenant `json:"tenant"`
	Was    Index  `json:"was"`
}

// DeleteTenant removes a tenant with its applications, keys and limits. Rejected while it owns a model or a deployment. What it used
// stays in the bill.
type DeleteTenant struct {
	ID  string `json:"id"`
	Was Index  `json:"was"`
}

// PutApplication creates or changes an application of a tenant.
type PutApplication struct {
	Application Application `json:"application"`
	Was         Index       `json:"was"`
}

// DeleteApplication removes an application with its keys and limits.
type DeleteApplication struct {
	ID  AppID `json:"id"`
	Was Index `json:"was"`
}

func (PutTenant) tag() string         { return "put_tenant" }
func (DeleteTenant) tag() string      { return "delete_tenant" }
func (PutApplication) tag() string    { return "put_application" }
func (DeleteApplication) tag() string { return "delete_application" }

// pattern says that a text can stand in a list of grants.
func pattern(p string) bool {
	front, all := strings.CutSuffix(p, "*")
	if all && front == "" {
		return true
	}
	if all {
		inner, ok := strings.CutSuffix(front, "/")
		return ok && ValidName(inner)
	}
	return ValidName(p)
}

func checkPatterns(list []string, subject string) error {
	if len(list) > MaxGrants {
		return reject(ReasonLimit, subject, "%d patterns of models, at most %d are allowed", len(list), MaxGrants)
	}
	for _, p := range list {
		if !pattern(p) {
			return reject(ReasonInvalid, subject, "malformed pattern of models %.128q: want a name, \"team/*\" or \"*\"", p)
		}
	}
	return nil
}

func (s *State) putTenant(c PutTenant) error {
	t, subject := c.Tenant, "tenant "+c.Tenant.ID
	old, found, err := before(s.tenants, text(t.ID), c.Was, subject, MaxTenants)
	if err != nil {
		return err
	}
	switch {
	case !validID(t.ID):
		return reject(ReasonInvalid, subject, "malformed id")
	case !label(t.Name):
		return reject(ReasonLimit, subject, "name over %d characters", MaxName)
	case t.Weight < 1 || t.Weight > MaxWeight:
		return reject(ReasonInvalid, subject, "a weight of %d, 1 to %d are allowed", t.Weight, MaxWeight)
	case t.Replicas < 0:
		return reject(ReasonInvalid, subject, "a bound of %d replicas: want at least 0", t.Replicas)
	case t.ID == DefaultTenant && t.Disabled:
		return reject(ReasonInvalid, subject, "the default tenant cannot be disabled")
	}
	if err := checkPatterns(t.Models, subject); err != nil {
		return err
	}
	t.Models, t.Created, t.Rev = slices.Clone(t.Models), s.at, s.index
	if found {
		t.Created = old.Created
	}
	s.tenants = s.tenants.Set(text(t.ID), t)
	return nil
}

func (s *State) deleteTenant(c DeleteTenant) error {
	subject := "tenant " + c.ID
	if _, err := existing(s.tenants, text(c.ID), c.Was, subject); err != nil {
		return err
	}
	if c.ID == DefaultTenant {
		return reject(ReasonInUse, subject, "it is the default tenant")
	}
	for m := range s.Models() {
		if m.Owner == c.ID {
			return reject(ReasonInUse, subject, "it owns model %s", m.Name)
		}
	}
	for d := range s.Deployments() {
		if d.Owner == c.ID {
			return reject(ReasonInUse, subject, "it owns deployment %s", d.Version)
		}
	}
	for k := range s.Keys() {
		if k.Owner() == c.ID {
			s.dropKey(k)
		}
	}
	for id := range s.apps.From(AppID{Tenant: c.ID}) {
		if id.Tenant != c.ID {
			break
		}
		s.apps = s.apps.Delete(id)
		s.dropLimits(AppSubject(id))
	}
	s.dropDocuments(c.ID)
	s.dropLimits(TenantSubject(c.ID))
	s.tenants = s.tenants.Delete(text(c.ID))
	return nil
}

// dropKey forgets a key with its limits. Its hash is unknown then, so whoever presents it is refused.
func (s *State) dropKey(k Key) {
	s.keys = s.keys.Delete(text(k.ID))
	s.hashes = s.hashes.Delete(text(k.Hash))
	s.dropLimits(KeySubject(k.ID))
}

func (s *State) putApplication(c PutApplication) error {
	a, subject := c.Application, "application "+c.Application.AppID.String()
	old, found, err := before(s.apps, a.AppID, c.Was, subject, MaxApps)
	if err != nil {
		return err
	}
	switch {
	case !validID(a.ID):
		return reject(ReasonInvalid, subject, "malformed id")
	case !label(a.Name):
		return reject(ReasonLimit, subject, "name over %d characters", MaxName)
	case len(a.Sources) > MaxSources:
		return reject(ReasonLimit, subject, "%d source networks, at most %d are allowed", len(a.Sources), MaxSources)
	case slices.ContainsFunc(a.Sources, func(n netip.Prefix) bool { return !n.IsValid() || n.Masked() != n }):
		return reject(ReasonInvalid, subject, "malformed source network")
	case a.Expires < 0:
		return reject(ReasonInvalid, subject, "malformed expiry")
	}
	if _, ok := s.Tenant(a.Tenant); !ok {
		return reject(ReasonNotFound, subject, "its tenant does not exist")
	}
	if err := checkPatterns(a.Models, subject); err != nil {
		return err
	}
	a.Models, a.Sources, a.Created, a.Rev = slices.Clone(a.Models), slices.Clone(a.Sources), s.at, s.index
	if found {
		a.Created = old.Created
	}
	s.apps = s.apps.Set(a.AppID, a)
	return nil
}

func (s *State) deleteApplication(c DeleteApplication) error {
	if _, err := existing(s.apps, c.ID, c.Was, "application "+c.ID.String()); err != nil {
		return err
	}
	for k := range s.Keys() {
		if k.Owner() == c.ID.Tenant && k.App == c.ID.ID {
			s.dropKey(k)
		}
	}
	s.apps = s.apps.Delete(c.ID)
	s.dropLimits(AppSubject(c.ID))
	return nil
}

// checkKey checks what feature level 2 added to a key.
func (s *State) checkKey(k Key, subject string) error {
	switch {
	case len(k.Roles) > MaxRoles || slices.ContainsFunc(k.Roles, func(r access.Role) bool { return !r.Valid() }):
		return reject(ReasonInvalid, subject, "unknown role in %.128q", k.Roles)
	case k.Expires < 0:
		return reject(ReasonInvalid, subject, "malformed expiry")
	}
	if _, ok := s.Tenant(k.Owner()); !ok {
		return reject(ReasonNotFound, subject, "tenant %.64s does not exist", k.Tenant)
	}
	if k.App != "" && !s.apps.Has(AppID{k.Owner(), k.App}) {
		return reject(ReasonNotFound, subject, "application %.128s does not exist", AppID{k.Owner(), k.App})
	}
	return checkPatterns(k.Models, subject)
}
