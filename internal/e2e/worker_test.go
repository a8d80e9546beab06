package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// The example models do their job on a fleet, and a fleet whose workers die or hang does its own.
func TestExamplesAndWorkers(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 1, Nodes: 3, Gateway: true, Devices: []string{nodeMemory}})
	s.push("../../examples/calc", "calc")
	s.push("../../examples/triage", "triage")
	s.push(cutModel(t), "cut")
	t.Run("examples", func(t *testing.T) { s.in(t).examples() })
	t.Run("worker stopped", func(t *testing.T) { s.in(t).hung() })
	t.Run("worker killed", func(t *testing.T) { s.in(t).crashes() })
}

func (s *stage) deploy(r *adminv1.ServeRequest) *adminv1.DeploymentView {
	s.t.Helper()
	res, err := s.admin.Deployments.Serve(s.t.Context(), connect.NewRequest(r))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.settled(res.Msg.Version, max(int(r.Replicas), 1), nil)
}

// heldOut reads the questions that training of an example model never saw.
func heldOut[Q any](t testing.TB, model string) (list []Q) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "examples", model, "heldout.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var q Q
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			t.Fatal(err)
		}
		list = append(list, q)
	}
	return list
}

// calcSample is how many of the held-out questions are asked unless SKEIN_FULL is set.
const calcSample = 100

// examples asks calc, cut over two nodes, and triage, and counts the right answers.
func (s *stage) examples() {
	d := s.deploy(&adminv1.ServeRequest{Model: "calc"})
	s.deploy(&adminv1.ServeRequest{Model: "triage"})
	nodes, err := s.admin.Nodes.ListNodes(s.t.Context(), connect.NewRequest(&adminv1.ListNodesRequest{}))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, n := range nodes.Msg.Nodes { // the second stage elsewhere than where all of it is now
		if n.Name != d.Replicas[0].Stages[0].Node {
			if _, err := s.admin.Deployments.Pin(s.t.Context(), connect.NewRequest(&adminv1.PinRequest{Model: "calc", Stage: 1, Device: n.Devices[0].Id})); err != nil {
				s.t.Fatal(err)
			}
			break
		}
	}
	s.settled("calc@1", 1, func(d *adminv1.DeploymentView) bool {
		st := d.Replicas[0].Stages
		return len(st) == 2 && st[0].Node != st[1].Node
	})

	sums := heldOut[struct{ Prompt, Answer string }](s.t, "calc")
	if os.Getenv("SKEIN_FULL") == "" {
		step := len(sums) / calcSample
		for i := range calcSample {
			sums[i] = sums[i*step]
		}
		sums = sums[:calcSample]
	}
	right := 0
	for _, q := range sums {
		text, _, err := s.complete(s.t.Context(), "calc", q.Prompt, 32)
		if err != nil {
			s.t.Fatal(err)
		}
		if text == q.Answer {
			right++
		}
	}
	s.t.Logf("calc: %d of %d", right, len(sums))
	if len(sums) < calcSample || right*100 < 99*len(sums) {
		s.t.Errorf("calc answers %d of %d", right, len(sums))
	}

	messages := heldOut[struct{ Text, Label string }](s.t, "triage")
	right = 0
	for part := range slices.Chunk(messages, 64) {
		req := &inferencev1.ClassifyRequest{Model: "triage"}
		for _, m := range part {
			req.Inputs = append(req.Inputs, &inferencev1.ClassifyInput{Text: m.Text})
		}
		res, err := s.ask.Inference.Classify(s.t.Context(), connect.NewRequest(req))
		if err != nil {
			s.t.Fatal(err)
		}
		for i, m := range part {
			if res.Msg.Results[i].Labels[0].Name == m.Label {
				right++
			}
		}
	}
	s.t.Logf("triage: %d of %d", right, len(messages))
	if len(messages) < 300 || right*100 < 95*len(messages) {
		s.t.Errorf("triage classifies %d of %d", right, len(messages))
	}
	s.unserve("calc@1")
	s.unserve("triage@1")
}

