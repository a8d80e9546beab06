package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/skein-project/skein/people"
)

// maxSession bounds a session file in bytes: its tokens are at most people.MaxToken each.
const maxSession = 4 * people.MaxToken

// Session is how a person is logged in at a cluster. Its tokens go nowhere but there and to their provider.
type Session struct {
	URL      string          `json:"url"` // of the cluster's client API
	CA       string          `json:"ca,omitempty"`
	Provider people.Provider `json:"provider"`
	Secret   string          `json:"secret,omitempty"` // of the provider's client id
	Tokens   people.Session  `json:"tokens"`           // zero after a logout: what else is kept makes the next login short
}

// SessionPath is where a person's session is: beside the profile.
func SessionPath() (string, error) {
	path, err := DefaultPath()
	return filepath.Join(filepath.Dir(path), "session.json"), err
}

// LoadSession reads a session; ok is false where there is no file.
func LoadSession(path string) (s Session, ok bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSession))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return Session{}, false, fmt.Errorf("%w: %s: %w (skein logout forgets it)", ErrProfile, path, err)
	}
	return s, true, nil
}

// Save writes a session, readable by its owner only.
func (s Session) Save(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return savePrivate(path, text)
}

// savePrivate replaces a file whole, readable by its owner only.
func savePrivate(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("save %s: %w", path, err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // never through what somebody else put there
	if err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	return os.Rename(tmp, path)
}
