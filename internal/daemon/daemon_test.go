package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/daemon"
	"github.com/skein-project/skein/wire"
)

// A client API that others can reach carries keys, so it needs TLS.
func TestTLSBeyondLoopback(t *testing.T) {
	for _, c := range []struct {
		addr string
		tls  daemon.TLS
		want string // part of the error, "" = accepted
	}{
		{"127.0.0.1:0", daemon.TLS{}, ""},
		{"localhost:80", daemon.TLS{}, ""},
		{"[::1]:80", daemon.TLS{}, ""},
		{"0.0.0.0:80", daemon.TLS{}, "needs TLS"},
		{":80", daemon.TLS{}, "needs TLS"},
		{"[::]:80", daemon.TLS{}, "needs TLS"},
		{"10.0.0.1:80", daemon.TLS{}, "--api-cert"},
		{"example.org:80", daemon.TLS{}, "needs TLS"},
		{"localhost.example.org:80", daemon.TLS{}, "needs TLS"},
		{"10.0.0.1:80", daemon.TLS{APICert: "a", APIKey: "b"}, ""},
		{"127.0.0.1:80", daemon.TLS{APICert: "a"}, "go together"},
		{"", daemon.TLS{}, "want host:port"},
		{"127.0.0.1", daemon.TLS{}, "want host:port"},
	} {
		err := c.tls.Validate(c.addr)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %+v: %v, want %q", c.addr, c.tls, err, c.want)
		}
	}
	if _, err := (daemon.TLS{}).Listen("0.0.0.0:0", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a plain listener on every address is opened")
	}
}

// A port in use is said before anything starts; a stopped API lets requests end that were begun.
func TestServe(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	api, err := (daemon.TLS{}).Listen("127.0.0.1:0", log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (daemon.TLS{}).Listen(api.Addr(), log); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port in use: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	begun, end := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-end
		io.WriteString(w, "done")
	})
	why := errors.New("no leader")
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, mux, func() error { return why }) }()
	get := func(path string) (int, string) {
		res, err := http.Get("http://" + api.Addr() + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err.Error()
		}
		return res.StatusCode, string(b)
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	if code, text := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "no leader") {
		t.Errorf("readyz: %d %s", code, text)
	}
	slow := make(chan string, 1)
	go func() {
		_, text := get("/slow")
		slow <- text
	}()
	<-begun
	stop()
	close(end)
	if text := <-slow; text != "done" {
		t.Errorf("a request that was begun got %q", text)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

type options struct {
	Dir        string `yaml:"dir" help:"where"`
	daemon.Log `yaml:",inline"`
}

func (o *options) Validate() error {
	if o.Dir == "" {
		return errors.New("no dir")
	}
	return nil
}

func TestCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ndir: /from/file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\ndirectory: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string // of the output
		ran  bool
	}{
		{[]string{"--dir", "/x"}, 0, "", true},
		{[]string{"--config", file}, 0, "", true},
		{[]string{}, daemon.ExitUsage, "", false},
		{[]string{"--dir", "/x", "--log-level", "loud"}, daemon.ExitUsage, "", false},
		{[]string{"--dri", "/x"}, daemon.ExitUsage, "", false},
		{[]string{"sing"}, daemon.ExitUsage, "", false},
		{[]string{"--config", bad}, daemon.ExitUsage, "", false},
		{[]string{"config", "check", file}, 0, "is right", false},
		{[]string{"config", "check", bad}, daemon.ExitUsage, "", false},
		{[]string{"config", "print", "--config", file}, 0, "dir: /from/file", false},
		{[]string{"config", "print", "--origin", "--config", file, "--log-level", "debug"}, 0, "--log-level", false},
		{[]string{"config", "print", "--origin", "--config", file}, 0, file, false},
	} {
		ran := false
		cmd := daemon.Command("x", "a program", &options{}, func(context.Context, *slog.Logger) error {
			ran = true
			return nil
		})
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(c.args)
		if code := daemon.Main(cmd); code != c.code || ran != c.ran || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: exit code %d, ran %v, output %q; want %d, %v, %q", c.args, code, ran, out.String(), c.code, c.ran, c.want)
		}
	}
}

func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	err := daemon.Joining{}.Ensure(t.Context(), dir, "n", cluster.RoleNode)
	if err == nil || !strings.Contains(err.Error(), "skein join --role node") {
		t.Errorf("nobody told where to join: %v", err)
	}
	if err := (daemon.Joining{Join: "127.0.0.1:1", Token: "x"}).Ensure(t.Context(), dir, "n", cluster.RoleNode); !errors.Is(err, wire.ErrToken) {
		t.Errorf("a malformed token: %v", err)
	}
	other := "skein1.gateway." + strings.Repeat("a", 64) + "." + strings.Repeat("b", 48)
	if err := (daemon.Joining{Join: "127.0.0.1:1", Token: other}).Ensure(t.Context(), dir, "n", cluster.RoleNode); err == nil || !strings.Contains(err.Error(), "admits a gateway") {
		t.Errorf("a token of another role: %v", err)
	}
	if err := (wire.Membership{ID: wire.NewID(), Role: cluster.RoleNode}).Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := (daemon.Joining{}).Ensure(t.Context(), dir, "n", cluster.RoleNode); err != nil {
		t.Errorf("a member that is there: %v", err)
	}
	if err := (daemon.Joining{}).Ensure(t.Context(), dir, "n", cluster.RoleGateway); err == nil || !strings.Contains(err.Error(), "belongs to a node") {
		t.Errorf("a directory of another role: %v", err)
	}
}
