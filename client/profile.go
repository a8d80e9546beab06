package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"
)

// maxProfile bounds a profile file, and a CA file, in bytes.
const maxProfile = 1 << 20

// ErrProfile says that it is not known which cluster to call, or with which key.
var ErrProfile = errors.New("client: no cluster to call")

// Profile is where a cluster is and who calls it.
type Profile struct {
	Version int    `yaml:"version"` // of the file's format: 1
	URL     string `yaml:"url"`     // of the client API, for example http://127.0.0.1:8080
	Key     string `yaml:"key"`
	Dev     bool   `yaml:"dev,omitempty"` // written by skein dev, for as long as it runs
	CA      string `yaml:"ca,omitempty"`  // file with certificates that the API's certificate may come from (PEM); "" = the system's
}

// DefaultPath is where a person's profile is: $XDG_CONFIG_HOME/skein/client.yaml, or ~/.config/skein/client.yaml.
func DefaultPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return filepath.Join(dir, "skein", "client.yaml"), nil
}

// LoadProfile reads a profile. A file that does not exist is an empty profile.
func LoadProfile(path string) (Profile, error) {
	var p Profile
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxProfile))
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("%w: %s: %w", ErrProfile, path, err)
	}
	if p.Version != 1 {
		return p, fmt.Errorf("%w: %s: want the line \"version: 1\"", ErrProfile, path)
	}
	return p, nil
}

// Save writes a profile, readable by its owner only: it holds a key.
func (p Profile) Save(path string) error {
	p.Version = 1
	text, err := yaml.Marshal(p)
	if err != nil {
		return err
	}
	return savePrivate(path, text)
}
