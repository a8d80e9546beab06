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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/bigmodel"
	"github.com/skein-project/skein/internal/devfleet"
)

// A fleet of three coordinators and a gateway on which versions take over from each other while it is called.
func TestRollouts(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 3, Nodes: 2, Gateway: true, Devices: []string{"host:768MiB"}})
	for n, dir := range []string{"../../examples/calc", twin(t), slowModel(t)} {
		v := s.push(dir, "calc")
		if want := fmt.Sprintf("calc@%d", n+1); v != want {
			t.Fatalf("published %s, want %s", v, want)
		}
		if _, err := s.admin.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: v, Slots: 4, Context: 256})); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		s.settled(fmt.Sprintf("calc@%d", n+1), 1, nil)
	}
	t.Run("described", func(t *testing.T) { s.in(t).described() })
	t.Run("visible", func(t *testing.T) { s.in(t).visible() })
	t.Run("canary", func(t *testing.T) { s.in(t).canary() })
	t.Run("guard", func(t *testing.T) { s.in(t).guarded() })
	t.Run("shadow", func(t *testing.T) { s.in(t).shadowed() })
	t.Run("follow and retire", func(t *testing.T) { s.in(t).follows() })
}

// twin is examples/calc with another default of sampling: a version of its own that answers alike.
func twin(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir("../../examples/calc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join("../../examples/calc", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == "generation_config.json" {
			changed := strings.Replace(string(text), "{", `{"top_k": 7,`, 1)
			text = []byte(changed)
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// slowModel is a model whose answers take many times as long as those of examples/calc, and say something else.
func slowModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "slow")
	if err := bigmodel.Write(dir, bigmodel.Options{Bytes: 80 << 20, Hidden: 512, Positions: 512, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// described writes about the model, and refuses what clients would miss, by the command line.
func (s *stage) described() {
	s.refuses(exitUsage, "nothing to change", "models", "update", "calc")
	s.refuses(exitRefused, "tenant nobody does not exist", "models", "update", "calc", "--owner", "nobody")
	s.refuses(exitRefused, "does not exist", "models", "delete", "nothing")
	s.says([]string{"models", "update", "calc", "--description", "adds and sorts", "--tag", "math", "--label", "team=numbers", "--max-tokens", "2"}, "adds and sorts", "math", "team=numbers", "max-tokens 2")
	out, _ := s.command(exitOK, "models", "-o", "json")
	for _, want := range []string{`"description": "adds and sorts"`, `"template": "`, `"context": 256`} {
		if words := strings.Join(strings.Fields(out), " "); !strings.Contains(words, want) {
			s.t.Errorf("the list lacks %s:\n%s", want, words)
		}
	}
	s.until("the model's default to be known at the gateway", func(ctx context.Context) error {
		text, _, err := s.completed(ctx, s.ask, map[string]any{"model": "calc", "prompt": "sort 42 7 19 3 88 =", "temperature": 0})
		if err == nil && len(text) > 4 {
			err = fmt.Errorf("%q is more than two tokens", text)
		}
		return err
	})
	s.says([]string{"models", "update", "calc", "--temperature", "0"}, "temperature 0")
	s.refuses(exitRefused, "is deployed", "models", "delete", "calc")
	s.refuses(exitRefused, "is deployed", "models", "delete", "calc@2")
	s.refuses(exitRefused, "differs from calc@1 in what its clients rely on: vector dimension, template", "alias", "calc", "calc@3")
	s.refuses(exitRefused, "template", "alias", "calc", "calc@3", "--force")
	s.refuses(exitRefused, "template", "rollout", "calc@3", "--canary", "5%")
	s.refuses(exitRefused, "has no canary", "promote", "calc")
	s.refuses(exitUsage, "whole percent", "rollout", "calc@2", "--canary", "half")
	s.refuses(exitRefused, "watches nothing", "rollout", "calc@2", "--guard", "window=10s")
	s.refuses(exitRefused, "the tenant \"nobody\" does not exist", "rollout", "calc@2", "--tenants", "nobody")
	s.says([]string{"alias", "calc", "calc@3", "--accept"}, "calc -> calc@3")
	s.says([]string{"rollback", "calc"}, "calc -> calc@1")
}

// postJSON asks the OpenAI API with a client.
func postJSON(ctx context.Context, c *client.Client, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Profile.URL+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s, %w", res.Status, reply, err)
	}
	return json.Unmarshal(reply, answer)
}

// copies wants so many copies in the bill, as calls of no tenant's key.
func (s *stage) copies(ctx context.Context, version string, calls int64) error {
	res, err := s.admin.Usage.GetUsage(ctx, connect.NewRequest(&adminv1.GetUsageRequest{
		By: []adminv1.UsageField{adminv1.UsageField_USAGE_FIELD_TENANT, adminv1.UsageField_USAGE_FIELD_KEY, adminv1.UsageField_USAGE_FIELD_VERSION}}))
	if err != nil {
		return err
	}
	for _, r := range res.Msg.Rows {
		if r.Key == "shadow" && r.Tenant == "default" && r.Version == version && r.Calls >= calls && r.AnswerTokens > 0 {
			return nil
		}
	}
	return fmt.Errorf("the bill has %v", res.Msg.Rows)
}

// completed asks for a completion with a client, and gives the text with the version that made it.
func (s *stage) completed(ctx context.Context, c *client.Client, body map[string]any) (text, version string, err error) {
	var out struct {
		Fingerprint string `json:"system_fingerprint"`
		Choices     []struct {
			Text string `json:"text"`
		} `json:"choices"`
	}
	if err := postJSON(ctx, c, "/v1/completions", body, &out); err != nil {
		return "", "", err
	}
	if len(out.Choices) != 1 {
		return "", "", fmt.Errorf("%d choices", len(out.Choices))
	}
	return out.Choices[0].Text, out.Fingerprint, nil
}

// door is a way into the fleet: a coordinator's API or the gateway's.
type door struct {
	name string
	c    *client.Client
}

// doors are all ways in, with a key of a tenant; "" = the first admin key.
func (s *stage) doors(key string) (list []door) {
	s.t.Helper()
	if key == "" {
		key = s.Key
	}
	for _, p := range s.Processes() {
		if !strings.HasPrefix(p.Name, "coordinator-") && !strings.HasPrefix(p.Name, "gateway-") {
			continue
		}
		c, err := client.New(client.Profile{URL: "http://" + p.API, Key: key})
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, door{p.Name, c})
	}
	return list
}

// seen is when a request began, and what answered it.
type seen struct {
	door, version string
	began         time.Time
}

// flips is how often the name is moved to and fro while its visibility is measured.
const flips = 10

// visible moves a name to and fro under load at every door, and measures until when requests began that the version before still answered.
func (s *stage) visible() {
	ctx := s.t.Context()
	for _, d := range s.doors("") { // a door that hears of entries late still answers as the step before left it
		s.until(d.name+" to answer by calc@1", func(ctx context.Context) error {
			version, err := s.oneVersion(ctx, d.c)
			if err == nil && version != "calc@1" {
				err = errors.New(version)
			}
			return err
		})
	}
	var mu sync.Mutex
	var all []seen
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, d := range s.doors("") {
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(pace / 2):
					}
					began := time.Now()
					version, err := s.oneVersion(ctx, d.c)
					if err != nil {
						s.t.Errorf("%s: %v", d.name, err)
						return
					}
					mu.Lock()
					all = append(all, seen{d.name, version, began})
					mu.Unlock()
				}
			})
		}
	}
	var worst time.Duration
	for i := range flips {
		to, change := "calc@2", func() error {
			_, err := s.admin.Models.SetAlias(ctx, connect.NewRequest(&adminv1.SetAliasRequest{Name: "calc", Version: "calc@2"}))
			return err
		}
		if i%2 == 1 {
			to, change = "calc@1", func() error {
				_, err := s.admin.Models.RollbackAlias(ctx, connect.NewRequest(&adminv1.RollbackAliasRequest{Name: "calc"}))
				return err
			}
		}
		asked := time.Now()
		if err := change(); err != nil {
			s.t.Fatal(err)
		}
		s.until("every door to answer by "+to, func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			after := map[string]int{}
			for _, x := range all {
				if x.began.After(asked) && x.version == to {
					after[x.door]++
				}
			}
			for _, d := range s.doors("") {
				if after[d.name] < 5 && !s.t.Failed() {
					return fmt.Errorf("%s: %d answers", d.name, after[d.name])
				}
			}
			return nil
		})
		mu.Lock()
		for _, x := range all {
			if lag := x.began.Sub(asked); x.version != to && lag > worst {
				worst = lag
			}
		}
		all = nil
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
	s.t.Logf("%d moves of a name under load over %d doors: the last request that began with the version before did so %d ms after the move was asked for", flips, len(s.doors("")), worst.Milliseconds())
	if worst > time.Second {
		s.t.Errorf("a move was visible everywhere only after %s, want 1 s at most", worst)
	}
}

