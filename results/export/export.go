// Package export writes records as files that other programs read: Parquet, CSV, and JSON lines.
package export

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/skein-project/skein/results"
)

// Formats of files.
const (
	Parquet = "parquet"
	CSV     = "csv"
	NDJSON  = "ndjson"
)

// rowGroup is how many records of a Parquet file are held in memory until they are written.
const rowGroup = 8192

// Writer writes records to one file. Close ends it, and does not close what it writes to.
type Writer interface {
	Write(r results.Record) error
	Close() error
}

// New makes a writer; ok is false for a format that does not exist.
func New(format string, w io.Writer) (out Writer, ok bool) {
	switch format {
	case Parquet:
		return &columns{w: parquet.NewGenericWriter[row](w, parquet.Compression(&parquet.Zstd), parquet.CreatedBy("skein", "1", ""))}, true
	case CSV:
		c := csv.NewWriter(w)
		c.UseCRLF = true // RFC 4180
		return &lines{w: c}, true
	case NDJSON:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return objects{e}, true
	}
	return nil, false
}

// row is a record as a Parquet file has it.
type row struct {
	ID           string    `parquet:"id"`
	At           time.Time `parquet:"at,timestamp(millisecond)"`
	RequestID    string    `parquet:"request_id"`
	Tenant       string    `parquet:"tenant,dict"`
	App          string    `parquet:"app,dict"`
	Key          string    `parquet:"key,dict"`
	Model        string    `parquet:"model,dict"`
	Version      int32     `parquet:"version"`
	Alias        string    `parquet:"alias,dict"`
	Operation    string    `parquet:"operation,dict"`
	Status       string    `parquet:"status,dict"`
	Error        string    `parquet:"error,dict"`
	Latency      int64     `parquet:"latency_us"`
	First        int64     `parquet:"first_token_us"`
	PromptTokens int64     `parquet:"prompt_tokens"`
	AnswerTokens int64     `parquet:"answer_tokens"`
	Device       int64     `parquet:"device_us"`
	Seed         int64     `parquet:"seed"`
	Gateway      string    `parquet:"gateway,dict"`
	Labels       []label   `parquet:"labels,list"`
	Request      *string   `parquet:"request,optional"`
	Answer       *string   `parquet:"answer,optional"`
	Cut          bool      `parquet:"cut"`
	Redacted     bool      `parquet:"redacted"`
	Expires      time.Time `parquet:"expires,timestamp(millisecond)"`
}

type label struct {
	Input int32   `parquet:"input"`
	Name  string  `parquet:"name,dict"`
	Score float64 `parquet:"score"`
}

// columns writes Parquet.
type columns struct {
	w *parquet.GenericWriter[row]
	n int
}

func (c *columns) Write(r results.Record) error {
	out := row{ID: r.ID, At: time.UnixMilli(r.At).UTC(), RequestID: r.RequestID, Tenant: r.Tenant, App: r.App, Key: r.Key, Model: r.Model, Version: int32(r.Version), Alias: r.Alias,
		Operation: r.Operation, Status: r.Status, Error: r.Error, Latency: r.Latency, First: r.FirstToken, PromptTokens: int64(r.PromptTokens), AnswerTokens: int64(r.AnswerTokens),
		Device: r.Device, Seed: r.Seed, Gateway: r.Gateway, Request: text(r.Request), Answer: text(r.Answer), Cut: r.Cut, Redacted: r.Redacted, Expires: time.UnixMilli(r.Expires()).UTC()}
	for _, l := range r.Labels {
		out.Labels = append(out.Labels, label{int32(l.Input), l.Name, l.Score})
	}
	if _, err := c.w.Write([]row{out}); err != nil {
		return err
	}
	if c.n++; c.n%rowGroup == 0 {
		return c.w.Flush()
	}
	return nil
}

func (c *columns) Close() error { return c.w.Close() }

func text(b json.RawMessage) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

// header names the cells of a CSV file (RFC 4180). labels is JSON.
var header = []string{"id", "at", "request_id", "tenant", "app", "key", "model", "version", "alias", "operation", "status", "error", "latency_us", "first_token_us",
	"prompt_tokens", "answer_tokens", "device_us", "seed", "gateway", "labels", "request", "answer", "cut", "redacted", "expires"}

// lines writes CSV.
type lines struct {
	w     *csv.Writer
	begun bool
}

func (l *lines) begin() error {
	if l.begun {
		return nil
	}
	l.begun = true
	return l.w.Write(header)
}

func (l *lines) Write(r results.Record) error {
	if err := l.begin(); err != nil {
		return err
	}
	labels := ""
	if len(r.Labels) > 0 {
		b, err := json.Marshal(r.Labels)
		if err != nil {
			return err
		}
		labels = string(b)
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
	cells := []string{r.ID, at(r.At), r.RequestID, r.Tenant, r.App, r.Key, r.Model, n(int64(r.Version)), r.Alias, r.Operation, r.Status, r.Error, n(r.Latency), n(r.FirstToken),
		n(int64(r.PromptTokens)), n(int64(r.AnswerTokens)), n(r.Device), n(r.Seed), r.Gateway, labels, string(r.Request), string(r.Answer), strconv.FormatBool(r.Cut), strconv.FormatBool(r.Redacted), at(r.Expires())}
	for i, c := range cells {
		if slices.Contains(written, header[i]) && c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
			cells[i] = "'" + c // else a spreadsheet takes what a client wrote for a formula
		}
	}
	return l.w.Write(cells)
}

// written are the cells that clients write.
var written = []string{"request_id", "app", "alias", "error", "request", "answer"}

func (l *lines) Close() error {
	if err := l.begin(); err != nil {
		return err
	}
	l.w.Flush()
	return l.w.Error()
}

// objects writes JSON lines.
type objects struct{ e *json.Encoder }

func (o objects) Write(r results.Record) error { return o.e.Encode(r) }

func (o objects) Close() error { return nil }
