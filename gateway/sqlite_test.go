package gateway_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"modernc.org/sqlite"

	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/results"
)

// A file of SQLite that finds no room on the disk, or that another program has locked, costs no request and no record: what it does not take waits, and
// is there once when it is well again.
func TestSQLiteFails(t *testing.T) {
	t.Parallel()
	f, _ := recorded(t, 1, "sqlite")
	key := tenant(f, "acme", 100, "*")
	g := f.Gateway("g", gateway.Config{})
	policy(t, f, g, results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 3})
	path := filepath.Join(f.Coordinators[0].Config.Dir, "results.db")
	sent := 0
	load := func(n int) {
		t.Helper()
		for range n {
			fleettest.Within(t, "an answer", func() bool { return complete(t, g, key, 2).status == http.StatusOK })
			sent++
		}
	}
	load(3)
	all(t, f, sent)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	// SQLite gives the same error where the file may have no more pages as where the disk has no room. The limit is a connection's own.
	var most atomic.Int64
	sqlite.RegisterConnectionHook(func(c sqlite.ExecQuerierContext, dsn string) error {
		n := most.Load()
		if n == 0 || !strings.Contains(dsn, path) {
			return nil
		}
		_, err := c.ExecContext(context.Background(), fmt.Sprint("PRAGMA max_page_count = ", n), nil)
		return err
	})
	restart := func() {
		t.Helper()
		f.Stop(f.Coordinators[0])
		f.Start(f.Coordinators[0])
		fleettest.Within(t, "there is a leader", func() bool { return f.Leader() != nil })
	}
	var pages int64
	if err := db.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	most.Store(pages)
	restart()
	load(40) // the first may find room on the last pages
	fleettest.Within(t, "records are written or wait", func() bool { r := g.Records(); return r.Waiting+r.Kept == sent && r.Waiting > 0 })
	waiting := g.Records().Waiting
	load(4)
	fleettest.Within(t, "all that comes then waits", func() bool { return g.Records().Waiting == waiting+4 })
	most.Store(0)
	restart()
	all(t, f, sent)
	fleettest.Within(t, "all are acknowledged", func() bool { return g.Records() == gateway.Records{Kept: sent} })

	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	load(4)
	fleettest.Within(t, "4 records wait", func() bool { return g.Records().Waiting == 4 })
	if _, err := c.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	all(t, f, sent)
	fleettest.Within(t, "all are acknowledged", func() bool { return g.Records() == gateway.Records{Kept: sent} })
}
