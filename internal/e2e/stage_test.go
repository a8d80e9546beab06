package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/bigmodel"
	"github.com/skein-project/skein/internal/devfleet"
)

// patience is a generous guard against hanging; nothing is measured by it.
const patience = 3 * time.Minute

// stage is a fleet with a model on it.
type stage struct {
	*devfleet.Fleet
	t     testing.TB
	admin *client.Client
	ask   *client.Client // through the stand-alone gateway if there is one
}

// raise starts a fleet and stops it when the test ends; the logs are shown if the test failed.
func raise(t testing.TB, cfg devfleet.Config) *stage {
	t.Helper()
	cfg.Bin, cfg.Library = programs(t), library(t)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	f, err := devfleet.Start(t.Context(), cfg, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Stop()
		if t.Failed() {
			for _, p := range f.Processes() {
				t.Logf("the end of %s:\n%s", p.Name, p.Tail(15))
			}
		}
	})
	s := &stage{Fleet: f, t: t}
	s.connect()
	return s
}

// connect makes the clients anew: the coordinator that they used may be gone.
func (s *stage) connect() {
	s.t.Helper()
	var err error
	if s.admin, err = s.Client(); err != nil {
		s.t.Fatal(err)
	}
	if s.ask, err = client.New(client.Profile{URL: s.URL(), Key: s.Key}); err != nil {
		s.t.Fatal(err)
	}
}

// push uploads and publishes a folder.
func (s *stage) push(dir, name string) (version string) {
	s.t.Helper()
	files, err := client.Folder(dir, func(string) {})
	if err != nil {
		s.t.Fatal(err)
	}
	blobs, err := s.admin.Upload(s.t.Context(), files, func(client.File, int64, int64) {})
	if err != nil {
		s.t.Fatal(err)
	}
	if version, err = s.admin.Publish(s.t.Context(), name, blobs, false, func(string) {}); err != nil {
		s.t.Fatal(err)
	}
	return version
}

// serve deploys a model and waits until its replicas are ready.
func (s *stage) serve(r *adminv1.ServeRequest) {
	s.t.Helper()
	if _, err := s.admin.Deployments.Serve(s.t.Context(), connect.NewRequest(r)); err != nil {
		s.t.Fatal(err)
	}
	s.ready(max(int(r.Replicas), 1))
}

// ready waits until the only deployment has so many ready replicas, and gives it.
func (s *stage) ready(replicas int) *adminv1.DeploymentView {
	s.t.Helper()
	var d *adminv1.DeploymentView
	s.until("the replicas to be ready", func(ctx context.Context) error {
		res, err := s.admin.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
		if err != nil {
			s.connect()
			return err
		}
		if len(res.Msg.Deployments) != 1 {
			return fmt.Errorf("%d deployments", len(res.Msg.Deployments))
		}
		if d = res.Msg.Deployments[0]; int(d.Ready) < replicas {
			return fmt.Errorf("%v", d)
		}
		return nil
	})
	return d
}

func (s *stage) until(what string, ask func(context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		one, end := context.WithTimeout(ctx, 5*time.Second)
		err := ask(one)
		end()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// generation is what came of one request.
type generation struct {
	ids    []int32
	text   string
	gap    float32 // smallest difference of the two largest log-probabilities
	finish inferencev1.FinishReason
}

// generate asks for a greedy continuation; each is told of every token.
func generate(ctx context.Context, c *client.Client, model, prompt string, tokens int32, each func()) (generation, error) {
	zero := 0.0
	g := generation{gap: 1e9}
	out, err := c.Inference.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: model,
		Input:    &inferencev1.GenerateRequest_Prompt{Prompt: prompt},
		Sampling: &inferencev1.Sampling{Temperature: &zero, MaxTokens: &tokens, Logprobs: true, TopLogprobs: 2}}))
	if err != nil {
		return g, err
	}
	defer out.Close()
	for out.Receive() {
		m := out.Msg()
		g.text += m.Text
		for _, tok := range m.Tokens {
			g.ids = append(g.ids, tok.Id)
			if len(tok.Top) == 2 {
				g.gap = min(g.gap, tok.Top[0].Logprob-tok.Top[1].Logprob)
			}
			each()
		}
		g.finish = m.FinishReason
	}
	if out.Err() == nil && g.finish == inferencev1.FinishReason_FINISH_REASON_UNSPECIFIED {
		return g, errors.New("the stream ended without a finish reason")
	}
	return g, out.Err()
}