// oneVersion streams an answer and wants all of it from one version.
func (s *stage) oneVersion(ctx context.Context, c *client.Client) (version string, err error) {
	seen := map[string]*atomic.Int64{"calc@1": {}, "calc@2": {}}
	sub := *s
	sub.ask = c
	if err := sub.whole(ctx, "sum 123 45 678 =", map[string]string{"calc@1": " 846", "calc@2": " 846"}, seen); err != nil {
		return "", err
	}
	for v, n := range seen {
		if n.Load() == 1 {
			return v, nil
		}
	}
	return "", errors.New("no version")
}

// tenant makes a business system, and gives a key of it.
func (s *stage) tenant(id string) (key string) {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := s.admin.Tenants.PutTenant(ctx, connect.NewRequest(&adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: id, Models: []string{"*"}}})); err != nil {
		s.t.Fatal(err)
	}
	res, err := s.admin.Cluster.CreateKey(ctx, connect.NewRequest(&adminv1.CreateKeyRequest{Name: id, Tenant: id}))
	if err != nil {
		s.t.Fatal(err)
	}
	return res.Msg.Key
}

// canary sends a part of the requests to a version, all of a tenant's, keeps conversations together, and promotes.
func (s *stage) canary() {
	ctx := s.t.Context()
	key := s.tenant("early")
	s.says([]string{"rollout", "calc@2", "--canary", "30%", "--tenants", "early"}, "calc -> calc@1", "canary calc@2 30%", "early")
	s.says([]string{"models"}, "calc(canary 30%)")
	early := s.doors(key)
	s.until("the canary to be known at every door", func(ctx context.Context) error {
		for _, d := range early {
			if _, v, err := s.completed(ctx, d.c, map[string]any{"model": "calc", "prompt": "sum 17 25 =", "max_tokens": 4}); err != nil || v != "calc@2" {
				return fmt.Errorf("%s: %s, %w", d.name, v, err)
			}
		}
		return nil
	})
	versions := map[string]int{}
	for i := range 100 {
		_, v, err := s.completed(ctx, s.ask, map[string]any{"model": "calc", "prompt": "sum 17 25 =", "max_tokens": 4})
		if err != nil {
			s.t.Fatal(err)
		}
		versions[v]++
		user := fmt.Sprint("user ", i%10)
		for _, d := range s.doors("") {
			_, first, err := s.completed(ctx, s.ask, map[string]any{"model": "calc", "prompt": "sum 1 1 =", "max_tokens": 2, "user": user})
			if err != nil {
				s.t.Fatal(err)
			}
			if i < 10 {
				_, then, err := s.completed(ctx, d.c, map[string]any{"model": "calc", "prompt": "sort 3 2 =", "max_tokens": 2, "user": user})
				if err != nil || then != first {
					s.t.Fatalf("%s is answered by %s, and at %s by %s: %v", user, first, d.name, then, err)
				}
			}
		}
	}
	if n := versions["calc@2"]; n < 12 || n > 50 || n+versions["calc@1"] != 100 {
		s.t.Errorf("of 100 requests %v were answered, want 30 by the canary", versions)
	}
	before := s.changes()
	s.says([]string{"promote", "calc"}, "calc -> calc@2 (before: calc@1)")
	if after := s.changes(); after != before+1 {
		s.t.Errorf("a promotion is %d transactions", after-before)
	}
	s.says([]string{"rollback", "calc"}, "calc -> calc@1")
}

