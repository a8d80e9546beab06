package cluster

import (
	"encoding/json"
	"fmt"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/quota"
)

func (d draw) tenant() string { return []string{"t1", "t2", DefaultTenant}[d.n(0, 2)] }
func (d draw) app() AppID     { return AppID{d.tenant(), fmt.Sprintf("a%d", d.n(1, 2))} }

// platform makes commands of feature level 2.
func (d draw) platform() Command {
	if d.s.Cluster().Feature >= 3 && d.n(0, 5) == 0 {
		return d.quarantine()
	}
	switch d.n(0, 13) {
	case 0, 1:
		t, _ := d.s.Tenant(d.tenant())
		return PutTenant{Tenant{ID: d.tenant(), Weight: d.n(1, 3), Models: []string{"model1", "*"}[:d.n(0, 2)]}, d.was(t.Rev)}
	case 2:
		t := pick(d, d.s.Tenants())
		return DeleteTenant{t.ID, d.was(t.Rev)}
	case 3:
		id := d.app()
		a, _ := d.s.Application(id)
		return PutApplication{Application{AppID: id, Models: []string{"*"}, Expires: Millis(d.n(0, 1000))}, d.was(a.Rev)}
	case 4:
		id := d.app()
		a, _ := d.s.Application(id)
		return DeleteApplication{id, d.was(a.Rev)}
	case 5:
		id := fmt.Sprintf("k%d", d.n(1, 5))
		k, _ := d.s.Key(id)
		n := Key{ID: id, Hash: "hash" + id, Tenant: d.tenant(), Roles: [][]access.Role{nil, {access.Caller, access.Viewer}, {access.Admin}}[d.n(0, 2)], Revoked: d.seldom(), Suspended: d.seldom()}
		if d.n(0, 1) == 0 {
			n.App = fmt.Sprintf("a%d", d.n(1, 2))
		}
		return PutKey{n, d.was(k.Rev)}
	case 6, 7:
		subject := []string{TotalSubject, TenantSubject(d.tenant()), AppSubject(d.app()), KeySubject(fmt.Sprintf("k%d", d.n(1, 5)))}[d.n(0, 3)]
		old, _ := d.s.Limits(subject)
		set := LimitSet{Subject: subject}
		for _, l := range []Limited{{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Life, Amount: 9}}, {Model: "model1", Limit: quota.Limit{Meter: quota.Concurrent, Amount: 2}}} {
			if d.n(0, 2) > 0 {
				set.Limits = append(set.Limits, l)
			}
		}
		return PutLimits{set, d.was(old.Rev)}
	case 8, 9:
		return d.settle()
	case 10:
		m := d.s.Model(d.version().Model)
		return PutModel{Model{Name: d.version().Model, Owner: d.tenant()}, d.was(m.Rev)}
	case 11:
		a := pick(d, d.s.Aliases())
		r := &Rollout{Follow: d.n(0, 1) == 0}
		if d.n(0, 1) == 0 {
			r.Canary = &Canary{Version: pick(d, d.s.Versions()).VersionID, Percent: d.n(0, 100)}
		}
		return SetRollout{Name: a.Name, Rollout: r, Force: true, Accept: true, Was: d.was(a.Rev)}
	case 12:
		dep := pick(d, d.s.Deployments())
		if dep.Need == nil {
			was := dep.Rev
			dep.Need, dep.Owner = &Need{Min: d.n(0, 1), Max: d.n(1, 2)}, d.tenant()
			return PutDeployment{dep, d.was(was)}
		}
		return SetScale{dep.Version, d.n(0, 2), "because", d.was(dep.Rev)}
	}
	id := DocumentID{[]Kind{AlertRule, Setting}[d.n(0, 1)], fmt.Sprintf("d%d", d.n(1, 2))}
	old, _ := d.s.Document(id)
	if d.n(0, 2) == 0 {
		return DeleteDocument{id, d.was(old.Rev)}
	}
	return PutDocument{Document: Document{DocumentID: id, Body: json.RawMessage(`{"a":1}`)}, Was: d.was(old.Rev)}
}

