package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// program runs a server program that must end by itself, and checks its exit code and that it says why.
func program(t *testing.T, code int, want, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs(t), name), args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SKEIN_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	guard := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer guard.Stop()
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(out.String(), want) {
		t.Errorf("%s %s: exit code %d (%v), want %d and %q:\n%s", name, strings.Join(args, " "), got, err, code, want, out.String())
	}
}

// What is wrong with a command line, a machine or a token is said at once, and nothing starts.
func TestProgramsRefuse(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 1, Nodes: 1, Devices: []string{"host:64MiB"}})
	dir := t.TempDir()
	status, err := s.admin.Cluster.GetStatus(t.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	taken := status.Msg.Members[0].Addr
	node := func(name string, more ...string) []string {
		return append([]string{"--dir", filepath.Join(dir, name), "--listen", "127.0.0.1:1", "--gossip", "127.0.0.1:1", "--device", "host:64MiB", "--ort-lib", library(t)}, more...)
	}
	notORT := filepath.Join(dir, "lib.so")
	if err := os.WriteFile(notORT, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}

	program(t, 2, "stands alone", "skein-node", node("a", "--device", "nvml")...)
	program(t, 2, "want host:MEMORY", "skein-node", node("a", "--device", "host:much")...)
	program(t, 1, "is no ONNX Runtime library", "skein-node", node("a", "--ort-lib", notORT)...)
	program(t, 1, "skein join --role node", "skein-node", node("a")...)
	program(t, 1, "malformed join token", "skein-node", node("a", "--join", taken, "--token", "x")...)
	program(t, 2, "needs TLS", "skein-gateway", "--dir", filepath.Join(dir, "g"), "--api", "0.0.0.0:0")
	program(t, 2, "name one of them", "skein-coordinator", "--dir", filepath.Join(dir, "c"), "--found", "--join", taken, "--listen", "127.0.0.1:1", "--gossip", "127.0.0.1:1")
	program(t, 1, "in use", "skein-coordinator", "--dir", filepath.Join(dir, "c"), "--found", "--listen", taken, "--gossip", "127.0.0.1:1")
	program(t, 1, "in use", "skein-coordinator", "--dir", filepath.Join(dir, "c"), "--found", "--listen", taken, "--gossip", "127.0.0.1:1") // begun, and begun again
	program(t, 1, "in use", "skein-coordinator", "--dir", filepath.Join(dir, "c2"), "--found", "--api", taken, "--listen", "127.0.0.1:1", "--gossip", "127.0.0.1:1")
	program(t, 1, "convert: read the order", "skein-coordinator", "convert")
	program(t, 1, "no setup", "skein-node", "worker")

	token := func() string {
		res, err := s.admin.Nodes.CreateJoinToken(t.Context(), connect.NewRequest(&adminv1.CreateJoinTokenRequest{Role: "node"}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Token
	}
	spent := token()
	program(t, 1, "in use", "skein-node", node("b", "--join", taken, "--token", spent, "--listen", taken)...) // joins, and then cannot listen
	program(t, 1, "used it", "skein-node", node("e", "--join", taken, "--token", spent)...)
	program(t, 1, "admits a node", "skein-gateway", "--dir", filepath.Join(dir, "d"), "--api", "127.0.0.1:0", "--join", taken, "--token", token())
	program(t, 1, "belongs to a node", "skein-gateway", "--dir", filepath.Join(dir, "b"), "--api", "127.0.0.1:0")
	forged := token()
	i := strings.LastIndex(forged, ".")
	program(t, 1, "not_found", "skein-node", node("e", "--join", taken, "--token", forged[:i+1]+strings.Repeat("0", len(forged)-i-1))...)
	otherCA := "skein1.node." + strings.Repeat("0", 64) + forged[i:]
	program(t, 1, "another authority", "skein-node", node("e", "--join", taken, "--token", otherCA)...)
}
