package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	_ "github.com/skein-project/skein/api/skein/admin/v1" // its descriptions
	"github.com/skein-project/skein/gateway"
)

// listeners are the TCP addresses on which a process listens.
func listeners(t *testing.T, pid int) (list []netip.AddrPort) {
	t.Helper()
	mine := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("process %d has no open files: %v", pid, err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.Trim(to, "socket:[]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !mine[f[9]] { // 0A: it listens
				continue
			}
			at, port, _ := strings.Cut(f[1], ":")
			var raw []byte // words of four bytes, each in the machine's order
			for ; len(at) >= 8; at = at[8:] {
				for i := 6; i >= 0; i -= 2 {
					b, err := strconv.ParseUint(at[i:i+2], 16, 8)
					if err != nil {
						t.Fatal(line)
					}
					raw = append(raw, byte(b))
				}
			}
			addr, ok := netip.AddrFromSlice(raw)
			n, err := strconv.ParseUint(port, 16, 16)
			if !ok || err != nil {
				t.Fatal(line)
			}
			list = append(list, netip.AddrPortFrom(addr.Unmap(), uint16(n)))
		}
	}
	return list
}

// sockets goes to every door of every process, and finds it locked: nothing listens beyond loopback without TLS, nothing answers without a
// certificate or a key but that it lives, and a node's certificate opens no operator's API (attack cases 2, 7 and 42).
func (w *watched) sockets(t *testing.T) {
	pids := map[string]int{"worker": w.worker("node-1")}
	for _, name := range []string{"coordinator-1", "gateway-1", "node-1"} {
		pids[name] = w.Process(name).Pid()
	}
	paths := []string{"/", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/v1/models", "/skein.fleet.v1.Truth/Propose", "/skein.fleet.v1.Log/Follow", "/skein.fleet.v1.Stage/Stream", "/skein.fleet.v1.Blobs/Chunk", "/skein.fleet.v1.Forward/skein.admin.v1.ClusterService/GetStatus"}
	for path, need := range gateway.Needs() {
		if need != accessv1.Permission_PERMISSION_HEALTH {
			paths = append(paths, strings.ReplaceAll(path, "{model}", "calc"))
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("skein.admin.v1", func(f protoreflect.FileDescriptor) bool {
		for path := range access.Of(f) {
			paths = append(paths, path)
		}
		return true
	})
	if len(paths) < 60 {
		t.Fatalf("only %d paths", len(paths))
	}
	strangers := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	defer strangers.CloseIdleConnections()
	doors := 0
	for name, pid := range pids {
		found := listeners(t, pid)
		if len(found) == 0 {
			t.Errorf("%s listens nowhere: this test looks in the wrong place", name)
		}
		for _, at := range found {
			doors++
			_, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", at.String(), &tls.Config{InsecureSkipVerify: true})
			scheme := "http"
			if sealed := err == nil; sealed {
				scheme = "https"
			} else if !at.Addr().IsLoopback() {
				t.Errorf("%s listens on %s without TLS", name, at)
			}
			for _, path := range paths {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					req, err := http.NewRequestWithContext(t.Context(), method, scheme+"://"+at.String()+path, strings.NewReader("{}"))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", "application/json")
					res, err := strangers.Do(req)
					if err != nil {
						break // gossip, which speaks no HTTP
					}
					res.Body.Close()
					if res.StatusCode < 400 {
						t.Errorf("%s at %s answers a stranger's %s %s: %s", name, at, method, path, res.Status)
					}
				}
			}
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(limits)) {
			if f := strings.Fields(strings.TrimPrefix(line, "Max core file size")); strings.HasPrefix(line, "Max core file size") && (f[0] != "0" || f[1] != "0") {
				t.Errorf("%s leaves its memory on the disk when it dies: %s", name, line)
			}
		}
	}
	if doors < 6 { // coordinator: internal, gossip, API; gateway: API; node: internal, metrics; worker: internal
		t.Errorf("only %d doors", doors)
	}
	dir := t.TempDir()
	for _, wide := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:80"} {
		program(t, 2, "needs TLS", "skein-gateway", "--dir", filepath.Join(dir, "g"), "--api", wide)
	}
	program(t, 2, "needs TLS", "skein-coordinator", "--dir", filepath.Join(dir, "c"), "--found", "--listen", "127.0.0.1:1", "--gossip", "127.0.0.1:1", "--api", "0.0.0.0:0")
	node := []string{"--dir", filepath.Join(dir, "n"), "--listen", "127.0.0.1:1", "--gossip", "127.0.0.1:1", "--device", "host:64MiB", "--ort-lib", library(t)}
	program(t, 2, "needs TLS", "skein-node", append(slices.Clone(node), "--metrics-listen", "0.0.0.0:0", "--metrics-token-file", "/dev/null")...)
	program(t, 2, "needs --metrics-token-file", "skein-node", append(slices.Clone(node), "--metrics-listen", "127.0.0.1:0")...)
}

// disk looks through all that the programs keep, as who steals a disk does: no prompt, no secret of an API key or of a join token, and
// nothing that other users of the machine may read (attack cases 8 and 41).
func (w *watched) disk(t *testing.T) {
	_, secret, _ := strings.Cut(strings.TrimPrefix(w.Key, "sk-"), "-")
	root := filepath.Dir(filepath.Dir(w.Process("gateway-1").Log))
	files := 0
	for _, name := range []string{"coordinator-1", "gateway-1", "node-1"} {
		dir := filepath.Join(root, name)
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", dir, st.Mode(), err)
		}
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil //nolint:nilerr // it was removed meanwhile
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // as above
			}
			files++
			if e.Name() == "admin.key" { // by which the operator gets the first key
				if st, err := e.Info(); err != nil || st.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", path, st.Mode(), err)
				}
				return nil
			}
			for _, needle := range []string{canary, secret} {
				if at := bytes.Index(text, []byte(needle)); at >= 0 {
					t.Errorf("%s has %q: …%q…", path, needle, text[max(0, at-60):min(len(text), at+60)])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 10 {
		t.Errorf("only %d files", files)
	}
}
