package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/devfleet"
)

// restoreWithin is how long it may take, on new machines, from a backup's file to the same answers.
const restoreWithin = time.Minute

// removedWithin is how long a removed member may go on, with what it takes to ask.
const removedWithin = 10 * time.Second

// A rehearsal: a fleet with a model is backed up and goes down, and another one on other addresses and in other folders begins from the
// file. It gives the same answers; what was revoked after the backup stays so.
func TestRestoreRehearsal(t *testing.T) {
	small := devfleet.Config{Coordinators: 1, Nodes: 1, Devices: []string{"host:256MiB"}}
	s := raise(t, small)
	s.push("../../examples/calc", "calc")
	s.serve(&adminv1.ServeRequest{Model: "calc"})
	const question = "sort 9 1 5 ="
	want, err := generate(t.Context(), s.ask, "calc", question, 8, func() {})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	ids := map[string]string{}
	for _, name := range []string{"kept", "revoked"} {
		res, err := s.admin.Cluster.CreateKey(t.Context(), connect.NewRequest(&adminv1.CreateKeyRequest{Name: name}))
		if err != nil {
			t.Fatal(err)
		}
		keys[name], ids[name] = res.Msg.Key, res.Msg.Id
	}
	dir := t.TempDir()
	phrase, file, records := filepath.Join(dir, "passphrase"), filepath.Join(dir, "backup"), filepath.Join(dir, "audit.jsonl")
	if err := os.WriteFile(phrase, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.says([]string{"backup", file, "--passphrase-file", phrase}, "1 model versions with their blobs")
	t.Logf("backed up in %.1f s", time.Since(began).Seconds())
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the backup can be read by others: %v %v", st, err)
	}
	if _, err := s.admin.Cluster.RevokeKey(t.Context(), connect.NewRequest(&adminv1.RevokeKeyRequest{Id: ids["revoked"]})); err != nil {
		t.Fatal(err)
	}
	s.says([]string{"audit", "export", records})
	s.Stop()

	for name, mode := range map[string][]string{"nothing said": nil, "with the audit log": {"--revocations", records}} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			next := t.TempDir()
			data, listen, api, err := devfleet.Prepare(next, small.Coordinators, small.Nodes)
			if err != nil {
				t.Fatal(err)
			}
			out := s.in(t).says(append([]string{"restore", file, "--passphrase-file", phrase, "--dir", data, "--listen", listen, "--api", api, "--name", "coordinator-1"}, mode...))
			cfg := small
			cfg.Dir = next
			r := raise(t, cfg)
			if !strings.Contains(out, r.Key) {
				t.Errorf("the admin key is not in %s", out)
			}
			r.ready(1)
			got, err := generate(t.Context(), r.ask, "calc", question, 8, func() {})
			if err != nil || got.text != want.text {
				t.Errorf("%q, want %q: %v", got.text, want.text, err)
			}
			took := time.Since(began)
			t.Logf("restored on new machines in %.1f s", took.Seconds())
			if took > restoreWithin {
				t.Errorf("it took %v, more than %v", took, restoreWithin)
			}
			ask := func(name string) connect.Code {
				c, err := client.New(client.Profile{URL: r.URL(), Key: keys[name]})
				if err != nil {
					t.Fatal(err)
				}
				_, err = generate(t.Context(), c, "calc", question, 8, func() {})
				if err == nil {
					return 0
				}
				return connect.CodeOf(err)
			}
			if mode == nil {
				if ask("kept") != connect.CodeUnauthenticated {
					t.Error("a suspended key is taken")
				}
				r.says([]string{"keys", "list"}, "suspended")
				r.says([]string{"keys", "resume", ids["kept"]})
			}
			if code := ask("kept"); code != 0 {
				t.Errorf("a key that was not revoked: %v", code)
			}
			if code := ask("revoked"); code != connect.CodeUnauthenticated {
				t.Errorf("the revoked key: %v", code)
			}
			r.says([]string{"audit", "verify"}, "none changed")
		})
	}
}

// Members go by the command line: a gateway answers nobody any more within seconds, and two coordinators go on without the third.
func TestRemoveCommand(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 3, Nodes: 1, Gateway: true, Devices: []string{"host:256MiB"}})
	s.push("../../examples/calc", "calc")
	s.serve(&adminv1.ServeRequest{Model: "calc"})
	sum := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // it may also wait for somebody who listens to it
		defer cancel()
		_, err := generate(ctx, s.ask, "calc", "sort 9 1 5 =", 8, func() {})
		return err
	}
	s.until("the gateway to answer", func(context.Context) error { return sum() })
	began := time.Now()
	s.says([]string{"remove", "gateway-1"})
	s.until("the gateway to answer nobody", func(context.Context) error {
		if sum() == nil {
			return errors.New("it answers")
		}
		return nil
	})
	took := time.Since(began)
	t.Logf("a removed gateway was silent after %.1f s", took.Seconds())
	if took > removedWithin {
		t.Errorf("a removed gateway answered for %v", took)
	}
	s.refuses(exitRefused, "does not exist", "remove", "gateway-1")
	s.refuses(exitRefused, "drain it", "remove", "node-1")
	status, err := s.admin.Cluster.GetStatus(t.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	var leader, goes string
	for _, m := range status.Msg.Members {
		switch {
		case m.Leader:
			leader = m.Name
		case m.Name != "coordinator-1": // where the operator's API is asked
			goes = m.Name
		}
	}
	s.refuses(exitRefused, "it leads", "remove", leader)
	s.says([]string{"remove", goes})
	s.Process(goes).Stop()
	s.says([]string{"status"}, "yes")
	if out, _ := s.command(exitOK, "status"); strings.Contains(out, goes) {
		t.Errorf("%s is still there:\n%s", goes, out)
	}
	if _, err := generate(t.Context(), s.admin, "calc", "sort 9 1 5 =", 8, func() {}); err != nil {
		t.Errorf("two of three coordinators: %v", err)
	}
}
