package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"syscall"
)

// folder is a folder inside of the one that the operator named.
type folder struct {
	root *os.Root // nothing outside of it can be opened, whatever links say
	name string
}

func (h *Hub) openFolder(name string) (Source, error) {
	if h.cfg.Folder == "" {
		return nil, fmt.Errorf("%w: the setting hub_folder names none", ErrFolder)
	}
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("%w: %.100q is no plain relative path", ErrFolder, name)
	}
	top, err := os.OpenRoot(h.cfg.Folder)
	if err != nil {
		return nil, fmt.Errorf("hub: hub_folder: %w", err)
	}
	defer top.Close() // the other one stays open
	root, err := top.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	return &folder{root, name}, nil
}

// String implements Source.
func (s *folder) String() string { return "folder:" + s.name }

// List implements Source: regular files only.
func (s *folder) List(ctx context.Context) (list []File, err error) {
	err = fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil || !d.Type().IsRegular() {
			return err
		}
		if len(list) == MaxFiles {
			return &Lied{s.String(), "", fmt.Sprintf("has more than %d files", MaxFiles)}
		}
		stat, err := d.Info()
		if err == nil {
			list = append(list, File{Name: path.Clean(name), Size: stat.Size(), Tag: tagOf(stat)})
		}
		return err
	})
	return list, err
}

// Open implements Source. What is hashed is what is stored, so a file that is swapped meanwhile makes another model, never a wrong one.
func (s *folder) Open(_ context.Context, f File, off int64) (io.ReadCloser, error) {
	file, err := s.root.OpenFile(f.Name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // what is a pipe by now must not hold the caller up
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	stat, err := file.Stat()
	if err == nil && (!stat.Mode().IsRegular() || stat.Size() != f.Size || tagOf(stat) != f.Tag) {
		err = &Lied{s.String(), f.Name, "changed since the folder was listed"}
	}
	if err == nil {
		_, err = file.Seek(off, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func tagOf(stat fs.FileInfo) string { return strconv.FormatInt(stat.ModTime().UnixNano(), 10) }
