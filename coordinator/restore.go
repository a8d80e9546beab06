package coordinator

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/audit/journal"
	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/wire"
)

// Restoring is what a restore is told.
type Restoring struct {
	File       string // the backup; no default
	Passphrase []byte // of it, and of Revocations if that is a backup; no default
	Dir        string // data directory to be made, absent or empty; no default
	Name       string // of the coordinator, for people; default: none
	Listen     string // host:port of its internal listener; no default
	API        string // host:port of its client API, told to others; default none

	// Which API keys and people are let in is not for an old backup to say: by default, none of them but a fresh admin key.
	Revocations string // an export of the audit log, or a later backup: what it says happened to keys after the backup happens again; default none
	KeepKeys    bool   // somebody says that nothing was revoked since the backup; default no
}

// Restored is what came of a restore.
type Restored struct {
	Backup    backup.Header       `json:"backup"`
	Cluster   string              `json:"cluster"`           // id of the new cluster
	Key       string              `json:"key"`               // the fresh admin key
	Suspended int                 `json:"suspended"`         // keys that an admin has to resume
	Repeated  int                 `json:"repeated"`          // changes to keys, tenants and people that were made after the backup
	Held      []cluster.VersionID `json:"held,omitempty"`    // versions whose blobs came along
	Lacking   []cluster.VersionID `json:"lacking,omitempty"` // versions that need the same files pushed again
	Files     backup.Files        `json:"files"`             // of tenants, and batches under way
}

// ErrOccupied says that a directory is not for a restore.
var ErrOccupied = errors.New("coordinator: the directory is not empty")

// Restore founds a cluster from a backup, in a data directory that a coordinator then starts in: it is whole, or not there.
//
// It is another cluster than the one that was backed up, with an id, an authority and secrets of its own, since nobody can know whether
// the old one still runs somewhere: with the same id and authority the members of both would take each other for theirs, in gossip, in
// raft and behind every certificate. Members join anew in any case, so nothing is lost by it; and the old authority's key, which the
// backup has only sealed with a secret that it does not have, is needed by nobody. What people made stays: models, names, deployments,
// tenants, limits, usage, documents. The audit log goes on; its next record is the restore.
func Restore(r Restoring, log *slog.Logger) (out Restored, err error) {
	if names, err := os.ReadDir(r.Dir); err == nil && len(names) > 0 {
		return out, fmt.Errorf("%w: %s", ErrOccupied, r.Dir)
	}
	if err := dialable("listen", r.Listen); err != nil {
		return out, fmt.Errorf("restore: %w", err)
	}
	tmp := filepath.Clean(r.Dir) + ".restoring"
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return out, fmt.Errorf("restore: %w (left by a restore that was stopped? then remove it)", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	t := &restoration{Restoring: r, dir: tmp, out: &out}
	if err := t.run(log); err != nil {
		return out, fmt.Errorf("restore: %w", err)
	}
	if err := errors.Join(os.Rename(tmp, r.Dir), syncDir(filepath.Dir(filepath.Clean(r.Dir)))); err != nil {
		return out, fmt.Errorf("restore: %w", err)
	}
	return out, nil
}

// restoration is a restore under way, into a directory that nobody uses yet.
type restoration struct {
	Restoring
	dir     string
	out     *Restored
	state   cluster.State
	journal *journal.Journal
	blobs   *disk.Store
}

func (t *restoration) run(log *slog.Logger) (err error) {
	if t.journal, err = journal.Open(filepath.Join(t.dir, auditDir)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.journal.Close()) }()
	if t.blobs, err = disk.Open(filepath.Join(t.dir, blobsDir), disk.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.blobs.Close()) }()
	if err := t.read(); err != nil {
		return err
	}
	member, secret, err := t.member()
	if err != nil {
		return err
	}
	if err := t.refound(member, secret); err != nil {
		return err
	}
	if err := t.journal.Sync(); err != nil {
		return err
	}
	rc := raftstore.Config{ID: string(member.ID), Dir: filepath.Join(t.dir, raftDir), Bootstrap: []raftstore.Server{{ID: string(member.ID), Addr: t.Listen}}}
	snapshot := (&machine{live: fixed(t.state), audit: t.journal}).Snapshot()
	if err := raftstore.Seed(rc, uint64(t.state.Index()), snapshot, log); err != nil {
		return err
	}
	t.out.Cluster, t.out.Key = t.state.Cluster().ID, secret
	if err := os.WriteFile(filepath.Join(t.dir, AdminKeyFile), []byte(secret+"\n"), 0o600); err != nil {
		return err
	}
	return member.Save(t.dir)
}

