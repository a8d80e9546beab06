package cluster

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/quota"
)

// platformCommand reads the commands of feature level 2; nil for others.
func (sc *scripted) platformCommand(verb, id string, a args) Command {
	s := sc.state
	switch verb {
	case "put_tenant":
		old, _ := s.Tenant(id)
		return PutTenant{Tenant{ID: id, Name: a.str("name", ""), Weight: a.num("weight", 100), Models: a.list("models"), Disabled: a.str("disabled", "") != "", Replicas: a.num("replicas", 0)}, a.was(old.Rev)}
	case "delete_tenant":
		old, _ := s.Tenant(id)
		return DeleteTenant{id, a.was(old.Rev)}
	case "put_application":
		app := sc.app(id)
		old, _ := s.Application(app)
		n := Application{AppID: app, Models: a.list("models"), Expires: Millis(a.num("expires", 0)), Disabled: a.str("disabled", "") != ""}
		for _, p := range a.list("sources") {
			n.Sources = append(n.Sources, netip.MustParsePrefix(p))
		}
		return PutApplication{n, a.was(old.Rev)}
	case "delete_application":
		old, _ := s.Application(sc.app(id))
		return DeleteApplication{sc.app(id), a.was(old.Rev)}
	case "put_limits": // put_limits tenant/acme requests/day=100 calc:tokens/minute=9
		old, _ := s.Limits(id)
		set := LimitSet{Subject: id}
		for _, k := range a.order {
			if k != "was" {
				set.Limits = append(set.Limits, Limited{Model: modelOf(k), Limit: quota.Limit{Meter: meter(k), Window: window(k), Amount: int64(a.num(k, 0))}})
			}
		}
		return PutLimits{set, a.was(old.Rev)}
	case "settle": // settle g1 session=1 seq=1 ask=tenant/acme,requests/day,spent,want used=tenant,key,calc@1,calls
		c := Settle{Gateway: NodeID(id), Session: uint64(a.num("session", 1)), Seq: uint64(a.num("seq", 1))}
		if w := a.list("ask"); w != nil {
			q := quota.ID{Subject: w[0], Model: modelOf(w[1]), Meter: meter(w[1]), Window: window(w[1])}
			c.Asks = []quota.Ask{{ID: q, Start: q.Window.Start(int64(sc.at)), Spent: int64(number(sc.t, w[2])), Want: int64(number(sc.t, w[3]))}}
		}
		if w := a.list("used"); w != nil {
			c.Usage = []Used{{At: sc.at, Tenant: w[0], Key: w[1], Version: sc.version(w[2]), Amounts: Amounts{Calls: int64(number(sc.t, w[3]))}}}
		}
		return c
	case "put_model":
		m := Model{Name: id, Description: a.str("description", ""), Owner: a.str("owner", ""), Tags: a.list("tags")}
		return PutModel{m, a.was(s.Model(id).Rev)}
	case "set_rollout":
		old, _ := s.Alias(id)
		c := SetRollout{Name: id, Force: a.str("force", "") != "", Accept: a.str("accept", "") != "", Was: a.was(old.Rev)}
		r := Rollout{Follow: a.str("follow", "") != "", Retire: a.num("retire", 0)}
		if v := a.str("canary", ""); v != "" {
			r.Canary = &Canary{Version: sc.version(v), Percent: a.num("percent", 5), Tenants: a.list("tenants")}
		}
		if v := a.str("shadow", ""); v != "" {
			r.Shadow = &Shadow{Version: sc.version(v), Percent: a.num("percent", 5)}
		}
		if r != (Rollout{}) {
			c.Rollout = &r
		}
		return c
	case "set_scale":
		old, _ := s.Deployment(sc.version(id))
		return SetScale{sc.version(id), number(sc.t, a.alone[1]), a.str("why", "because"), a.was(old.Rev)}
	case "put_document": // put_document alert_rule r1 {"x":1} size=7 room=2,100
		doc := DocumentID{Kind(id), a.alone[1]}
		old, _ := s.Document(doc)
		c := PutDocument{Document: Document{DocumentID: doc, Body: json.RawMessage(a.alone[2]), Size: int64(a.num("size", 0))}, Was: a.was(old.Rev)}
		if w := a.list("room"); w != nil {
			c.Room = &Room{number(sc.t, w[0]), int64(number(sc.t, w[1]))}
		}
		return c
	case "refound": // refound c2 from=c1 member=m9 key=k9 suspend=yes held=calc@1
		c := Refound{From: a.str("from", ""), ID: id, CACert: []byte("cert"), CAKey: []byte("key"), Suspend: a.str("suspend", "") != "",
			Member: Member{ID: NodeID(a.str("member", "m9")), Role: Role(a.str("role", "coordinator")), Addr: "m9:7000"}, Key: Key{ID: a.str("key", "k9"), Hash: "hash-of-" + a.str("key", "k9"), Admin: a.str("weak", "") == ""}}
		for _, v := range a.list("held") {
			c.Held = append(c.Held, sc.version(v))
		}
		return c
	case "put_quarantine", "delete_quarantine": // put_quarantine node=n1 why=smoke until=9
		q := QuarantineID{Device: gpu.DeviceID(a.str("device", "")), Node: NodeID(a.str("node", ""))}
		old, _ := s.Quarantine(q)
		if verb == "delete_quarantine" {
			return DeleteQuarantine{q, a.was(old.Rev)}
		}
		return PutQuarantine{Quarantine{QuarantineID: q, Why: a.str("why", ""), By: a.str("by", ""), Until: Millis(a.num("until", 0))}, a.was(old.Rev)}
	case "note_refusals":
		c := NoteRefusals{More: int64(a.num("more", 0))}
		for i := range a.num("rows", 1) {
			c.Refusals = append(c.Refusals, Refusals{By: fmt.Sprint("key k", i), Procedure: "p", Why: a.str("why", "no"), Calls: int64(a.num("calls", 1))})
		}
		return c
	case "note_results":
		c := NoteResults{Deed: id, Tenant: a.str("tenant", ""), Version: a.str("version", "")}
		for i := range a.num("where", 1) {
			c.Where = append(c.Where, strings.Repeat("w", a.num("long", 1))+fmt.Sprint(i))
		}
		return c
	case "note_download":
		return NoteDownload{sc.version(id)}
	case "delete_document":
		doc := DocumentID{Kind(id), a.alone[1]}
		old, _ := s.Document(doc)
		return DeleteDocument{doc, a.was(old.Rev)}
	}
	return nil
}

func (sc *scripted) app(s string) AppID {
	tenant, id, _ := strings.Cut(s, "/")
	return AppID{tenant, id}
}

// A limit is written [model:]meter[/window].
func modelOf(s string) string {
	m, _, ok := strings.Cut(s, ":")
	if !ok {
		return ""
	}
	return m
}

func meter(s string) quota.Meter {
	m, _, _ := strings.Cut(s[strings.Index(s, ":")+1:], "/")
	return quota.Meter(m)
}

func window(s string) quota.Window {
	_, w, _ := strings.Cut(s[strings.Index(s, ":")+1:], "/")
	return quota.Window(w)
}
