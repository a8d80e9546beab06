package postgres_test

import (
	"strings"
	"testing"

	"github.com/skein-project/skein/results/postgres"
)

// A malformed address is refused without its password.
func TestAddress(t *testing.T) {
	for _, address := range []string{"postgres://user:hunter2@host:port/db", "postgres://user:hunter2@host/db?sslmode=maybe"} {
		if s, err := postgres.Open(address); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, %v", s, err)
		}
	}
	s, err := postgres.Open("postgres://user:hunter2@127.0.0.1:1/db")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Append(t.Context(), nil); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a server that is not there: %v", err)
	}
}
