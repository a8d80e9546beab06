// Package sqlite keeps records in a file of one coordinator (SQLite 3, write-ahead log).
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/sqlstore"
)

// readers is how many questions are answered at once beside the one writer.
const readers = 4

// Open opens the database in a file, or makes it, for nobody else to read. One process may write at a time: a second waits for busy milliseconds.
// What is deleted is overwritten.
func Open(path string) (*sqlstore.Store, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite gives its log the same mode
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("results: sqlite: %w", err)
	}
	// With a write-ahead log synchronous=FULL makes a commit outlive a power cut: what is acknowledged is not lost. What is sorted beyond the cache
	// goes to files.
	pragmas := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(0)", "temp_store(FILE)", "cache_size(-32000)", "secure_delete(ON)"}, "_txlock": {"immediate"}}
	name := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode()
	read, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("results: sqlite: %w", err)
	}
	write, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("results: sqlite: %w", err)
	}
	read.SetMaxOpenConns(readers)
	write.SetMaxOpenConns(1)
	return sqlstore.New(read, write, Dialect()), nil
}

// Dialect is SQLite's.
func Dialect() sqlstore.Dialect {
	return sqlstore.Dialect{
		Name: "sqlite", Migrations: migrations(),
		Mark:   func(n int) string { return fmt.Sprintf("?%d", n) },
		Labels: "json_each(COALESCE(r.labels, '[]')) l", LabelName: "json_extract(l.value, '$.name')",
		Day:      func(ms string) string { return "strftime('%Y-%m-%d', " + ms + " / 1000, 'unixepoch')" },
		Hour:     func(ms string) string { return "strftime('%Y-%m-%dT%H', " + ms + " / 1000, 'unixepoch')" },
		Contains: func(column, mark string) string { return "instr(" + column + ", " + mark + ") > 0" },
		Insert:   insert, InsertPair: insertPairs,
		Wipe:   "PRAGMA wal_checkpoint(TRUNCATE)",
		Delete: "DELETE FROM %s WHERE rowid IN (SELECT rowid FROM %s WHERE %s LIMIT %d)",
		Data: func(err error) bool {
			return is(err, codes.SQLITE_TOOBIG, codes.SQLITE_MISMATCH, codes.SQLITE_CONSTRAINT)
		},
	}
}

func is(err error, list ...int) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range list {
		if e.Code()&0xFF == c {
			return true
		}
	}
	return false
}

func migrations() [][]string {
	return [][]string{
		{
			`CREATE TABLE skein_records (id TEXT PRIMARY KEY, at INTEGER NOT NULL, request_id TEXT NOT NULL, tenant TEXT NOT NULL, app TEXT NOT NULL, key_id TEXT NOT NULL,
				model TEXT NOT NULL, version INTEGER NOT NULL, alias TEXT NOT NULL, operation TEXT NOT NULL, path TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL,
				latency_us INTEGER NOT NULL, first_us INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL, device_us INTEGER NOT NULL,
				seed INTEGER NOT NULL, gateway TEXT NOT NULL, labels TEXT, request TEXT, answer TEXT, cut INTEGER NOT NULL, redacted INTEGER NOT NULL, days INTEGER NOT NULL, expires INTEGER NOT NULL)`,
			`CREATE INDEX skein_records_at ON skein_records (at, id)`,
			`CREATE INDEX skein_records_of ON skein_records (tenant, model, at)`,
			`CREATE INDEX skein_records_expires ON skein_records (expires)`,
			`CREATE TABLE skein_sources (tenant TEXT NOT NULL, model TEXT NOT NULL, PRIMARY KEY (tenant, model))`,
		},
		{
			`CREATE TABLE skein_pairs (run TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, tenant TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
				to_model TEXT NOT NULL, to_version INTEGER NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL, latency_us INTEGER NOT NULL, labels TEXT, answer TEXT,
				difference TEXT NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (run, id))`,
			`CREATE INDEX skein_pairs_expires ON skein_pairs (expires)`,
			`CREATE INDEX skein_pairs_id ON skein_pairs (id)`,
		},
		{
			`ALTER TABLE skein_records ADD COLUMN policy TEXT NOT NULL DEFAULT ''`,
			`CREATE INDEX skein_records_policy ON skein_records (policy, at)`,
			`DROP TABLE skein_sources`,
		},
	}
}

// rowsAtOnce is how many records one statement inserts: SQLite takes 32766 parameters.
const rowsAtOnce = 64

func insert(ctx context.Context, tx *sql.Tx, list []results.Record) (added int64, err error) {
	var statement *sql.Stmt
	for from := 0; from < len(list); from += rowsAtOnce {
		part := list[from:min(from+rowsAtOnce, len(list))]
		if statement == nil || len(part) < rowsAtOnce {
			if statement, err = tx.PrepareContext(ctx, "INSERT INTO skein_records ("+strings.Join(sqlstore.Columns, ", ")+") VALUES "+rows(len(part), len(sqlstore.Columns))+" ON CONFLICT (id) DO NOTHING"); err != nil {
				return added, err
			}
			defer statement.Close() //nolint:gocritic // at most two
		}
		var args []any
		for _, r := range part {
			values, err := sqlstore.Values(r)
			if err != nil {
				return added, err
			}
			args = append(args, values...)
		}
		res, err := statement.ExecContext(ctx, args...)
		if err != nil {
			return added, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return added, err
		}
		added += n
	}
	return added, nil
}

func insertPairs(ctx context.Context, tx *sql.Tx, list []results.Pair) error {
	for _, p := range list {
		values, err := sqlstore.PairValues(p)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO skein_pairs ("+strings.Join(sqlstore.PairColumns, ", ")+") SELECT * FROM (VALUES "+rows(1, len(sqlstore.PairColumns))+") WHERE EXISTS (SELECT 1 FROM skein_records WHERE id = ?)", append(values, p.ID)...); err != nil {
			return err
		}
	}
	return nil
}

// rows writes the parameters of n rows.
func rows(n, columns int) string {
	one := "(" + strings.Repeat("?, ", columns-1) + "?)"
	return strings.Repeat(one+", ", n-1) + one
}
