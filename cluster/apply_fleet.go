package cluster

import (
	"slices"

	"github.com/skein-project/skein/gpu"
)

func (s *State) init(c Init) error {
	subject := "cluster " + c.ID
	switch {
	case s.cluster.Rev != 0:
		return reject(ReasonExists, subject, "cluster %s is initialised", s.cluster.ID)
	case !validID(c.ID):
		return reject(ReasonInvalid, subject, "malformed id")
	case len(c.CACert) > MaxSecret || len(c.CAKey) > MaxSecret:
		return reject(ReasonLimit, subject, "certificate or key over %d bytes", MaxSecret)
	}
	s.cluster = Cluster{ID: c.ID, Feature: max(1, c.Feature), CACert: slices.Clone(c.CACert), CAKey: slices.Clone(c.CAKey), Rev: s.index}
	return nil
}

// setFeature raises the level. A level that this program does not know never gets here: Decode refuses the entry, loudly.
func (s *State) setFeature(c SetFeature) error {
	switch {
	case c.Was != s.cluster.Feature:
		return reject(ReasonStale, "feature level", "it is %d, not %d", s.cluster.Feature, c.Was)
	case c.Feature <= s.cluster.Feature:
		return reject(ReasonInvalid, "feature level", "it only rises")
	}
	s.cluster.Feature, s.cluster.Rev = c.Feature, s.index
	return nil
}

func (s *State) putMember(c PutMember) error {
	m, subject := c.Member, "member "+string(c.Member.ID)
	if _, _, err := before(s.members, m.ID, c.Was, subject, MaxMembers); err != nil {
		return err
	}
	switch {
	case !validID(string(m.ID)):
		return reject(ReasonInvalid, subject, "malformed id")
	case m.Role != RoleCoordinator && m.Role != RoleGateway:
		return reject(ReasonInvalid, subject, "role %.40q is neither coordinator nor gateway", m.Role)
	case !label(m.Name):
		return reject(ReasonLimit, subject, "name over %d characters", MaxName)
	case !visible(m.Addr, MaxAddr) || m.API != "" && !visible(m.API, MaxAddr):
		return reject(ReasonInvalid, subject, "malformed address")
	case s.gone.Has(m.ID):
		return reject(ReasonInvalid, subject, "it was removed: it has to join anew, with another id")
	}
	m.Rev = s.index
	s.members = s.members.Set(m.ID, m)
	return nil
}

func (s *State) deleteMember(c DeleteMember) error {
	subject := "member " + string(c.ID)
	if _, err := existing(s.members, c.ID, c.Was, subject); err != nil {
		return err
	}
	for v := range s.Versions() {
		if slices.Contains(v.Holders, c.ID) {
			return reject(ReasonInUse, subject, "version %s names it as a holder of its blobs", v.VersionID)
		}
	}
	s.members = s.members.Delete(c.ID)
	return s.leave(c.ID, subject)
}

// putNode believes the machine about itself: a device that vanished or shrank under its reservations is a fact, which the scheduler
// answers by placing anew.
func (s *State) putNode(c PutNode) error {
	n, subject := c.Node, "node "+string(c.Node.ID)
	old, found, err := before(s.nodes, n.ID, c.Was, subject, MaxNodes)
	if err == nil {
		err = s.checkNode(n, subject)
	}
	if err != nil {
		return err
	}
	n.Status, n.Why, n.Drain = NodeReady, "", nil
	switch {
	case found && old.Status != NodeLost:
		n.Status, n.Why = old.Status, old.Why
	case old.Drain != nil:
		n.Status, n.Why = NodeDraining, old.Drain.Why
	}
	n.Devices, n.Rev = slices.Clone(n.Devices), s.index
	s.removeDevices(old)
	s.addDevices(n)
	s.nodes = s.nodes.Set(n.ID, n)
	return nil
}

func (s *State) checkNode(n Node, subject string) error {
	switch {
	case !validID(string(n.ID)):
		return reject(ReasonInvalid, subject, "malformed id")
	case !label(n.Name) || !label(n.Zone) || !label(n.Software):
		return reject(ReasonLimit, subject, "name, zone or software over %d characters", MaxName)
	case !visible(n.Addr, MaxAddr):
		return reject(ReasonInvalid, subject, "malformed address")
	case s.gone.Has(n.ID):
		return reject(ReasonInvalid, subject, "it was removed: it has to join anew, with another id")
	case len(n.Devices) > MaxDevices:
		return reject(ReasonLimit, subject, "%d devices, at most %d are allowed", len(n.Devices), MaxDevices)
	}
	for i, d := range n.Devices {
		switch owner, owned := s.owners.Get(d.ID); {
		case !validDevice(d.ID) || !visible(string(d.Kind), MaxName) || !label(d.Name) || !label(d.Compute):
			return reject(ReasonInvalid, subject, "device %d: malformed id, kind, name or compute capability", i)
		case d.Memory < 0 || d.Memory > gpu.MaxMemory || d.Cores < 0 || d.Cores > MaxWidth:
			return reject(ReasonInvalid, subject, "device %s: memory or cores out of range", d.ID)
		case slices.ContainsFunc(n.Devices[:i], func(o gpu.Device) bool { return o.ID == d.ID }):
			return reject(ReasonInvalid, subject, "device %s is listed twice", d.ID)
		case owned && owner != n.ID:
			return reject(ReasonExists, subject, "device %s belongs to node %s", d.ID, owner)
		}
	}
	return nil
}

