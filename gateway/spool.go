package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
)

// spool keeps usage on the disk that could not be settled: one file with what is under way, and sealed ones that wait behind it.
type spool struct{ dir string }

const (
	openFile   = "open.json"
	sealedFile = "sealed-%020d.json" // when it was written, in nanoseconds: no name is used twice
	maxSpooled = 16 << 20            // bytes of a file
	maxSealed  = 1024                // files
)

// spooled is the content of the open file.
type spooled struct {
	Session uint64         `json:"session"` // of the settlement that Flight belongs to
	Seq     uint64         `json:"seq"`
	Flight  []cluster.Used `json:"flight,omitempty"` // in a settlement that may have been applied
	Rows    []cluster.Used `json:"rows,omitempty"`   // in none
	Sealed  string         `json:"sealed,omitempty"` // the file that Flight came from; it may still be there
}

func openSpool(dir string) (spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return spool{}, fmt.Errorf("spool of usage: %w", err)
	}
	return spool{dir}, nil
}

// read gives what the last process of this gateway left; there is nothing if it settled all.
func (p spool) read() (s spooled, found bool, err error) {
	err = p.decode(openFile, &s)
	if errors.Is(err, os.ErrNotExist) {
		return spooled{}, false, nil
	}
	if err == nil && s.Sealed != "" {
		err = p.forget(s.Sealed)
	}
	return s, err == nil, err
}

func (p spool) decode(name string, into any) error {
	path := filepath.Join(p.dir, name)
	if st, err := os.Stat(path); err != nil {
		return fmt.Errorf("spool of usage: %w", err)
	} else if st.Size() > maxSpooled {
		return fmt.Errorf("spool of usage: %s has %d bytes", name, st.Size())
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("spool of usage: %s: %w", name, err)
	}
	return nil
}

// keep replaces the open file, whole or not at all.
func (p spool) keep(s spooled) error { return p.write(openFile, s) }

func (p spool) write(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := filepath.Join(p.dir, name+".tmp")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("spool of usage: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, filepath.Join(p.dir, name))
	}
	if err != nil {
		return fmt.Errorf("spool of usage: %w", err)
	}
	return nil
}

// drop removes the open file: all is settled.
func (p spool) drop() error {
	if err := os.Remove(filepath.Join(p.dir, openFile)); err != nil {
		return fmt.Errorf("spool of usage: %w", err)
	}
	return nil
}

// sealed lists the files that wait, the oldest first.
func (p spool) sealed() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("spool of usage: %w", err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "sealed-") && strings.HasSuffix(e.Name(), ".json") {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// seal puts rows away behind all others.
func (p spool) seal(rows []cluster.Used) error {
	names, err := p.sealed()
	if err != nil {
		return err
	}
	if len(names) >= maxSealed {
		return fmt.Errorf("spool of usage: there are %d files already", maxSealed)
	}
	return p.write(fmt.Sprintf(sealedFile, time.Now().UnixNano()), rows)
}

// oldest reads the sealed file that comes first; "" if there is none.
func (p spool) oldest() (name string, rows []cluster.Used, err error) {
	names, err := p.sealed()
	if err != nil || len(names) == 0 {
		return "", nil, err
	}
	err = p.decode(names[0], &rows)
	return names[0], rows, err
}

// forget removes a sealed file, if it is still there.
func (p spool) forget(name string) error {
	if err := os.Remove(filepath.Join(p.dir, filepath.Base(name))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("spool of usage: %w", err)
	}
	return nil
}