// hung stops a worker of one of two replicas in the middle of its streams: they go on at the other one, and the node starts a worker in its place.
// With SKEIN_FULL also one behind the head, which the head notices and not the gateway.
func (s *stage) hung() {
	d := s.deploy(&adminv1.ServeRequest{Model: "cut", Replicas: 2, Slots: 2, Context: 512})
	whole := d.Replicas[1].Stages[0]
	if len(d.Replicas[0].Stages) != 1 || whole.Node == d.Replicas[0].Stages[0].Node {
		s.t.Fatalf("not two whole replicas on two nodes: %v", d)
	}
	want := s.prompts(3, longTokens)
	stop := func(node string) {
		pid := s.worker(node)
		s.streams(want, longTokens, func() {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				s.t.Fatal(err)
			}
		})
		s.until("another worker in the place of the one that hung", func(context.Context) error {
			if now := s.workers(node); len(now) != 1 || now[0] == pid {
				return fmt.Errorf("the workers of %s are %v, %d was stopped", node, now, pid)
			}
			return nil
		})
		s.settled("cut@1", 2, nil)
	}
	stop(d.Replicas[0].Stages[0].Node)
	if os.Getenv("SKEIN_FULL") != "" {
		stop(s.split())
	}
	s.unserve("cut@1")
}

// split pins the second stage of the first replica of "cut" to a node, so that there is one, and gives the node.
func (s *stage) split() (node string) {
	s.t.Helper()
	n, err := s.node(s.t.Context(), "node-3")
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.admin.Deployments.Pin(s.t.Context(), connect.NewRequest(&adminv1.PinRequest{Model: "cut", Stage: 1, Device: n.Devices[0].Id})); err != nil {
		s.t.Fatal(err)
	}
	s.settled("cut@1", 2, func(d *adminv1.DeploymentView) bool {
		return len(d.Replicas[0].Stages) == 2 && d.Replicas[0].Stages[1].Node == n.Name
	})
	return n.Name
}

// crashes kills the workers of a model that is cut, one by one, and at last a node of it.
func (s *stage) crashes() {
	d := s.deploy(&adminv1.ServeRequest{Model: "cut", Slots: 16, Context: 512})
	stages, epoch := d.Replicas[0].Stages, d.Replicas[0].Epoch
	if len(stages) != 2 {
		s.t.Fatalf("the model is not cut in two: %v", d)
	}
	want := s.prompts(2, longTokens)
	for _, st := range stages {
		pid, loads := s.worker(st.Node), s.loads(st.Node)
		s.streams(want, longTokens, func() {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				s.t.Fatal(err)
			}
		})
		d := s.settled("cut@1", 1, nil)
		if got := s.loads(st.Node); s.worker(st.Node) == pid || got != loads+1 || d.Replicas[0].Epoch != epoch {
			s.t.Errorf("a killed worker of %s: %d loads, want %d: %v", st.Node, got, loads+1, d)
		}
	}

	// A node is lost: the stage on the other one stays in its worker's memory.
	head, tail := stages[0], stages[1]
	pid, loads := s.worker(head.Node), s.loads(head.Node)
	disk := filepath.Join(filepath.Dir(filepath.Dir(s.Process(head.Node).Log)), head.Node, "blobs")
	fetched := diskUsage(s.t, disk)
	s.streams(want, longTokens, func() {
		if err := s.Process(tail.Node).Kill(); err != nil {
			s.t.Fatal(err)
		}
	})
	r := s.settled("cut@1", 1, nil).Replicas[0]
	if r.Epoch == epoch || len(r.Stages) != 2 || r.Stages[0].Device != head.Device || r.Stages[1].Node == tail.Node {
		s.t.Errorf("after the loss of %s: %v", tail.Node, r)
	}
	if s.worker(head.Node) != pid || s.loads(head.Node) != loads || diskUsage(s.t, disk) != fetched {
		s.t.Errorf("%s did not keep what it had loaded: %d loads, want %d", head.Node, s.loads(head.Node), loads)
	}
}