// read reads the backup into the directory.
func (t *restoration) read() error {
	var open blob.Index // the blob that comes
	came := map[blob.Digest]bool{}
	done := func() error {
		if open.Size == 0 && len(open.Chunks) == 0 {
			return nil
		}
		return t.blobs.Flush(open.Digest())
	}
	var err error
	t.out.Backup, err = backup.ReadFile(t.File, t.Passphrase, backup.Into{
		State: func(s cluster.State) error {
			t.state = s
			return nil
		},
		Record: func(before audit.Head, encoded []byte) error { return t.journal.Append(before, [][]byte{encoded}) },
		Blob: func(x blob.Index) error {
			if err := done(); err != nil {
				return err
			}
			open, came[x.Digest()] = x, true
			_, err := t.blobs.Begin(x)
			return err
		},
		Chunk: func(x blob.Index, i int, data []byte) error { return t.blobs.WriteChunk(x.Digest(), i, data) },
		Version: func(id cluster.VersionID) error {
			t.out.Held = append(t.out.Held, id)
			return nil
		},
	})
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	t.out.Lacking, t.out.Files = backup.Lacking(t.state, t.out.Held), backup.FilesOf(t.state, came, t.out.Backup.Created)
	return nil
}

// member makes the coordinator that begins, and the first admin key.
func (t *restoration) member() (wire.Membership, string, error) {
	m, err := newCluster(t.Name)
	return m, wire.NewKey(), err
}

// refound makes the state that of the new cluster, and repeats what happened to keys since.
func (t *restoration) refound(m wire.Membership, secret string) error {
	creds, err := wire.NewCredentials(m.Papers)
	if err != nil {
		return err
	}
	old, by := t.state.Cluster(), cluster.Asker{By: "restore"}
	if old.Feature < cluster.Feature {
		if err := t.apply(by, cluster.SetFeature{Was: old.Feature, Feature: cluster.Feature}); err != nil {
			return err
		}
	}
	head := t.state.Audit()
	if old.Feature < 2 {
		head = audit.Head{} // it had no audit log
	}
	first := cluster.Refound{From: old.ID, ID: creds.Identity().Cluster, CACert: creds.CA().Raw, CAKey: m.CAKey, Key: adminKey(secret), Held: t.out.Held,
		Member:  cluster.Member{ID: m.ID, Name: t.Name, Role: cluster.RoleCoordinator, Addr: t.Listen, API: t.API},
		Suspend: t.Revocations == "" && !t.KeepKeys}
	first.Key.Name = "first admin key after a restore"
	if err := t.apply(by, first); err != nil {
		return err
	}
	if t.Revocations != "" {
		if err := t.repeat(head); err != nil {
			return err
		}
	}
	for k := range t.state.Keys() {
		if k.Suspended {
			t.out.Suspended++
		}
	}
	return nil
}

// apply changes the state as an entry of the log would, and keeps the record of it.
func (t *restoration) apply(by cluster.Asker, do ...cluster.Command) error {
	index := t.state.Index() + 1
	e := cluster.Envelope{V: cluster.EnvelopeFormat, At: max(t.state.At(), cluster.Millis(time.Now().UnixMilli())), Txns: []cluster.Txn{{Do: do, Asker: by}}}
	next, errs := cluster.Apply(t.state, index, e)
	if errs[0] != nil {
		return errs[0]
	}
	if err := t.journal.Append(t.state.Audit(), cluster.Records(t.state, index, e, errs)); err != nil {
		return err
	}
	t.state = next
	return nil
}

// newCluster makes the identity and the secrets of a cluster's first coordinator.
func newCluster(name string) (wire.Membership, error) {
	id := string(wire.NewID())
	ca, err := wire.NewAuthority(id, time.Now())
	if err != nil {
		return wire.Membership{}, err
	}
	caKey, err := ca.Key()
	if err != nil {
		return wire.Membership{}, err
	}
	key, csr, err := wire.Request()
	if err != nil {
		return wire.Membership{}, err
	}
	who := wire.Identity{Cluster: id, Role: cluster.RoleCoordinator, ID: wire.NewID()}
	cert, err := ca.Sign(csr, who, time.Now())
	if err != nil {
		return wire.Membership{}, err
	}
	m := wire.Membership{ID: who.ID, Role: who.Role, Name: name, GossipKey: make([]byte, 32), Secret: wire.NewSecret()}
	rand.Read(m.GossipKey)
	if m.Papers, err = wire.NewPapers(cert, key, ca.Cert); err != nil {
		return wire.Membership{}, err
	}
	m.CAKey, err = wire.Seal(m.Secret, caKey)
	return m, err
}

// fixed is a state that does not change.
func fixed(s cluster.State) *live.State {
	l := live.New()
	l.Store(s)
	return l
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
