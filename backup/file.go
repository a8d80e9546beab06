package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
)

// maxPassphrase bounds a passphrase in bytes.
const maxPassphrase = 4096

// ReadPassphrase reads a passphrase from a file.
func ReadPassphrase(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassphrase+1))
	if err == nil && len(text) > maxPassphrase {
		err = fmt.Errorf("%s has more than %d bytes", file, maxPassphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	return Passphrase(text)
}

// ReadFile reads a sealed file into something, as Read does.
func ReadFile(path string, passphrase []byte, into Into) (Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	plain, err := Unseal(bufio.NewReaderSize(f, 1<<20), passphrase)
	if err != nil {
		return Header{}, err
	}
	return Read(bufio.NewReaderSize(plain, segmentSize), into)
}

// Checked is what is in a file that was read to its end.
type Checked struct {
	Header
	Whole   []cluster.VersionID `json:"whole,omitempty"`   // versions with all their blobs
	Lacking []cluster.VersionID `json:"lacking,omitempty"` // versions without
	Files   Files               `json:"files"`
}

// Files says of how many files of tenants, and batches that are under way, all came that is in them.
type Files struct {
	Whole   int `json:"whole"`
	Lacking int `json:"lacking,omitempty"` // the list of parts is there, and not all of the parts
}

// FilesOf counts the files of a state by the blobs that came with it.
func FilesOf(s cluster.State, came map[blob.Digest]bool, at int64) (f Files) {
	for _, parts := range job.Kept(s, cluster.Millis(at)) {
		if slices.ContainsFunc(parts, func(p job.Part) bool { return !came[p.Digest] }) {
			f.Lacking++
		} else {
			f.Whole++
		}
	}
	return f
}

// CheckFile reads a sealed file to its end, and tells what is in it.
func CheckFile(path string, passphrase []byte) (c Checked, err error) {
	var state cluster.State
	came := map[blob.Digest]bool{}
	c.Header, err = ReadFile(path, passphrase, Into{
		State: func(s cluster.State) error {
			state = s
			return nil
		},
		Version: func(id cluster.VersionID) error {
			c.Whole = append(c.Whole, id)
			return nil
		},
		Blob: func(x blob.Index) error {
			came[x.Digest()] = true
			return nil
		},
	})
	if err != nil {
		return c, err
	}
	c.Lacking, c.Files = Lacking(state, c.Whole), FilesOf(state, came, c.Created)
	return c, nil
}

// Lacking lists the versions of a state that are not among those which came with their blobs.
func Lacking(s cluster.State, whole []cluster.VersionID) (lacking []cluster.VersionID) {
	has := make(map[cluster.VersionID]bool, len(whole))
	for _, id := range whole {
		has[id] = true
	}
	for v := range s.Versions() {
		if !has[v.VersionID] {
			lacking = append(lacking, v.VersionID)
		}
	}
	return lacking
}

// WriteFile writes a sealed file that is whole or not there: it is synced, read again to its end, and only then gets its name. A file
// of that name is not overwritten.
func WriteFile(path string, passphrase []byte, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s: %w", path, os.ErrExist), err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	out := bufio.NewWriterSize(f, 1<<20)
	sealer, err := Seal(out, passphrase)
	if err == nil {
		err = write(sealer)
	}
	if err == nil {
		err = errors.Join(sealer.Close(), out.Flush(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if _, err := CheckFile(f.Name(), passphrase); err != nil {
		return fmt.Errorf("what was written cannot be read again: %w", err)
	}
	return errors.Join(os.Rename(f.Name(), path), syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
