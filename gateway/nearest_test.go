package gateway

import (
	"fmt"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
)

func TestEntrances(t *testing.T) {
	s := &Server{live: live.New()}
	change(t, s, cluster.Init{ID: "c", CACert: []byte("c"), CAKey: []byte("k")})
	for _, m := range []cluster.Member{
		{ID: "c1", Name: "c1", Role: cluster.RoleCoordinator, Addr: "10.0.0.1:7", API: "10.0.0.1:80"},
		{ID: "c2", Name: "c2", Role: cluster.RoleCoordinator, Addr: "10.0.0.2:7", API: ":80"},
		{ID: "c3", Name: "c3", Role: cluster.RoleCoordinator, Addr: "10.0.0.3:7", API: "[::]:80"},
		{ID: "c4", Name: "c4", Role: cluster.RoleCoordinator, Addr: "10.0.0.4:7"},                // no client API
		{ID: "g1", Name: "g1", Role: cluster.RoleGateway, Addr: "0.0.0.0:80", API: "0.0.0.0:80"}, // nobody knows where
	} {
		change(t, s, cluster.PutMember{Member: m})
	}
	orders := map[string]bool{}
	for key := range 50 {
		var got string
		for i, e := range entrances(s.live.Now(), []string{"10.0.0.3", "10.0.0.9"}, fmt.Sprint(key)) {
			if (i == 0) != e.near {
				t.Errorf("%s near: %v at %d", e.member.Name, e.near, i)
			}
			got += e.address + " "
		}
		orders[got] = true
	}
	want := map[string]bool{"10.0.0.3:80 10.0.0.1:80 10.0.0.2:80 ": true, "10.0.0.3:80 10.0.0.2:80 10.0.0.1:80 ": true}
	if fmt.Sprint(orders) != fmt.Sprint(want) {
		t.Errorf("%v", orders)
	}
}
