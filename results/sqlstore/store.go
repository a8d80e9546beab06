// Package sqlstore keeps records in an SQL database and answers questions about them; what differs between databases is a Dialect.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

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
	Delete     string                                      // DELETE of at most so many rows that nobody else deletes now: table, condition, limit
	Wipe       string                                      // statement that takes what was deleted out of the files; "" = the database does in its time
	Check      func(ctx context.Context, db *sql.DB) error // that the database can hold records; nil = every one can
	Data       func(error) bool                            // the error is about a value, not about the database
}

// Store is a database of records. Its schema is made or migrated when it is first used; an error then is tried again the next time.
type Store struct {
	read, write *sql.DB // apart, so that no question keeps a record waiting
	d           Dialect
	most        int // records of a summary; 0 = results.MaxSummed

	mu    sync.Mutex
	ready bool
}

// New makes a store of a database that is open for questions, and once more for changes. It closes both.
func New(read, write *sql.DB, d Dialect) *Store { return &Store{read: read, write: write, d: d} }

// Close closes the database.
func (s *Store) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

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
	if s.d.Check != nil {
		if err := s.d.Check(ctx, s.write); err != nil {
			return fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
	}
	if err := s.migrate(ctx); err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	s.ready = true
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.write.BeginTx(ctx, nil)
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
	err = s.within(ctx, func(tx *sql.Tx) error {
		added, err = s.d.Insert(ctx, tx, list)
		return err
	})
	if err != nil {
		return 0, err
	}
	return added, nil
}

// within runs f in one transaction.
func (s *Store) within(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
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

// AppendPairs stores what a re-run found about records that are still there; a pair that is there is replaced.
func (s *Store) AppendPairs(ctx context.Context, list []results.Pair) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.within(ctx, func(tx *sql.Tx) error { return s.d.InsertPair(ctx, tx, list) })
}

// purgeStep is how many rows are deleted in one transaction, so that nobody waits long for it.
const purgeStep = 2000

// orphans are pairs whose record is gone.
const orphans = "NOT EXISTS (SELECT 1 FROM skein_records r WHERE r.id = skein_pairs.id)"

// Purge deletes what is expired at a moment, in Unix milliseconds: by what each record says, or by the policy that kept it, where that is in force
// and now says less. Pairs go with their records. It gives the number of records that are gone.
func (s *Store) Purge(ctx context.Context, now int64, rules results.Rules) (gone int, err error) {
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	if gone, err = s.erase(ctx, "skein_records", "expires <= "+s.d.Mark(1), now); err != nil {
		return gone, err
	}
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		rule := rules[id]
		if !rule.Keeps() {
			continue // nothing is kept any more: what was kept is kept as long as was said then
		}
		n, err := s.erase(ctx, "skein_records", fmt.Sprintf("policy = %s AND at <= %s", s.d.Mark(1), s.d.Mark(2)), id, now-int64(rule.Days)*results.Day)
		if gone += n; err != nil {
			return gone, err
		}
	}
	if _, err := s.erase(ctx, "skein_pairs", orphans); err != nil {
		return gone, err
	}
	return gone, s.wipe(ctx)
}

// Forget deletes the records that meet a filter, and what re-runs found about them; and where a text is looked for, also what re-runs found that
// holds it.
func (s *Store) Forget(ctx context.Context, f results.Filter) (gone int, err error) {
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	if f.Text != "" {
		wide := f
		wide.Text = ""
		q := s.where(wide)
		answered := s.d.Contains("COALESCE(answer, '')", q.mark(results.Quoted(f.Text)))
		if _, err := s.erase(ctx, "skein_pairs", answered+" AND id IN (SELECT r.id FROM skein_records r WHERE "+q.String()+")", q.args...); err != nil {
			return 0, err
		}
	}
	q := s.where(f)
	if gone, err = s.erase(ctx, "skein_records", "id IN (SELECT r.id FROM skein_records r WHERE "+q.String()+")", q.args...); err != nil {
		return gone, err
	}
	if _, err := s.erase(ctx, "skein_pairs", orphans); err != nil {
		return gone, err
	}
	return gone, s.wipe(ctx)
}

// wipe takes what was deleted out of the files.
func (s *Store) wipe(ctx context.Context) error {
	if s.d.Wipe == "" {
		return nil
	}
	if _, err := s.write.ExecContext(ctx, s.d.Wipe); err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	return nil
}

// erasePause is how long erase waits for whoever deletes the same rows.
const erasePause = 20 * time.Millisecond

// erase deletes rows step by step, until there is none left that meets the condition.
func (s *Store) erase(ctx context.Context, table, condition string, args ...any) (gone int, err error) {
	statement := fmt.Sprintf(s.d.Delete, table, table, condition, purgeStep)
	for {
		res, err := s.write.ExecContext(ctx, statement, args...)
		if err != nil {
			return gone, fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return gone, fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
		if gone += int(n); n > 0 {
			continue
		}
		var one int
		err = s.write.QueryRowContext(ctx, fmt.Sprintf("SELECT 1 FROM %s WHERE %s LIMIT 1", table, condition), args...).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return gone, nil
		}
		if err != nil {
			return gone, fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
		select { // somebody else deletes them, and may fail
		case <-time.After(erasePause):
		case <-ctx.Done():
			return gone, fmt.Errorf("results: %s: %w", s.d.Name, ctx.Err())
		}
	}
}
