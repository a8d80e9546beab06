package monitor

import (
	"slices"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/alert/kept"
	"github.com/skein-project/skein/cluster"
)

// shelf keeps the decoded documents of a kind. Only those whose revision changed are decoded again.
type shelf[T any] struct {
	kind cluster.Kind
	kept map[string]volume[T]
}

type volume[T any] struct {
	rev   cluster.Index
	value T
	bad   error
}

// read gives the documents of a state by id. One that cannot be read is left out, and named in bad.
func (s *shelf[T]) read(state cluster.State, finish func(*T, cluster.Document)) (list []T, bad []error) {
	if s.kept == nil {
		s.kept = map[string]volume[T]{}
	}
	seen := map[string]bool{}
	for d := range state.Documents(s.kind) {
		v, ok := s.kept[d.ID]
		if seen[d.ID] = true; !ok || v.rev != d.Rev {
			v.rev = d.Rev
			if v.value, v.bad = kept.Read[T](d); v.bad == nil {
				finish(&v.value, d)
			}
			s.kept[d.ID] = v
		}
		if v.bad != nil {
			bad = append(bad, v.bad)
			continue
		}
		list = append(list, v.value)
	}
	for id := range s.kept {
		if !seen[id] {
			delete(s.kept, id)
		}
	}
	return list, bad
}

// shelves are all documents that the loop needs.
type shelves struct {
	rules     shelf[alert.Rule]
	silences  shelf[alert.Silence]
	receivers shelf[alert.Receiver]
	incidents shelf[alert.Incident]
}

func newShelves() *shelves {
	return &shelves{rules: shelf[alert.Rule]{kind: cluster.AlertRule}, silences: shelf[alert.Silence]{kind: cluster.AlertSilence},
		receivers: shelf[alert.Receiver]{kind: cluster.Receiver}, incidents: shelf[alert.Incident]{kind: cluster.Incident}}
}

// input is what the loop reads of a state.
func (s *shelves) input(state cluster.State) (in alert.Input, bad []error) {
	var own []alert.Rule
	var errs [4][]error
	own, errs[0] = s.rules.read(state, func(r *alert.Rule, d cluster.Document) { r.ID = d.ID })
	in.Rules = kept.Rules(own)
	in.Silences, errs[1] = s.silences.read(state, func(x *alert.Silence, d cluster.Document) { x.ID = d.ID })
	in.Receivers, errs[2] = s.receivers.read(state, func(x *alert.Receiver, d cluster.Document) { x.ID = d.ID })
	in.Incidents, errs[3] = s.incidents.read(state, func(x *alert.Incident, d cluster.Document) { x.ID, x.Rev = d.ID, uint64(d.Rev) })
	return in, slices.Concat(errs[:]...)
}
