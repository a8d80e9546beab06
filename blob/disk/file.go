package disk

import (
	"errors"
	"fmt"
	"io"
)

// readFile reads a file of at most limit bytes.
func (s *Store) readFile(path string, limit int64) ([]byte, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("disk: read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("disk: read %s: more than %d bytes", path, limit)
	}
	return b, nil
}

// writeFile puts a file in its place in one step: after a crash there is the old one or the new one.
func (s *Store) writeFile(dir, name string, content []byte) error {
	path := s.fs.PathJoin(dir, name)
	f, err := s.fs.Create(path+tempSuffix, category)
	if err != nil {
		return fmt.Errorf("disk: write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.fs.Rename(path+tempSuffix, path)
	}
	if err != nil {
		return fmt.Errorf("disk: write %s: %w", path, err)
	}
	return s.syncDir(dir)
}

// syncDir makes durable which names a directory has.
func (s *Store) syncDir(dir string) error {
	d, err := s.fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("disk: sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("disk: sync %s: %w", dir, err)
	}
	return nil
}
