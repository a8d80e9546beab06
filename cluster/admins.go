package cluster

import (
	"slices"

	"github.com/skein-project/skein/access"
)

// IsAdmin says whether a key gives the role that may do everything.
func (k Key) IsAdmin() bool { return slices.Contains(k.RoleSet(), access.Admin) }

// Administrable says whether somebody can administer the cluster by a key that is valid at the state's time, from wherever that key's
// application may call. People count for nothing here: their provider may be away, or be what has to be mended.
func (s State) Administrable() bool {
	for k := range s.Keys() {
		if k.IsAdmin() && s.holds(k) {
			return true
		}
	}
	return false
}

// holds says whether a key is valid at the state's time, from wherever its application may call.
func (s State) holds(k Key) bool {
	t, ok := s.Tenant(k.Owner())
	if k.Revoked || k.Suspended || k.Expires != 0 && k.Expires <= s.at || !ok || t.Disabled {
		return false
	}
	a, ok := s.Application(AppID{k.Owner(), k.App})
	return k.App == "" || ok && !a.Disabled && (a.Expires == 0 || a.Expires > s.at)
}

// mayLockOut says whether a command may take an admin key's validity; what it says no to is not looked at further.
func (s State) mayLockOut(c Command) bool {
	switch c := c.(type) {
	case PutKey:
		old, ok := s.Key(c.Key.ID)
		return ok && old.IsAdmin()
	case PutTenant:
		return c.Tenant.Disabled
	case PutApplication:
		return c.Application.Disabled || c.Application.Expires != 0
	case DeleteTenant, DeleteApplication:
		return true
	}
	return false
}

// checkAdmins refuses a transaction after which nobody could administer the cluster, where somebody could before. Logs of level 2 have
// such transactions: there the operator's API alone asked, and two that each left the other's key could pass at once.
func (s State) checkAdmins(t Txn, after State) error {
	if s.cluster.Feature < 3 || !slices.ContainsFunc(t.Do, s.mayLockOut) || after.Administrable() || !s.Administrable() {
		return nil
	}
	return reject(ReasonLastAdmin, "transaction", "it takes the last valid admin key: nobody could make another")
}
