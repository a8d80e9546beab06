package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// The programs in docs/clients.md say what they are said to say: what stands behind the last comment of each.
func TestClientSnippets(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := raise(t, devfleet.Config{Devices: []string{"host:1GiB"}})
	for _, m := range []struct {
		name, dir string
		context   int32
	}{{"calc", "examples/calc", 256}, {"triage", "examples/triage", 64}, {"embed", "testdata/models/bert-embed", 128}} {
		s.push(filepath.Join(root(t), filepath.FromSlash(m.dir)), m.name)
		if _, err := s.admin.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: m.name, Context: m.context, Slots: 4})); err != nil {
			t.Fatal(err)
		}
	}
	s.until("the models to be ready", func(ctx context.Context) error {
		res, err := s.admin.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
		if err != nil {
			return err
		}
		for _, d := range res.Msg.Deployments {
			if d.Ready < 1 {
				return fmt.Errorf("%v", d)
			}
		}
		return nil
	})
	typeScript := filepath.Join(root(t), "build", "conformance", "typescript")
	for _, l := range []struct {
		language, file, program string
		args                    []string
		env                     string
		needs                   string // a file
	}{
		{"go", "main.go", "go", []string{"run"}, "GOFLAGS=-buildvcs=false", ""},
		{"python", "main.py", "python3", nil, "PYTHONPATH=" + filepath.Join(root(t), "sdk", "python", "src"), ""},
		{"ts", "main.mjs", "node", nil, "NODE_NO_WARNINGS=1", filepath.Join(typeScript, "index.js")},
	} {
		t.Run(l.language, func(t *testing.T) {
			block := regexp.MustCompile("(?s)\n```" + l.language + "\n(.*?)```").FindStringSubmatch(string(text))
			if block == nil {
				t.Fatal("it is not in the document")
			}
			source := strings.NewReplacer("http://127.0.0.1:8080", s.URL(), "sk-…", s.Key).Replace(block[1])
			_, want, _ := strings.Cut(source[max(strings.LastIndex(source, "# 4"), strings.LastIndex(source, "// 4"), 0):], " ")
			want, _, _ = strings.Cut(want, "\n")
			if source == block[1] || want == "" {
				t.Fatalf("it names no address, no key, or not what comes out:\n%s", source)
			}
			program, err := exec.LookPath(l.program)
			if err != nil {
				t.Skipf("no %s on this machine", l.program)
			}
			if _, err := os.Stat(l.needs); l.needs != "" && err != nil {
				t.Skip("not built: make conformance builds it")
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, l.file), []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			if l.language == "ts" {
				modules := filepath.Join(dir, "node_modules")
				if err := os.Mkdir(modules, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(typeScript, filepath.Join(modules, "skein")); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), program, append(l.args, filepath.Join(dir, l.file))...)
			cmd.Dir = root(t) // whose modules Go's program is made of
			cmd.Env = append(os.Environ(), l.env, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
			out, err := cmd.CombinedOutput()
			if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != want {
				t.Errorf("%v: it says %q, want %q", err, out, want)
			}
		})
	}
}
