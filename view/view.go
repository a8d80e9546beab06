// Package view puts answers into the form that a business system wants: its own field names, cleaned, as JSON, NDJSON or CSV.
package view

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a view.
const (
	MaxFields  = 256
	MaxName    = 256         // bytes of a field's name
	MaxPointer = 512         // bytes of a pointer
	MaxRules   = 16          // cleaning rules of a field
	MaxPattern = 512         // bytes of a pattern
	MaxWith    = 64          // bytes of what is put in place of a match
	MaxText    = 1 << 20     // bytes of a text that rules are applied to
	MaxGrown   = 4 * MaxText // bytes of what mask or replace may make of a text
	MaxKeys    = 16          // fields that rows are compared by
	MaxRows    = 1 << 20
	MaxCells   = 4 << 20  // fields of all rows
	MaxOut     = 64 << 20 // bytes of all texts while they are cleaned, and of what is written
)

// Format is how rows are written.
type Format string

// Formats.
const (
	JSON   Format = "json"   // one array, or one object where Rows is empty
	NDJSON Format = "ndjson" // an object a line
	CSV    Format = "csv"    // RFC 4180, with a line of names
)

// ContentType is the media type of the format.
func (f Format) ContentType() string {
	switch f {
	case NDJSON:
		return "application/x-ndjson"
	case CSV:
		return "text/csv; charset=utf-8"
	}
	return "application/json"
}

// Source is the value that a field's pointer starts from.
type Source string

// Sources.
const (
	Row     Source = "row"     // the element of Rows; the answer where Rows is empty
	Answer  Source = "answer"  // the whole answer
	Request Source = "request" // what was asked
	Call    Source = "call"    // about the call: id, at, model, version, tenant, operation, latency_ms, prompt_tokens, answer_tokens
)

// Missing says what becomes of a field that the answer lacks.
type Missing string

// Choices.
const (
	Null   Missing = "null"   // null in JSON, nothing in CSV
	Omit   Missing = "omit"   // the field is left out; nothing in CSV
	Refuse Missing = "refuse" // the answer has no such form: an error
	Skip   Missing = "skip"   // the row is left out
)

// Field is one field of a row.
type Field struct {
	Name    string  `json:"name"`
	From    Source  `json:"from,omitempty"`    // default Row
	Pointer string  `json:"pointer"`           // RFC 6901; "" = the whole value
	Missing Missing `json:"missing,omitempty"` // default Null; "default" wins
	Default any     `json:"default,omitempty"` // a JSON value in place of what is missing
	Digits  *int    `json:"digits,omitempty"`  // numbers are rounded to so many decimals, 0 to 15
	Clean   []Rule  `json:"clean,omitempty"`   // in this order, on text
}

// View is a form. It says what of an answer becomes a row, and what of a row becomes a field.
type View struct {
	Format   Format   `json:"format"`
	Rows     string   `json:"rows,omitempty"`      // RFC 6901 pointer to an array of the answer, each element a row; "" = the answer is one row
	Fields   []Field  `json:"fields"`              // in the order of columns
	Distinct []string `json:"distinct,omitempty"`  // names of fields: of rows that are equal in them the first stays
	NonEmpty []string `json:"non_empty,omitempty"` // names of fields: rows in which one is missing, null or "" go
}

// Invalid says what of a view is wrong, and why.
type Invalid struct {
	What string
	Why  string
}

// Error implements error.
func (e Invalid) Error() string { return "view: " + e.What + ": " + e.Why }

// Validate checks a view. Errors are of type Invalid.
func (v View) Validate() error {
	_, err := v.Compile()
	return err
}