// guarded lets a slow version answer one tenant: the guard takes it back by itself, and nobody's request fails.
func (s *stage) guarded() {
	key := s.tenant("pilot")
	s.says([]string{"rollout", "calc@3", "--tenants", "pilot", "--guard", "errors=5%,p95=400ms,requests=10,window=60s", "--accept"}, "canary calc@3 0% and all of pilot", "guard errors=5%")
	others := s.traffic(2, s.sum)
	var slow, fast atomic.Int64
	var pilots []door
	for _, d := range s.doors(key) {
		if strings.HasPrefix(d.name, "gateway-") || d.name == "coordinator-2" {
			pilots = append(pilots, d)
		}
	}
	turn := atomic.Int64{}
	pilot := s.traffic(4, func(ctx context.Context) error {
		d := pilots[int(turn.Add(1))%len(pilots)]
		_, v, err := s.completed(ctx, d.c, map[string]any{"model": "calc", "prompt": "sum 17 25 =", "temperature": 0, "max_tokens": 64})
		if v == "calc@3" {
			slow.Add(1)
		} else {
			fast.Add(1)
		}
		return err
	})
	began := time.Now()
	s.until("the guard to take the version back", func(ctx context.Context) error {
		res, err := s.admin.Models.ListModels(ctx, connect.NewRequest(&adminv1.ListModelsRequest{}))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(res.Msg.Aliases, func(a *adminv1.Alias) bool { return a.Name == "calc" })
		if a := res.Msg.Aliases[i]; a.GetRollout().GetCanary() != nil || a.Target != "calc@1" {
			return fmt.Errorf("%v after %d answers of it", a, slow.Load())
		}
		return nil
	})
	s.t.Logf("taken back after %.1f s and %d answers", time.Since(began).Seconds(), slow.Load())
	if slow.Load() < 10 {
		s.t.Errorf("%d answers were enough to judge", slow.Load())
	}
	goal := fast.Load() + 10
	s.until("the tenant to be answered by the version before", func(context.Context) error {
		if fast.Load() < goal && !s.t.Failed() {
			return fmt.Errorf("%d of %d", fast.Load(), goal)
		}
		return nil
	})
	others.more(5)
	others.end()
	pilot.end()
	s.says([]string{"why", "alias calc"}, "the guard took calc@3 back", "400 ms are allowed")
	s.says([]string{"rollout", "calc@3", "--guard", "none"}, "calc -> calc@1")
}

