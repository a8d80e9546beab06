package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// A fleet whose operator changes under load which version a name means, and where and how often a model runs.
func TestVersionsAndPlacement(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 1, Nodes: 2, Gateway: true, Devices: []string{"host:192MiB", "host:24MiB"}})
	if a, b := s.push("../../examples/calc", "calc"), s.push(cutModel(t), "calc"); a != "calc@1" || b != "calc@2" {
		t.Fatalf("the versions %s and %s", a, b)
	}
	s.serve(&adminv1.ServeRequest{Model: "calc@1"})
	t.Run("versions", func(t *testing.T) { s.in(t).versions() })
	t.Run("placement", func(t *testing.T) { s.in(t).steers() })
}

// refused checks that an operator's call is refused, with all of these words.
func (s *stage) refused(err error, code connect.Code, words ...string) {
	s.t.Helper()
	if connect.CodeOf(err) != code || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(err.Error(), w) }) {
		s.t.Errorf("%v (%v), want %v with %q", err, connect.CodeOf(err), code, words)
	}
}

// changes is the number of transactions that somebody asked for so far. Others are on the way too: gateways settle all the time.
func (s *stage) changes() uint64 {
	s.t.Helper()
	res, err := s.admin.Audit.GetHead(s.t.Context(), connect.NewRequest(&adminv1.GetHeadRequest{}))
	if err != nil {
		s.t.Fatal(err)
	}
	return res.Msg.Seq
}

// whole asks for one stream, and wants all of it from one version, with the text that this version gives.
func (s *stage) whole(ctx context.Context, prompt string, texts map[string]string, seen map[string]*atomic.Int64) error {
	zero, most := 0.0, int32(24)
	out, err := s.ask.Inference.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: "calc", Input: &inferencev1.GenerateRequest_Prompt{Prompt: prompt},
		Sampling: &inferencev1.Sampling{Temperature: &zero, MaxTokens: &most}}))
	if err != nil {
		return err
	}
	defer out.Close()
	text, version := "", ""
	for out.Receive() {
		if version == "" {
			version = out.Msg().ModelVersion
		}
		if out.Msg().ModelVersion != version {
			return fmt.Errorf("an answer of %s and of %s", version, out.Msg().ModelVersion)
		}
		text += out.Msg().Text
	}
	if want, ok := texts[version]; out.Err() != nil || !ok || text != want {
		return fmt.Errorf("%s answers %q, want %q, %w", version, text, want, out.Err())
	}
	seen[version].Add(1)
	return nil
}

// versions flips a name between two versions and back.
func (s *stage) versions() {
	ctx := s.t.Context()
	flip := func(version string, force bool) error { // the versions differ in template and context
		_, err := s.admin.Models.SetAlias(ctx, connect.NewRequest(&adminv1.SetAliasRequest{Name: "calc", Version: version, Force: force, Accept: true}))
		return err
	}
	s.refused(flip("calc@2", false), connect.CodeFailedPrecondition, "calc@2", "ready")
	s.refuses(exitRefused, "ready", "alias", "calc", "calc@2")
	s.says([]string{"alias", "calc", "calc@2", "--force", "--accept"}, "calc -> calc@2")
	if err := flip("calc@1", false); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.admin.Deployments.Serve(ctx, connect.NewRequest(&adminv1.ServeRequest{Model: "calc@2", Slots: 4, Context: 256})); err != nil {
		s.t.Fatal(err)
	}
	s.settled("calc@2", 1, nil)

	prompt := "sum 123 45 678 ="
	texts, seen := map[string]string{}, map[string]*atomic.Int64{}
	for _, v := range []string{"calc@1", "calc@2"} {
		text, fingerprint, err := s.complete(ctx, v, prompt, 24)
		if err != nil || fingerprint != v {
			s.t.Fatalf("%s has the fingerprint %q, %v", v, fingerprint, err)
		}
		texts[v], seen[v] = text, &atomic.Int64{}
	}
	if texts["calc@1"] != " 846" || texts["calc@1"] == texts["calc@2"] {
		s.t.Fatalf("the versions answer %q", texts)
	}
	tr := s.traffic(2, func(ctx context.Context) error { return s.whole(ctx, prompt, texts, seen) })
	also := s.traffic(2, func(ctx context.Context) error {
		text, fingerprint, err := s.complete(ctx, "calc", prompt, 24)
		if err == nil && text != texts[fingerprint] {
			err = fmt.Errorf("%s answers %q", fingerprint, text)
		}
		return err
	})
	for range 3 {
		s.turns(seen["calc@2"], func() error { return flip("calc@2", false) })
		s.turns(seen["calc@1"], func() error {
			_, err := s.admin.Models.RollbackAlias(ctx, connect.NewRequest(&adminv1.RollbackAliasRequest{Name: "calc"}))
			return err
		})
	}
	tr.end()
	also.end()

	remove := func(version string) error {
		_, err := s.admin.Models.DeleteVersion(ctx, connect.NewRequest(&adminv1.DeleteVersionRequest{Version: version}))
		return err
	}
	s.refused(remove("calc@1"), connect.CodeFailedPrecondition, "calc@1")
	s.refused(remove("calc@2"), connect.CodeFailedPrecondition, "calc@2")
	s.unserve("calc@2")
	if err := remove("calc@2"); err != nil {
		s.t.Errorf("of no use any more: %v", err)
	}
}

