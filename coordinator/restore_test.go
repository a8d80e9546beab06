package coordinator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/wire"
)

var phrase = []byte("correct horse battery staple")

// backUp makes a backup of a fleet.
func backUp(t *testing.T, f *fleettest.Fleet, blobs bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	err := backup.WriteFile(path, phrase, func(w io.Writer) error { return f.Leader().Backup(t.Context(), cluster.Asker{By: "test"}, blobs, w) })
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// export writes the audit log of a fleet to a file.
func export(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var b bytes.Buffer
	err := f.Leader().AuditLines(t.Context(), 0, func(lines []byte) error {
		b.Write(lines)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// restored starts a cluster from a backup.
func restored(t *testing.T, executable string, r coordinator.Restoring) (*fleettest.Fleet, coordinator.Restored) {
	t.Helper()
	var out coordinator.Restored
	f := fleettest.Restored(t, executable, func(dir, listen string) string {
		r.Dir, r.Listen, r.Name, r.Passphrase = dir, listen, "c1", phrase
		var err error
		if out, err = coordinator.Restore(r, fleettest.Log()); err != nil {
			t.Fatal(err)
		}
		return out.Key
	})
	return f, out
}

func hashOf(id string) string { return wire.SecretHash("secret of " + id) }

// admits says what a state answers to a key.
func admits(s cluster.State, id string) cluster.Refusal {
	_, refused := s.Admit(hashOf(id), cluster.Millis(time.Now().UnixMilli()), netip.Addr{})
	return refused
}

// A restored cluster has the models and what people made, and nobody of the old one is a member of it, nor the other way round.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	exe := converter(t)
	f := fleettest.New(t, 2, exe)
	leader := f.Leader()
	files := upload(t, leader, example, 0)
	id, err := leader.Publish(t.Context(), cluster.Asker{}, "", "calc", files, false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	f.Machine("n1", 1<<30)
	f.Do(leader, cluster.PutDeployment{Deployment: cluster.Deployment{Version: id, Replicas: 1, Serving: shard.Serving{Slots: 2, Context: 64}}},
		cluster.PutKey{Key: cluster.Key{ID: "k1", Hash: hashOf("k1")}}, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 3, Models: []string{"*"}}})
	f.Token(cluster.RoleNode) // nobody uses it
	before := leader.Live().Now()
	file := backUp(t, f, true)
	if b, ok := backup.Last(f.Leader().Live().Now()); !ok || b.Index < before.Index() || !b.Blobs || time.Since(time.UnixMilli(int64(b.At))) > time.Minute {
		t.Errorf("what is noted of the backup: %+v %v", b, ok)
	}
	g, out := restored(t, exe, coordinator.Restoring{File: file, KeepKeys: true})
	state := g.Leader().Live().Now()
	if !slices.Equal(out.Held, []cluster.VersionID{id}) || len(out.Lacking) > 0 || out.Cluster != state.Cluster().ID || out.Cluster == before.Cluster().ID || bytes.Equal(state.Cluster().CACert, before.Cluster().CACert) {
		t.Errorf("restored: %+v", out)
	}
	if v, ok := state.Version(id); !ok || len(v.Holders) != 1 || v.Holders[0] != g.ID(g.Coordinators[0]) {
		t.Errorf("version %+v %v", v, ok)
	}
	if d, ok := state.Deployment(id); !ok || d.Replicas != 1 {
		t.Errorf("deployment %+v %v", d, ok)
	}
	if a, ok := state.Alias("calc"); !ok || a.Target != id {
		t.Errorf("alias %+v %v", a, ok)
	}
	if tenant, _ := state.Tenant("acme"); tenant.Weight != 3 || admits(state, "k1") != "" {
		t.Errorf("tenant %+v, key %q", tenant, admits(state, "k1"))
	}
	if n := len(slices.Collect(state.Nodes())) + len(slices.Collect(state.Replicas())) + len(slices.Collect(state.JoinTokens())) + len(slices.Collect(state.Members())); n != 1 {
		t.Errorf("%d nodes, replicas, tokens and members besides the coordinator", n-1)
	}
	wholeChain(t, g)

	// It goes on: coordinators and machines join, and the version is placed.
	c2 := g.Join(exe)
	g.Machine("m1", 1<<30)
	fleettest.Within(t, "the version is served", func() bool {
		for r := range c2.Live().Now().ReplicasOf(id) {
			if r.Status == cluster.Ready {
				return true
			}
		}
		return false
	})
	for name, d := range files {
		size, err := c2.BlobSize(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c2.ReadBlob(t.Context(), blob.Ref{Digest: d, Len: size})
		want, wrong := os.ReadFile(filepath.Join(example, name))
		if err != nil || wrong != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v %v", name, len(got), err, wrong)
		}
	}
	// The old cluster still runs. Neither takes a member of the other for its own.
	for _, pair := range [][2]*fleettest.Fleet{{f, g}, {g, f}} {
		stranger := pair[0].Dialer(pair[0].Enrol(cluster.RoleCoordinator, "spy"))
		if _, err := wire.Call[wire.Empty, wire.Pong](t.Context(), stranger, cluster.RoleCoordinator, pair[1].Leader().Config.Listen, wire.Ping, &wire.Empty{}); !errors.Is(err, wire.ErrUnreachable) {
			t.Errorf("a member of the other cluster: %v", err)
		}
	}
}

// wholeChain checks the audit log of a restored cluster from its first record, made by the cluster before, to its end.
func wholeChain(t *testing.T, f *fleettest.Fleet) {
	t.Helper()
	text, err := os.ReadFile(export(t, f))
	if err != nil {
		t.Fatal(err)
	}
	head, err := audit.Verify(audit.Head{}, audit.Lines(bytes.NewReader(text)))
	if err != nil || head.Seq < f.Leader().Live().Now().Audit().Seq-5 || !bytes.Contains(text, []byte(`"by":"restore"`)) {
		t.Errorf("the audit log ends at %v of %v: %v", head, f.Leader().Live().Now().Audit(), err)
	}
}

// Without blobs a cluster knows its models, serves none of them, and does once the same files are there again.
func TestRestoreWithoutBlobs(t *testing.T) {
	t.Parallel()
	exe := converter(t)
	f := fleettest.New(t, 1, exe)
	id, err := f.Leader().Publish(t.Context(), cluster.Asker{}, "", "calc", upload(t, f.Leader(), example, 0), false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	f.Do(f.Leader(), cluster.PutDeployment{Deployment: cluster.Deployment{Version: id, Replicas: 1, Serving: shard.Serving{Slots: 2, Context: 64}}})
	var out coordinator.Restored
	g := fleettest.Restored(t, exe, func(dir, listen string) string {
		out, err = coordinator.Restore(coordinator.Restoring{File: backUp(t, f, false), Passphrase: phrase, Dir: dir, Listen: listen}, fleettest.Log())
		if err != nil {
			t.Fatal(err)
		}
		return out.Key
	})
	if !slices.Equal(out.Lacking, []cluster.VersionID{id}) || len(out.Held) > 0 {
		t.Errorf("restored: %+v", out)
	}
	c := g.Coordinators[0]
	g.Stop(c)
	c.Config.Absent = 2 * time.Second
	g.Start(c)
	g.Leader()
	g.Machine("m1", 1<<30)
	fleettest.Within(t, "it is said why nothing is served", func() bool {
		standing, _ := g.Leader().Reasons()
		return strings.Contains(fmt.Sprint(standing), "push the same files again")
	})
	again, err := g.Leader().Publish(t.Context(), cluster.Asker{}, "", "calc", upload(t, g.Leader(), example, 0), false, func(string) {})
	if err != nil || again != id {
		t.Fatalf("pushed again: %v %v", again, err)
	}
	fleettest.Within(t, "the version has a holder", func() bool {
		v, _ := g.Leader().Live().Now().Version(id)
		return len(v.Holders) == 1
	})
	fleettest.Within(t, "it is served", func() bool { return len(slices.Collect(g.Leader().Live().Now().ReplicasOf(id))) == 1 })
}

// What is in tenants' files, and what open batches gave, is restored with the rest; what has expired or is left out is not there, which is said.
func TestRestoreFiles(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, "")
	f.Do(f.Leader(), cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1}})
	now := cluster.Millis(time.Now().UnixMilli())
	part := func(text string) job.Part {
		d, err := f.Leader().Deposit(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return job.Part{Digest: d, Bytes: int64(len(text))}
	}
	put := func(k cluster.Kind, id string, v any, parts ...job.Part) {
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		r := &wire.CommitRequest{Put: []cluster.PutDocument{{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: k, ID: "acme/" + id}, Body: body}}}}
		for _, p := range parts {
			r.Blobs = append(r.Blobs, p.Digest)
		}
		if res, err := f.Leader().Commit(t.Context(), r); err != nil || res.Rejected != nil {
			t.Fatalf("%s: %+v %v", id, res, err)
		}
	}
	fleettest.Within(t, "files are known", func() bool { return f.Leader().Live().Now().Cluster().Feature >= 3 })
	own, shared, out, old, needed := part("own"), part("shared"), part("given so far"), part("old"), part("needed")
	put(cluster.File, "f1", job.File{ID: "f1", Expires: now + 1e9, Parts: []job.Part{own, shared}}, own, shared)
	put(cluster.File, "f2", job.File{ID: "f2", Expires: now + 1e9, Parts: []job.Part{shared}}, shared)
	put(cluster.Batch, "b1", job.Batch{ID: "b1", Status: job.InProgress, Input: "f4", Owner: "g", Lease: now + 1e9, Due: now + 1e9, Output: []job.Part{out}}, out)
	put(cluster.File, "f4", job.File{ID: "f4", Expires: now - 1, Parts: []job.Part{needed}}, needed)
	put(cluster.File, "f3", job.File{ID: "f3", Expires: now - 1, Parts: []job.Part{old}}, old)
	for _, blobs := range []bool{true, false} {
		file := backUp(t, f, blobs)
		checked, err := backup.CheckFile(file, phrase)
		g, out2 := restored(t, "", coordinator.Restoring{File: file, KeepKeys: true})
		want := backup.Files{Whole: 4}
		if !blobs {
			want = backup.Files{Lacking: 4}
		}
		if err != nil || checked.Files != want || out2.Files != want {
			t.Errorf("blobs %v: files %+v in the backup, %+v restored, want %+v (%v)", blobs, checked.Files, out2.Files, want, err)
		}
		for p, there := range map[job.Part]bool{own: blobs, shared: blobs, out: blobs, needed: blobs, old: false} {
			b, err := g.Leader().ReadBlob(t.Context(), blob.Ref{Digest: p.Digest, Len: p.Bytes})
			if (err == nil && len(b) == int(p.Bytes)) != there {
				t.Errorf("blobs %v: %q %v", blobs, b, err)
			}
		}
	}
}

