package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/internal/terminal"
)

// passphrase reads a passphrase from a file, or asks for it; twice where it is a new one.
func passphrase(file string, isNew bool) ([]byte, error) {
	if file != "" {
		return backup.ReadPassphrase(file)
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, usage("name a file with the passphrase: --passphrase-file")
	}
	defer tty.Close()
	text, err := terminal.Secret(tty, "passphrase of the backup", isNew)
	if err != nil {
		return nil, err
	}
	return backup.Passphrase(text)
}

const passphraseHelp = "file with the passphrase (default: asked for at the terminal)"

func (a *app) backup() *cobra.Command {
	var file string
	var noBlobs bool
	c := &cobra.Command{Use: "backup FILE", Short: "Write all that the cluster knows to an encrypted file", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		phrase, err := passphrase(file, true)
		if err != nil {
			return err
		}
		err = backup.WriteFile(args[0], phrase, func(w io.Writer) error { return receiveBackup(cmd.Context(), c, noBlobs, w) })
		if err != nil {
			return err
		}
		return a.describeBackup(cmd, args[0], phrase)
	})}
	c.Flags().StringVar(&file, "passphrase-file", "", passphraseHelp)
	c.Flags().BoolVar(&noBlobs, "no-blobs", false, "leave out the models' blobs, which have to be pushed again after a restore, and what is in tenants' files")
	c.AddCommand(a.backupCheck())
	return c
}

// receiveBackup writes the cluster's stream to w, as it comes.
func receiveBackup(ctx context.Context, c *client.Client, noBlobs bool, w io.Writer) error {
	res, err := c.Backups.GetBackup(ctx, connect.NewRequest(&adminv1.GetBackupRequest{NoBlobs: noBlobs}))
	if err != nil {
		return err
	}
	defer res.Close()
	for res.Receive() {
		if _, err := w.Write(res.Msg().Piece); err != nil {
			return err
		}
	}
	return res.Err()
}

func (a *app) backupCheck() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "check FILE", Short: "Read a backup to its end and say what is in it", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		phrase, err := passphrase(file, false)
		if err != nil {
			return err
		}
		return a.describeBackup(cmd, args[0], phrase)
	}}
	c.Flags().StringVar(&file, "passphrase-file", "", passphraseHelp)
	return c
}

// backupView is what a backup holds, for people and programs.
type backupView struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	backup.Checked
}

func (a *app) describeBackup(cmd *cobra.Command, file string, phrase []byte) error {
	c, err := backup.CheckFile(file, phrase)
	if err != nil {
		return err
	}
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	return a.tell(cmd, backupView{file, st.Size(), c}, func(row func(...any)) {
		row(fmt.Sprintf("%s: cluster %s at entry %d of %s, %d audit records, %d model versions with their blobs, %s",
			file, c.Cluster, c.Index, time.UnixMilli(c.Created).UTC().Format(time.RFC3339), c.Audit.Seq, len(c.Whole), size(st.Size())))
		for _, v := range c.Lacking {
			row(fmt.Sprintf("%s is in it without its blobs.", v))
		}
		if c.Files != (backup.Files{}) {
			row(fmt.Sprintf("%d files and open batches of tenants are in it whole, %d without what is in them.", c.Files.Whole, c.Files.Lacking))
		}
	})
}

func (a *app) restore() *cobra.Command {
	var r coordinator.Restoring
	var file string
	c := &cobra.Command{Use: "restore FILE", Short: "Found a new cluster from a backup, on this machine",
		Long: strings.TrimSpace(`
Found a new cluster from a backup, in a data directory that skein-coordinator then starts in.

It is another cluster than the one that was backed up: nodes, coordinators and gateways join it anew. An old backup does not know which
keys were revoked after it, so all of them are suspended until "skein keys resume", and people cannot log in until a provider is added
again. --revocations keeps what was not revoked by then, --keep-keys says that nothing was.`),
		Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Dir == "" || r.Listen == "" {
				return usage("--dir and --listen are needed")
			}
			if r.KeepKeys && r.Revocations != "" {
				return usage("--keep-keys says that nothing was revoked, --revocations what was: name one of them")
			}
			if r.Passphrase, err = passphrase(file, false); err != nil {
				return err
			}
			r.File = args[0]
			out, err := coordinator.Restore(r, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
			if err != nil {
				return err
			}
			return a.tell(cmd, out, func(row func(...any)) { describeRestored(r, out, row) })
		}}
	c.Flags().StringVar(&file, "passphrase-file", "", passphraseHelp)
	c.Flags().StringVar(&r.Dir, "dir", "", "data directory to be made")
	c.Flags().StringVar(&r.Listen, "listen", "", "host:port that the coordinator will listen on, as others dial it")
	c.Flags().StringVar(&r.API, "api", "", "host:port of its client API, told to others (default none)")
	c.Flags().StringVar(&r.Name, "name", "", "its name for people (default none)")
	c.Flags().StringVar(&r.Revocations, "revocations", "", "an export of the audit log (skein audit export), or a later backup, that tells what happened to keys after the backup")
	c.Flags().BoolVar(&r.KeepKeys, "keep-keys", false, "no key was revoked since the backup: all stay valid")
	return c
}

// tell prints what no API answered: as JSON, or in words.
func (a *app) tell(cmd *cobra.Command, v any, rows func(row func(...any))) error {
	if a.output != "json" {
		return table(cmd.OutOrStdout(), "", rows)
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), string(text))
	return err
}

func describeRestored(r coordinator.Restoring, out coordinator.Restored, row func(...any)) {
	row(fmt.Sprintf("Cluster %s begins in %s, from cluster %s as it was at %s.", out.Cluster, r.Dir, out.Backup.Cluster, time.UnixMilli(out.Backup.Created).UTC().Format(time.RFC3339)))
	row(fmt.Sprintf("%d model versions came with their blobs.", len(out.Held)))
	for _, v := range out.Lacking {
		row(fmt.Sprintf("%s has no blobs: push the same files again.", v))
	}
	if out.Files != (backup.Files{}) {
		row(fmt.Sprintf("%d files and open batches of tenants are whole, %d are without what was in them.", out.Files.Whole, out.Files.Lacking))
	}
	switch {
	case r.Revocations != "":
		row(fmt.Sprintf("%d changes to keys, tenants and people were made again; keys that were not revoked by then are valid.", out.Repeated))
	case r.KeepKeys:
		row("All keys of the backup are valid.")
	default:
		row(fmt.Sprintf("%d keys are suspended (skein keys list; skein keys resume ID). People cannot log in until a provider is added again: look at their roles first.", out.Suspended))
	}
	row("Start it with skein-coordinator --dir " + r.Dir + " --listen " + r.Listen + " --gossip ADDRESS:7401, and let the other members join.")
	row("The admin key, shown once:")
	row(out.Key)
}

func (a *app) resumeKeys() *cobra.Command {
	return &cobra.Command{Use: "resume ID...", Short: "Make keys valid again that a restore suspended", Args: cobra.MinimumNArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		_, err := c.Backups.ResumeKeys(cmd.Context(), connect.NewRequest(&adminv1.ResumeKeysRequest{Ids: args}))
		return err
	})}
}

// refusedBackup says that an error is about a backup's file, which another file or passphrase would not have.
func refusedBackup(err error) bool {
	for _, e := range []error{backup.ErrNotBackup, backup.ErrPassphrase, backup.ErrDamaged, backup.ErrInconsistent, backup.ErrWeak, coordinator.ErrRevocations, coordinator.ErrOccupied} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
