package cluster

import (
	"fmt"
	"strings"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/quota"
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
	case Tenant:
		return r.ID
	case Application:
		return r.AppID.String()
	case LimitSet:
		return r.Subject
	case quota.Balance:
		return r.ID.String()
	case Settled:
		return string(r.Gateway)
	case Usage:
		return fmt.Sprintf("%d month=%v %s/%s/%s %s", r.Start/dayMs, r.Month, r.Tenant, r.App, r.Key, r.Version)
	case Model:
		return r.Name
	case Document:
		return r.DocumentID.String()
	case Gone:
		return string(r.ID)
	case Quarantine:
		return r.QuarantineID.String()
	case audit.Head:
		return "head"
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
		line := fmt.Sprintf("name=%q hash=%s created=%d revoked=%v rev=%d", r.Name, r.Hash, r.Created, r.Revoked, r.Rev)
		if (PutKey{Key: r}).level() > 0 {
			line += fmt.Sprintf(" of %s/%s roles=%v models=%v expires=%d", r.Owner(), r.App, r.RoleSet(), r.Models, r.Expires)
		}
		if r.Suspended {
			line += " suspended"
		}
		return line
	case lineage:
		line := fmt.Sprintf("number=%d", r.Number)
		if r.Owner != "" {
			line += " owner=" + r.Owner
		}
		return line
	case Version:
		return fmt.Sprintf("blocks=%d holders=%s created=%d rev=%d", len(r.Profile.Blocks), r.Holders, r.Created, r.Rev)
	case Alias:
		line := fmt.Sprintf("target=%v history=%v rev=%d", r.Target, r.History, r.Rev)
		if r.Since > 0 {
			line += fmt.Sprintf(" pointed=%d", r.Since)
		}
		if o := r.Rollout; o != nil {
			line += fmt.Sprintf(" follow=%v", o.Follow)
			if o.Retire > 0 {
				line += fmt.Sprintf(" retire=%d", o.Retire)
			}
			if o.Canary != nil {
				line += fmt.Sprintf(" canary=%v@%d%% %v since=%d", o.Canary.Version, o.Canary.Percent, o.Canary.Tenants, o.Canary.Since)
			}
			if o.Shadow != nil {
				line += fmt.Sprintf(" shadow=%v@%d%%", o.Shadow.Version, o.Shadow.Percent)
			}
		}
		return line
	case Deployment:
		line := fmt.Sprintf("replicas=%d slots=%d context=%d pins=%v avoid=%v avoid_nodes=%v rev=%d", r.Replicas, r.Serving.Slots, r.Serving.Context,
			r.Pins, r.Avoid, r.AvoidOn, r.Rev)
		if r.Need != nil {
			line += fmt.Sprintf(" need=%d..%d priority=%d owner=%s wanted=%d", r.Need.Min, r.Need.Max, r.Need.Priority, r.Owner, r.Wanted())
		}
		return line
	case mark:
		return fmt.Sprintf("last=%d", r.Epoch)
	case Replica:
		var stages []string
		for _, s := range r.Stages {
			stages = append(stages, fmt.Sprintf("%d-%d:%s/%s:%v:%s", s.From, s.To, s.Node, s.Device, s.Reserve, s.Endpoint))
		}
		line := fmt.Sprintf("epoch=%d %s %s rev=%d", r.Epoch, r.Status, strings.Join(stages, " "), r.Rev)
		if r.Since != 0 {
			line += fmt.Sprintf(" since=%d share=%d owner=%s", r.Since, r.Share, r.Owner)
		}
		return line
	}
	return describePlatform(r)
}

func describePlatform(r any) string {
	switch r := r.(type) {
	case Tenant:
		line := fmt.Sprintf("weight=%d models=%v disabled=%v created=%d rev=%d", r.Weight, r.Models, r.Disabled, r.Created, r.Rev)
		if r.Replicas > 0 {
			line += fmt.Sprintf(" replicas=%d", r.Replicas)
		}
		return line
	case Application:
		return fmt.Sprintf("models=%v sources=%v expires=%d rev=%d", r.Models, r.Sources, r.Expires, r.Rev)
	case LimitSet:
		return fmt.Sprintf("%v rev=%d", r.Limits, r.Rev)
	case quota.Balance:
		return fmt.Sprintf("spent=%d leases=%v", r.Spent, r.Leases)
	case Settled:
		return fmt.Sprintf("session=%d seq=%d at=%d rev=%d", r.Session, r.Seq, r.At, r.Rev)
	case Usage:
		return fmt.Sprintf("%+v", r.Amounts)
	case Model:
		return fmt.Sprintf("%q owner=%s tags=%v labels=%v rev=%d", r.Description, r.Owner, r.Tags, r.Labels, r.Rev)
	case Document:
		return fmt.Sprintf("%s changed=%d rev=%d", r.Body, r.Changed, r.Rev)
	case Gone:
		return fmt.Sprintf("at=%d", r.At)
	case Quarantine:
		return fmt.Sprintf("why=%q by=%q since=%d until=%d rev=%d", r.Why, r.By, r.Since, r.Until, r.Rev)
	case audit.Head:
		return fmt.Sprintf("seq=%d", r.Seq)
	}
	panic(fmt.Sprintf("%T", r))
}
