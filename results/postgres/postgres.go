// Package postgres keeps records in a PostgreSQL database, which all coordinators may share.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/sqlstore"
)

// Connections of a coordinator to the database.
const (
	readers        = 6 // questions at once
	writers        = 4 // records, beside them
	connectionLife = 30 * time.Minute
)

// Open opens a database by its URL ("postgres://USER@HOST:PORT/NAME", as libpq reads it). The server need not answer yet.
func Open(address string) (*sqlstore.Store, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("results: postgres: the address is malformed: want postgres://USER@HOST:PORT/DATABASE") // the library's words may show the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectWait
	}
	cfg.RuntimeParams["application_name"] = "skein"
	read, write := stdlib.OpenDB(*cfg), stdlib.OpenDB(*cfg)
	read.SetMaxOpenConns(readers)
	write.SetMaxOpenConns(writers)
	for _, db := range []*sql.DB{read, write} {
		db.SetConnMaxLifetime(connectionLife)
	}
	return sqlstore.New(read, write, Dialect()), nil
}

// ErrEncoding says that a database cannot hold every text.
var ErrEncoding = errors.New("the database is not in UTF-8: make one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0")

func check(ctx context.Context, db *sql.DB) error {
	var encoding string
	if err := db.QueryRowContext(ctx, "SELECT current_setting('server_encoding')").Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%w (it is in %s)", ErrEncoding, encoding)
	}
	return nil
}

// connectWait bounds a connection attempt.
const connectWait = 5 * time.Second

// Dialect is PostgreSQL's.
func Dialect() sqlstore.Dialect {
	return sqlstore.Dialect{
		Name: "postgres", Migrations: migrations(),
		Lock:   "SELECT pg_advisory_xact_lock(8387166021)", // a number of our own
		Mark:   func(n int) string { return fmt.Sprintf("$%d", n) },
		Labels: "LATERAL jsonb_array_elements(r.labels) AS l(item)", LabelName: "(l.item->>'name')",
		Day: func(ms string) string {
			return "to_char(to_timestamp(" + ms + " / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
		},
		Hour: func(ms string) string {
			return `to_char(to_timestamp(` + ms + ` / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24')`
		},
		Contains: func(column, mark string) string { return "position(" + mark + "::text in " + column + ") > 0" },
		Insert:   insert, InsertPair: insertPairs,
		Delete: "DELETE FROM %s WHERE ctid IN (SELECT ctid FROM %s WHERE %s LIMIT %d FOR UPDATE SKIP LOCKED)",
		Check:  check,
		Data: func(err error) bool {
			var e *pgconn.PgError
			return errors.As(err, &e) && (strings.HasPrefix(e.Code, "22") || strings.HasPrefix(e.Code, "23")) // data exceptions, broken constraints
		},
	}
}

func migrations() [][]string {
	return [][]string{
		{
			`CREATE TABLE skein_records (id TEXT COLLATE "C" PRIMARY KEY, at BIGINT NOT NULL, request_id TEXT NOT NULL, tenant TEXT NOT NULL, app TEXT NOT NULL, key_id TEXT NOT NULL,
				model TEXT NOT NULL, version INTEGER NOT NULL, alias TEXT NOT NULL, operation TEXT NOT NULL, path TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL,
				latency_us BIGINT NOT NULL, first_us BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL, answer_tokens BIGINT NOT NULL, device_us BIGINT NOT NULL,
				seed BIGINT NOT NULL, gateway TEXT NOT NULL, labels JSONB, request TEXT, answer TEXT, cut BOOLEAN NOT NULL, redacted BOOLEAN NOT NULL, days INTEGER NOT NULL, expires BIGINT NOT NULL)`,
			`CREATE INDEX skein_records_at ON skein_records (at, id)`,
			`CREATE INDEX skein_records_of ON skein_records (tenant, model, at)`,
			`CREATE INDEX skein_records_expires ON skein_records (expires)`,
			`CREATE TABLE skein_sources (tenant TEXT NOT NULL, model TEXT NOT NULL, PRIMARY KEY (tenant, model))`,
		},
		{
			`CREATE TABLE skein_pairs (run TEXT NOT NULL, id TEXT COLLATE "C" NOT NULL, at BIGINT NOT NULL, tenant TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
				to_model TEXT NOT NULL, to_version INTEGER NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL, latency_us BIGINT NOT NULL, labels JSONB, answer TEXT,
				difference TEXT NOT NULL, expires BIGINT NOT NULL, PRIMARY KEY (run, id))`,
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

// types of the columns, as arrays of which rows are made.
var types = map[string]string{"at": "bigint", "version": "integer", "latency_us": "bigint", "first_us": "bigint", "prompt_tokens": "bigint", "answer_tokens": "bigint",
	"device_us": "bigint", "seed": "bigint", "cut": "boolean", "redacted": "boolean", "days": "integer", "expires": "bigint", "labels": "jsonb", "to_version": "integer"}

// insertOf writes a statement that inserts rows given as one array per column.
func insertOf(table string, columns []string) string {
	var marks []string
	for i, c := range columns {
		t := types[c]
		if t == "" {
			t = "text"
		}
		marks = append(marks, fmt.Sprintf("$%d::%s[]", i+1, t))
	}
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") SELECT * FROM unnest(" + strings.Join(marks, ", ") + ") AS new(" + strings.Join(columns, ", ") + ")"
}

// arrays turns rows into columns.
func arrays[T any](list []T, columns int, values func(T) ([]any, error)) ([]any, error) {
	out := make([]any, columns)
	for i, v := range list {
		row, err := values(v)
		if err != nil {
			return nil, err
		}
		for c, cell := range row {
			switch x := cell.(type) {
			case int64:
				out[c] = column(out[c], len(list), i, x)
			case bool:
				out[c] = column(out[c], len(list), i, x)
			case string:
				out[c] = column(out[c], len(list), i, &x)
			case nil:
				out[c] = column[*string](out[c], len(list), i, nil)
			default:
				return nil, fmt.Errorf("results: postgres: column %d is a %T", c, cell)
			}
		}
	}
	return out, nil
}

func column[T any](have any, n, at int, v T) []T {
	list, ok := have.([]T)
	if !ok {
		list = make([]T, n)
	}
	list[at] = v
	return list
}

func insert(ctx context.Context, tx *sql.Tx, list []results.Record) (added int64, err error) {
	args, err := arrays(list, len(sqlstore.Columns), sqlstore.Values)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	res, err := tx.ExecContext(ctx, insertOf("skein_records", sqlstore.Columns)+" ON CONFLICT (id) DO NOTHING", args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func insertPairs(ctx context.Context, tx *sql.Tx, list []results.Pair) error {
	args, err := arrays(list, len(sqlstore.PairColumns), sqlstore.PairValues)
	if err != nil || len(list) == 0 {
		return err
	}
	var set []string
	for _, c := range sqlstore.PairColumns[2:] {
		set = append(set, c+" = EXCLUDED."+c)
	}
	_, err = tx.ExecContext(ctx, insertOf("skein_pairs", sqlstore.PairColumns)+" WHERE EXISTS (SELECT 1 FROM skein_records r WHERE r.id = new.id) ON CONFLICT (run, id) DO UPDATE SET "+strings.Join(set, ", "), args...)
	return err
}
