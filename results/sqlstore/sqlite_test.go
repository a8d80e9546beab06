package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/sqlite"
	"github.com/skein-project/skein/results/sqlstore"
)

// wide makes records with bodies.
func wide(from, n int) (list []results.Record) {
	for i := from; i < from+n; i++ {
		list = append(list, results.Record{ID: fmt.Sprintf("%08d", i), At: 1764150000000, Model: "m", Status: "ok", Days: 1, Answer: []byte(`"` + strings.Repeat("x", 10_000) + `"`)})
	}
	return list
}

func count(t *testing.T, s *sqlstore.Store) int {
	t.Helper()
	list, _, err := s.Query(t.Context(), results.Filter{}, results.Page{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Where SQLite finds no room nothing of a batch is stored, no record is refused for it, and the same batch goes in when there is room.
func TestSQLiteFull(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "results.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1) // a limit of pages is a connection's own
	s := sqlstore.New(db, db, sqlite.Dialect())
	defer s.Close()
	if _, _, err := s.Append(t.Context(), wide(0, 5)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		pages int
		full  bool
	}{{60, true}, {1_000_000, false}} {
		if _, err := db.ExecContext(t.Context(), fmt.Sprint("PRAGMA max_page_count = ", step.pages)); err != nil {
			t.Fatal(err)
		}
		added, refused, err := s.Append(t.Context(), wide(3, 50)) // 2 of them are there
		if full := err != nil && strings.Contains(err.Error(), "full"); full != step.full || refused != 0 || !full && err != nil {
			t.Fatalf("%d pages: %d added, %d refused, %v", step.pages, added, refused, err)
		}
		if want := map[bool]int{true: 5, false: 53}[step.full]; count(t, s) != want || !step.full && added != 48 {
			t.Fatalf("%d pages: %d records, %d added, want %d", step.pages, count(t, s), added, want)
		}
	}
}

// What another program has locked takes nothing, says so in time, answers questions meanwhile, and takes the same records afterwards.
func TestSQLiteLocked(t *testing.T) {
	t.Parallel() // it waits
	path := filepath.Join(t.TempDir(), "results.db")
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Append(t.Context(), wide(0, 2)); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if added, refused, err := s.Append(ctx, wide(0, 4)); err == nil || added+refused != 0 || ctx.Err() != nil {
		t.Fatalf("locked: %d added, %d refused, %v", added, refused, err)
	} else if t.Log(err); count(t, s) != 2 {
		t.Fatalf("%d records", count(t, s))
	}
	if _, err := c.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if added, refused, err := s.Append(t.Context(), wide(0, 4)); added != 2 || refused != 0 || err != nil || count(t, s) != 4 {
		t.Fatalf("unlocked: %d added, %d refused, %v", added, refused, err)
	}
}

// What is forgotten or over is no longer in the files, which are for their owner alone.
func TestSQLiteForgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil { // as an older program made it
		t.Fatal(err)
	}
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files := func() (holds string) {
		list, err := filepath.Glob(path + "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range list {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, st.Mode(), err)
			}
			for _, text := range []string{"HIDDEN", "SECRET"} {
				if bytes.Contains(b, []byte(text)) {
					holds += text + " "
				}
			}
		}
		return holds
	}
	for i, text := range []string{"HIDDEN", "SECRET", "other"} {
		r := results.Record{ID: fmt.Sprint(i), At: 1764150000000 + int64(i)*results.Day, Model: "m", Status: "ok", Days: 1, Request: []byte(`"` + strings.Repeat("x", 5000) + text + `"`)}
		if _, _, err := s.Append(t.Context(), []results.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(); !strings.Contains(got, "HIDDEN") || !strings.Contains(got, "SECRET") {
		t.Fatalf("%q", got)
	}
	if n, err := s.Forget(t.Context(), results.Filter{Text: "SECRET"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := files(); strings.Contains(got, "SECRET") {
		t.Errorf("what was forgotten is in the files: %q", got)
	}
	if n, err := s.Purge(t.Context(), 1764150000000+results.Day, nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := files(); got != "" {
		t.Errorf("what is over is in the files: %q", got)
	}
}
