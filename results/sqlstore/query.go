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
	"first_us", "prompt_tokens", "answer_tokens", "device_us", "seed", "gateway", "labels", "request", "answer", "cut", "redacted", "days", "expires", "policy"}

// Values are a record's columns. Bodies that are not kept are nil.
func Values(r results.Record) ([]any, error) {
	labels, err := labelText(r.Labels)
	if err != nil {
		return nil, err
	}
	return []any{r.ID, r.At, r.RequestID, r.Tenant, r.App, r.Key, r.Model, int64(r.Version), r.Alias, r.Operation, r.Path, r.Status, r.Error, r.Latency,
		r.FirstToken, int64(r.PromptTokens), int64(r.AnswerTokens), r.Device, r.Seed, r.Gateway, labels, bodyText(r.Request), bodyText(r.Answer), r.Cut, r.Redacted, int64(r.Days), r.Expires(), r.Policy}, nil
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

// columns of r; a brief record has no bodies.
func columns(brief bool) string {
	all := "r." + strings.Join(Columns, ", r.")
	if brief {
		all = strings.Replace(all, "r.request, r.answer", "NULL, NULL", 1)
	}
	return all
}

// Query gives a page of the records that meet a filter, the newest first. next is where the next page begins; zero = there is none.
func (s *Store) Query(ctx context.Context, f results.Filter, p results.Page) (list []results.Record, next results.Cursor, err error) {
	return s.page(ctx, f, p, "<", "DESC")
}

// eachPage is how many records Each reads at once.
const eachPage = 500

// Each gives every record that meets a filter to take, the oldest first. It reads a page at a time, and holds nothing of the database while take
// works; what comes meanwhile may be among them.
func (s *Store) Each(ctx context.Context, f results.Filter, take func(results.Record) error) error {
	for p := (results.Page{Limit: eachPage}); ; {
		list, next, err := s.page(ctx, f, p, ">", "ASC")
		if err != nil {
			return err
		}
		for _, r := range list {
			if err := take(r); err != nil {
				return err
			}
		}
		if next == (results.Cursor{}) {
			return nil
		}
		p.After = next
	}
}

// page reads records behind a place, in the direction that beyond and order say. It ends early where its bodies are large.
func (s *Store) page(ctx context.Context, f results.Filter, p results.Page, beyond, order string) (list []results.Record, next results.Cursor, err error) {
	if err := s.prepare(ctx); err != nil {
		return nil, next, err
	}
	c, limit := s.where(f), min(p.Limit, results.MaxPage)
	if p.After != (results.Cursor{}) {
		a, b := c.mark(p.After.At), c.mark(p.After.At)
		c.add("r.at %s= %s AND (r.at %s %s OR r.id %s %s)", beyond, a, beyond, b, beyond, c.mark(p.After.ID))
	}
	rows, err := s.read.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM skein_records r WHERE %s ORDER BY r.at %s, r.id %s LIMIT %d", columns(p.Brief), c, order, order, limit), c.args...)
	if err != nil {
		return nil, next, s.failed(err)
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		r, err := scan(rows)
		if err != nil {
			return nil, next, s.failed(err)
		}
		list = append(list, r)
		if size += len(r.Request) + len(r.Answer); len(list) == limit || size >= results.PageBytes {
			return list, results.CursorOf(r), nil
		}
	}
	if err := rows.Err(); err != nil {
		return nil, next, s.failed(err)
	}
	return list, next, nil
}

func (s *Store) failed(err error) error { return fmt.Errorf("results: %s: %w", s.d.Name, err) }

func scan(rows *sql.Rows) (r results.Record, err error) {
	var labels, request, answer sql.NullString
	var expires int64
	err = rows.Scan(&r.ID, &r.At, &r.RequestID, &r.Tenant, &r.App, &r.Key, &r.Model, &r.Version, &r.Alias, &r.Operation, &r.Path, &r.Status, &r.Error, &r.Latency,
		&r.FirstToken, &r.PromptTokens, &r.AnswerTokens, &r.Device, &r.Seed, &r.Gateway, &labels, &request, &answer, &r.Cut, &r.Redacted, &r.Days, &expires, &r.Policy)
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

// Pairs gives the pairs of a re-run that come after an id, by their ids. tenant "*" = of every tenant. next is the id of the last one where there
// may be more.
func (s *Store) Pairs(ctx context.Context, run, tenant, after string, limit int) (out []results.Pair, next string, err error) {
	if err := s.prepare(ctx); err != nil {
		return nil, "", err
	}
	limit = min(limit, results.MaxPage)
	c := &condition{d: &s.d}
	c.add("run = %s", c.mark(run))
	c.add("id > %s", c.mark(after))
	if tenant != results.Any {
		c.add("tenant = %s", c.mark(tenant))
	}
	rows, err := s.read.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM skein_pairs WHERE %s ORDER BY id LIMIT %d", strings.Join(PairColumns, ", "), c, limit), c.args...)
	if err != nil {
		return nil, "", s.failed(err)
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		var p results.Pair
		var labels, answer sql.NullString
		var difference string
		if err := rows.Scan(&p.Run, &p.ID, &p.At, &p.Tenant, &p.Model, &p.Version, &p.ToModel, &p.ToVersion, &p.Status, &p.Error, &p.Latency, &labels, &answer, &difference, &p.Expires); err != nil {
			return nil, "", s.failed(err)
		}
		var none json.RawMessage
		if err := bodies(labels, sql.NullString{}, answer, &p.Labels, &none, &p.Answer); err != nil {
			return nil, "", err
		}
		if err := json.Unmarshal([]byte(difference), &p.Difference); err != nil {
			return nil, "", err
		}
		out = append(out, p)
		if size += len(p.Answer); len(out) == limit || size >= results.PageBytes {
			return out, p.ID, nil
		}
	}
	if err := rows.Err(); err != nil {
		return nil, "", s.failed(err)
	}
	return out, "", nil
}
