package raftstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The data directory:
//
//	VERSION     format version and server id
//	reserve     bytes to give back when the disk is full
//	log/        Pebble: log entries, term, vote
//	snapshots/
const (
	formatVersion  = "1"
	versionFile    = "VERSION"
	reserveFile    = "reserve"
	logDir         = "log"
	snapshotDir    = "snapshots"
	maxIDBytes     = 256
	maxVersionFile = 1024
)

// directory is an opened data directory.
type directory struct {
	fs      vfs.FS // gives the reserve back at the first "no space left" and tries the write again
	disk    vfs.FS // without that
	path    string
	log     *slog.Logger
	reserve atomic.Bool // the reserve file exists
}

func openDirectory(c Config, log *slog.Logger) (*directory, error) {
	d := &directory{disk: c.FS, path: c.Dir, log: log}
	d.fs = vfs.OnDiskFull(c.FS, d.free)
	if err := makeDir(d.fs, c.Dir); err != nil {
		return nil, err
	}
	if err := d.claim(c.ID); err != nil {
		return nil, err
	}
	for _, sub := range []string{logDir, snapshotDir} {
		if err := makeDir(d.fs, d.join(sub)); err != nil {
			return nil, err
		}
	}
	d.keepReserve(c.ReserveBytes)
	return d, nil
}

func (d *directory) join(name string) string { return d.fs.PathJoin(d.path, name) }

// claim checks that the directory was written by this format and server, or, if it is empty, makes it so.
func (d *directory) claim(id string) error {
	want := versionText(id)
	text, err := readSmall(d.fs, d.join(versionFile))
	if errors.Is(err, os.ErrNotExist) {
		names, err := d.fs.List(d.path)
		if err != nil {
			return fmt.Errorf("list data directory: %w", err)
		}
		for _, n := range names {
			if n == logDir || n == snapshotDir {
				return DirMismatch{Dir: d.path, Field: "format version", Got: "", Want: formatVersion}
			}
		}
		return writeAtomic(d.fs, d.path, versionFile, want)
	}
	if err != nil {
		return err
	}
	if text == want {
		return nil
	}
	version, rest, _ := strings.Cut(strings.TrimPrefix(text, "skein-raftstore "), "\n")
	if version != formatVersion {
		return DirMismatch{Dir: d.path, Field: "format version", Got: version, Want: formatVersion}
	}
	return DirMismatch{Dir: d.path, Field: "server id", Got: strings.TrimPrefix(strings.TrimSpace(rest), "id "), Want: id}
}

func versionText(id string) string {
	return "skein-raftstore " + formatVersion + "\nid " + id + "\n"
}

// keepReserve makes sure that the reserve is there, unless the disk is so full that it would be better used.
func (d *directory) keepReserve(size int64) {
	path := d.join(reserveFile)
	if s, err := d.disk.Stat(path); err == nil && s.Size() >= size {
		d.reserve.Store(true)
		return
	}
	if u, err := d.disk.GetDiskUsage(d.path); err == nil && u.AvailBytes < 4*uint64(size) {
		d.log.Error("disk is nearly full; no reserve kept", "dir", d.path, "available_bytes", u.AvailBytes)
		return
	}
	if err := writeZeros(d.disk, path, size); err != nil {
		d.log.Error("no reserve kept", "dir", d.path, "error", errors.Join(err, d.disk.Remove(path)))
		return
	}
	d.reserve.Store(true)
}

// free gives the reserve back.
func (d *directory) free() {
	if !d.reserve.Swap(false) {
		return
	}
	d.log.Error("disk is full; reserve freed", "dir", d.path)
	if err := d.disk.Remove(d.join(reserveFile)); err != nil {
		d.log.Error("reserve not freed", "dir", d.path, "error", err)
	}
}

// makeDir creates path and its parents, each durable in the one above: a data directory that a power cut takes away
// would come back empty, and this server would vote a second time.
func makeDir(fs vfs.FS, path string) error {
	parent := fs.PathDir(path)
	if _, err := fs.Stat(parent); err != nil && parent != path {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	err := syncDir(fs, parent) // even if path is there: the run that made it may have died before this line
	if errors.Is(err, os.ErrPermission) {
		return nil // made by someone else
	}
	return err
}

func readSmall(fs vfs.FS, path string) (string, error) {
	f, err := fs.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxVersionFile))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return string(b), nil
}

func writeAtomic(fs vfs.FS, dir, name, text string) error {
	path := fs.PathJoin(dir, name)
	f, err := fs.Create(path+temporary, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write([]byte(text))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fs.Rename(path+temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(fs, dir)
}

func writeZeros(fs vfs.FS, path string, size int64) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	for left := size; left > 0 && err == nil; {
		n := min(left, 1<<20)
		_, err = f.Write(make([]byte, n))
		left -= n
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
