package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// longTokens are enough that a stream of them is under way when something happens.
const longTokens = 400

// A fleet under load, while its operator drains machines and its coordinators are away. No request fails.
func TestDrainAndOutages(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 3, Nodes: 3, Gateway: true, Devices: []string{"host:256MiB"}})
	s.push("../../examples/calc", "calc")
	s.serve(&adminv1.ServeRequest{Model: "calc"})
	t.Run("drain", func(t *testing.T) { s.in(t).drains() })
	if t.Failed() {
		return
	}
	s.push(cutModel(t), "cut")
	if _, err := s.admin.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: "cut", Slots: 4, Context: 512})); err != nil {
		t.Fatal(err)
	}
	s.settled("cut@1", 1, nil)
	t.Run("coordinators killed", func(t *testing.T) { s.in(t).headless() })
	s.connect()
	t.Run("coordinators stopped", func(t *testing.T) { s.in(t).frozen() })
}

// drains moves the only replica off its node, finds no room elsewhere, and lets a draining node be lost and come back.
func (s *stage) drains() {
	tr := s.traffic(3, s.sum)
	first := s.settled("calc@1", 1, nil).Replicas[0].Stages[0].Node
	tr.more(5)
	s.drain(first, "new fans")
	s.until(first+" to be empty", func(ctx context.Context) error {
		d, err := s.deployment(ctx, "calc@1")
		if err == nil && d.Ready < 1 {
			s.t.Errorf("nothing is ready while %s is drained: %v", first, d)
		}
		n, err := s.node(ctx, first)
		if err == nil && n.Stages != 0 {
			err = fmt.Errorf("%d stages", n.Stages)
		}
		return err
	})
	tr.more(5)

	before := s.settled("calc@1", 1, nil).Replicas[0]
	last, third := before.Stages[0].Node, ""
	for i := range 3 {
		if name := fmt.Sprintf("node-%d", i+1); name != first && name != last {
			third = name
		}
	}
	s.drain(third, "new roof")
	s.drain(last, "new floor")
	s.until("the reason why nothing moves", func(ctx context.Context) error {
		res, err := s.admin.Deployments.Why(ctx, connect.NewRequest(&adminv1.WhyRequest{Subject: "calc@1"}))
		if err == nil && !strings.Contains(res.Msg.String(), "has no place") {
			err = fmt.Errorf("%v", res.Msg)
		}
		return err
	})
	tr.more(5)
	if d := s.settled("calc@1", 1, nil); d.Replicas[0].Epoch != before.Epoch || d.Replicas[0].Id != before.Id || !strings.Contains(fmt.Sprint(d.Refused), "draining") {
		s.t.Errorf("no room elsewhere: was %v, is %v", before, d)
	}

	if err := s.Process(third).Kill(); err != nil {
		s.t.Fatal(err)
	}
	s.nodeIs(third, "lost", func(n *adminv1.NodeView) bool { return n.Status == "lost" && strings.Contains(n.Why, "to be drained") })
	if err := s.Process(third).Start(); err != nil {
		s.t.Fatal(err)
	}
	s.nodeIs(third, "draining again", func(n *adminv1.NodeView) bool {
		if n.Status == "ready" {
			s.t.Errorf("%s came back ready: %v", third, n)
		}
		return n.Status == "draining" && n.Why == "new roof"
	})
	s.resume(first, third)
	s.settled("calc@1", 1, func(d *adminv1.DeploymentView) bool { return d.Replicas[0].Stages[0].Node != last })
	s.nodeIs(last, "empty", func(n *adminv1.NodeView) bool { return n.Stages == 0 })
	s.resume(last)
	s.nodeIs(last, "ready", func(n *adminv1.NodeView) bool { return n.Status == "ready" && n.Why == "" })
	tr.more(5)
	tr.end()
}

// coordinators are all of them.
func (s *stage) coordinators() (list []*devfleet.Process) {
	for _, p := range s.Processes() {
		if strings.HasPrefix(p.Name, "coordinator-") {
			list = append(list, p)
		}
	}
	return list
}

// headless kills every coordinator while streams run and requests come, and starts them again.
func (s *stage) headless() {
	want := s.prompts(3, longTokens)
	before, err := s.held(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	tr := s.traffic(1, s.sum)
	tr.more(1)
	s.streams(want, longTokens, func() {
		for _, p := range s.coordinators() {
			if err := p.Kill(); err != nil {
				s.t.Fatal(err)
			}
		}
	})
	s.pass(5 * time.Second)
	tr.more(5)
	for _, p := range s.coordinators() {
		if err := p.Start(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.unmoved(before)
	tr.more(5)
	tr.end()
}

// frozen stops every coordinator for a while, without a word to anybody.
func (s *stage) frozen() {
	before, err := s.held(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	tr := s.traffic(1, s.sum)
	for _, p := range s.coordinators() {
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			s.t.Fatal(err)
		}
	}
	s.pass(10 * time.Second)
	tr.more(5)
	for _, p := range s.coordinators() {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			s.t.Fatal(err)
		}
	}
	s.unmoved(before)
	tr.more(5)
	tr.end()
}

// unmoved waits until the coordinators are back, and checks that the fleet is as it was, then and when the leader has looked at it.
func (s *stage) unmoved(before string) {
	s.t.Helper()
	s.connect()
	s.until("the coordinators to be back", func(ctx context.Context) error { return s.fleetWhole(ctx, len(s.coordinators())) })
	for i, when := range []string{"at once", "when the leader has heard of every node"} {
		s.pass(time.Duration(i) * 4 * time.Second) // scheduler.Config.SettleFor, and some
		var after string
		s.until("the fleet to be reported", func(ctx context.Context) (err error) {
			after, err = s.held(ctx)
			return err
		})
		if after != before {
			s.t.Errorf("%s: was\n%sis\n%s", when, before, after)
		}
	}
}
