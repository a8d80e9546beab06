// Package act turns what an incident has done into commands for the log.
package act

import (
	"errors"
	"fmt"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/series"
)

// Commands are what an act changes in a state. An error says why it can do nothing.
func Commands(s cluster.State, a alert.Act) ([]cluster.Command, error) {
	switch a.Kind {
	case alert.Rollback:
		return rollback(s, a.Subject)
	case alert.Scale:
		return scale(s, a.Subject, a.By)
	case alert.Quarantine:
		return quarantine(s, a)
	}
	return nil, fmt.Errorf("act: unknown action %.40q", a.Kind)
}

func version(s cluster.State, l series.Labels) (cluster.VersionID, error) {
	v, ok := cluster.ParseVersionID(l.Get("version"))
	if _, known := s.Version(v); !ok || !known {
		return v, fmt.Errorf("act: the version %.128q does not exist", l.Get("version"))
	}
	return v, nil
}

// rollback takes back every alias that leads to a version: its canary, or its newest flip.
func rollback(s cluster.State, subject series.Labels) (out []cluster.Command, err error) {
	v, err := version(s, subject)
	if err != nil {
		return nil, err
	}
	for a := range s.Aliases() {
		canary := a.Rollout != nil && a.Rollout.Canary != nil
		switch {
		case canary && a.Rollout.Canary.Version == v, !canary && a.Target == v && len(a.History) > 0:
			out = append(out, cluster.RollbackAlias{Name: a.Name, Was: a.Rev})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("act: no alias that leads to %s can go back", v)
	}
	return out, nil
}

// scale gives a version more replicas: more of them, or a higher floor where they follow demand.
func scale(s cluster.State, subject series.Labels, by int) ([]cluster.Command, error) {
	v, err := version(s, subject)
	if err != nil {
		return nil, err
	}
	d, ok := s.Deployment(v)
	if !ok {
		return nil, fmt.Errorf("act: %s is not deployed", v)
	}
	was := d.Rev
	if d.Need == nil {
		d.Replicas += max(1, by)
		return []cluster.Command{cluster.PutDeployment{Deployment: d, Was: was}}, nil
	}
	need := *d.Need
	if need.Min = min(need.Max, max(d.Wanted(), need.Min)+max(1, by)); need.Min == d.Need.Min {
		return nil, fmt.Errorf("act: %s may have %d replicas, and has them", v, need.Max)
	}
	d.Need = &need
	return []cluster.Command{cluster.PutDeployment{Deployment: d, Was: was}}, nil
}

// quarantine takes a node or a device out of use until somebody lifts that.
func quarantine(s cluster.State, a alert.Act) ([]cluster.Command, error) {
	var id cluster.QuarantineID
	if name := a.Subject.Get("node"); name != "" {
		n, ok := node(s, name)
		if !ok {
			return nil, fmt.Errorf("act: the node %.64q does not exist", name)
		}
		id.Node = n.ID
	} else if id.Device = gpu.DeviceID(a.Subject.Get("UUID")); id.Device == "" {
		return nil, errors.New("act: the subject names no device and no node")
	} else if _, ok := s.Owner(id.Device); !ok {
		return nil, fmt.Errorf("act: the device %.128q does not exist", id.Device)
	}
	if _, ok := s.Quarantine(id); ok {
		return nil, fmt.Errorf("act: %s is under quarantine already", id)
	}
	return []cluster.Command{cluster.PutQuarantine{Quarantine: cluster.Quarantine{QuarantineID: id, By: "alert " + a.Rule, Why: a.Subject.String()}}}, nil
}

// node finds a node by id or name.
func node(s cluster.State, name string) (cluster.Node, bool) {
	if n, ok := s.Node(cluster.NodeID(name)); ok {
		return n, true
	}
	for n := range s.Nodes() {
		if n.Name == name {
			return n, true
		}
	}
	return cluster.Node{}, false
}
