package view

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Input is what a view is applied to: values as encoding/json decodes them with UseNumber. A source that there is not is nil.
type Input struct {
	Answer  any
	Request any
	Call    any
}

// Unfit says that an answer has not the form that a view needs.
type Unfit struct {
	Field string // "" = the rows
	Why   string
}

// Error implements error.
func (e Unfit) Error() string {
	if e.Field == "" {
		return "view: " + e.Why
	}
	return fmt.Sprintf("view: field %.80q: %s", e.Field, e.Why)
}

// cell is the value of a field in a row.
type cell struct {
	value any
	there bool
}

// run is one use of a view.
type run struct {
	*Compiled
	left int // bytes of texts that may still be made
}

// spend counts bytes of texts that were made.
func (r *run) spend(field string, n int) error {
	if r.left -= n; r.left < 0 {
		return Unfit{field, fmt.Sprintf("the answer would be longer than %d bytes in this form", MaxOut)}
	}
	return nil
}

// Apply writes an answer in the view's form. Errors are of type Unfit.
func (c *Compiled) Apply(in Input) ([]byte, error) {
	r := &run{Compiled: c, left: MaxOut}
	rows, err := r.table(in)
	if err != nil {
		return nil, err
	}
	switch c.view.Format {
	case CSV:
		return c.csv(rows)
	case NDJSON:
		return c.lines(rows, "", "\n", "\n", "")
	}
	if c.view.Rows == "" && len(rows) == 1 {
		return c.object(rows[0])
	}
	return c.lines(rows, "[", ",", "", "]")
}

