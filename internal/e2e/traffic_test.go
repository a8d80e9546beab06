package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
)

// in is the stage of a subtest.
func (s *stage) in(t *testing.T) *stage {
	sub := *s
	sub.t = t
	return &sub
}

// traffic is requests that go on, several side by side, while a test disturbs the fleet.
type traffic struct {
	s     *stage
	ended atomic.Int64
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

// pace leaves processor time to what the test is about.
const pace = 20 * time.Millisecond

// traffic asks again and again, from so many sides, until stopped. Every error fails the test.
func (s *stage) traffic(sides int, ask func(context.Context) error) *traffic {
	tr := &traffic{s: s, stop: make(chan struct{})}
	s.t.Cleanup(tr.halt) // of a test that gave up
	for range sides {
		tr.wg.Go(func() {
			for {
				select {
				case <-tr.stop:
					return
				case <-time.After(pace):
				}
				if err := ask(s.t.Context()); err != nil {
					if s.t.Context().Err() != nil {
						return
					}
					s.t.Errorf("a request failed: %v", err)
					return
				}
				tr.ended.Add(1)
			}
		})
	}
	return tr
}

// more waits until n more requests have ended well.
func (tr *traffic) more(n int64) {
	tr.s.t.Helper()
	goal := tr.ended.Load() + n
	tr.s.until(fmt.Sprintf("%d more requests", n), func(context.Context) error {
		if here := tr.ended.Load(); here < goal && !tr.s.t.Failed() {
			return fmt.Errorf("%d are missing", goal-here)
		}
		return nil
	})
}

func (tr *traffic) halt() {
	tr.once.Do(func() { close(tr.stop) })
	tr.wg.Wait()
}

// end stops asking.
func (tr *traffic) end() {
	tr.s.t.Helper()
	tr.halt()
	tr.s.t.Logf("%d requests", tr.ended.Load())
}

// sums are questions to examples/calc with their right answers.
var sums = map[string]string{"sum 17 25 =": " 42", "sum 123 45 678 =": " 846", "sort 42 7 19 3 88 =": " 3 7 19 42 88"}

// sum asks the sums, and fails if an answer is not right.
func (s *stage) sum(ctx context.Context) error {
	for prompt, want := range sums {
		if text, _, err := s.complete(ctx, "calc", prompt, 16); err != nil || text != want {
			return fmt.Errorf("%q is answered %q, %w", prompt, text, err)
		}
	}
	return nil
}

// complete asks the OpenAI API for a greedy completion, and gives it with the fingerprint of the version that made it.
func (s *stage) complete(ctx context.Context, model, prompt string, tokens int) (text, fingerprint string, err error) {
	body, err := json.Marshal(map[string]any{"model": model, "prompt": prompt, "temperature": 0, "max_tokens": tokens})
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/v1/completions", bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.ask.HTTP.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		return "", "", err
	}
	var out struct {
		Fingerprint string `json:"system_fingerprint"`
		Choices     []struct {
			Text string `json:"text"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(reply, &out); err != nil || res.StatusCode != http.StatusOK || len(out.Choices) != 1 {
		return "", "", fmt.Errorf("%s: %s", res.Status, reply)
	}
	return out.Choices[0].Text, out.Fingerprint, nil
}

// deployment is what is served of a version.
func (s *stage) deployment(ctx context.Context, version string) (*adminv1.DeploymentView, error) {
	res, err := s.admin.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(res.Msg.Deployments, func(d *adminv1.DeploymentView) bool { return d.Version == version })
	if i < 0 {
		return nil, fmt.Errorf("%s is not served", version)
	}
	return res.Msg.Deployments[i], nil
}

// settled waits until a version has exactly so many replicas, all ready, and what more is asked for is true.
func (s *stage) settled(version string, replicas int, also func(*adminv1.DeploymentView) bool) (d *adminv1.DeploymentView) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d replicas of %s as they should be", replicas, version), func(ctx context.Context) (err error) {
		d, err = s.deployment(ctx, version)
		if err == nil && (len(d.Replicas) != replicas || int(d.Ready) != replicas || also != nil && !also(d)) {
			err = fmt.Errorf("%v", d)
		}
		return err
	})
	return d
}

// node is what the cluster says about a node.
func (s *stage) node(ctx context.Context, name string) (*adminv1.NodeView, error) {
	res, err := s.admin.Nodes.ListNodes(ctx, connect.NewRequest(&adminv1.ListNodesRequest{}))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(res.Msg.Nodes, func(n *adminv1.NodeView) bool { return n.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no node %s", name)
	}
	return res.Msg.Nodes[i], nil
}

// nodeIs waits until a node is as it should be.
func (s *stage) nodeIs(name, how string, ok func(*adminv1.NodeView) bool) {
	s.t.Helper()
	s.until(name+" to be "+how, func(ctx context.Context) error {
		n, err := s.node(ctx, name)
		if err == nil && !ok(n) {
			err = fmt.Errorf("%v", n)
		}
		return err
	})
}

func (s *stage) drain(node, why string) {
	s.t.Helper()
	if _, err := s.admin.Nodes.Drain(s.t.Context(), connect.NewRequest(&adminv1.DrainRequest{Node: node, Why: why})); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) resume(nodes ...string) {
	s.t.Helper()
	for _, node := range nodes {
		if _, err := s.admin.Nodes.Resume(s.t.Context(), connect.NewRequest(&adminv1.ResumeRequest{Node: node})); err != nil {
			s.t.Fatal(err)
		}
	}
}

// unserve ends a deployment, and waits until its memory is free.
func (s *stage) unserve(version string) {
	s.t.Helper()
	if _, err := s.admin.Deployments.Unserve(s.t.Context(), connect.NewRequest(&adminv1.UnserveRequest{Model: version})); err != nil {
		s.t.Fatal(err)
	}
	s.until(version+" to be gone", func(ctx context.Context) error {
		d, err := s.deployment(ctx, version)
		if err == nil {
			return fmt.Errorf("%v", d)
		}
		return nil
	})
}

// held is a moment's truth: what is where, at which epoch, and which name means what. Revisions and times are left out.
func (s *stage) held(ctx context.Context) (string, error) {
	var b strings.Builder
	list, err := s.admin.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
	if err != nil {
		return "", err
	}
	for _, d := range list.Msg.Deployments {
		fmt.Fprintf(&b, "%s %d×%d wanted %d ready %d\n", d.Version, d.Slots, d.Context, d.Wanted, d.Ready)
		for _, r := range d.Replicas {
			fmt.Fprintf(&b, "  %s epoch %d %s", r.Id, r.Epoch, r.Status)
			for _, st := range r.Stages {
				fmt.Fprintf(&b, " [%d,%d) on %s %s", st.From, st.To, st.Node, st.Device)
			}
			b.WriteByte('\n')
		}
	}
	models, err := s.admin.Models.ListModels(ctx, connect.NewRequest(&adminv1.ListModelsRequest{}))
	if err != nil {
		return "", err
	}
	fmt.Fprintln(&b, models.Msg.Aliases)
	nodes, err := s.admin.Nodes.ListNodes(ctx, connect.NewRequest(&adminv1.ListNodesRequest{}))
	if err != nil {
		return "", err
	}
	for _, n := range nodes.Msg.Nodes {
		fmt.Fprintf(&b, "%s %s %s\n", n.Name, n.Id, n.Status)
		if n.ReportAgeMs < 0 {
			return "", fmt.Errorf("%s has not reported yet", n.Name)
		}
	}
	return b.String(), nil
}

// pass lets time pass: how long a disturbance lasts, not a wait for something.
func (s *stage) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.t.Context().Done():
	}
}

// workers are the process ids of a node's workers: its children.
func (s *stage) workers(node string) (pids []int) {
	s.t.Helper()
	parent := strconv.Itoa(s.Process(node).Pid())
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		// pid (name) state ppid …: the name may hold anything.
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && len(f) > 1 && f[1] == parent && f[0] != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// worker is the process id of the one worker of a node.
func (s *stage) worker(node string) int {
	s.t.Helper()
	pids := s.workers(node)
	if len(pids) != 1 {
		s.t.Fatalf("%s has the workers %v", node, pids)
	}
	return pids[0]
}

// loads counts the stages that the workers of a node have loaded since it started first.
func (s *stage) loads(node string) int {
	s.t.Helper()
	text, err := os.ReadFile(s.Process(node).Log)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Count(string(text), "stage loaded")
}

// streams runs a stream of tokens per prompt on "cut", disturbs them when they are well under way, and wants of each exactly what it gave undisturbed.
func (s *stage) streams(want map[string]generation, tokens int32, disturb func()) {
	s.t.Helper()
	var count atomic.Int64
	var once sync.Once
	begun, results := make(chan struct{}), make(chan error, len(want))
	for prompt, w := range want {
		go func() {
			got, err := generate(s.t.Context(), s.ask, "cut", prompt, tokens, func() {
				if count.Add(1) > int64(len(want))*int64(tokens)/8 {
					once.Do(func() { close(begun) })
				}
			})
			if err == nil && (!slices.Equal(got.ids, w.ids) || got.text != w.text) {
				err = errors.New("another text")
			}
			if err != nil {
				err = fmt.Errorf("prompt %q: %d tokens of %d, they differ at %d: %w", prompt, len(got.ids), len(w.ids), differ(got.ids, w.ids), err)
			}
			results <- err
		}()
	}
	select {
	case <-begun:
	case err := <-results:
		s.t.Fatalf("a stream ended before it was disturbed: %v", err)
	}
	disturb()
	if len(results) == len(want) {
		s.t.Error("every stream ended before it was disturbed")
	}
	for range want {
		if err := <-results; err != nil {
			s.t.Error(err)
		}
	}
}
