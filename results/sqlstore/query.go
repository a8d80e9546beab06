package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/skein-project/skein/results"
)

// Columns of a record, in the order in which Insert gives them and scan reads them.
var Columns = []string{"id", "at", "request_id", "tenant", "app", "key_id", "model", "version", "alias", "operation", "path", "status", "error", "latency_us",
	"first_us", "prompt_tokens", "answer_tokens", "device_us", "seed", "gateway", "labels", "request", "answer", "cut", "redacted", "days", "expires"}

// Values are a record's columns. Bodies that are not kept are nil.
func Values(r results.Record) ([]any, error) {
	labels, err := labelText(r.Labels)
	if err != nil {
		return nil, err
	}
	return []any{r.ID, r.At, r.RequestID, r.Tenant, r.App, r.Key, r.Model, int64(r.Version), r.Alias, r.Operation, r.Path, r.Status, r.Error, r.Latency,
		r.FirstToken, int64(r.PromptTokens), int64(r.AnswerTokens), r.Device, r.Seed, r.Gateway, labels, bodyText(r.Request), bodyText(r.Answer), r.Cut, r.Redacted, int64(r.Days), r.Expires()}, nil
}

// PairColumns of a pair.
var PairColumns = []string{"run", "id", "at", "tenant", "model", "version", "to_model", "to_version", "status", "error", "latency_us", "labels", "answer", "difference", "expires"}

// PairValues are a pair's columns.
func PairValues(p results.Pair) ([]any, error) {
	labels, err := labelText(p.Labels)
	if err != nil {
		return nil, err
	}
	difference, err := json.Marshal(p.Difference)
	if err != nil {
		return nil, err
	}
	return []any{p.Run, p.ID, p.At, p.Tenant, p.Model, int64(p.Version), p.ToModel, int64(p.ToVersion), p.Status, p.Error, p.Latency, labels, bodyText(p.Answer), string(difference), p.Expires}, nil
}

func labelText(list []results.Label) (any, error) {
	if len(list) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(list)
	return string(b), err
}

func bodyText(b json.RawMessage) any {
	if b == nil {
		return nil
	}
	return string(b)
}

// condition is what stands behind WHERE.
type condition struct {
	d     *Dialect
	parts []string
	args  []any
}

func (c *condition) String() string {
	if len(c.parts) == 0 {
		return "1 = 1"
	}
	return strings.Join(c.parts, " AND ")
}

// mark gives a parameter.
func (c *condition) mark(v any) string {
	c.args = append(c.args, v)
	return c.d.Mark(len(c.args))
}

func (c *condition) add(format string, marks ...any) {
	c.parts = append(c.parts, fmt.Sprintf(format, marks...))
}

// in asks for one of a list.
func in[T any](c *condition, column, op string, list []T) {
	if len(list) == 0 {
		return
	}
	var marks []string
	for _, v := range list {
		marks = append(marks, c.mark(v))
	}
	c.add("%s %s (%s)", column, op, strings.Join(marks, ", "))
}

// where writes a filter, over the table r.
func (s *Store) where(f results.Filter) *condition {
	c := &condition{d: &s.d}
	if f.From > 0 {
		c.add("r.at >= %s", c.mark(f.From))
	}
	if f.Until > 0 {
		c.add("r.at < %s", c.mark(f.Until))
	}
	in(c, "r.id", "IN", f.IDs)
	in(c, "r.tenant", "IN", f.Tenants)
	in(c, "r.app", "IN", f.Apps)
	in(c, "r.key_id", "IN", f.Keys)
	in(c, "r.model", "IN", f.Models)
	in(c, "r.alias", "IN", f.Aliases)
	in(c, "r.operation", "IN", f.Operations)
	in(c, "r.status", "IN", f.Statuses)
	in(c, "r.status", "NOT IN", f.NotStatuses)
	in(c, "r.version", "IN", f.Versions)
	if f.AtLeast > 0 {
		c.add("r.latency_us >= %s", c.mark(f.AtLeast))
	}
	if f.AtMost > 0 {
		c.add("r.latency_us <= %s", c.mark(f.AtMost))
	}
	if len(f.Labels) > 0 {
		var marks []string
		for _, v := range f.Labels {
			marks = append(marks, c.mark(v))
		}
		c.add("EXISTS (SELECT 1 FROM %s WHERE %s IN (%s))", s.d.Labels, s.d.LabelName, strings.Join(marks, ", "))
	}
	if f.Text != "" {
		q := results.Quoted(f.Text)
		c.add("(%s OR %s)", s.d.Contains("COALESCE(r.request, '')", c.mark(q)), s.d.Contains("COALESCE(r.answer, '')", c.mark(q)))
	}
	if f.Asked {
		c.add("r.request IS NOT NULL")
	}
	return c
}

