package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/skein-project/skein/results"
)

// expression is the value of a field, over the tables r and l.
func (s *Store) expression(f results.Field) string {
	switch f {
	case results.ByDay:
		return s.d.Day("r.at")
	case results.ByHour:
		return s.d.Hour("r.at")
	case results.ByVersion:
		return "CAST(r.version AS TEXT)"
	case results.ByLabel:
		return "COALESCE(l.name, '')"
	case results.ByTenant, results.ByApp, results.ByModel, results.ByOperation, results.ByStatus:
		return "r." + string(f)
	}
	return "''"
}

// summed is how many records a summary is of at most.
func (s *Store) summed() int { return cmp.Or(s.most, results.MaxSummed) }

// Summarize groups the records that meet a filter, as results.Summarize does. There are at most results.MaxRows rows.
func (s *Store) Summarize(ctx context.Context, f results.Filter, by []results.Field) ([]results.Row, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	c := s.where(f)
	from, named := "chosen r", ""
	if slices.Contains(by, results.ByLabel) {
		named = "named AS (SELECT DISTINCT r.id AS id, " + s.d.LabelName + " AS name FROM chosen r, " + s.d.Labels + "), "
		from += " LEFT JOIN named l ON l.id = r.id"
	}
	var groups, names []string
	for i, field := range by {
		name := "g" + strconv.Itoa(i)
		groups, names = append(groups, s.expression(field)+" AS "+name), append(names, name)
	}
	comma := func(list []string, more string) string { return strings.Join(append(slices.Clone(list), more), ", ") }
	over := ""
	if len(names) > 0 {
		over = "PARTITION BY " + strings.Join(names, ", ")
	}
	statement := "WITH chosen AS (SELECT r.id, r.at, r.tenant, r.app, r.model, r.version, r.operation, r.status, r.latency_us, r.first_us, r.prompt_tokens, r.answer_tokens, r.device_us, r.labels" +
		" FROM skein_records r WHERE " + c.String() + fmt.Sprintf(" LIMIT %d), ", s.summed()+1) + named + "picked AS (SELECT " + comma(groups, "r.latency_us AS us, r.first_us AS first, CASE WHEN r.status = 'ok' THEN 0 ELSE 1 END AS failed, r.prompt_tokens AS p, r.answer_tokens AS a, r.device_us AS d") +
		" FROM " + from + "), " +
		"ranked AS (SELECT picked.*, ROW_NUMBER() OVER (" + over + " ORDER BY us) AS k, COUNT(*) OVER (" + over + ") AS n, " +
		"ROW_NUMBER() OVER (" + over + " ORDER BY CASE WHEN first > 0 THEN 0 ELSE 1 END, first) AS kf, SUM(CASE WHEN first > 0 THEN 1 ELSE 0 END) OVER (" + over + ") AS nf FROM picked) " +
		"SELECT " + comma(names, "COUNT(*), SUM(failed), SUM(p), SUM(a), SUM(d), MIN(CASE WHEN k*100 >= 50*n THEN us END), MIN(CASE WHEN k*100 >= 90*n THEN us END), MIN(CASE WHEN k*100 >= 99*n THEN us END), "+
		"COALESCE(MIN(CASE WHEN first > 0 AND kf*100 >= 50*nf THEN first END), 0), COALESCE(MIN(CASE WHEN first > 0 AND kf*100 >= 99*nf THEN first END), 0), (SELECT COUNT(*) FROM chosen)") + " FROM ranked"
	if len(names) > 0 {
		statement += " GROUP BY " + strings.Join(names, ", ")
	} else {
		statement += " HAVING COUNT(*) > 0"
	}
	statement += fmt.Sprintf(" LIMIT %d", results.MaxRows+1)
	rows, err := s.read.QueryContext(ctx, statement, c.args...)
	if err != nil {
		return nil, s.failed(err)
	}
	defer rows.Close()
	var out []results.Row
	for rows.Next() {
		r := results.Row{Group: make([]string, len(by))}
		var into []any
		var of int
		for i := range r.Group {
			into = append(into, &r.Group[i])
		}
		into = append(into, &r.Count, &r.Failed, &r.PromptTokens, &r.AnswerTokens, &r.Device, &r.P50, &r.P90, &r.P99, &r.First50, &r.First99, &of)
		if err := rows.Scan(into...); err != nil {
			return nil, s.failed(err)
		}
		if of > s.summed() {
			return nil, &results.Invalid{What: "where", Why: fmt.Sprintf("more than %d records: ask about a shorter time", s.summed())}
		}
		if len(out) == results.MaxRows {
			return nil, &results.Invalid{What: "by", Why: fmt.Sprintf("more than %d groups: ask about less", results.MaxRows)}
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, s.failed(err)
	}
	slices.SortFunc(out, func(a, b results.Row) int { return slices.Compare(a.Group, b.Group) })
	return out, nil
}

// Labels counts the labels of the records that meet a filter.
func (s *Store) Labels(ctx context.Context, f results.Filter) (results.Distribution, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	c := s.where(f)
	statement := fmt.Sprintf("SELECT %s, COUNT(*) FROM skein_records r, %s WHERE %s GROUP BY 1 LIMIT %d", s.d.LabelName, s.d.Labels, c, results.MaxRows+1)
	rows, err := s.read.QueryContext(ctx, statement, c.args...)
	if err != nil {
		return nil, s.failed(err)
	}
	defer rows.Close()
	out := results.Distribution{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, s.failed(err)
		}
		if len(out) == results.MaxRows {
			return nil, &results.Invalid{What: "label", Why: fmt.Sprintf("more than %d labels: ask about less", results.MaxRows)}
		}
		out[name] = n
	}
	if err := rows.Err(); err != nil {
		return nil, s.failed(err)
	}
	return out, nil
}