// turns makes a change of one transaction, which is in one log entry, and waits until the version that it is for answers.
func (s *stage) turns(seen *atomic.Int64, change func() error) {
	s.t.Helper()
	before := s.changes()
	if err := change(); err != nil {
		s.t.Fatal(err)
	}
	if after := s.changes(); after != before+1 {
		s.t.Errorf("%d transactions, want 1", after-before)
	}
	goal := seen.Load() + 3
	s.until("the other version to answer", func(context.Context) error {
		if here := seen.Load(); here < goal && !s.t.Failed() {
			return fmt.Errorf("%d answers are missing", goal-here)
		}
		return nil
	})
}

// steers moves a model by pins and by what it avoids, makes it more and less, and ends it.
func (s *stage) steers() {
	ctx := s.t.Context()
	nodes, err := s.admin.Nodes.ListNodes(ctx, connect.NewRequest(&adminv1.ListNodesRequest{}))
	if err != nil {
		s.t.Fatal(err)
	}
	here := s.settled("calc@1", 1, nil).Replicas[0].Stages[0].Node
	other := nodes.Msg.Nodes[0]
	if other.Name == here {
		other = nodes.Msg.Nodes[1]
	}
	large, small := other.Devices[0], other.Devices[1]
	if large.Memory < small.Memory {
		large, small = small, large
	}
	on := func(node string) func(*adminv1.DeploymentView) bool {
		return func(d *adminv1.DeploymentView) bool { return d.Replicas[0].Stages[0].Node == node }
	}
	pin := func(device string) error {
		_, err := s.admin.Deployments.Pin(ctx, connect.NewRequest(&adminv1.PinRequest{Model: "calc", Device: device}))
		return err
	}
	avoid := func(nodes ...string) {
		s.t.Helper()
		if _, err := s.admin.Deployments.Avoid(ctx, connect.NewRequest(&adminv1.AvoidRequest{Model: "calc", Nodes: nodes})); err != nil {
			s.t.Fatal(err)
		}
	}
	serve := func(r *adminv1.ServeRequest) error {
		_, err := s.admin.Deployments.Serve(ctx, connect.NewRequest(r))
		return err
	}

	tr := s.traffic(2, s.sum)
	s.refused(pin(small.Id), connect.CodeFailedPrecondition, "the pin is refused", small.Id, "needs 4", "MiB", "has 24.0 MiB free")
	if err := pin(large.Id); err != nil {
		s.t.Fatal(err)
	}
	s.settled("calc@1", 1, func(d *adminv1.DeploymentView) bool {
		return d.Replicas[0].Stages[0].Device == large.Id && d.Replicas[0].Id == "calc@1/0"
	})
	if err := pin(""); err != nil {
		s.t.Fatal(err)
	}
	avoid(other.Name)
	s.settled("calc@1", 1, on(here))
	avoid()
	s.settled("calc@1", 1, on(here))
	if err := serve(&adminv1.ServeRequest{Model: "calc", Replicas: 2}); err != nil {
		s.t.Fatal(err)
	}
	both := s.settled("calc@1", 2, func(d *adminv1.DeploymentView) bool {
		return d.Replicas[0].Stages[0].Node != d.Replicas[1].Stages[0].Node
	}).Replicas
	if err := serve(&adminv1.ServeRequest{Model: "calc", Replicas: 1}); err != nil {
		s.t.Fatal(err)
	}
	kept := s.settled("calc@1", 1, nil).Replicas[0]
	if !slices.ContainsFunc(both, func(r *adminv1.ReplicaView) bool { return r.Id == kept.Id && r.Epoch == kept.Epoch }) {
		s.t.Errorf("the replica that stayed: of %v is left %v", both, kept)
	}
	for _, r := range both {
		if at := r.Stages[0].Node; at != kept.Stages[0].Node {
			s.nodeIs(at, "empty", func(n *adminv1.NodeView) bool { return n.Stages == 0 })
		}
	}
	tr.more(3)
	tr.end()

	s.unserve("calc@1")
	for _, n := range nodes.Msg.Nodes {
		s.nodeIs(n.Name, "free", func(n *adminv1.NodeView) bool {
			return !slices.ContainsFunc(n.Devices, func(d *adminv1.DeviceView) bool { return d.Reserved != 0 || d.Used != 0 })
		})
	}
	words := []string{"fits nowhere", "needs", "MiB"}
	for _, n := range nodes.Msg.Nodes {
		for _, d := range n.Devices {
			words = append(words, fmt.Sprintf("%s on %s", d.Id, n.Name), fmt.Sprintf("has %d.0 MiB free", d.Memory>>20))
		}
	}
	s.refused(serve(&adminv1.ServeRequest{Model: "calc", Slots: 512}), connect.CodeFailedPrecondition, words...)
	if list, err := s.admin.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{})); err != nil || len(list.Msg.Deployments) != 0 {
		s.t.Errorf("what was refused left %v, %v", list, err)
	}
}
