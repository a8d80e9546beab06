package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// TestDemand: two business systems share a fleet that has room for three replicas of theirs. They swap their load, and the replicas follow; one that
// nobody calls has none, and has one again when somebody does.
func TestDemand(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 1, Nodes: 1, Gateway: true, Devices: []string{"host:56MiB", "host:56MiB", "host:56MiB"},
		More: func(name string) (args, env []string) {
			if strings.HasPrefix(name, "coordinator") {
				args = []string{"--hold", "6s", "--idle", "8s"}
			}
			return args, nil
		}})
	for tenant, model := range map[string]string{"acme": "alpha", "zeta": "beta"} {
		s.push("../../examples/calc", model)
		s.says([]string{"tenants", "put", tenant})
	}
	s.refuses(exitUsage, "--max", "serve", "alpha@1", "--min", "1")
	s.refuses(exitUsage, "either fixed", "serve", "alpha@1", "--max", "2", "--replicas", "1")
	need := func(model, tenant string) []string {
		return []string{"serve", model + "@1", "--min", "1", "--max", "2", "--slots", "2", "--context", "64", "--tenant", tenant, "--latency", "5s", "--priority", "3"}
	}
	s.says(append(need("alpha", "acme"), "--plan"), "alpha@1/0", "1 to 2 replicas follow demand, 1 now")
	for tenant, model := range map[string]string{"acme": "alpha", "zeta": "beta"} {
		s.says(append(need(model, tenant), "--wait"), "1 to 2 replicas follow demand")
	}

	first := s.calls("alpha", 12)
	s.settled("alpha@1", 2, nil)
	s.settled("beta@1", 1, nil)
	s.says([]string{"ps"}, "wants 1 to 2, 95 % in 5s, priority 3", "2 of 2", "1 of 1")
	t.Log(s.says([]string{"why", "deployment", "alpha@1"}, "requests/s", "ms each", "95 % with an answer within 5000 ms", "was 1"))
	first.end()

	second := s.calls("beta", 12)
	s.settled("beta@1", 2, nil)
	s.settled("alpha@1", 1, nil)
	second.end()

	if _, err := s.admin.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: "beta@1", Need: &adminv1.Need{Max: 2}})); err != nil {
		t.Fatal(err)
	}
	s.settled("beta@1", 0, nil)
	if why := s.says([]string{"why", "beta@1"}, "nobody calls"); !strings.Contains(why, "0 replicas") {
		t.Errorf("%s", why)
	}
	if err := s.sumOf("beta")(t.Context()); err != nil { // it waits for the replica
		t.Errorf("the first request after nobody called: %v", err)
	}
	s.says([]string{"why", "beta@1"}, "1 replica: ", "was 0")
}

// calls asks a model from so many sides.
func (s *stage) calls(model string, sides int) *traffic { return s.traffic(sides, s.sumOf(model)) }

// sumOf asks a model one of the sums.
func (s *stage) sumOf(model string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if text, _, err := s.complete(ctx, model+"@1", "sum 17 25 =", 16); err != nil || text != " 42" {
			return fmt.Errorf("%s answers %q, %w", model, text, err)
		}
		return nil
	}
}
