package coordinator

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/cluster"
)

// Backups says where the leader puts backups, and when.
type Backups struct {
	BackupDir        string        `yaml:"backup_dir" help:"folder that the leader puts encrypted backups into; better on another machine (default none)"`                   // default none
	BackupPassphrase string        `yaml:"backup_passphrase" help:"file with the passphrase of these backups"`                                                               // no default
	BackupEvery      time.Duration `yaml:"backup_every" help:"time between two backups (default 24h)"`                                                                       // default 24 h
	BackupKeep       int           `yaml:"backup_keep" help:"backups of this cluster that are kept in the folder (default 7)"`                                               // default 7
	BackupNoBlobs    bool          `yaml:"backup_no_blobs" help:"leave out the models' blobs, which have to be pushed again after a restore, and what is in tenants' files"` // default: they are in
}

// Times and numbers that hold unless a Backups says otherwise.
const (
	defaultBackupEvery = 24 * time.Hour
	defaultBackupKeep  = 7
	backupLook         = time.Minute      // at most, and a quarter of BackupEvery: between two looks at the folder
	backupRetry        = 10 * time.Minute // at most, and BackupEvery: after one failed
)

// Validate checks what can be checked before the first backup.
func (b Backups) Validate() error {
	switch {
	case b.BackupEvery < 0 || b.BackupKeep < 0:
		return errors.New("backup_every and backup_keep are not negative")
	case b.BackupDir == "":
		return nil
	case b.BackupPassphrase == "":
		return errors.New("backup_dir needs backup_passphrase")
	}
	_, err := backup.ReadPassphrase(b.BackupPassphrase)
	return err
}

// A scheduled backup is called skein-CLUSTER-TIME.backup; the time is UTC, so names are in the order of time.
const (
	backupSuffix = ".backup"
	backupTime   = "20060102T150405Z"
)

func backupName(cluster string, at time.Time) string {
	return "skein-" + cluster + "-" + at.UTC().Format(backupTime) + backupSuffix
}

// backupsIn lists a cluster's backups in a folder, the oldest first.
func backupsIn(dir, cluster string) (names []string, newest time.Time, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, newest, err
	}
	for _, e := range entries {
		text, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), backupSuffix), "skein-"+cluster+"-")
		at, err := time.Parse(backupTime, text)
		if !ok || err != nil || e.Name() != backupName(cluster, at) {
			continue
		}
		names, newest = append(names, e.Name()), at // entries are sorted
	}
	return names, newest, nil
}

// backUp makes backups while this coordinator leads.
func (s *Server) backUp(ctx context.Context) {
	cfg := s.cfg.Backups
	if cfg.BackupDir == "" {
		return
	}
	every := or(cfg.BackupEvery, defaultBackupEvery)
	for pause := min(backupLook, every/4); s.wait(ctx, pause); {
		pause = min(backupLook, every/4)
		if !s.store.IsLeader() || s.live.Now().Cluster().ID == "" {
			continue
		}
		began := time.Now()
		made, err := s.scheduledBackup(ctx, every, began)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Error("no backup was made", "dir", cfg.BackupDir, "err", err)
			pause = min(backupRetry, every)
		case made != "":
			s.log.Info("backed up", "file", made, "seconds", time.Since(began).Seconds())
		}
	}
}

// scheduledBackup makes a backup if the newest one is old enough, reads it again, and removes those that are too many. The file has its
// name once it is whole.
func (s *Server) scheduledBackup(ctx context.Context, every time.Duration, now time.Time) (made string, err error) {
	cfg, id := s.cfg.Backups, s.cluster()
	if err := os.MkdirAll(cfg.BackupDir, 0o700); err != nil {
		return "", err
	}
	names, newest, err := backupsIn(cfg.BackupDir, id)
	if err != nil || now.Sub(newest) < every {
		return "", err
	}
	passphrase, err := backup.ReadPassphrase(cfg.BackupPassphrase)
	if err != nil {
		return "", err
	}
	name := backupName(id, now)
	path := filepath.Join(cfg.BackupDir, name)
	err = backup.WriteFile(path, passphrase, func(w io.Writer) error {
		return s.Backup(ctx, cluster.Asker{By: "coordinator " + s.cfg.Name}, !cfg.BackupNoBlobs, w)
	})
	if err != nil {
		return "", err
	}
	names = append(names, name)
	for _, old := range names[:max(0, len(names)-cmp.Or(cfg.BackupKeep, defaultBackupKeep))] {
		err = errors.Join(err, os.Remove(filepath.Join(cfg.BackupDir, old)))
	}
	return path, err
}
