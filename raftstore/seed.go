package raftstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// Seed makes the data directory of the only member of a new cluster, whose log goes on after index with the state that write gives: Open
// then finds a snapshot there, and members that join get it. c.Bootstrap names that member; c.Dir must be absent or empty.
func Seed(c Config, index uint64, write func(io.Writer) error, log *slog.Logger) error {
	c = c.withDefaults()
	if len(c.Bootstrap) != 1 || c.Bootstrap[0].ID != c.ID || c.ID == "" || c.Dir == "" || index == 0 {
		return errors.New("seed: want one member, which is this server, and an index")
	}
	if names, err := c.FS.List(c.Dir); err == nil && len(names) > 0 {
		return fmt.Errorf("seed: %s is not empty", c.Dir)
	}
	d, err := openDirectory(c, log)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	only := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(c.ID), Address: raft.ServerAddress(c.Bootstrap[0].Addr)}}}
	// Term 1 is the first that this server can lead; the vote and the log begin with the first Open.
	head := snapshotHead{Version: 1, Index: index, Term: 1, Seq: 1, TakenAt: time.Now().UnixNano(), Configuration: raft.EncodeConfiguration(only), ConfigurationIndex: index}
	path := d.fs.PathJoin(d.join(snapshotDir), head.name())
	w, err := newSnapshotWriter(d.fs, path+temporary, head)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	b := bufio.NewWriterSize(w, 64<<10)
	_, err = b.Write(binary.BigEndian.AppendUint64(nil, index)) // as capture.Persist
	if err == nil {
		err = write(b)
	}
	if err := errors.Join(err, b.Flush()); err != nil {
		_ = w.file.Close() // what was written is removed with the directory
		return fmt.Errorf("seed: %w", err)
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if err := d.fs.Rename(path+temporary, path); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return syncDir(d.fs, d.join(snapshotDir))
}