// What was revoked stays revoked, whatever backup is restored (attack case 43).
func TestRevokedStaysRevoked(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	do := func(commands ...cluster.Command) { f.Do(f.Leader(), commands...) }
	rev := func(id string) cluster.Index {
		k, _ := f.Leader().Live().Now().Key(id)
		return k.Rev
	}
	key := func(id string) cluster.Key { return cluster.Key{ID: id, Hash: hashOf(id)} }
	doc := func(kind cluster.Kind, id string) cluster.PutDocument {
		return cluster.PutDocument{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: kind, ID: id}, Body: json.RawMessage(`{"x":1}`)}}
	}
	early := export(t, f)
	profile := shard.Profile{Decoder: true, Hidden: 64, Vocab: 100, Positions: 512, Expand: 100, KVToken: 1024, Embed: 1, Tail: 1, Blocks: []gpu.Bytes{1}}
	lost := cluster.Version{VersionID: cluster.VersionID{Model: "calc", Number: 1}, Manifest: blob.Of([]byte("lost")).Digest(), Profile: profile, Tasks: []string{"generate"}, Bytes: 1, Holders: []cluster.NodeID{f.ID(f.Leader())}}
	do(cluster.PutVersion{Version: lost}) // its blobs are nowhere: a backup is made in spite of that
	do(cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 100, Models: []string{"*"}}}, cluster.PutTenant{Tenant: cluster.Tenant{ID: "owner", Weight: 100, Models: []string{"*"}}},
		cluster.PutModel{Model: cluster.Model{Name: "calc", Owner: "owner"}})
	do(cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "acme", ID: "portal"}, Models: []string{"*"}}})
	for _, id := range []string{"good", "later", "before", "rotated", "narrowed"} {
		do(cluster.PutKey{Key: key(id)})
	}
	tenants := key("tenant")
	tenants.Tenant, tenants.App = "acme", "portal"
	owners := key("owner")
	owners.Tenant = "owner"
	gone := key("before")
	gone.Revoked = true
	do(cluster.PutKey{Key: gone, Was: rev("before")}, cluster.PutKey{Key: tenants}, cluster.PutKey{Key: owners}, doc(cluster.Provider, "corp"), doc(cluster.RoleBinding, "ann"), doc(cluster.RoleBinding, "bob"))
	old := backUp(t, f, true)

	later := key("later")
	later.Revoked = true
	do(cluster.PutKey{Key: later, Was: rev("later")})
	rotated, next := key("rotated"), key("next")
	rotated.Expires, next.Replaces = cluster.Millis(time.Now().UnixMilli())+1, "rotated"
	do(cluster.PutKey{Key: rotated, Was: rev("rotated")}, cluster.PutKey{Key: next})
	narrowed := key("narrowed")
	narrowed.Roles = []access.Role{access.Viewer}
	do(cluster.PutKey{Key: narrowed, Was: rev("narrowed")})
	state := f.Leader().Live().Now()
	acme, _ := state.Tenant("acme")
	bob, _ := state.Document(cluster.DocumentID{Kind: cluster.RoleBinding, ID: "bob"})
	model := state.Model("calc")
	do(cluster.DeleteTenant{ID: "acme", Was: acme.Rev}, cluster.DeleteDocument{ID: bob.DocumentID, Was: bob.Rev})
	do(cluster.PutModel{Model: cluster.Model{Name: "calc"}, Was: model.Rev})
	owner, _ := f.Leader().Live().Now().Tenant("owner")
	do(cluster.DeleteTenant{ID: "owner", Was: owner.Rev})
	records, newer := export(t, f), backUp(t, f, true)

	suspended := map[string]cluster.Refusal{"good": cluster.KeySuspend, "later": cluster.KeySuspend, "before": cluster.KeyRevoked, "rotated": cluster.KeySuspend,
		"narrowed": cluster.KeySuspend, "tenant": cluster.KeySuspend, "owner": cluster.KeySuspend, "next": cluster.KeyUnknown}
	followed := map[string]cluster.Refusal{"good": "", "later": cluster.KeyRevoked, "before": cluster.KeyRevoked, "rotated": cluster.KeyExpired,
		"narrowed": "", "tenant": cluster.KeyUnknown, "owner": cluster.TenantGone, "next": ""}
	kept := map[string]cluster.Refusal{"good": "", "later": "", "before": cluster.KeyRevoked, "rotated": "", "narrowed": "", "tenant": "", "owner": "", "next": cluster.KeyUnknown}
	for name, c := range map[string]struct {
		how    coordinator.Restoring
		keys   map[string]cluster.Refusal
		people string
	}{
		"nothing said":   {coordinator.Restoring{File: old}, suspended, "oidc_provider: role_binding: ann bob"},
		"an export":      {coordinator.Restoring{File: old, Revocations: records}, followed, "oidc_provider: corp role_binding: ann"},
		"a later backup": {coordinator.Restoring{File: old, Revocations: newer}, followed, "oidc_provider: corp role_binding: ann"},
		"keys are kept":  {coordinator.Restoring{File: old, KeepKeys: true}, kept, "oidc_provider: corp role_binding: ann bob"},
		"the later one":  {coordinator.Restoring{File: newer, Revocations: records}, followed, "oidc_provider: corp role_binding: ann"},
	} {
		g, out := restored(t, "", c.how)
		state := g.Leader().Live().Now()
		for id, want := range c.keys {
			if got := admits(state, id); got != want && !(id == "owner" && got == cluster.KeyUnknown && name == "the later one") {
				t.Errorf("%s: key %s: %q, want %q", name, id, got, want)
			}
		}
		if p, refused := state.Admit(wire.SecretHash(g.Key), 0, netip.Addr{}); refused != "" || !p.May(accessv1.Permission_PERMISSION_BACKUP) {
			t.Errorf("%s: the new admin key: %q", name, refused)
		}
		if _, refused := state.Admit(wire.SecretHash(f.Key), 0, netip.Addr{}); name == "nothing said" && refused != cluster.KeySuspend {
			t.Errorf("%s: the old admin key: %q", name, refused)
		}
		var people strings.Builder
		for _, kind := range []cluster.Kind{cluster.Provider, cluster.RoleBinding} {
			people.WriteString(string(kind) + ": ")
			for d := range state.Documents(kind) {
				people.WriteString(d.ID + " ")
			}
		}
		if got := strings.TrimSpace(people.String()); got != c.people {
			t.Errorf("%s: %s, want %s", name, got, c.people)
		}
		n := 0
		for k := range state.Keys() {
			if k.Suspended {
				n++
			}
		}
		if out.Suspended != n || (n > 0) != (name == "nothing said") || (out.Repeated > 0) != (c.how.Revocations == records && c.how.File == old || c.how.Revocations == newer) {
			t.Errorf("%s: %+v with %d keys suspended", name, out, n)
		}
		if k, _ := state.Key("narrowed"); c.how.Revocations != "" && !slices.Equal(k.Roles, []access.Role{access.Viewer}) {
			t.Errorf("%s: a key that was narrowed has the roles %v", name, k.Roles)
		}
		wholeChain(t, g)
		g.Stop(g.Coordinators[0])
	}

	// Records that cannot tell are not believed.
	text, err := os.ReadFile(records)
	if err != nil {
		t.Fatal(err)
	}
	edited := filepath.Join(t.TempDir(), "edited")
	if err := os.WriteFile(edited, bytes.Replace(text, []byte(`"revoked":true`), []byte(`"revoked":null`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	other := fleettest.New(t, 1, "")
	for name, file := range map[string]string{"before the backup": early, "edited": edited, "another cluster's": export(t, other), "another cluster's backup": backUp(t, other, false), "nothing": os.DevNull} {
		dir := filepath.Join(t.TempDir(), "data")
		_, err := coordinator.Restore(coordinator.Restoring{File: old, Passphrase: phrase, Dir: dir, Listen: "127.0.0.1:7000", Revocations: file}, fleettest.Log())
		if !errors.Is(err, coordinator.ErrRevocations) {
			t.Errorf("%s: %v", name, err)
		}
		nothingLeft(t, dir)
	}
	if _, err := coordinator.Restore(coordinator.Restoring{File: newer, Passphrase: phrase, Dir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:7000", Revocations: old}, fleettest.Log()); !errors.Is(err, coordinator.ErrRevocations) {
		t.Errorf("an older backup: %v", err)
	}
}

// nothingLeft demands that a restore that failed left nothing.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if list, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(list) > 0 {
		t.Errorf("left behind: %v %v", list, err)
	}
}

// A file that was changed is refused, and leaves nothing; so is a directory where something is.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, converter(t))
	if _, err := f.Leader().Publish(t.Context(), cluster.Asker{}, "", "calc", upload(t, f.Leader(), example, 0), false, func(string) {}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(backUp(t, f, true))
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	refuse := func(what string, b []byte, phrase []byte) {
		t.Helper()
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "data")
		_, err := coordinator.Restore(coordinator.Restoring{File: bad, Passphrase: phrase, Dir: dir, Listen: "127.0.0.1:7000"}, fleettest.Log())
		if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrPassphrase) && !errors.Is(err, backup.ErrNotBackup) {
			t.Errorf("%s: %v", what, err)
		}
		nothingLeft(t, dir)
	}
	refuse("another passphrase", whole, []byte("wrong horse battery staple"))
	for part := range 6 { // every region: magic, salt, state, records, blobs, end
		at := min(len(whole)-1, part*len(whole)/5)
		b := bytes.Clone(whole)
		b[at] ^= 4
		refuse("changed", b, phrase)
		refuse("cut", whole[:at], phrase)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "good")
	if err := os.WriteFile(good, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := coordinator.Restore(coordinator.Restoring{File: good, Passphrase: phrase, Dir: dir, Listen: "127.0.0.1:7000"}, fleettest.Log()); !errors.Is(err, coordinator.ErrOccupied) {
		t.Errorf("a directory that is used: %v", err)
	}
	if _, err := coordinator.Restore(coordinator.Restoring{File: good, Passphrase: phrase, Dir: filepath.Join(dir, "new"), Listen: "0.0.0.0:7000"}, fleettest.Log()); err == nil {
		t.Error("an address that nobody can dial is taken")
	}
}

