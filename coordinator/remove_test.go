package coordinator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/wire"
)

// cutOff is how long a removed member may still be heard.
const cutOff = 5 * time.Second

// silenced demands that a member can call no coordinator any more, within cutOff of a moment.
func silenced(t *testing.T, f *fleettest.Fleet, d *wire.Dialer, who string, since time.Time) {
	t.Helper()
	for _, c := range f.Running() {
		fleettest.Within(t, who+" is not heard by "+c.Config.Name, func() bool {
			_, err := wire.Call[wire.Empty, wire.Pong](t.Context(), d, cluster.RoleCoordinator, c.Config.Listen, wire.Ping, &wire.Empty{})
			return err != nil
		})
	}
	if took := time.Since(since); took > cutOff {
		t.Errorf("%s was heard for %v after its removal", who, took)
	}
	if _, err := wire.RenewCluster(t.Context(), d, f.Running()[0].Config.Listen); err == nil {
		t.Errorf("%s gets a new certificate", who)
	}
}

// A coordinator that is removed is no voter and no holder any more, and is not listened to; so are a gateway and a node.
func TestRemoveMembers(t *testing.T) {
	t.Parallel()
	exe := converter(t)
	f := fleettest.New(t, 3, exe)
	leader := f.Leader()
	id, err := leader.Publish(t.Context(), cluster.Asker{}, "", "calc", upload(t, leader, example, 0), false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	asker := cluster.Asker{By: "test"}

	gateway := f.Enrol(cluster.RoleGateway, "g1")
	g := f.Dialer(gateway)
	if _, err := wire.Call[wire.EnlistRequest, wire.Empty](t.Context(), g, cluster.RoleCoordinator, leader.Config.Listen, wire.Enlist, &wire.EnlistRequest{Name: "g1", API: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	follows, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- wire.Read(t.Context(), g, cluster.RoleCoordinator, f.Follower().Config.Listen, wire.Follow, &wire.FollowRequest{}, func(*wire.LogPiece) error {
			select {
			case follows <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-follows
	began := time.Now()
	if err := leader.RemoveMember(t.Context(), asker, gateway.ID); err != nil {
		t.Fatal(err)
	}
	silenced(t, f, g, "the gateway", began)
	select {
	case <-ended:
	case <-time.After(cutOff):
		t.Error("a removed gateway still follows the log")
	}
	if err := leader.RemoveMember(t.Context(), asker, gateway.ID); !refusedAs(err, connect.CodeNotFound) {
		t.Errorf("removed twice: %v", err)
	}

	m := f.Machine("n1", 1<<30)
	n, _ := leader.Live().Now().Node(m.ID)
	began = time.Now()
	f.Do(leader, cluster.DeleteNode{ID: m.ID, Was: n.Rev})
	silenced(t, f, m.Dialer, "the node", began)
	other := f.Machine("n2", 1<<30)
	fleettest.Within(t, "another node is told", func() bool {
		gone := other.Desired().Gone
		return slices.Contains(gone, m.ID) && slices.Contains(gone, gateway.ID)
	})
	if _, known := leader.Live().Now().Node(m.ID); known {
		t.Error("a removed node is back")
	}

	// Of the holders, one that does not lead goes. The other one and the third coordinator hold the version then.
	v, _ := leader.Live().Now().Version(id)
	out := f.Follower()
	if !slices.Contains(v.Holders, f.ID(out)) {
		out = f.Coordinators[slices.IndexFunc(f.Coordinators, func(c *fleettest.Coordinator) bool { return c != out && c != leader })]
	}
	spy, err := wire.LoadMembership(out.Config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if err := leader.RemoveMember(t.Context(), asker, spy.ID); err != nil {
		t.Fatal(err)
	}
	after := leader.Live().Now()
	if v, _ := after.Version(id); len(v.Holders) != 2 || slices.Contains(v.Holders, spy.ID) {
		t.Errorf("holders: %v", v.Holders)
	}
	if _, member := after.Member(spy.ID); member || !after.Gone(spy.ID) {
		t.Error("it is still a member")
	}
	rest := slices.DeleteFunc(slices.Clone(f.Coordinators), func(c *fleettest.Coordinator) bool { return c == out })
	d := f.Dialer(spy)
	for _, c := range rest {
		fleettest.Within(t, "it is not heard", func() bool {
			_, err := wire.Call[wire.Empty, wire.Pong](t.Context(), d, cluster.RoleCoordinator, c.Config.Listen, wire.Ping, &wire.Empty{})
			return err != nil
		})
	}
	if took := time.Since(began); took > cutOff {
		t.Errorf("it was heard for %v", took)
	}
	if _, err := wire.Call[wire.ProposeRequest, wire.ProposeResponse](t.Context(), d, cluster.RoleCoordinator, leader.Config.Listen, wire.Propose, &wire.ProposeRequest{}); err == nil {
		t.Error("it proposes")
	}
	// It is no voter: the two others go on without it, and would not without each other.
	f.Stop(out)
	f.Do(leader, cluster.PutKey{Key: cluster.Key{ID: "k1", Hash: hashOf("k1")}})
	f.Start(out)
	f.Do(leader, cluster.PutKey{Key: cluster.Key{ID: "k2", Hash: hashOf("k2")}})
	if _, has := out.Live().Now().Key("k2"); has {
		t.Error("what was removed still gets the log")
	}
	f.Stop(out)
}

// Removal that would end the cluster is refused, and so is that of the leader.
func TestRemoveCoordinatorRefused(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, "")
	leader := f.Leader()
	asker := cluster.Asker{}
	others := slices.DeleteFunc(slices.Clone(f.Coordinators), func(c *fleettest.Coordinator) bool { return c == leader })
	if err := others[0].RemoveMember(t.Context(), asker, f.ID(others[1])); !refusedAs(err, connect.CodeUnavailable) {
		t.Errorf("asked of a follower: %v", err)
	}
	if err := leader.RemoveMember(t.Context(), asker, f.ID(leader)); !refusedAs(err, connect.CodeFailedPrecondition) || !strings.Contains(err.Error(), "it leads") {
		t.Errorf("the leader itself: %v", err)
	}
	fleettest.Within(t, "all vote and are not behind", func() bool {
		st := leader.Standing(t.Context())
		return len(st) == 3 && !slices.ContainsFunc(f.Coordinators, func(c *fleettest.Coordinator) bool {
			s := st[f.ID(c)]
			return !s.Voter || s.Lag != 0 || s.Contact < 0 || s.Contact > time.Second || c == leader && s.Contact != 0
		})
	})
	f.Stop(others[0])
	if st := leader.Standing(t.Context())[f.ID(others[0])]; !st.Voter || st.Lag >= 0 || st.Contact >= 0 {
		t.Errorf("one that does not run: %+v", st)
	}
	err := f.Leader().RemoveMember(t.Context(), asker, f.ID(others[1]))
	if !refusedAs(err, connect.CodeFailedPrecondition) || !strings.Contains(err.Error(), "would be left") {
		t.Errorf("one of two that answer: %v", err)
	}
	// The one that does not answer may go.
	for _, c := range others {
		if c.Server == nil {
			if err := f.Leader().RemoveMember(t.Context(), asker, f.ID(c)); err != nil {
				t.Error(err)
			}
			_, member := f.Leader().Live().Now().Member(f.ID(c))
			if member {
				t.Error("it is still there")
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
	defer cancel()
	last := f.Leader()
	other := f.Follower()
	if err := last.RemoveMember(ctx, asker, f.ID(other)); err != nil {
		t.Errorf("one of two: %v", err)
	}
	f.Stop(other)
	f.Do(last, cluster.PutKey{Key: cluster.Key{ID: "k1", Hash: hashOf("k1")}})
	var refused *wire.Refused
	if err := last.RemoveMember(ctx, asker, f.ID(last)); !errors.As(err, &refused) {
		t.Errorf("the last one: %v", err)
	}
}