// Size of the kill tests.
const (
	streams      = 50
	streamTokens = 160
	clearGap     = 1e-3 // a smaller gap of the two best tokens may be decided by the last bit, which a replay can change
)

// kills is how often a node is killed: 4 by default, SKEIN_KILLS in longer runs.
func kills(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("SKEIN_KILLS"))
	if err != nil {
		return 4
	}
	t.Logf("%d kills", n)
	return n
}

// cutModel writes a model whose whole weights are more than a node of nodeMemory holds, and whose sequences are long.
func cutModel(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := bigmodel.Write(dir, bigmodel.Options{Bytes: 12 << 20, Hidden: 256, Positions: 512, Seed: 7}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// nodeMemory holds about half of cutModel, with its KV cache.
const nodeMemory = "host:96MiB"

// prompts finds prompts whose greedy continuations of so many tokens by "cut" are clear, and gives those.
func (s *stage) prompts(n int, tokens int32) map[string]generation {
	s.t.Helper()
	want := map[string]generation{}
	for i := 0; len(want) < n; i++ {
		if i > 20*n {
			s.t.Fatalf("only %d of %d prompts are clear", len(want), i)
		}
		prompt := fmt.Sprintf("question %d: %x", i, uint64(i)*0x9e3779b97f4a7c15)
		g, err := generate(s.t.Context(), s.ask, "cut", prompt, tokens, func() {})
		if err != nil {
			s.t.Fatal(err)
		}
		if g.gap > clearGap && len(g.ids) == int(tokens) {
			want[prompt] = g
		}
	}
	return want
}

// SIGKILL of a node with 50 streams on it, again and again: every stream ends with exactly the tokens of the undisturbed run.
func TestNodeKilledUnderStreams(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 3, Nodes: 3, Gateway: true, Devices: []string{nodeMemory}})
	s.push(cutModel(t), "cut")
	s.serve(&adminv1.ServeRequest{Model: "cut", Slots: 16, Context: 512})
	want := s.prompts(streams, streamTokens)
	for round := range kills(t) {
		d := s.ready(1)
		stages := d.Replicas[0].Stages
		if len(stages) < 2 {
			t.Fatalf("the model is not cut: %v", d)
		}
		victim := s.Process(stages[round%len(stages)].Node)
		var tokens atomic.Int64
		halfway := make(chan struct{})
		var once sync.Once
		results := make(chan error, len(want))
		for prompt, w := range want {
			go func() {
				got, err := generate(t.Context(), s.ask, "cut", prompt, streamTokens, func() {
					if tokens.Add(1) > streams*streamTokens/4 {
						once.Do(func() { close(halfway) })
					}
				})
				if err == nil && (!slices.Equal(got.ids, w.ids) || got.text != w.text) {
					err = fmt.Errorf("prompt %q: %d tokens, want %d; they differ at %d:\n%q\nwant\n%q", prompt, len(got.ids), len(w.ids), differ(got.ids, w.ids), got.text, w.text)
				}
				results <- err
			}()
		}
		<-halfway
		if err := victim.Kill(); err != nil {
			t.Fatal(err)
		}
		for range want {
			if err := <-results; err != nil {
				t.Errorf("round %d, %s killed: %v", round, victim.Name, err)
			}
		}
		if t.Failed() {
			return
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

func differ(a, b []int32) int {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// SIGKILL of the leader while requests run: none of those that go through a stand-alone gateway fails, and a new leader takes changes.
func TestLeaderKilled(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 3, Nodes: 2, Gateway: true, Devices: []string{nodeMemory}})
	s.push(cutModel(t), "cut")
	s.serve(&adminv1.ServeRequest{Model: "cut", Slots: 4, Context: 512})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var done, failed atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := generate(t.Context(), s.ask, "cut", fmt.Sprint("prompt ", i, rand.Int()), 20, func() {}); err != nil {
					failed.Add(1)
					t.Errorf("a request failed: %v", err)
				}
				done.Add(1)
			}
		})
	}
	for range 2 {
		leader := s.leader()
		before := done.Load()
		if err := leader.Kill(); err != nil {
			t.Fatal(err)
		}
		s.connect()
		s.until("another leader", func(ctx context.Context) error {
			_, err := s.admin.Cluster.CreateKey(ctx, connect.NewRequest(&adminv1.CreateKeyRequest{Name: "after the kill"}))
			return err
		})
		if err := leader.Start(); err != nil {
			t.Fatal(err)
		}
		s.until("the old leader to be back", func(ctx context.Context) error { return s.fleetWhole(ctx, 3) })
		s.until("requests to go on", func(context.Context) error {
			if done.Load() <= before {
				return errors.New("no request ended since the kill")
			}
			return nil
		})
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests, %d failed", done.Load(), failed.Load())
}

