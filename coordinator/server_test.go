package coordinator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/wire"
)

// newKey is a change that shows in the state, and nothing else.
func newKey(n string) cluster.Command {
	return cluster.PutKey{Key: cluster.Key{ID: "k" + n, Name: n, Hash: wire.SecretHash(n)}}
}

func has(c *fleettest.Coordinator, n string) bool {
	_, ok := c.Live().Now().Key("k" + n)
	return ok
}

// A cluster of three survives the loss of its leader, takes it back from its disk, and then survives the loss of the next one.
func TestLeaderLoss(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, "")
	first := f.Coordinators[0]
	if k, ok := first.Live().Now().KeyByHash(wire.SecretHash(f.Key)); !ok || !k.Admin {
		t.Errorf("the first admin key is %+v", k)
	}
	follower := f.Follower()
	f.Do(follower, newKey("1"))
	if !has(follower, "1") {
		t.Error("a follower does not read what it wrote")
	}
	lost := f.Leader()
	f.Stop(lost)
	for i, c := range f.Running() { // during the election: it waits
		f.Do(c, newKey([]string{"2", "3"}[i]))
	}
	f.Start(lost)
	fleettest.Within(t, "the lost one catches up", func() bool { return has(lost, "1") && has(lost, "2") && has(lost, "3") })
	f.Stop(f.Leader())
	f.Do(f.Running()[0], newKey("4"))
	if id := f.Running()[0].Live().Now().Cluster().ID; id != first.Live().Now().Cluster().ID && first.Server != nil {
		t.Errorf("another cluster: %s", id)
	}
}

// All off and on again: everything is there, and the same members lead.
func TestRestartOfAll(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, "")
	f.Do(f.Leader(), newKey("1"))
	before := f.Leader().Live().Now().Cluster()
	for _, c := range f.Running() {
		f.Stop(c)
	}
	for _, c := range f.Coordinators {
		f.Start(c)
	}
	f.Do(f.Follower(), newKey("2"))
	for _, c := range f.Running() {
		fleettest.Within(t, "everything is there", func() bool { return has(c, "1") && has(c, "2") })
		if s := c.Live().Now(); s.Cluster().ID != before.ID || s.Cluster().Rev != before.Rev {
			t.Errorf("%s has cluster %+v, want %+v", c.Config.Name, s.Cluster(), before)
		}
	}
}

// A coordinator that comes back at another address finds the cluster, and the cluster it: as a voter, for it is needed afterwards.
func TestMove(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, "")
	moved := f.Follower()
	f.Stop(moved)
	f.Move(moved)
	f.Start(moved)
	id := f.ID(moved)
	for _, c := range f.Running() {
		fleettest.Within(t, "the new address is known", func() bool {
			m, _ := c.Live().Now().Member(id)
			return m.Addr == moved.Config.Listen
		})
	}
	for _, c := range f.Running() { // two of three are left, one of them the moved one
		if c != moved {
			f.Stop(c)
			break
		}
	}
	f.Do(moved, newKey("1"))
}

// A founding that was cut short after its first step goes on with the next start.
func TestFoundingGoesOn(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	c := f.Coordinators[0]
	id := c.Live().Now().Cluster().ID
	f.Stop(c)
	m, err := wire.LoadMembership(c.Config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Founding {
		t.Error("the founding is not over")
	}
	m.Founding = true // as if the process had ended before it could note it
	if err := m.Save(c.Config.Dir); err != nil {
		t.Fatal(err)
	}
	f.Start(c)
	fleettest.Within(t, "the founding is over", func() bool {
		m, err := wire.LoadMembership(c.Config.Dir)
		return err == nil && !m.Founding
	})
	if got := c.Live().Now().Cluster().ID; got != id {
		t.Errorf("cluster %s, want %s", got, id)
	}
	if err := coordinator.Found(c.Config.Dir, "again"); err == nil {
		t.Error("a cluster was founded in a member's directory")
	}
}

// Coordinators that were all off for longer than their certificates live come back by themselves.
func TestLongOff(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, "")
	f.Do(f.Leader(), newKey("1"))
	for _, c := range f.Running() {
		f.Stop(c)
	}
	for _, c := range f.Coordinators {
		m, err := wire.LoadMembership(c.Config.Dir)
		if err != nil {
			t.Fatal(err)
		}
		m.Papers = aged(t, m, wire.CertLife+time.Hour)
		if err := m.Save(c.Config.Dir); err != nil {
			t.Fatal(err)
		}
		f.Start(c)
	}
	f.Do(f.Follower(), newKey("2"))
	for _, c := range f.Running() {
		m, err := wire.LoadMembership(c.Config.Dir)
		if err != nil {
			t.Fatal(err)
		}
		creds, err := wire.NewCredentials(m.Papers)
		if err != nil || time.Now().After(creds.RenewAt()) {
			t.Errorf("%s keeps old papers: %v", c.Config.Name, err)
		}
	}
}

// Without a majority a proposal ends with an error that says so, in time.
func TestNoMajority(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 3, "")
	f.Stop(f.Follower())
	f.Stop(f.Follower())
	alone := f.Running()[0]
	began := time.Now()
	_, err := alone.Propose(t.Context(), cluster.Txn{Do: []cluster.Command{newKey("1")}})
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, raftstore.ErrOutcomeUnknown) {
		t.Errorf("propose without a majority: %v", err)
	}
	if d := time.Since(began); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	if _, err := alone.Preview(t.Context(), cluster.Deployment{}); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("preview: %v", err)
	}
}

