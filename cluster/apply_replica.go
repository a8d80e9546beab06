package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

func (s *State) putDeployment(c PutDeployment) error {
	d, subject := c.Deployment, "deployment "+c.Deployment.Version.String()
	old, _, err := before(s.deployments, d.Version, c.Was, subject, MaxDeployments)
	if err == nil {
		err = checkNeed(d.Need, subject)
	}
	if err != nil {
		return err
	}
	v, ok := s.versions.Get(d.Version)
	switch {
	case !ok:
		return reject(ReasonNotFound, subject, "the version does not exist")
	case d.Replicas < 0 || d.Replicas > MaxReplicas:
		return reject(ReasonLimit, subject, "%d replicas, 0 to %d are allowed", d.Replicas, MaxReplicas)
	case len(d.Pins) > MaxPins || len(d.Avoid) > MaxAvoid || len(d.AvoidOn) > MaxAvoid:
		return reject(ReasonLimit, subject, "more than %d pins, or %d avoided devices or nodes", MaxPins, MaxAvoid)
	}
	if err := checkServing(d.Serving, v.Profile, subject); err != nil {
		return err
	}
	if err := s.checkPins(d, subject); err != nil {
		return err
	}
	if d.Owner != "" {
		if _, ok := s.Tenant(d.Owner); !ok {
			return reject(ReasonNotFound, subject, "tenant %.64s does not exist", d.Owner)
		}
	}
	if err := s.checkMost(old, d, subject); err != nil {
		return err
	}
	if d.Scale = nil; d.Need != nil {
		need := *d.Need
		d.Need, d.Scale = &need, old.Scale
	}
	d.Pins, d.Avoid, d.AvoidOn, d.Rev = slices.Clone(d.Pins), slices.Clone(d.Avoid), slices.Clone(d.AvoidOn), s.index
	s.deployments = s.deployments.Set(d.Version, d)
	return nil
}

// checkMost refuses a deployment that makes a tenant's want more replicas together than it may have. What wants no more than before is
// accepted also where a bound was set below it.
func (s *State) checkMost(old, d Deployment, subject string) error {
	owner := cmp.Or(d.Owner, DefaultTenant)
	t, _ := s.Tenant(owner)
	if t.Replicas == 0 || old.Rev != 0 && cmp.Or(old.Owner, DefaultTenant) == owner && d.Most() <= old.Most() {
		return nil
	}
	sum := d.Most()
	for o := range s.Deployments() {
		if o.Version != d.Version && cmp.Or(o.Owner, DefaultTenant) == owner {
			sum += o.Most()
		}
	}
	if sum > t.Replicas {
		return reject(ReasonLimit, subject, "the deployments of tenant %s would want %d replicas together, at most %d are allowed", owner, sum, t.Replicas)
	}
	return nil
}

func checkServing(want shard.Serving, p shard.Profile, subject string) error {
	if want.Slots < 1 || want.Slots > MaxSlots {
		return reject(ReasonLimit, subject, "%d slots, 1 to %d are allowed", want.Slots, MaxSlots)
	}
	least := 1
	if p.Decoder {
		least = 2 // a prompt and an answer
	}
	if want.Context < least || want.Context > p.Positions {
		return reject(ReasonLimit, subject, "a context of %d tokens, %d to %d are supported", want.Context, least, p.Positions)
	}
	return nil
}

func (s *State) checkPins(d Deployment, subject string) error {
	for i, p := range d.Pins {
		owner, ok := s.owners.Get(p.Device)
		switch {
		case p.Replica < 0 || p.Replica >= MaxReplicas || p.Stage < 0 || p.Stage >= MaxStages:
			return reject(ReasonLimit, subject, "pin %d: replica %d stage %d is out of range", i, p.Replica, p.Stage)
		case slices.ContainsFunc(d.Pins[:i], func(o Pin) bool { return o.Replica == p.Replica && o.Stage == p.Stage }):
			return reject(ReasonInvalid, subject, "replica %d stage %d is pinned twice", p.Replica, p.Stage)
		case !ok:
			return reject(ReasonNotFound, subject, "pinned device %.128s does not exist", p.Device)
		case slices.Contains(d.Avoid, p.Device) || slices.Contains(d.AvoidOn, owner):
			return reject(ReasonInvalid, subject, "device %s is pinned and avoided", p.Device)
		}
	}
	for _, a := range d.Avoid {
		if !validDevice(a) {
			return reject(ReasonInvalid, subject, "malformed avoided device")
		}
	}
	for _, a := range d.AvoidOn {
		if !validID(string(a)) {
			return reject(ReasonInvalid, subject, "malformed avoided node")
		}
	}
	return nil
}

