// Package results is what is kept of answered requests: records, the policies that say how much of a request a record holds and for how
// long, and the questions that can be asked about records later.
package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a record.
const (
	MaxBody   = 1 << 20 // bytes of a record's request, and of its answer; a larger one is left out and Record.Cut is set
	MaxRecord = 3 << 20 // bytes of an encoded record
	MaxLabels = 1024    // labels of a record; those beyond are left out
	MaxText   = 512     // bytes of each other text of a record; what is beyond is cut off
)

// Statuses of records: OK, or the name of the fault that the request ended with.
const OK = "ok"

// Record is what is kept of one request. Times are Unix milliseconds, durations microseconds.
type Record struct {
	ID           string          `json:"id"` // unique, given by the gateway, in the order of time
	At           int64           `json:"at"` // when the request came
	RequestID    string          `json:"request_id,omitempty"`
	Tenant       string          `json:"tenant,omitempty"`
	App          string          `json:"app,omitempty"`
	Key          string          `json:"key,omitempty"` // visible id
	Model        string          `json:"model"`
	Version      int             `json:"version"`
	Alias        string          `json:"alias,omitempty"` // the name that the request gave
	Operation    string          `json:"operation"`
	Path         string          `json:"path,omitempty"` // of the client API, as in the table of routes; "" = it cannot be asked again
	Status       string          `json:"status"`
	Error        string          `json:"error,omitempty"` // kept with answers
	Latency      int64           `json:"latency_us"`
	FirstToken   int64           `json:"first_token_us,omitempty"` // 0 = the operation gives no tokens
	PromptTokens int             `json:"prompt_tokens,omitempty"`
	AnswerTokens int             `json:"answer_tokens,omitempty"`
	Device       int64           `json:"device_us,omitempty"` // of one whole device
	Seed         int64           `json:"seed,omitempty"`      // that answers were drawn with; 0 = none was
	Gateway      string          `json:"gateway,omitempty"`
	Labels       []Label         `json:"labels,omitempty"`
	Request      json.RawMessage `json:"request,omitempty"` // as the operation has it; nil = not kept
	Answer       json.RawMessage `json:"answer,omitempty"`
	Cut          bool            `json:"cut,omitempty"`      // a body was larger than MaxBody, or could not be redacted, and is left out
	Redacted     bool            `json:"redacted,omitempty"` // the request is not what was asked: something was taken out
	Days         int             `json:"days"`               // how long the record is kept
	Policy       string          `json:"policy,omitempty"`   // id of the policy that kept it
	To           Destination     `json:"to,omitempty"`
}

// Label is the class that an input of a request was given: the one with the highest score.
type Label struct {
	Input int     `json:"input,omitempty"` // position in the request
	Name  string  `json:"name"`
	Score float64 `json:"score"`
}

// Day is a day in milliseconds.
const Day = 24 * 60 * 60 * 1000

// Expires is when a record is to be deleted, in Unix milliseconds.
func (r Record) Expires() int64 { return r.At + int64(r.Days)*Day }

// ErrRecord says that a record is malformed.
var ErrRecord = errors.New("results: malformed record")

// Decode reads a record that another process wrote.
func Decode(b []byte) (Record, error) {
	var r Record
	if len(b) > MaxRecord {
		return r, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrRecord, len(b), MaxRecord)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	for _, body := range []*json.RawMessage{&r.Request, &r.Answer} {
		if *body = Plain(*body); len(*body) > MaxBody {
			*body, r.Cut = nil, true
		}
	}
	return r, r.Validate()
}

// Validate refuses what no store takes.
func (r Record) Validate() error {
	switch {
	case r.ID == "" || len(r.ID) > MaxText:
		return fmt.Errorf("%w: an id of %d bytes", ErrRecord, len(r.ID))
	case r.At <= 0 || r.At > maxMillis:
		return fmt.Errorf("%w: at %d", ErrRecord, r.At)
	case r.Days < 1 || r.Days > MaxDays:
		return fmt.Errorf("%w: kept for %d days", ErrRecord, r.Days)
	case len(r.Labels) > MaxLabels:
		return fmt.Errorf("%w: %d labels", ErrRecord, len(r.Labels))
	case r.Latency < 0 || r.FirstToken < 0 || r.Device < 0 || r.PromptTokens < 0 || r.AnswerTokens < 0 || r.Version < 0:
		return fmt.Errorf("%w: a number is negative", ErrRecord)
	}
	for _, body := range []json.RawMessage{r.Request, r.Answer} {
		if len(body) > MaxBody || body != nil && (!utf8.Valid(body) || !json.Valid(body)) {
			return fmt.Errorf("%w: a body of %d bytes", ErrRecord, len(body))
		}
	}
	for _, t := range r.texts() {
		if len(*t) > MaxText || !utf8.ValidString(*t) || strings.ContainsRune(*t, 0) {
			return fmt.Errorf("%w: a text that no database takes", ErrRecord)
		}
	}
	return nil
}

// maxMillis bounds times: the year 9999.
const maxMillis = 253_402_300_799_999

// texts are the texts of a record that have no form of their own.
func (r *Record) texts() []*string {
	out := []*string{&r.RequestID, &r.Tenant, &r.App, &r.Key, &r.Model, &r.Alias, &r.Operation, &r.Path, &r.Status, &r.Error, &r.Gateway, &r.Policy, (*string)(&r.To)}
	for i := range r.Labels {
		out = append(out, &r.Labels[i].Name)
	}
	return out
}

// Fit makes a record what every store takes: texts are cut to MaxText and made UTF-8 without NUL, bodies that are too large or no JSON are left out.
func (r Record) Fit() Record {
	r.Labels = append([]Label(nil), r.Labels[:min(len(r.Labels), MaxLabels)]...)
	for _, t := range r.texts() {
		*t = fit(*t)
	}
	for _, body := range []*json.RawMessage{&r.Request, &r.Answer} {
		if *body == nil {
			continue
		}
		valid := utf8.Valid(*body) && json.Valid(*body)
		if valid {
			*body = Plain(*body)
		}
		if !valid || len(*body) > MaxBody {
			*body, r.Cut = nil, true
		}
	}
	return r
}

// Written is a record as it is sent and kept, of at most MaxRecord bytes: bodies, and then labels, that find no room are left out.
func (r Record) Written() ([]byte, error) {
	b, err := Encode(r)
	if err == nil && len(b) > MaxRecord {
		r.Request, r.Answer, r.Cut = nil, nil, true
		b, err = Encode(r)
	}
	if err == nil && len(b) > MaxRecord {
		r.Labels = nil
		b, err = Encode(r)
	}
	return b, err
}

func fit(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	for len(s) > MaxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