func (v View) validate() error {
	if !slices.Contains([]Format{JSON, NDJSON, CSV}, v.Format) {
		return Invalid{"format", fmt.Sprintf("%.40q is not one of json, ndjson, csv", v.Format)}
	}
	if err := checkPointer(v.Rows); err != nil {
		return Invalid{"rows", err.Error()}
	}
	if n := len(v.Fields); n < 1 || n > MaxFields {
		return Invalid{"fields", fmt.Sprintf("%d are not 1 to %d", n, MaxFields)}
	}
	names := map[string]bool{}
	for _, f := range v.Fields {
		if err := f.validate(); err != nil {
			return err
		}
		if names[f.Name] {
			return Invalid{f.what(), "is there twice"}
		}
		names[f.Name] = true
	}
	if err := v.names("distinct", v.Distinct); err != nil {
		return err
	}
	return v.names("non_empty", v.NonEmpty)
}

// names checks a list of names of fields.
func (v View) names(what string, list []string) error {
	if len(list) > MaxKeys {
		return Invalid{what, fmt.Sprintf("%d names are more than %d", len(list), MaxKeys)}
	}
	for _, name := range list {
		if !slices.ContainsFunc(v.Fields, func(f Field) bool { return f.Name == name }) {
			return Invalid{what, fmt.Sprintf("%.80q is no field of the view", name)}
		}
	}
	return nil
}

func (f Field) what() string { return fmt.Sprintf("field %.80q", f.Name) }

func (f Field) validate() error {
	switch {
	case f.Name == "" || len(f.Name) > MaxName || !utf8.ValidString(f.Name) || strings.ContainsFunc(f.Name, func(r rune) bool { return r < ' ' }):
		return Invalid{f.what(), fmt.Sprintf("the name is not UTF-8 of 1 to %d bytes without control characters", MaxName)}
	case !slices.Contains([]Source{"", Row, Answer, Request, Call}, f.From):
		return Invalid{f.what(), fmt.Sprintf("from %.40q is not one of row, answer, request, call", f.From)}
	case !slices.Contains([]Missing{"", Null, Omit, Refuse, Skip}, f.Missing):
		return Invalid{f.what(), fmt.Sprintf("missing %.40q is not one of null, omit, refuse, skip", f.Missing)}
	case f.Default != nil && f.Missing != "":
		return Invalid{f.what(), "has a default and says what becomes of it when it is missing"}
	case f.Digits != nil && (*f.Digits < 0 || *f.Digits > 15):
		return Invalid{f.what(), fmt.Sprintf("%d digits are not 0 to 15", *f.Digits)}
	case len(f.Clean) > MaxRules:
		return Invalid{f.what(), fmt.Sprintf("%d rules are more than %d", len(f.Clean), MaxRules)}
	}
	if err := checkPointer(f.Pointer); err != nil {
		return Invalid{f.what(), err.Error()}
	}
	return nil
}

// compiled is a field with its rules ready to be used.
type compiled struct {
	Field
	path  []string
	rules []rule
}

// Compiled is a view that is ready to be applied. It may be used by many at once.
type Compiled struct {
	view   View
	rows   []string
	fields []compiled
}

// Compile checks a view and prepares it. Errors are of type Invalid.
func (v View) Compile() (*Compiled, error) {
	if err := v.validate(); err != nil {
		return nil, err
	}
	c := &Compiled{view: v, rows: split(v.Rows)}
	for _, f := range v.Fields {
		out := compiled{Field: f, path: split(f.Pointer)}
		for _, r := range f.Clean {
			rule, err := r.compile()
			if err != nil {
				return nil, Invalid{f.what(), err.Error()}
			}
			out.rules = append(out.rules, rule)
		}
		c.fields = append(c.fields, out)
	}
	return c, nil
}

// Reader is the first field that reads a source; "" = none does, and Input need not have it.
func (c *Compiled) Reader(of Source) string {
	for _, f := range c.fields {
		if f.From == of {
			return f.Name
		}
	}
	return ""
}

// Format is how the view writes.
func (c *Compiled) Format() Format { return c.view.Format }

// pattern compiles a regular expression (RE2: its time is linear in the text).
func pattern(text string) (*regexp.Regexp, error) {
	if text == "" || len(text) > MaxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes, want 1 to %d", len(text), MaxPattern)
	}
	return regexp.Compile(text)
}