// A token admits one member, whoever comes first, and nobody under an id that is somebody's. A request that cannot be certified does not
// cost the token.
func TestJoinTokens(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, "")
	addr := f.Coordinators[0].Config.Listen
	token := f.Token(cluster.RoleNode)
	type outcome struct {
		m   wire.Membership
		err error
	}
	const racers = 4
	results := make(chan outcome, racers)
	for i := range racers {
		go func() {
			m, err := wire.JoinCluster(t.Context(), f.Coordinators[i%2].Config.Listen, token, wire.NewID(), "racer")
			results <- outcome{m, err}
		}()
	}
	var winner wire.Membership
	for range racers {
		switch r := <-results; {
		case r.err == nil && winner.ID == "":
			winner = r.m
		case r.err == nil:
			t.Errorf("%s and %s joined with one token", winner.ID, r.m.ID)
		case !refusedAs(r.err, connect.CodePermissionDenied):
			t.Error(r.err)
		}
	}
	if winner.ID == "" {
		t.Fatal("nobody joined")
	}
	id := f.ID(f.Coordinators[1])
	for name, id := range map[string]cluster.NodeID{"a coordinator's id": id, "another joiner's id": winner.ID} {
		if _, err := wire.JoinCluster(t.Context(), addr, f.Token(cluster.RoleNode), id, "thief"); !refusedAs(err, connect.CodePermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := token
	unknown.Secret = wire.NewToken(cluster.RoleNode, caOf(t, winner)).Secret
	if _, err := wire.JoinCluster(t.Context(), addr, unknown, wire.NewID(), "x"); !refusedAs(err, connect.CodePermissionDenied) {
		t.Errorf("an unknown token: %v", err)
	}
	other := f.Token(cluster.RoleNode)
	other.Role = cluster.RoleCoordinator
	if _, err := wire.JoinCluster(t.Context(), addr, other, wire.NewID(), "x"); !refusedAs(err, connect.CodePermissionDenied) {
		t.Errorf("a node's token for a coordinator: %v", err)
	}
	other.Role = cluster.RoleNode
	if _, err := wire.JoinCluster(t.Context(), addr, other, "short", "x"); !refusedAs(err, connect.CodeInvalidArgument) {
		t.Errorf("a malformed id: %v", err)
	}
	if _, err := wire.JoinCluster(t.Context(), addr, other, wire.NewID(), "x"); err != nil {
		t.Errorf("the token is spent: %v", err)
	}
}

// Renewing gives a certificate for the same member, whatever is asked for, and only to who is one.
func TestRenew(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	addr := f.Coordinators[0].Config.Listen
	member := f.Enrol(cluster.RoleNode, "n")
	d := f.Dialer(member)
	_, csr, err := wire.Request()
	if err != nil {
		t.Fatal(err)
	}
	res, err := wire.Call[wire.JoinRequest, wire.JoinResponse](t.Context(), d, cluster.RoleCoordinator, addr, wire.Renew,
		&wire.JoinRequest{ID: f.ID(f.Coordinators[0]), Role: cluster.RoleCoordinator, CSR: csr})
	if err != nil {
		t.Fatal(err)
	}
	if who := identity(t, res.Cert); who != "/node/"+string(member.ID) {
		t.Errorf("the certificate is for %s", who)
	}
	if len(res.Secret) > 0 || len(res.CAKey) > 0 {
		t.Error("a node is given the cluster's secret")
	}
	before := member.Papers.Cert
	papers, err := wire.RenewCluster(t.Context(), d, addr)
	if err != nil || string(papers.Cert) == string(before) {
		t.Errorf("renewed: %v", err)
	}
	if _, err := wire.Call[wire.Empty, wire.Pong](t.Context(), d, cluster.RoleCoordinator, addr, wire.Ping, &wire.Empty{}); err != nil {
		t.Errorf("with the new certificate: %v", err)
	}
}

// A node reports for itself only, and only the leader takes its reports.
func TestReportForAnother(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, "")
	victim := f.Machine("victim", gpu.GiB)
	d := f.Dialer(f.Enrol(cluster.RoleNode, "n"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := wire.Bidi[cluster.Report, cluster.Desired](ctx, d, cluster.RoleCoordinator, f.Leader().Config.Listen, wire.Sync)
	if err := s.Send(&cluster.Report{Node: victim.ID, Session: 7, Seq: 1, Addr: "127.0.0.1:1", Name: "thief"}); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = s.Receive()
	}
	if err = wire.FromPeer(err); !refusedAs(err, connect.CodePermissionDenied) {
		t.Errorf("a report for another node: %v", err)
	}
	s = wire.Bidi[cluster.Report, cluster.Desired](ctx, d, cluster.RoleCoordinator, f.Follower().Config.Listen, wire.Sync)
	s.Send(&cluster.Report{})
	_, err = s.Receive()
	var refused *wire.Refused
	if err = wire.FromPeer(err); !errors.As(err, &refused) || refused.Code != connect.CodeUnavailable || refused.Addr != f.Leader().Config.Listen {
		t.Errorf("a follower answers a report: %v", err)
	}
}