// table makes the rows that stay.
func (r *run) table(in Input) ([][]cell, error) {
	elements := []any{in.Answer}
	if r.view.Rows != "" {
		at, ok := find(in.Answer, r.rows)
		list, isList := at.([]any)
		if !ok || !isList {
			return nil, Unfit{"", fmt.Sprintf("the answer has no list at %q", r.view.Rows)}
		}
		elements = list
	}
	if n := len(elements); n > MaxRows || n*len(r.fields) > MaxCells {
		return nil, Unfit{"", fmt.Sprintf("%d rows of %d fields are more than %d rows, or than %d fields in all", n, len(r.fields), MaxRows, MaxCells)}
	}
	var rows [][]cell
	seen := map[[sha256.Size]byte]bool{}
	for _, e := range elements {
		row, keep, err := r.row(in, e)
		if err != nil {
			return nil, err
		}
		if !keep || r.empty(row) {
			continue
		}
		if len(r.view.Distinct) > 0 {
			key := r.key(row)
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// row makes the fields of one element; keep is false where a field that is missing takes the row with it.
func (r *run) row(in Input, element any) (row []cell, keep bool, err error) {
	row = make([]cell, len(r.fields))
	for i, f := range r.fields {
		from := element
		switch f.From {
		case Answer:
			from = in.Answer
		case Request:
			from = in.Request
		case Call:
			from = in.Call
		}
		v, ok := find(from, f.path)
		if !ok {
			switch {
			case f.Default != nil:
				v, ok = f.Default, true
			case f.Missing == Refuse:
				return nil, false, Unfit{f.Name, fmt.Sprintf("there is nothing at %q", f.Pointer)}
			case f.Missing == Skip:
				return nil, false, nil
			case f.Missing != Omit:
				ok = true
			}
		}
		v, err := r.clean(f, v)
		if err != nil {
			return nil, false, err
		}
		row[i] = cell{v, ok}
	}
	return row, true, nil
}

// clean applies the rules to texts, also those within lists and objects, and rounds numbers.
func (r *run) clean(f compiled, v any) (_ any, err error) {
	switch x := v.(type) {
	case string:
		for _, apply := range f.rules {
			if len(x) > MaxText {
				return nil, Unfit{f.Name, fmt.Sprintf("a text of %d bytes to clean is longer than %d", len(x), MaxText)}
			}
			if x, err = apply(x); err != nil {
				return nil, Unfit{f.Name, err.Error()}
			}
		}
		return x, r.spend(f.Name, len(x))
	case json.Number:
		n, err := x.Float64()
		if f.Digits == nil || err != nil || math.IsInf(n, 0) {
			return x, r.spend(f.Name, len(x)) // what is no float64 is not rounded
		}
		rounded := strconv.FormatFloat(n, 'f', *f.Digits, 64)
		if !strings.ContainsAny(x.String(), ".eE") { // an integer is exact, however large it is
			_, zeros, _ := strings.Cut(rounded, ".")
			rounded = strings.TrimSuffix(x.String()+"."+zeros, ".")
		}
		if strings.Trim(rounded, "-0.") == "" {
			rounded = strings.TrimPrefix(rounded, "-")
		}
		return json.Number(rounded), r.spend(f.Name, len(rounded))
	case []any:
		out := make([]any, len(x))
		for i := range x {
			if out[i], err = r.clean(f, x[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(x))
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if err := r.spend(f.Name, len(k)); err != nil {
				return nil, err
			}
			if out[k], err = r.clean(f, x[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, r.spend(f.Name, 1)
}

// empty says whether a field that must not be empty is.
func (c *Compiled) empty(row []cell) bool {
	for _, name := range c.view.NonEmpty {
		if v := row[c.index(name)].value; v == nil || v == "" {
			return true
		}
	}
	return false
}

func (c *Compiled) key(row []cell) [sha256.Size]byte {
	var parts []any
	for _, name := range c.view.Distinct {
		x := row[c.index(name)]
		parts = append(parts, x.there, x.value)
	}
	b, _ := json.Marshal(parts) // values that came from JSON
	return sha256.Sum256(b)
}

func (c *Compiled) index(name string) int {
	for i, f := range c.fields {
		if f.Name == name {
			return i
		}
	}
	return -1 // Validate refused it
}

// object writes a row with its fields in the view's order.
func (c *Compiled) object(row []cell) ([]byte, error) {
	b := []byte{'{'}
	for i, x := range row {
		if !x.there {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		name, err := plain(c.fields[i].Name)
		if err != nil {
			return nil, err
		}
		value, err := plain(x.value)
		if err != nil {
			return nil, err
		}
		if len(b)+len(name)+len(value) > MaxOut {
			return nil, errLong
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// errLong says that what is written grows beyond MaxOut.
var errLong = Unfit{"", fmt.Sprintf("the answer would be longer than %d bytes in this form", MaxOut)}

// plain is JSON without the escapes that HTML wants.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (c *Compiled) lines(rows [][]cell, before, between, last, after string) ([]byte, error) {
	b := []byte(before)
	for i, row := range rows {
		if i > 0 {
			b = append(b, between...)
		}
		o, err := c.object(row)
		if err != nil {
			return nil, err
		}
		if len(b)+len(o) > MaxOut {
			return nil, errLong
		}
		b = append(b, o...)
	}
	if len(rows) > 0 {
		b = append(b, last...)
	}
	return append(b, after...), nil
}

// csv writes a line of names and one for each row. A text that a spreadsheet would take for a formula gets an apostrophe before it.
func (c *Compiled) csv(rows [][]cell) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	line := make([]string, len(c.fields))
	for i, f := range c.fields {
		line[i] = guarded(f.Name)
	}
	if err := w.Write(line); err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	for _, row := range rows {
		size := b.Len()
		for i, x := range row {
			var err error
			if line[i], err = text(x.value); err != nil {
				return nil, err
			}
			if size += len(line[i]); size > MaxOut {
				return nil, errLong
			}
		}
		if len(line) == 1 && line[0] == "" { // which would be an empty line, that is none
			w.Flush()
			b.WriteString("\"\"\r\n")
			continue
		}
		if err := w.Write(line); err != nil {
			return nil, fmt.Errorf("view: %w", err)
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// text is a value as a cell of CSV: lists and objects as JSON.
func text(v any) (string, error) {
	switch x := v.(type) {
	case nil:
		return "", nil
	case string:
		return guarded(x), nil
	case json.Number:
		return x.String(), nil
	}
	b, err := plain(v)
	return string(b), err
}

func guarded(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// Decode reads a JSON value as Input wants it; nothing is nil.
func Decode(b []byte) (v any, err error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}