// shadowed sends copies to two versions, of which one answers alike.
func (s *stage) shadowed() {
	calls := func(words string) {
		s.t.Helper()
		tr := s.traffic(2, s.sum)
		s.until(words, func(context.Context) error {
			if out, _ := s.command(exitOK, "why", "alias calc"); !strings.Contains(out, words) && !s.t.Failed() {
				return errors.New(out)
			}
			return nil
		})
		tr.end()
	}
	s.says([]string{"rollout", "calc@3", "--shadow", "100%", "--guard", "parity=90%,requests=10"}, "shadow calc@3 100%", "parity=90%")
	calls("answers of calc@3 equal those of calc@1, 90 % must")
	s.says([]string{"rollout", "calc@2", "--shadow", "100%"}, "shadow calc@2 100%")
	tr := s.traffic(2, s.sum)
	s.until("copies to be counted for the model's owner", func(ctx context.Context) error {
		return s.copies(ctx, "calc@2", 20)
	})
	tr.end()
	if out, _ := s.command(exitOK, "why", "alias calc"); strings.Contains(out, "of calc@2 equal") {
		s.t.Errorf("a twin's answers differ:\n%s", out)
	}
	s.says([]string{"rollout", "calc@2", "--shadow", "0%", "--guard", "none"}, "calc -> calc@1")
}

// follows lets a name follow the newest version that answers and breaks nothing, and retires the one before.
func (s *stage) follows() {
	s.says([]string{"rollout", "calc@2", "--retire-after", "1s"}, "retired after 1s")
	s.says([]string{"alias", "calc", "calc@1", "--follow"}, "follows the newest")
	s.until("the name to follow calc@2, and calc@1 to be retired", func(ctx context.Context) error {
		if d, err := s.deployment(ctx, "calc@1"); err == nil {
			return fmt.Errorf("%v", d)
		}
		out, _ := s.command(exitOK, "models", "-o", "json")
		if !strings.Contains(strings.Join(strings.Fields(out), " "), `"name": "calc", "target": "calc@2"`) {
			return errors.New(out)
		}
		return nil
	})
	s.says([]string{"why", "alias calc"}, "it follows calc@2", "does not follow calc@3", "template")
	s.says([]string{"why", "calc@1"}, "it is retired")
	s.refuses(exitRefused, "no_ready_replica", "rollback", "calc")
	s.says([]string{"rollback", "calc", "--force"}, "calc -> calc@1")
	s.says([]string{"alias", "calc", "calc@2"}, "calc -> calc@2")
	s.says([]string{"models", "delete", "calc@1"}, "deleted: calc@1")
	for _, v := range []string{"calc@2", "calc@3"} {
		s.unserve(v)
	}
	s.says([]string{"models", "delete", "calc"}, "deleted: calc@2 calc@3")
	s.refuses(exitRefused, "it has no version", "models", "update", "calc", "--tag", "x")
}
