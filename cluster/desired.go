package cluster

import (
	"errors"
	"fmt"
	"slices"
)

// Endpoints finds the endpoint (host:port of the worker) of a stage in the newest reports, "" if no report has it at this epoch.
type Endpoints func(id ReplicaID, epoch Epoch, stage int) string

// Desired is what a node should hold, and whom it should not believe any more; its assignments sorted by replica and stage. The chain of a stage names the endpoints of its whole replica: the
// newest reports know best, since a worker may have started anew on another port; else the ready replica's record does. reported may
// be nil. For the head of a stopping replica only the reports count, so that the stages behind it see it go and follow. The term is
// left to the leader who sends it.
func (s State) Desired(node NodeID, reported Endpoints) Desired {
	out := Desired{Index: s.index, Gone: s.uncertain()}
	for r := range s.ReplicasOn(node) {
		v, ok := s.versions.Get(r.Version)
		if !ok { // Apply keeps a version while a replica of it is left
			panic(fmt.Sprintf("cluster: replica %s without its version", r.ReplicaID))
		}
		chain, sources, sharers := s.chain(r, reported), s.sources(v), s.sharers(r, node)
		for i, at := range r.Stages {
			if at.Node != node {
				continue
			}
			out.Assignments = append(out.Assignments, Assignment{
				Replica: r.ReplicaID,
				Epoch:   r.Epoch,
				Stage:   i,
				Key:     StageKey{Manifest: v.Manifest, Span: at.Span, Serving: r.Serving},
				Device:  at.Device,
				Reserve: at.Reserve,
				Chain:   slices.Clone(chain),
				Drain:   r.Status == Stopping,
				Sources: slices.Clone(sources),
				Sharers: slices.Clone(sharers),
			})
		}
	}
	return out
}

func (s State) chain(r Replica, reported Endpoints) []string {
	chain := make([]string, len(r.Stages))
	for i, at := range r.Stages {
		if reported != nil {
			chain[i] = reported(r.ReplicaID, r.Epoch, i)
		}
		if follow := i == 0 && r.Status == Stopping && reported != nil; chain[i] == "" && !follow {
			chain[i] = at.Endpoint
		}
	}
	return chain
}

// sources lists the addresses of the members that hold a version's blobs.
func (s State) sources(v Version) []string {
	var addrs []string
	for _, h := range v.Holders {
		if m, ok := s.members.Get(h); ok {
			addrs = append(addrs, m.Addr)
		}
	}
	return addrs
}

// sharers lists the stages on other nodes that have bytes in common with those of a replica, as far as the state knows; all of them find the same.
func (s State) sharers(r Replica, node NodeID) (list []Sharer) {
	block := r.Ordinal / ShareOf
	first := ReplicaID{Version: r.Version, Ordinal: block*ShareOf - 1}
	for o := range prefix(s.replicas, first, func(id ReplicaID) bool { return id.Version == r.Version && id.Ordinal/ShareOf == block }) {
		for _, at := range o.Stages {
			if n, ok := s.nodes.Get(at.Node); ok && at.Node != node && n.Status != NodeLost && o.Status != Stopping {
				list = append(list, Sharer{Addr: n.Addr, Span: at.Span})
			}
		}
	}
	return list
}

// ErrUnknownModel says that a client named neither an alias nor a version.
var ErrUnknownModel = errors.New("cluster: unknown model")

// Resolve finds the version that a client's model name means: "calc@2" is that version, "calc" is the alias of that name.
func Resolve(s State, name string) (VersionID, error) {
	if a, ok := s.Alias(name); ok {
		return a.Target, nil
	}
	if v, ok := ParseVersionID(name); ok && s.versions.Has(v) {
		return v, nil
	}
	return VersionID{}, fmt.Errorf("%w: %.*q", ErrUnknownModel, MaxName, name)
}
