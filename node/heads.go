package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/skein-project/skein/audit"
)

const (
	headsFile = "audit-heads.jsonl" // in the data directory
	maxHeads  = 1 << 20             // bytes of the file; of a longer one the older half goes
)

// heads is the file of signed ends of the audit log that this node was told: kept here, they prove that what came before was not altered.
type heads struct {
	path string
	last uint64 // record of the newest head
}

// openHeads finds out how far the file goes. One that cannot be read is begun anew.
func openHeads(dir string) *heads {
	h := &heads{path: filepath.Join(dir, headsFile)}
	b, err := os.ReadFile(h.path)
	if err != nil {
		return h
	}
	for line := range bytes.Lines(b) {
		var s audit.Signed
		if json.Unmarshal(line, &s) == nil {
			h.last = max(h.last, s.Head.Seq)
		}
	}
	return h
}

// keep adds a head that is newer than all that are there.
func (h *heads) keep(s *audit.Signed) error {
	if s == nil || s.Head.Seq <= h.last {
		return nil
	}
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := h.shorten(); err != nil {
		return fmt.Errorf("keep a head of the audit log: %w", err)
	}
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("keep a head of the audit log: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keep a head of the audit log: %w", err)
	}
	h.last = s.Head.Seq
	return nil
}

// shorten drops the older half of a file that is too long.
func (h *heads) shorten() error {
	b, err := os.ReadFile(h.path)
	if err != nil || len(b) < maxHeads {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return err
	}
	b = b[len(b)/2:]
	b = b[bytes.IndexByte(b, '\n')+1:]
	tmp := h.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, h.path)
}