// The leader, and nobody else, puts backups into a folder, and keeps as many as were asked for.
func TestScheduledBackups(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(file, append(phrase, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	f := fleettest.New(t, 2, "")
	for i, c := range f.Coordinators {
		f.Stop(c)
		c.Config.Backups = coordinator.Backups{BackupDir: filepath.Join(t.TempDir(), string(rune('a'+i))), BackupPassphrase: file, BackupEvery: time.Second, BackupKeep: 2}
	}
	for _, c := range f.Coordinators {
		f.Start(c)
	}
	leader, follower := f.Leader(), f.Follower()
	seen := map[string]bool{}
	fleettest.Within(t, "four backups were made", func() bool {
		for _, name := range list(t, leader.Config.BackupDir) {
			if strings.HasSuffix(name, ".backup") {
				seen[name] = true
			}
		}
		return len(seen) >= 4
	})
	fleettest.Within(t, "two are kept", func() bool { return len(list(t, leader.Config.BackupDir)) <= 3 })
	if f.Leader() == leader && len(list(t, follower.Config.BackupDir)) > 0 {
		t.Errorf("a follower made backups: %v", list(t, follower.Config.BackupDir))
	}
	f.Stop(follower)
	f.Stop(leader)
	names := list(t, leader.Config.BackupDir)
	h, err := backup.CheckFile(filepath.Join(leader.Config.BackupDir, names[len(names)-1]), phrase)
	if err != nil || h.Index == 0 || len(names) > 2 {
		t.Errorf("%v: %+v %v", names, h, err)
	}
	for _, bad := range []coordinator.Backups{{BackupDir: "x"}, {BackupDir: "x", BackupPassphrase: "/nowhere"}, {BackupKeep: -1}, {BackupEvery: -1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
