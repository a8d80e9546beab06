package gateway

import (
	"log/slog"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
)

// Settlements of others and what has nothing to do with limits can wait; a gateway's own settlements and limits cannot.
func TestConcerns(t *testing.T) {
	s, _ := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	set := cluster.LimitSet{Subject: cluster.TotalSubject, Limits: []cluster.Limited{{Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: 1000}}}}
	change(t, s, cluster.PutLimits{Set: set})
	change(t, s, cluster.PutMember{Member: cluster.Member{ID: "other", Role: cluster.RoleGateway, Addr: "o:1"}})
	limits, _ := s.live.Now().Limits(set.Subject)
	set.Limits[0].Amount++
	settle := func(gateway cluster.NodeID) cluster.Command {
		return cluster.Settle{Gateway: gateway, Session: 1, Seq: 1, Asks: []quota.Ask{{ID: set.Limits[0].ID(set.Subject), Want: 10}}}
	}
	for _, c := range []struct {
		change   cluster.Command
		concerns bool
	}{
		{settle("other"), false},
		{settle("m"), true},
		{cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1}}, false},
		{cluster.PutLimits{Set: set, Was: limits.Rev}, true},
	} {
		last := s.live.Now()
		change(t, s, c.change)
		if got := concerns("m", last, s.live.Now()); got != c.concerns {
			t.Errorf("%+v concerns a gateway: %v, want %v", c.change, got, c.concerns)
		}
	}
}