// leader is the coordinator that leads.
func (s *stage) leader() *devfleet.Process {
	s.t.Helper()
	var name string
	s.until("a leader", func(ctx context.Context) error {
		res, err := s.admin.Cluster.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
		if err != nil {
			s.connect()
			return err
		}
		for _, m := range res.Msg.Members {
			if m.Leader {
				name = m.Name
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return s.Process(name)
}

// fleetWhole checks that every coordinator answers with a leader.
func (s *stage) fleetWhole(ctx context.Context, coordinators int) error {
	for i := range coordinators {
		p := s.Process(fmt.Sprintf("coordinator-%d", i+1))
		c, err := client.New(client.Profile{URL: "http://" + p.API, Key: s.Key})
		if err != nil {
			return err
		}
		if _, err := c.Cluster.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{})); err != nil {
			return err
		}
	}
	return nil
}

// A model of more bytes than any node may hold is cut, and each node's disk gets its own stage's ranges only.
func TestModelLargerThanANode(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := bigmodel.Write(dir, bigmodel.Options{Bytes: size, Shard: 256 << 20, Hidden: 1024, Positions: 1024}); err != nil {
		t.Fatal(err)
	}
	// fp32 in memory is twice the stored bf16; a node holds a little more than half of that.
	memory := fmt.Sprintf("host:%dMiB", (size>>20)*2*6/10+64)
	s := raise(t, devfleet.Config{Coordinators: 3, Nodes: 2, Devices: []string{memory}})
	s.push(dir, "big")
	s.serve(&adminv1.ServeRequest{Model: "big", Slots: 2, Context: 256})
	d := s.ready(1)
	stages := d.Replicas[0].Stages
	if len(stages) != 2 || stages[0].Node == stages[1].Node {
		t.Fatalf("the model is not cut over two nodes: %v", d)
	}
	g, err := generate(t.Context(), s.ask, "big", "the quick brown fox", 8, func() {})
	if err != nil || len(g.ids) != 8 {
		t.Fatalf("%d tokens, %v", len(g.ids), err)
	}
	for _, st := range stages {
		held := diskUsage(t, filepath.Join(filepath.Dir(filepath.Dir(s.Process(st.Node).Log)), st.Node, "blobs"))
		if held > size*7/10 {
			t.Errorf("%s fetched %d MiB of a model of %d MiB for blocks [%d,%d)", st.Node, held>>20, size>>20, st.From, st.To)
		}
	}
}

// diskUsage is the space that files really take: sparse files count what is written.
func diskUsage(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		n, err := allocated(path)
		bytes += n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if bytes == 0 || !strings.Contains(dir, "node-") {
		t.Fatalf("nothing in %s", dir)
	}
	return bytes
}

// allocated is the space that a file takes on its disk in bytes.
func allocated(path string) (int64, error) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	return st.Blocks * 512, err
}
