// Package servertest runs real servers of other projects for a test: an S3 server, an OCI registry.
package servertest

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Programs that "make servers" builds in build/tools.
const (
	s3Program  = "versitygw-v1.8.0"
	ociProgram = "registry-v3.0.0"
)

// Keys of the S3 server.
const (
	AccessKey = "access"
	SecretKey = "secret-of-a-test"
)

// patience bounds the start of a server.
const patience = time.Minute

// S3 starts an S3 server over an empty folder, and gives its URL. The test is skipped where the program is not built.
func S3(t testing.TB) (url string) {
	t.Helper()
	at := free(t)
	cmd := exec.Command(program(t, s3Program), "--port", at, "posix", "--sidecar", t.TempDir(), t.TempDir())
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	start(t, cmd, "http://"+at+"/", http.StatusForbidden)
	return "http://" + at
}

// Registry starts an OCI registry, and gives its host:port. The test is skipped where the program is not built.
func Registry(t testing.TB) (host string) {
	t.Helper()
	at := free(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", t.TempDir(), at)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t, ociProgram), "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	start(t, cmd, "http://"+at+"/v2/", http.StatusOK)
	return at
}

// program finds a program in build/tools of the module.
func program(t testing.TB, name string) string {
	t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "build", "tools", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not built: run \"make servers\"", name)
	}
	return path
}

// free is an address that nobody listens on now.
func free(t testing.TB) string {
	t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.1:0", 1+pid/256%250, pid%256))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a program until the test ends, and waits for its first answer.
func start(t testing.TB, cmd *exec.Cmd, url string, want int) {
	t.Helper()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); ; {
		res, err := http.Get(url)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == want {
				return
			}
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s does not answer: %v", cmd.Path, err)
		}
	}
}

// MakeBucket makes a bucket on the S3 server at a URL.
func MakeBucket(t testing.TB, at, name string) {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
}
