package results

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// quote writes a text as a JSON string.
func quote(text string) []byte {
	b, _ := Encode(text) // a text is always written
	return b
}

// Limits of answers to questions.
const (
	MaxPage   = 1000       // records of a page
	PageBytes = 16 << 20   // bytes of bodies after which a page ends
	MaxRows   = 10000      // rows of a summary, and labels of a distribution
	MaxFields = 4          // that records are grouped by
	MaxSummed = 20_000_000 // records of a summary, which are sorted for their percentiles
)

// Cursor is a place in records that are ordered by time and id, the newest first: a page begins behind it. The zero Cursor is the beginning.
type Cursor struct {
	At int64
	ID string
}

// CursorOf is the place of a record.
func CursorOf(r Record) Cursor { return Cursor{r.At, r.ID} }

// Page is a part of the records that meet a filter.
type Page struct {
	After Cursor // it begins behind this place
	Limit int    // records at most
	Brief bool   // without requests and answers
}

func (c Cursor) String() string {
	if c == (Cursor{}) {
		return ""
	}
	return strconv.FormatInt(c.At, 10) + ":" + c.ID
}

// ParseCursor reads what String wrote. The error is an *Invalid.
func ParseCursor(s string) (c Cursor, err error) {
	if s == "" {
		return c, nil
	}
	at, id, ok := strings.Cut(s, ":")
	if c.At, err = strconv.ParseInt(at, 10, 64); !ok || err != nil || id == "" || len(id) > MaxText {
		return Cursor{}, invalid("page", "%.80q is no place in the records", s)
	}
	return Cursor{c.At, id}, nil
}

// Behind says that a record comes after a place.
func (c Cursor) Behind(r Record) bool {
	return c == (Cursor{}) || cmp.Or(cmp.Compare(r.At, c.At), strings.Compare(r.ID, c.ID)) < 0
}

// Field is something that records are grouped by.
type Field string

// Fields. A record counts once for each label that it has, and for "" where it has none.
const (
	ByDay       Field = "day"
	ByHour      Field = "hour"
	ByTenant    Field = "tenant"
	ByApp       Field = "app"
	ByModel     Field = "model"
	ByVersion   Field = "version"
	ByOperation Field = "operation"
	ByStatus    Field = "status"
	ByLabel     Field = "label"
)

var fields = []Field{ByDay, ByHour, ByTenant, ByApp, ByModel, ByVersion, ByOperation, ByStatus, ByLabel}

// ParseFields checks names of fields. The error is an *Invalid.
func ParseFields(names []string) (out []Field, err error) {
	if len(names) > MaxFields {
		return nil, invalid("by", "%d fields, at most %d are allowed", len(names), MaxFields)
	}
	for _, n := range names {
		if !slices.Contains(fields, Field(n)) || slices.Contains(out, Field(n)) {
			return nil, invalid("by", "%.40q: want some of day, hour, tenant, app, model, version, operation, status, label, each once", n)
		}
		out = append(out, Field(n))
	}
	return out, nil
}

// Of are the values of a field that a record has.
func (f Field) Of(r Record) []string {
	switch f {
	case ByDay:
		return []string{time.UnixMilli(r.At).UTC().Format(time.DateOnly)}
	case ByHour:
		return []string{time.UnixMilli(r.At).UTC().Format(hourForm)}
	case ByTenant:
		return []string{r.Tenant}
	case ByApp:
		return []string{r.App}
	case ByModel:
		return []string{r.Model}
	case ByVersion:
		return []string{strconv.Itoa(r.Version)}
	case ByOperation:
		return []string{r.Operation}
	case ByStatus:
		return []string{r.Status}
	case ByLabel:
		if len(r.Labels) == 0 {
			return []string{""}
		}
		var out []string
		for _, l := range r.Labels {
			if !slices.Contains(out, l.Name) {
				out = append(out, l.Name)
			}
		}
		return out
	}
	return nil
}

const hourForm = "2006-01-02T15"

// Row sums the records of a group. Percentiles are nearest ranks, in microseconds.
type Row struct {
	Group                              []string // a value for each field
	Count, Failed                      int64
	PromptTokens, AnswerTokens, Device int64
	P50, P90, P99                      int64 // of the latency
	First50, First99                   int64 // of the time to the first token, of those that have one; 0 = none has
}

// Summarize groups records: the slow and obvious way that stores are tested against. Rows are ordered by their groups.
func Summarize(list []Record, by []Field) []Row {
	groups := map[string]*Row{}
	latencies, firsts := map[string][]int64{}, map[string][]int64{}
	for _, r := range list {
		for _, group := range product(r, by) {
			k := strings.Join(group, "\x00")
			row := groups[k]
			if row == nil {
				row = &Row{Group: group}
				groups[k] = row
			}
			row.Count++
			if r.Status != OK {
				row.Failed++
			}
			row.PromptTokens += int64(r.PromptTokens)
			row.AnswerTokens += int64(r.AnswerTokens)
			row.Device += r.Device
			latencies[k] = append(latencies[k], r.Latency)
			if r.FirstToken > 0 {
				firsts[k] = append(firsts[k], r.FirstToken)
			}
		}
	}
	out := make([]Row, 0, len(groups))
	for k, row := range groups {
		row.P50, row.P90, row.P99 = Percentile(latencies[k], 50), Percentile(latencies[k], 90), Percentile(latencies[k], 99)
		row.First50, row.First99 = Percentile(firsts[k], 50), Percentile(firsts[k], 99)
		out = append(out, *row)
	}
	slices.SortFunc(out, func(a, b Row) int { return slices.Compare(a.Group, b.Group) })
	return out
}

func product(r Record, by []Field) [][]string {
	out := [][]string{{}}
	for _, f := range by {
		var more [][]string
		for _, head := range out {
			for _, v := range f.Of(r) {
				more = append(more, append(slices.Clone(head), v))
			}
		}
		out = more
	}
	return out
}

// Percentile is the nearest-rank percentile: the smallest value that p of 100 are not above. 0 for no values.
func Percentile(values []int64, p int) int64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return v[max(0, (len(v)*p+99)/100-1)]
}