func (d draw) quarantine() Command {
	id := []QuarantineID{{Device: d.device()}, {Node: d.node()}}[d.n(0, 1)]
	q, ok := d.s.Quarantine(id)
	if ok && d.n(0, 1) == 0 {
		return DeleteQuarantine{id, d.was(q.Rev)}
	}
	return PutQuarantine{Quarantine{QuarantineID: id, Until: []Millis{0, d.s.At() + 5}[d.n(0, 1)]}, d.was(q.Rev)}
}

func (d draw) settle() Command {
	last, _ := d.s.LastSettled(d.member())
	c := Settle{Gateway: d.member(), Session: 1, Seq: uint64(d.was(Index(last.Seq + 1))), Usage: []Used{{Tenant: d.tenant(), Version: d.version(), Amounts: Amounts{Calls: int64(d.n(0, 3))}}}}
	for set := range d.s.LimitSets() {
		for _, l := range set.Limits {
			held := d.s.Balance(l.ID(set.Subject)).Lease(string(c.Gateway), 1).Amount
			c.Asks = append(c.Asks, quota.Ask{ID: l.ID(set.Subject), Spent: int64(d.n(0, int(min(held, 3)))), Want: int64(d.n(0, 4))})
		}
	}
	return c
}

// checkPlatform: what belongs to somebody has its owner, no limit is leased beyond its amount, the bill only grows, and who
// administers the cluster can go on to.
func checkPlatform(t *rapid.T, before, after State) {
	now := before
	now.at = after.at // keys expire, whoever asks for what
	if before.Cluster().Feature >= 3 && now.Administrable() && !after.Administrable() {
		t.Fatal("nobody can administer the cluster any more")
	}
	for r := range after.Replicas() {
		old, _ := before.Replica(r.ReplicaID)
		for _, at := range r.Stages {
			q, barred := before.Quarantined(at.Node, at.Device)
			if still, _ := after.Quarantine(q.QuarantineID); barred && old.Epoch != r.Epoch && still.Rev == q.Rev {
				t.Fatalf("replica %v was placed on device %s of node %s, which is under quarantine", r.ReplicaID, at.Device, at.Node)
			}
		}
	}
	for k := range after.Keys() {
		if _, ok := after.Tenant(k.Owner()); !ok {
			t.Fatalf("key %s has no tenant", k.ID)
		}
		if _, ok := after.Application(AppID{k.Owner(), k.App}); k.App != "" && !ok {
			t.Fatalf("key %s has no application", k.ID)
		}
	}
	for m := range after.Models() {
		if _, ok := after.Tenant(m.Owner); !ok {
			t.Fatalf("model %s has no owner", m.Name)
		}
	}
	for d := range after.Deployments() {
		if _, ok := after.Tenant(d.Owner); d.Owner != "" && !ok {
			t.Fatalf("deployment %s has no owner", d.Version)
		}
		if n := d.Wanted(); d.Need != nil && (n < d.Need.Min || n > d.Need.Max) {
			t.Fatalf("deployment %s wants %d replicas", d.Version, n)
		}
	}
	for set := range after.LimitSets() {
		if !after.limitable(set.Subject) {
			t.Fatalf("limits of %s, which does not exist", set.Subject)
		}
	}
	for id, b := range after.balances.All() {
		l, ok := after.Limit(id)
		if !ok {
			t.Fatalf("a balance of %s, which is no limit", id)
		}
		leased := int64(0)
		for _, lease := range b.Leases {
			leased += lease.Amount
		}
		if was, ok := before.Limit(id); ok && was == l && before.Balance(id).Free(l) >= 0 && leased+b.Spent > l.Amount {
			t.Fatalf("%s: %d spent and %d leased of %d", id, b.Spent, leased, l.Amount)
		}
	}
	total := func(s State) (n int64) {
		for _, u := range s.usage.All() {
			n += u.Calls + u.Reserved
		}
		return n
	}
	if total(after) < total(before) {
		t.Fatalf("the bill shrank from %d to %d", total(before), total(after))
	}
}
