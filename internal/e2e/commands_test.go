package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/internal/devfleet"
)

// Exit codes of skein, as its users see them.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitRefused
	exitUnreachable
)

// command runs skein and checks its exit code.
func (s *stage) command(code int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(programs(s.t), "skein"), args...)
	cmd.Dir = root(s.t)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SKEIN_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "SKEIN_URL="+s.AdminURL(), "SKEIN_KEY="+s.Key, "XDG_CONFIG_HOME="+s.t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("skein %s: exit code %d (%v), want %d\n%s%s", strings.Join(args, " "), got, err, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// says runs a command that must succeed and say all of these.
func (s *stage) says(args []string, want ...string) string {
	s.t.Helper()
	out, errs := s.command(exitOK, args...)
	for _, w := range want {
		if !strings.Contains(out+errs, w) {
			s.t.Errorf("skein %s does not say %q:\n%s%s", strings.Join(args, " "), w, out, errs)
		}
	}
	return out
}

// refuses runs a command that must end with a code and say why on one line (or more, where it lists devices).
func (s *stage) refuses(code int, want string, args ...string) {
	s.t.Helper()
	out, errs := s.command(code, args...)
	if !strings.Contains(errs, want) || !strings.HasPrefix(errs, "skein: ") || out != "" {
		s.t.Errorf("skein %s: want %q on standard error, and nothing else:\n%s%s", strings.Join(args, " "), want, out, errs)
	}
}

// An operator's day, from the command line: publish, serve, alias, look, steer, drain, roll back.
func TestCommands(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 1, Nodes: 2, Devices: []string{"host:128MiB"}})

	s.says([]string{"push", "examples/calc"}, "calc@1", "converting")
	s.says([]string{"push", "examples/calc"}, "calc@1") // the same content is the same version
	s.refuses(exitRefused, "does not exist", "serve", "nobody")
	s.says([]string{"serve", "calc@1", "--plan"}, "blocks 0-5", "why:")
	s.refuses(exitRefused, "not deployed", "unserve", "calc@1") // a plan changes nothing
	s.says([]string{"serve", "calc@1", "--wait"}, "1 of 1 replicas ready")
	s.says([]string{"alias", "calc", "calc@1"}, "calc -> calc@1")
	s.says([]string{"chat", "calc", "sum 2 40"}, "42")
	s.says([]string{"generate", "calc", "sort 9 1 5 ="}, "1 5 9")
	s.says([]string{"ps"}, "calc@1/0", "ready")
	s.says([]string{"models"}, "calc@1", "generate")
	s.says([]string{"status"}, "coordinator-1", "yes")
	s.says([]string{"why", "calc"}, "calc@1/0")

	var list struct {
		Deployments []struct {
			Replicas []struct {
				Stages []struct {
					Node, Device string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(s.says([]string{"ps", "-o", "json"})), &list); err != nil || len(list.Deployments) != 1 {
		t.Fatalf("ps -o json: %v, %+v", err, list)
	}
	at := list.Deployments[0].Replicas[0].Stages[0]
	var nodes struct {
		Nodes []struct {
			Name    string
			Devices []struct{ Id string }
		}
	}
	if err := json.Unmarshal([]byte(s.says([]string{"nodes", "-o", "json"})), &nodes); err != nil || len(nodes.Nodes) != 2 {
		t.Fatalf("nodes -o json: %v, %+v", err, nodes)
	}
	other := nodes.Nodes[0]
	if other.Name == at.Node {
		other = nodes.Nodes[1]
	}

	s.says([]string{"placement", "pin", "calc", other.Devices[0].Id}, other.Devices[0].Id)
	s.says([]string{"placement", "get", "calc"}, other.Devices[0].Id)
	s.refuses(exitRefused, "the pin is refused", "placement", "pin", "calc", "--stage", "63", other.Devices[0].Id)
	s.says([]string{"placement", "pin", "calc", "--remove"})
	s.says([]string{"placement", "avoid", "calc", "--node", at.Node})
	s.says([]string{"placement", "get"}, at.Node)
	s.says([]string{"drain", at.Node, "--why", "new fans"})
	s.says([]string{"nodes"}, "draining", "new fans")
	s.says([]string{"resume", at.Node})
	s.says([]string{"quarantine", other.Devices[0].Id, "--why", "sparks", "--for", "24h"})
	s.says([]string{"nodes"}, "under quarantine by key ", "sparks", "until ")
	s.says([]string{"why", "device"}, "under quarantine", "sparks")
	s.refuses(exitUsage, "at least 1s", "quarantine", at.Node, "--for", "1ms")
	s.says([]string{"lift", other.Devices[0].Id})
	s.refuses(exitRefused, "does not exist", "lift", other.Devices[0].Id)
	s.says([]string{"join", "--role", "node"}, "skein-node", "skein1.node.")

	key := strings.TrimSpace(s.says([]string{"keys", "create", "clerk"}))
	s.refuses(exitRefused, "admin key", "nodes", "--key", key)
	s.says([]string{"chat", "calc", "sum 1 1", "--key", key}, "2")
	id, _, _ := strings.Cut(strings.TrimPrefix(key, "sk-"), "-")
	s.says([]string{"keys", "revoke", "sk-" + id})
	s.refuses(exitRefused, "not valid", "chat", "calc", "sum 1 1", "--key", key)
	s.says([]string{"keys", "list"}, "clerk", "revoked")

	s.refuses(exitRefused, "does not exist", "chat", "nobody", "hello")
	s.refuses(exitRefused, "", "rollback", "calc")
	s.refuses(exitUsage, "unknown command", "sing")
	s.refuses(exitUsage, "unknown flag", "ps", "--loud")
	s.refuses(exitUsage, "arg(s)", "serve")
	s.refuses(exitUsage, "table or json", "ps", "-o", "xml")
	s.refuses(exitUsage, "URL", "ps", "--url", "nowhere")
	s.refuses(exitUnreachable, "does not answer", "ps", "--url", "http://127.0.0.1:1")
	s.refuses(exitRefused, "SKEIN_KEY", "ps", "--key", "sk-wrong")

	pickled := t.TempDir()
	for _, name := range []string{"config.json", "pytorch_model.bin"} {
		if err := os.WriteFile(filepath.Join(pickled, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.refuses(exitRefused, "makes safetensors", "push", pickled)
	s.refuses(exitFailed, "no such file", "push", filepath.Join(pickled, "none"))
	s.says([]string{"unserve", "calc"})
}
