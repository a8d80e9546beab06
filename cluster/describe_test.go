package cluster

import (
	"fmt"
	"strings"
)

// keyOf names a record for people.
func keyOf(r any) string {
	switch r := r.(type) {
	case Cluster:
		return r.ID
	case Member:
		return string(r.ID)
	case Node:
		return string(r.ID)
	case JoinToken:
		return r.Hash
	case Key:
		return r.ID
	case lineage:
		return r.Model
	case Version:
		return r.VersionID.String()
	case Alias:
		return r.Name
	case Deployment:
		return r.Version.String()
	case mark:
		return r.Replica.String()
	case Replica:
		return r.ReplicaID.String()
	}
	panic(fmt.Sprintf("%T", r))
}

// describe prints what matters of a record in one line.
func describe(r any) string {
	switch r := r.(type) {
	case Cluster:
		return fmt.Sprintf("feature=%d rev=%d", r.Feature, r.Rev)
	case Member:
		return fmt.Sprintf("%s %s rev=%d", r.Role, r.Addr, r.Rev)
	case Node:
		var devices []string
		for _, d := range r.Devices {
			devices = append(devices, fmt.Sprintf("%s=%v", d.ID, d.Memory))
		}
		line := fmt.Sprintf("%s %s why=%q rev=%d", r.Addr, r.Status, r.Why, r.Rev)
		if r.Drain != nil {
			line += fmt.Sprintf(" drain=%q", r.Drain.Why)
		}
		return strings.Join(append(devices, line), " ")
	case JoinToken:
		return fmt.Sprintf("%s expires=%d used_by=%q rev=%d", r.Role, r.Expires, r.UsedBy, r.Rev)
	case Key:
		return fmt.Sprintf("name=%q hash=%s created=%d revoked=%v rev=%d", r.Name, r.Hash, r.Created, r.Revoked, r.Rev)
	case lineage:
		return fmt.Sprintf("number=%d", r.Number)
	case Version:
		return fmt.Sprintf("blocks=%d holders=%s created=%d rev=%d", len(r.Profile.Blocks), r.Holders, r.Created, r.Rev)
	case Alias:
		return fmt.Sprintf("target=%v history=%v rev=%d", r.Target, r.History, r.Rev)
	case Deployment:
		return fmt.Sprintf("replicas=%d slots=%d context=%d pins=%v avoid=%v avoid_nodes=%v rev=%d", r.Replicas, r.Serving.Slots, r.Serving.Context,
			r.Pins, r.Avoid, r.AvoidOn, r.Rev)
	case mark:
		return fmt.Sprintf("last=%d", r.Epoch)
	case Replica:
		var stages []string
		for _, s := range r.Stages {
			stages = append(stages, fmt.Sprintf("%d-%d:%s/%s:%v:%s", s.From, s.To, s.Node, s.Device, s.Reserve, s.Endpoint))
		}
		return fmt.Sprintf("epoch=%d %s %s rev=%d", r.Epoch, r.Status, strings.Join(stages, " "), r.Rev)
	}
	panic(fmt.Sprintf("%T", r))
}
