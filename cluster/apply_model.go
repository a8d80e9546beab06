package cluster

import (
	"slices"
	"unicode/utf8"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

func (s *State) putVersion(c PutVersion) error {
	v, subject := c.Version, "version "+c.Version.String()
	if !ValidName(v.Model) {
		return reject(ReasonInvalid, "version", "malformed model name %.200q", v.Model)
	}
	switch next := s.NextNumber(v.Model); {
	case v.Number < next:
		return reject(ReasonExists, subject, "the next number is %d", next)
	case v.Number > next:
		return reject(ReasonStale, subject, "the next number is %d", next)
	case s.versions.Len() >= MaxVersions:
		return reject(ReasonLimit, subject, "there are %d versions already", MaxVersions)
	case v.Manifest.IsZero():
		return reject(ReasonInvalid, subject, "it names no manifest")
	case len(v.Tasks) > MaxTasks || slices.ContainsFunc(v.Tasks, func(t string) bool { return !visible(t, MaxName) }):
		return reject(ReasonInvalid, subject, "malformed tasks")
	case v.Format != "" && !visible(v.Format, MaxName):
		return reject(ReasonInvalid, subject, "malformed format")
	case v.Bytes < 0:
		return reject(ReasonInvalid, subject, "negative size")
	case utf8.RuneCountInString(v.Source) > MaxWhy:
		return reject(ReasonLimit, subject, "source over %d characters", MaxWhy)
	}
	if c.Owner != "" {
		if _, ok := s.Tenant(c.Owner); !ok {
			return reject(ReasonNotFound, subject, "tenant %.64s does not exist", c.Owner)
		}
		if !s.MayPublish(c.Owner, v.Model) {
			return reject(ReasonOwner, subject, "%s", NotYours)
		}
	}
	if err := checkTraits(v.Traits, subject); err != nil {
		return err
	}
	if err := checkProfile(v.Profile, subject); err != nil {
		return err
	}
	holders, err := s.checkHolders(v.Holders, subject)
	if err != nil {
		return err
	}
	if need := min(2, s.coordinators()); len(holders) < need && !v.Bucket {
		return reject(ReasonInvalid, subject, "its blobs are on %d coordinators, and must be on %d before it exists", len(holders), need)
	}
	v.Holders, v.Tasks = holders, slices.Clone(v.Tasks)
	v.Profile.Blocks = slices.Clone(v.Profile.Blocks)
	if v.Traits != nil {
		t := *v.Traits
		t.Inputs = slices.Clone(t.Inputs)
		v.Traits = &t
	}
	v.Created, v.Rev = s.at, s.index
	s.versions = s.versions.Set(v.VersionID, v)
	if err := s.lengthen(v.VersionID, c.Owner); err != nil {
		return err
	}
	if name := text(v.Model); v.Number == 1 && !s.aliases.Has(name) && s.aliases.Len() < MaxAliases {
		s.aliases = s.aliases.Set(name, Alias{Name: v.Model, Target: v.VersionID, Rev: s.index})
	}
	return nil
}

// lengthen adds a version to its model's lineage. A model that owner begins is owner's; one that has no version left, and gets one
// again, is still whose it was, unless that tenant is gone.
func (s *State) lengthen(v VersionID, owner string) error {
	if l, begun := s.lineages.Get(text(v.Model)); begun {
		owner = l.Owner
	}
	s.lineages = s.lineages.Set(text(v.Model), lineage{Model: v.Model, Number: v.Number})
	if _, ok := s.Tenant(owner); !ok || owner == DefaultTenant || s.models.Has(text(v.Model)) {
		return nil
	}
	return s.putModel(PutModel{Model: Model{Name: v.Model, Owner: owner}})
}

func checkProfile(p shard.Profile, subject string) error {
	if len(p.Blocks) < 1 || len(p.Blocks) > MaxLayers {
		return reject(ReasonInvalid, subject, "%d blocks, 1 to %d are allowed", len(p.Blocks), MaxLayers)
	}
	for _, b := range append([]gpu.Bytes{p.Embed, p.Tail, p.Shared, p.KVToken}, p.Blocks...) {
		if b < 0 || b > gpu.MaxMemory {
			return reject(ReasonInvalid, subject, "profile: %d bytes are out of range", int64(b))
		}
	}
	for _, n := range []int{p.Hidden, p.Vocab, p.Positions, p.Expand, p.Inner} {
		if n < 0 || n > MaxWidth {
			return reject(ReasonInvalid, subject, "profile: a width of %d is out of range", n)
		}
	}
	if p.BlockCost < 0 || p.TailCost < 0 {
		return reject(ReasonInvalid, subject, "profile: negative cost")
	}
	return nil
}

func checkTraits(t *Traits, subject string) error {
	if t == nil {
		return nil
	}
	digest := func(d string) bool { return d == "" || visible(d, MaxName) }
	switch {
	case len(t.Inputs) > MaxTasks || slices.ContainsFunc(t.Inputs, func(t string) bool { return !visible(t, MaxName) }):
		return reject(ReasonInvalid, subject, "malformed traits: inputs")
	case t.Vector < 0 || t.Vector > MaxWidth || t.Context < 0 || t.Context > MaxWidth:
		return reject(ReasonInvalid, subject, "malformed traits: a width is out of range")
	case !digest(t.Labels) || !digest(t.Template) || !digest(t.Tokens):
		return reject(ReasonInvalid, subject, "malformed traits: a digest")
	}
	return nil
}

// checkHolders returns the holders sorted.
func (s *State) checkHolders(holders []NodeID, subject string) ([]NodeID, error) {
	sorted := slices.Sorted(slices.Values(holders))
	if len(sorted) > MaxMembers || len(slices.Compact(slices.Clone(sorted))) != len(sorted) {
		return nil, reject(ReasonInvalid, subject, "a holder is named twice")
	}
	for _, h := range sorted {
		if m, ok := s.members.Get(h); !ok || m.Role != RoleCoordinator {
			return nil, reject(ReasonNotFound, subject, "holder %.64s is no coordinator", h)
		}
	}
	return sorted, nil
}

func (s *State) coordinators() (n int) {
	for m := range s.Members() {
		if m.Role == RoleCoordinator {
			n++
		}
	}
	return n
}

func (s *State) setHolders(c SetHolders) error {
	subject := "version " + c.Version.String()
	v, err := existing(s.versions, c.Version, c.Was, subject)
	if err != nil {
		return err
	}
	if v.Holders, err = s.checkHolders(c.Holders, subject); err != nil {
		return err
	}
	if len(v.Holders) == 0 {
		return reject(ReasonInvalid, subject, "its blobs would be nowhere")
	}
	v.Rev = s.index
	s.versions = s.versions.Set(v.VersionID, v)
	return nil
}

func (s *State) deleteVersion(c DeleteVersion) error {
	subject := "version " + c.Version.String()
	if _, err := existing(s.versions, c.Version, c.Was, subject); err != nil {
		return err
	}
	if s.deployments.Has(c.Version) {
		return reject(ReasonInUse, subject, "it is deployed")
	}
	for r := range s.ReplicasOf(c.Version) {
		return reject(ReasonInUse, subject, "replica %s is left of it", r.ReplicaID)
	}
	for a := range s.Aliases() {
		if a.Target == c.Version || a.tries(c.Version) {
			return reject(ReasonInUse, subject, "alias %s points at it", a.Name)
		}
		if i := slices.Index(a.History, c.Version); i >= 0 {
			a.History = slices.DeleteFunc(slices.Clone(a.History), func(v VersionID) bool { return v == c.Version })
			a.Rev = s.index
			s.aliases = s.aliases.Set(text(a.Name), a)
		}
	}
	for id := range s.marks.From(ReplicaID{Version: c.Version, Ordinal: -1}) {
		if id.Version != c.Version {
			break
		}
		s.marks = s.marks.Delete(id)
	}
	s.versions = s.versions.Delete(c.Version)
	if !s.published(c.Version.Model) { // what is written about nothing would keep its owner from being deleted
		if owner := s.Model(c.Version.Model).Owner; owner != DefaultTenant {
			s.lineages = s.lineages.Set(text(c.Version.Model), lineage{c.Version.Model, s.NextNumber(c.Version.Model) - 1, owner})
		}
		s.models = s.models.Delete(text(c.Version.Model))
	}
	return nil
}

func (s *State) putAlias(c PutAlias) error {
	subject := "alias " + c.Name
	a, found, err := before(s.aliases, text(c.Name), c.Was, subject, MaxAliases)
	switch {
	case err != nil:
		return err
	case !ValidName(c.Name):
		return reject(ReasonInvalid, "alias", "malformed name %.200q", c.Name)
	case !s.versions.Has(c.Target):
		return reject(ReasonNotFound, subject, "version %s does not exist", c.Target)
	case found:
		if err := s.checkTarget(a.Target, c.Target, c.Force, c.Accept, subject); err != nil {
			return err
		}
	}
	a.endCanary(false)
	if a.Target != c.Target && s.cluster.Feature >= 2 {
		a.Since = s.at
	}
	if found && a.Target != c.Target {
		a.History = append(slices.Clone(a.History), a.Target)
		a.History = a.History[max(0, len(a.History)-MaxHistory):]
	}
	a.Name, a.Target, a.Rev = c.Name, c.Target, s.index
	s.aliases = s.aliases.Set(text(a.Name), a)
	return nil
}

// tries says whether an alias's rollout sends requests to a version.
func (a Alias) tries(v VersionID) bool {
	r := a.Rollout
	return r != nil && (r.Canary != nil && r.Canary.Version == v || r.Shadow != nil && r.Shadow.Version == v)
}

// endCanary takes the canary out of an alias's rollout, and the wish to follow where asked; a rollout of nothing goes.
func (a *Alias) endCanary(unfollow bool) {
	if a.Rollout == nil {
		return
	}
	r := *a.Rollout
	r.Canary, r.Follow = nil, r.Follow && !unfollow
	if a.Rollout = &r; r == (Rollout{}) {
		a.Rollout = nil
	}
}

// wakes says whether a version has no replica only because nobody calls it: the first request brings one.
func (s *State) wakes(v VersionID) bool {
	d, ok := s.deployments.Get(v)
	return ok && d.Need != nil && d.Wanted() == 0
}

// checkFlip refuses to point clients from a version that answers to one that does not.
func (s *State) checkFlip(from, to VersionID, subject string) error {
	if from != to && s.answers(from) && !s.answers(to) && !s.wakes(to) {
		return reject(ReasonNoReplica, subject, "%s has a ready replica and %s has none", from, to)
	}
	return nil
}

func (s *State) rollbackAlias(c RollbackAlias) error {
	subject := "alias " + c.Name
	a, err := existing(s.aliases, text(c.Name), c.Was, subject)
	if err != nil {
		return err
	}
	if a.Rollout != nil && a.Rollout.Canary != nil {
		a.endCanary(true)
		a.Rev = s.index
		s.aliases = s.aliases.Set(text(a.Name), a)
		return nil
	}
	last := len(a.History) - 1
	if last < 0 {
		return reject(ReasonNotFound, subject, "it has no earlier target")
	}
	to := a.History[last]
	if !c.Force {
		if err := s.checkFlip(a.Target, to, subject); err != nil {
			return err
		}
	}
	a.endCanary(true)
	a.Target, a.History, a.Since, a.Rev = to, slices.Clone(a.History[:last]), 0, s.index
	s.aliases = s.aliases.Set(text(a.Name), a)
	return nil
}

func (s *State) deleteAlias(c DeleteAlias) error {
	if _, err := existing(s.aliases, text(c.Name), c.Was, "alias "+c.Name); err != nil {
		return err
	}
	s.aliases = s.aliases.Delete(text(c.Name))
	return nil
}
