package client

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skein-project/skein/people"
)

func TestSession(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skein", "session.json")
	if _, ok, err := LoadSession(path); ok || err != nil {
		t.Errorf("no file: %v %v", ok, err)
	}
	s := Session{URL: "https://api.example.com", CA: "/ca.pem", Provider: people.Provider{Issuer: "https://login.example.com", ClientID: "skein"}, Secret: "x",
		Tokens: people.Session{Issuer: "https://login.example.com", ClientID: "skein", Subject: "u1", IDToken: "a.b.c", Refresh: "r", Expiry: time.Unix(1e9, 0).UTC()}}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path+".tmp"); err != nil { // somebody prepared a trap
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(elsewhere); err == nil {
		t.Error("the tokens were written elsewhere")
	}
	if at, err := os.Stat(path); err != nil || at.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", at.Mode(), err)
	}
	if got, ok, err := LoadSession(path); !ok || err != nil || got != s {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	for _, text := range []string{"", "{", `{"url":1}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := LoadSession(path); ok || !errors.Is(err, ErrProfile) || got != (Session{}) {
			t.Errorf("%q: %+v %v %v", text, got, ok, err)
		}
	}
}