func columns() string { return "r." + strings.Join(Columns, ", r.") }

// Query gives a page of the records that meet a filter, the newest first.
func (s *Store) Query(ctx context.Context, f results.Filter, after results.Cursor, limit int) ([]results.Record, error) {
	c := s.where(f)
	if after != (results.Cursor{}) {
		a, b := c.mark(after.At), c.mark(after.At)
		c.add("(r.at < %s OR r.at = %s AND r.id < %s)", a, b, c.mark(after.ID))
	}
	var out []results.Record
	err := s.each(ctx, c, "r.at DESC, r.id DESC", min(limit, results.MaxPage), func(r results.Record) error {
		out = append(out, r)
		return nil
	})
	return out, err
}

// Each gives every record that meets a filter to take, the oldest first.
func (s *Store) Each(ctx context.Context, f results.Filter, take func(results.Record) error) error {
	return s.each(ctx, s.where(f), "r.at, r.id", 0, take)
}

func (s *Store) each(ctx context.Context, c *condition, order string, limit int, take func(results.Record) error) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	statement := "SELECT " + columns() + " FROM skein_records r WHERE " + c.String() + " ORDER BY " + order
	if limit > 0 {
		statement += fmt.Sprintf(" LIMIT %d", limit)
	}
	rows, err := s.db.QueryContext(ctx, statement, c.args...)
	if err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
		if err := take(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	return nil
}

func scan(rows *sql.Rows) (r results.Record, err error) {
	var labels, request, answer sql.NullString
	var expires int64
	err = rows.Scan(&r.ID, &r.At, &r.RequestID, &r.Tenant, &r.App, &r.Key, &r.Model, &r.Version, &r.Alias, &r.Operation, &r.Path, &r.Status, &r.Error, &r.Latency,
		&r.FirstToken, &r.PromptTokens, &r.AnswerTokens, &r.Device, &r.Seed, &r.Gateway, &labels, &request, &answer, &r.Cut, &r.Redacted, &r.Days, &expires)
	if err != nil {
		return r, err
	}
	r.To = results.Database
	return r, bodies(labels, request, answer, &r.Labels, &r.Request, &r.Answer)
}

func bodies(labels, request, answer sql.NullString, l *[]results.Label, req, ans *json.RawMessage) error {
	if request.Valid {
		*req = json.RawMessage(request.String)
	}
	if answer.Valid {
		*ans = json.RawMessage(answer.String)
	}
	if !labels.Valid {
		return nil
	}
	return json.Unmarshal([]byte(labels.String), l)
}

// Pairs gives the pairs of a re-run that come after an id, by their ids. tenant "*" = of every tenant.
func (s *Store) Pairs(ctx context.Context, run, tenant, after string, limit int) (out []results.Pair, err error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	c := &condition{d: &s.d}
	c.add("run = %s", c.mark(run))
	c.add("id > %s", c.mark(after))
	if tenant != results.Any {
		c.add("tenant = %s", c.mark(tenant))
	}
	rows, err := s.db.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM skein_pairs WHERE %s ORDER BY id LIMIT %d", strings.Join(PairColumns, ", "), c, min(limit, results.MaxPage)), c.args...)
	if err != nil {
		return nil, fmt.Errorf("results: %s: %w", s.d.Name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var p results.Pair
		var labels, answer sql.NullString
		var difference string
		if err := rows.Scan(&p.Run, &p.ID, &p.At, &p.Tenant, &p.Model, &p.Version, &p.ToModel, &p.ToVersion, &p.Status, &p.Error, &p.Latency, &labels, &answer, &difference, &p.Expires); err != nil {
			return nil, fmt.Errorf("results: %s: %w", s.d.Name, err)
		}
		var none json.RawMessage
		if err := bodies(labels, sql.NullString{}, answer, &p.Labels, &none, &p.Answer); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(difference), &p.Difference); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