func (s *State) deleteDeployment(c DeleteDeployment) error {
	if _, err := existing(s.deployments, c.Version, c.Was, "deployment "+c.Version.String()); err != nil {
		return err
	}
	s.deployments = s.deployments.Delete(c.Version)
	return nil
}

func (s *State) placeReplica(c PlaceReplica) error {
	r, subject := c.Replica, "replica "+c.Replica.String()
	old, found := s.replicas.Get(r.ReplicaID)
	switch {
	case found && c.Was == 0:
		return reject(ReasonExists, subject, "it is placed at epoch %d", old.Epoch)
	case found && c.Was != old.Epoch:
		return reject(ReasonStale, subject, "it is at epoch %d, not %d", old.Epoch, c.Was)
	case !found && c.Was != 0:
		return reject(ReasonNotFound, subject, "it does not exist")
	case r.Epoch <= s.LastEpoch(r.ReplicaID):
		return reject(ReasonStale, subject, "epoch %d was used, the last one is %d", r.Epoch, s.LastEpoch(r.ReplicaID))
	case !found && s.replicas.Len() >= MaxAllReplicas, r.Ordinal < 0, r.Ordinal >= MaxReplicas, len(r.Stages) > MaxStages:
		return reject(ReasonLimit, subject, "%d replicas, %d of a version, %d stages of a replica are allowed", MaxAllReplicas, MaxReplicas, MaxStages)
	case r.Status != Loading:
		return reject(ReasonInvalid, subject, "a placement starts as %s", Loading)
	}
	if err := s.checkStages(r, subject); err != nil {
		return err
	}
	if found {
		s.accrue(old)
		s.unseat(old)
	}
	for i, at := range r.Stages {
		ledger, err := s.ledger.Reserve(at.Device, at.Reserve)
		if oversold := (*gpu.Oversold)(nil); errors.As(err, &oversold) {
			return &Rejected{ReasonOversold, subject, fmt.Sprintf("stage %d: %v", i, err), oversold}
		}
		s.ledger = ledger
	}
	s.seat(r)
	d, _ := s.deployments.Get(r.Version)
	r.Since, r.Share, r.Owner = 0, 0, ""
	if s.cluster.Feature >= 2 {
		r.Since, r.Share, r.Owner = s.at, s.shareOf(r), d.Owner
	}
	r.Stages, r.Why, r.Rev = slices.Clone(r.Stages), clip(r.Why), s.index
	for i := range r.Stages {
		r.Stages[i].Endpoint = ""
	}
	s.replicas = s.replicas.Set(r.ReplicaID, r)
	s.marks = s.marks.Set(r.ReplicaID, mark{r.ReplicaID, r.Epoch})
	return nil
}

// checkStages checks everything about the stages of a placement but their memory.
func (s *State) checkStages(r Replica, subject string) error {
	v, versioned := s.versions.Get(r.Version)
	d, deployed := s.deployments.Get(r.Version)
	if !versioned || !deployed {
		return reject(ReasonNotFound, subject, "its version is not deployed")
	}
	if len(v.Holders) == 0 && !v.Bucket {
		return reject(ReasonNotFound, subject, "nobody holds its version's blobs: push the same files again")
	}
	if err := checkServing(r.Serving, v.Profile, subject); err != nil {
		return err
	}
	next := 0
	for i, at := range r.Stages {
		if at.From != next || at.To <= at.From {
			return reject(ReasonInvalid, subject, "stage %d spans blocks %d to %d and should start at %d", i, at.From, at.To, next)
		}
		if slices.ContainsFunc(r.Stages[:i], func(o StagePlace) bool { return o.Device == at.Device }) {
			return reject(ReasonInvalid, subject, "stage %d: device %s has another stage of it", i, at.Device)
		}
		if err := s.checkPlace(d, r.Ordinal, i, at, subject); err != nil {
			return err
		}
		next = at.To
	}
	if next != len(v.Profile.Blocks) {
		return reject(ReasonInvalid, subject, "its stages end at block %d of %d", next, len(v.Profile.Blocks))
	}
	return nil
}

