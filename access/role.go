// Package access says which role may do what, and which permission a procedure needs.
package access

import (
	"slices"

	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
)

// Permission is a kind of deed. The set is closed, and written in api/skein/access/v1.
type Permission = accessv1.Permission

// Role is what somebody is to the cluster. The set is closed.
type Role string

// Roles.
const (
	Viewer    Role = "viewer"    // sees the fleet, changes nothing
	Caller    Role = "caller"    // calls models in the name of a tenant
	Publisher Role = "publisher" // keeps a tenant's own models, and says how they are served
	Operator  Role = "operator"  // keeps the fleet running: nodes, placements, alerts
	Admin     Role = "admin"     // may do everything: also who may do what, what it costs, and what was done
)

// Roles lists every role.
func Roles() []Role { return []Role{Viewer, Caller, Publisher, Operator, Admin} }

// Valid says whether a role exists.
func (r Role) Valid() bool { return slices.Contains(Roles(), r) }

// Confined says that a role counts only for what belongs to the tenant of whoever has it. The others count for the whole fleet.
func (r Role) Confined() bool { return r == Caller || r == Publisher }

// givers lists the roles that give a permission, without Admin, which gives them all.
var givers = map[Permission][]Role{
	accessv1.Permission_PERMISSION_SELF_READ:         {Viewer, Caller, Publisher, Operator},
	accessv1.Permission_PERMISSION_INFER:             {Caller, Publisher},
	accessv1.Permission_PERMISSION_MODELS_READ:       {Viewer, Publisher, Operator},
	accessv1.Permission_PERMISSION_MODELS_WRITE:      {Publisher, Operator},
	accessv1.Permission_PERMISSION_DEPLOYMENTS_READ:  {Viewer, Publisher, Operator},
	accessv1.Permission_PERMISSION_DEPLOYMENTS_WRITE: {Publisher, Operator},
	accessv1.Permission_PERMISSION_PLACEMENT_WRITE:   {Operator},
	accessv1.Permission_PERMISSION_NODES_READ:        {Viewer, Operator},
	accessv1.Permission_PERMISSION_NODES_WRITE:       {Operator},
	accessv1.Permission_PERMISSION_MEMBERS_READ:      {Viewer, Operator},
	accessv1.Permission_PERMISSION_MEMBERS_WRITE:     {},
	accessv1.Permission_PERMISSION_KEYS_READ:         {Operator},
	accessv1.Permission_PERMISSION_KEYS_WRITE:        {},
	accessv1.Permission_PERMISSION_TENANTS_READ:      {Viewer, Operator},
	accessv1.Permission_PERMISSION_TENANTS_WRITE:     {},
	accessv1.Permission_PERMISSION_PEOPLE_READ:       {},
	accessv1.Permission_PERMISSION_PEOPLE_WRITE:      {},
	accessv1.Permission_PERMISSION_LIMITS_READ:       {Viewer, Publisher, Operator},
	accessv1.Permission_PERMISSION_LIMITS_WRITE:      {},
	accessv1.Permission_PERMISSION_USAGE_READ:        {Viewer, Publisher, Operator},
	accessv1.Permission_PERMISSION_PRICES_READ:       {Viewer, Publisher, Operator},
	accessv1.Permission_PERMISSION_PRICES_WRITE:      {},
	accessv1.Permission_PERMISSION_ALERTS_READ:       {Viewer, Operator},
	accessv1.Permission_PERMISSION_ALERTS_WRITE:      {Operator},
	accessv1.Permission_PERMISSION_SILENCES_WRITE:    {Operator},
	accessv1.Permission_PERMISSION_METRICS_READ:      {Viewer, Operator},
	accessv1.Permission_PERMISSION_AUDIT_READ:        {},
	accessv1.Permission_PERMISSION_RECORDINGS_READ:   {Operator},
	accessv1.Permission_PERMISSION_BACKUP:            {},
	accessv1.Permission_PERMISSION_VIEWS_READ:        {Viewer, Caller, Publisher, Operator},
	accessv1.Permission_PERMISSION_VIEWS_WRITE:       {Publisher, Operator},
	accessv1.Permission_PERMISSION_RESULTS_READ:      {Publisher}, // not those who keep the fleet running: it is what tenants asked
	accessv1.Permission_PERMISSION_RESULTS_WRITE:     {Publisher},
	accessv1.Permission_PERMISSION_HEALTH:            {Viewer, Caller, Publisher, Operator}, // and nobody is asked who they are
}

// gives says whether a role gives a permission.
func (r Role) gives(p Permission) bool {
	roles, known := givers[p]
	return known && (r == Admin || slices.Contains(roles, r))
}

// Allows says whether one of the roles gives a permission, be it only for what belongs to the holder's own tenant.
func Allows(roles []Role, p Permission) bool {
	return slices.ContainsFunc(roles, func(r Role) bool { return r.gives(p) })
}

// AllowsEverywhere says whether one of the roles gives a permission for what belongs to any tenant. Where Allows alone is true, whoever
// answers a call keeps what belongs to other tenants out of it.
func AllowsEverywhere(roles []Role, p Permission) bool {
	return slices.ContainsFunc(roles, func(r Role) bool { return r.gives(p) && !r.Confined() })
}
