// Package sqlstore keeps records in an SQL database and answers questions about them; what differs between databases is a Dialect.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/skein-project/skein/results"
)

// Dialect is what differs between databases.
type Dialect struct {
	Name       string
	Migrations [][]string                       // statements that bring a schema of version i to i+1; never changed once released
	Lock       string                           // statement that keeps other processes from migrating at the same time; "" = the transaction does
	Mark       func(n int) string               // parameter n, from 1
	Labels     string                           // FROM element l: the labels of a record r, each a row
	LabelName  string                           // expression: the name of l
	Day        func(ms string) string           // expression: the UTC day of Unix milliseconds
	Hour       func(ms string) string           // the same with the hour, as 2026-11-26T13
	Contains   func(column, mark string) string // condition: a text contains another
	Insert     func(ctx context.Context, tx *sql.Tx, list []results.Record) (added int64, err error)
	InsertPair func(ctx context.Context, tx *sql.Tx, list []results.Pair) error
	Delete     string           // DELETE of at most so many rows: table, condition, limit
	Data       func(error) bool // the error is about a value, not about the database
}

// Store is a database of records. Its schema is made or migrated when it is first used; an error then is tried again the next time.
type Store struct {
	db *sql.DB
	d  Dialect

	mu    sync.Mutex
	ready bool
	known map[source]bool // that have a row in sources
}

// source is a tenant's use of a model.
type source struct{ tenant, model string }

// New makes a store of an open database, which it closes.
func New(db *sql.DB, d Dialect) *Store {
	return &Store{db: db, d: d, known: map[source]bool{}}
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Dialect names the kind of database.
func (s *Store) Dialect() string { return s.d.Name }

// ErrNewer says that a newer program has been here.
var ErrNewer = errors.New("results: the database's schema is newer than this program")

// prepare makes the schema what this program needs.
func (s *Store) prepare(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		return nil
	}
	if err := s.migrate(ctx); err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	s.ready = true
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if s.d.Lock != "" {
		if _, err := tx.ExecContext(ctx, s.d.Lock); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS skein_results_schema (version INTEGER NOT NULL)"); err != nil {
		return err
	}
	var here sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT MAX(version) FROM skein_results_schema").Scan(&here); err != nil {
		return err
	}
	want := int64(len(s.d.Migrations))
	if here.Int64 > want {
		return fmt.Errorf("%w: it has version %d and this program knows %d: start a program of the newer version, or name another database", ErrNewer, here.Int64, want)
	}
	if here.Int64 == want {
		return tx.Commit()
	}
	for v := here.Int64; v < want; v++ {
		for _, statement := range s.d.Migrations[v] {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("bring the schema from version %d to %d: %w", v, v+1, err)
			}
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM skein_results_schema"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO skein_results_schema (version) VALUES (%d)", want)); err != nil {
		return err
	}
	return tx.Commit()
}

// Append stores records; one that is there already, by its id, is left as it is. added is how many were new. All are stored, or none and the
// error says why; records that no database of this kind could take are refused one by one and counted.
func (s *Store) Append(ctx context.Context, list []results.Record) (added, refused int, err error) {
	if err := s.prepare(ctx); err != nil {
		return 0, 0, err
	}
	n, err := s.insert(ctx, list)
	if err == nil || !s.d.Data(err) {
		return int(n), 0, err
	}
	for i := range list {
		switch n, err := s.insert(ctx, list[i:i+1]); {
		case err == nil:
			added += int(n)
		case s.d.Data(err):
			refused++
		default:
			return added, refused, err
		}
	}
	return added, refused, nil
}

func (s *Store) insert(ctx context.Context, list []results.Record) (added int64, err error) {
	var fresh []source
	s.mu.Lock()
	for _, r := range list {
		if k := (source{r.Tenant, r.Model}); !s.known[k] {
			fresh = append(fresh, k)
		}
	}
	s.mu.Unlock()
	err = s.within(ctx, func(tx *sql.Tx) error {
		for _, k := range fresh {
			statement := fmt.Sprintf("INSERT INTO skein_sources (tenant, model) VALUES (%s, %s) ON CONFLICT DO NOTHING", s.d.Mark(1), s.d.Mark(2))
			if _, err := tx.ExecContext(ctx, statement, k.tenant, k.model); err != nil {
				return err
			}
		}
		added, err = s.d.Insert(ctx, tx, list)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range fresh {
		s.known[k] = true
	}
	return added, nil
}

// within runs f in one transaction.
func (s *Store) within(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if err := f(tx); err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	return nil
}

// AppendPairs stores what a re-run found; a pair that is there is replaced.
func (s *Store) AppendPairs(ctx context.Context, list []results.Pair) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.within(ctx, func(tx *sql.Tx) error { return s.d.InsertPair(ctx, tx, list) })
}

// purgeStep is how many rows are deleted in one transaction, so that nobody waits long for it.
const purgeStep = 2000

// Purge deletes what is expired at a moment, in Unix milliseconds, by what each record says and by what the policies in force say of its tenant
// and model. It gives the number of records that are gone.
func (s *Store) Purge(ctx context.Context, now int64, rules results.Rules) (gone int, err error) {
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	gone, err = s.erase(ctx, "skein_records", "expires <= "+s.d.Mark(1), now)
	if err == nil {
		_, err = s.erase(ctx, "skein_pairs", "expires <= "+s.d.Mark(1), now)
	}
	if err != nil {
		return gone, err
	}
	list, err := s.sources(ctx)
	if err != nil {
		return gone, err
	}
	for _, k := range list {
		rule := rules.Of(k.tenant, k.model)
		if rule.Days == 0 {
			continue // nothing is kept any more: what was kept is kept as long as was said then
		}
		before := now - int64(rule.Days)*results.Day
		mine := fmt.Sprintf("tenant = %s AND model = %s AND at <= %s", s.d.Mark(1), s.d.Mark(2), s.d.Mark(3))
		n, err := s.erase(ctx, "skein_records", mine, k.tenant, k.model, before)
		if gone += n; err != nil {
			return gone, err
		}
		if _, err := s.erase(ctx, "skein_pairs", mine, k.tenant, k.model, before); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// Forget deletes the records that meet a filter, and what re-runs found about them.
func (s *Store) Forget(ctx context.Context, f results.Filter) (gone int, err error) {
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	q := s.where(f)
	if _, err := s.erase(ctx, "skein_pairs", "id IN (SELECT r.id FROM skein_records r WHERE "+q.String()+")", q.args...); err != nil {
		return 0, err
	}
	return s.erase(ctx, "skein_records", "id IN (SELECT r.id FROM skein_records r WHERE "+q.String()+")", q.args...)
}

// erase deletes rows step by step.
func (s *Store) erase(ctx context.Context, table, condition string, args ...any) (gone int, err error) {
	statement := fmt.Sprintf(s.d.Delete, table, table, condition, purgeStep)
	for {
		res, err := s.db.ExecContext(ctx, statement, args...)
		if err != nil {
			return gone, fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return gone, fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
		if gone += int(n); n < purgeStep {
			return gone, nil
		}
	}
}

func (s *Store) sources(ctx context.Context) (out []source, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT tenant, model FROM skein_sources ORDER BY tenant, model")
	if err != nil {
		return nil, fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var k source
		if err := rows.Scan(&k.tenant, &k.model); err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, rows.Err()
}