func (s *State) checkPlace(d Deployment, ordinal, stage int, at StagePlace, subject string) error {
	n, ok := s.nodes.Get(at.Node)
	owner, owned := s.owners.Get(at.Device)
	pin := slices.IndexFunc(d.Pins, func(p Pin) bool { return p.Replica == ordinal && p.Stage == stage })
	quarantine, barred := s.Quarantined(at.Node, at.Device)
	switch {
	case !ok:
		return reject(ReasonNotFound, subject, "stage %d: node %.64s does not exist", stage, at.Node)
	case n.Status != NodeReady:
		return reject(ReasonNodeNotReady, subject, "stage %d: node %s is %s", stage, n.ID, n.Status)
	case !owned || owner != n.ID:
		return reject(ReasonNotFound, subject, "stage %d: node %s has no device %.128s", stage, n.ID, at.Device)
	case barred:
		return reject(ReasonQuarantined, subject, "stage %d: %s is under quarantine", stage, quarantine.QuarantineID)
	case at.Reserve < 0 || at.Reserve > gpu.MaxMemory:
		return reject(ReasonInvalid, subject, "stage %d: reserve of %d bytes is out of range", stage, int64(at.Reserve))
	case slices.Contains(d.Avoid, at.Device) || slices.Contains(d.AvoidOn, at.Node):
		return reject(ReasonInvalid, subject, "stage %d: the deployment avoids device %s on node %s", stage, at.Device, at.Node)
	case pin >= 0 && d.Pins[pin].Device != at.Device:
		return reject(ReasonInvalid, subject, "stage %d: the deployment pins it to device %s, not %s", stage, d.Pins[pin].Device, at.Device)
	}
	return nil
}

func (s *State) markReplica(c MarkReplica) error {
	subject := "replica " + c.ID.String()
	r, err := s.placed(c.ID, c.Epoch, subject)
	if err != nil {
		return err
	}
	if r.Status == Stopping && c.Status != Stopping {
		return reject(ReasonInvalid, subject, "it is stopping, for good")
	}
	r.Stages = slices.Clone(r.Stages)
	switch c.Status {
	case Ready:
		if len(c.Endpoints) != len(r.Stages) || slices.ContainsFunc(c.Endpoints, func(e string) bool { return !visible(e, MaxAddr) }) {
			return reject(ReasonInvalid, subject, "it needs an endpoint for each of its %d stages", len(r.Stages))
		}
		if i := s.lostStage(r); i >= 0 {
			return reject(ReasonNodeNotReady, subject, "stage %d: node %s is lost", i, r.Stages[i].Node)
		}
		for i, e := range c.Endpoints {
			r.Stages[i].Endpoint = e
		}
	case Loading:
		for i := range r.Stages {
			r.Stages[i].Endpoint = ""
		}
	case Stopping: // endpoints stay: what runs may finish
	default:
		return reject(ReasonInvalid, subject, "unknown status %.40q", c.Status)
	}
	if c.Why != "" {
		r.Why = clip(c.Why)
	}
	r.Status, r.Rev = c.Status, s.index
	s.replicas = s.replicas.Set(r.ReplicaID, r)
	return nil
}

func (s *State) removeReplica(c RemoveReplica) error {
	subject := "replica " + c.ID.String()
	r, err := s.placed(c.ID, c.Epoch, subject)
	if err != nil {
		return err
	}
	if r.Status != Stopping {
		return reject(ReasonInUse, subject, "it is %s, and must be %s first", r.Status, Stopping)
	}
	s.accrue(r)
	s.unseat(r)
	s.replicas = s.replicas.Delete(c.ID)
	return nil
}

// placed finds a replica whose placement is the one the proposer read.
func (s *State) placed(id ReplicaID, epoch Epoch, subject string) (Replica, error) {
	r, ok := s.replicas.Get(id)
	if !ok {
		return r, reject(ReasonNotFound, subject, "it does not exist")
	}
	if r.Epoch != epoch {
		return r, reject(ReasonStale, subject, "it is at epoch %d, not %d", r.Epoch, epoch)
	}
	return r, nil
}