func (s *State) setNodeStatus(c SetNodeStatus) error {
	subject := "node " + string(c.ID)
	n, err := existing(s.nodes, c.ID, c.Was, subject)
	if err != nil {
		return err
	}
	if c.Status != NodeReady && c.Status != NodeDraining && c.Status != NodeLost {
		return reject(ReasonInvalid, subject, "unknown status %.40q", c.Status)
	}
	switch {
	case c.Status == NodeLost && n.Status == NodeDraining:
		n.Drain = &Drain{n.Why}
		n.Status, n.Why = c.Status, clip(c.Why)
	case c.Status == NodeDraining && n.Status == NodeLost: // until it reports, what is wished does not make it reachable
		n.Drain = &Drain{clip(c.Why)}
	case c.Status == NodeReady && n.Status == NodeLost:
		n.Drain = nil
	default:
		n.Status, n.Why = c.Status, clip(c.Why)
	}
	n.Rev = s.index
	s.nodes = s.nodes.Set(n.ID, n)
	return nil
}

func (s *State) deleteNode(c DeleteNode) error {
	subject := "node " + string(c.ID)
	n, err := existing(s.nodes, c.ID, c.Was, subject)
	if err != nil {
		return err
	}
	for r := range s.ReplicasOn(c.ID) {
		return reject(ReasonInUse, subject, "replica %s has a stage on it", r.ReplicaID)
	}
	s.removeDevices(n)
	s.nodes = s.nodes.Delete(c.ID)
	s.quarantines = s.quarantines.Delete(QuarantineID{Node: c.ID})
	return s.leave(c.ID, subject)
}

func (s *State) putJoinToken(c PutJoinToken) error {
	t, subject := c.Token, "join token "+shorten(c.Token.Hash)
	for _, old := range slices.Collect(s.JoinTokens()) {
		if old.Expires+TokenKept < s.at {
			s.tokens = s.tokens.Delete(text(old.Hash))
		}
	}
	switch {
	case s.tokens.Has(text(t.Hash)):
		return reject(ReasonExists, subject, "it exists")
	case s.tokens.Len() >= MaxTokens:
		return reject(ReasonLimit, subject, "there are %d already", MaxTokens)
	case !visible(t.Hash, MaxSecret):
		return reject(ReasonInvalid, subject, "malformed hash")
	case t.Role != RoleCoordinator && t.Role != RoleGateway && t.Role != RoleNode:
		return reject(ReasonInvalid, subject, "unknown role %.40q", t.Role)
	case t.Expires <= s.at:
		return reject(ReasonExpired, subject, "it would be expired from the start")
	}
	t.UsedBy, t.Rev = "", s.index
	s.tokens = s.tokens.Set(text(t.Hash), t)
	return nil
}

func (s *State) useJoinToken(c UseJoinToken) error {
	subject := "join token " + shorten(c.Hash)
	t, found := s.tokens.Get(text(c.Hash))
	switch {
	case !found:
		return reject(ReasonNotFound, subject, "it does not exist")
	case t.UsedBy != "":
		return reject(ReasonUsed, subject, "%s used it", t.UsedBy)
	case t.Expires <= s.at:
		return reject(ReasonExpired, subject, "it is expired")
	case t.Role != c.Role:
		return reject(ReasonInvalid, subject, "it is for a %s, not a %.40s", t.Role, c.Role)
	case !validID(string(c.By)):
		return reject(ReasonInvalid, subject, "malformed id of its user")
	case s.taken(c.By):
		return reject(ReasonExists, subject, "%s is a member's id", c.By)
	}
	t.UsedBy, t.Rev = c.By, s.index
	s.tokens = s.tokens.Set(text(t.Hash), t)
	return nil
}

// taken says whether an id belongs to somebody: whoever joins with it would be certified to speak for them.
func (s *State) taken(id NodeID) bool {
	return s.members.Has(id) || s.nodes.Has(id) || s.Enrolled(id) || s.gone.Has(id)
}

func (s *State) putKey(c PutKey) error {
	k, subject := c.Key, "key "+c.Key.ID
	old, found, err := before(s.keys, text(k.ID), c.Was, subject, MaxKeys)
	if err != nil {
		return err
	}
	switch {
	case !validID(k.ID):
		return reject(ReasonInvalid, subject, "malformed id")
	case !label(k.Name):
		return reject(ReasonLimit, subject, "name over %d characters", MaxName)
	case !visible(k.Hash, MaxSecret):
		return reject(ReasonInvalid, subject, "malformed hash")
	case found && k.Hash != old.Hash:
		return reject(ReasonInvalid, subject, "its hash cannot change")
	case found && old.Revoked && !k.Revoked:
		return reject(ReasonInvalid, subject, "it is revoked for good")
	case found && (k.Owner() != old.Owner() || k.App != old.App):
		return reject(ReasonInvalid, subject, "its tenant and application cannot change")
	case !found && s.hashes.Has(text(k.Hash)):
		return reject(ReasonExists, subject, "another key has its hash")
	}
	if err := s.checkKey(k, subject); err != nil {
		return err
	}
	k.Roles, k.Models, k.Created, k.Rev = slices.Clone(k.Roles), slices.Clone(k.Models), s.at, s.index
	if found {
		k.Created = old.Created
	}
	s.keys = s.keys.Set(text(k.ID), k)
	s.hashes = s.hashes.Set(text(k.Hash), k.ID)
	return nil
}

// shorten cuts a hash for people.
func shorten(hash string) string { return hash[:min(12, len(hash))] }
