package realop

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a coordinator may take to start on a busy machine.
const patience = time.Minute

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a coordinator of its own cluster, and gives the URL of its API and the first admin key.
func start(t *testing.T, bin string) (api, key string) {
	t.Helper()
	dir, at := filepath.Join(t.TempDir(), "c1"), free(t)
	c := exec.CommandContext(t.Context(), filepath.Join(bin, "skein-coordinator"), "--dir", dir, "--name", "c1", "--listen", free(t), "--api", at, "--gossip", free(t),
		"--found", "--people-allow", "127.0.0.0/8")
	c.Cancel, c.WaitDelay = func() error { return c.Process.Signal(os.Interrupt) }, patience
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Wait() })
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		b, err := os.ReadFile(filepath.Join(dir, "admin.key"))
		if err != nil {
			continue
		}
		if res, err := http.Get("http://" + at + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return "http://" + at, strings.TrimSpace(string(b))
			}
		}
	}
	t.Fatal("the coordinator is not ready")
	return "", ""
}

// skein makes a command line with a configuration of its own; an empty key leaves who calls to the login.
func skein(ctx context.Context, bin, config, api, key string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(bin, "skein"), args...)
	c.Env = append(os.Environ(), "PATH=", "XDG_CONFIG_HOME="+config, "SKEIN_URL="+api, "SKEIN_KEY="+key, "SKEIN_OIDC_ISSUER=", "SKEIN_OIDC_CLIENT_ID=")
	return c
}

// A person logs in with the command line, acts with the roles that were granted, loses them at once, and logs out.
func TestCommandLine(t *testing.T) {
	bin := os.Getenv("SKEIN_BIN")
	if bin == "" {
		t.Skip("SKEIN_BIN does not say where skein and skein-coordinator are")
	}
	p, config := newProvider(t), t.TempDir()
	api, key := start(t, bin)
	must := func(key string, args ...string) []byte {
		t.Helper()
		c := skein(t.Context(), bin, config, api, key, args...)
		var why strings.Builder
		c.Stderr = &why
		out, err := c.Output()
		if err != nil {
			t.Fatalf("skein %q: %v: %s", args, err, why.String())
		}
		return out
	}
	must(key, "people", "trust", "corp", "--issuer", p.Issuer, "--client-id", client)
	must(key, "people", "grant", "boss", "--issuer", p.Issuer, "--email", email, "--roles", "viewer,operator")

	login := skein(t.Context(), bin, config, api, "", "login", "--issuer", p.Issuer, "--client-id", client)
	said, err := login.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := login.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), p.Issuer) {
	}
	page := lines.Text()
	go io.Copy(io.Discard, said)
	if status, text := body(t, signIn(t, newBrowser(t, nil), page), nil); status != http.StatusOK {
		t.Errorf("the browser saw %d %s", status, text)
	}
	if err := login.Wait(); err != nil {
		t.Fatal(err)
	}

	var me struct {
		Person string
		Roles  []string
	}
	if err := json.Unmarshal(must("", "whoami", "-o", "json"), &me); err != nil || !strings.Contains(me.Person, email) || !slices.Equal(me.Roles, []string{"viewer", "operator"}) {
		t.Errorf("%+v %v", me, err)
	}
	must("", "nodes")
	if err := skein(t.Context(), bin, config, api, "", "keys", "create", "mine", "--admin").Run(); err == nil {
		t.Error("an operator made an admin key")
	}
	must(key, "people", "revoke", "boss")
	if err := skein(t.Context(), bin, config, api, "", "nodes").Run(); err == nil {
		t.Error("roles that were taken back still count")
	}
	must("", "logout")
	if err := skein(t.Context(), bin, config, api, "", "whoami").Run(); err == nil {
		t.Error("somebody is logged in after the logout")
	}
}
