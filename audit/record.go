// Package audit chains the records of changes by their hashes, so that a log that was altered is found.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Limits of a record.
const (
	MaxText   = 4 << 10           // bytes of By, Request and Outcome each; Encode cuts off what is longer
	MaxRecord = 8<<20 + 128<<10   // bytes of an encoded record: a whole entry of the log, and what is around it
	maxLine   = MaxRecord + 1<<10 // bytes of a line in a file
)

// Applied is the outcome of a change that was made.
const Applied = "applied"

// ErrMalformed says that bytes are no record in canonical form.
var ErrMalformed = errors.New("audit: not a record")

// Record is one change that was asked for.
type Record struct {
	Seq      uint64          `json:"seq"`      // 1 for the first
	At       int64           `json:"at"`       // Unix time in milliseconds
	Index    uint64          `json:"index"`    // of the log entry
	By       string          `json:"by"`       // who asked
	Request  string          `json:"request"`  // id of the request that it came with
	Commands json.RawMessage `json:"commands"` // what was asked; empty is written as []
	Outcome  string          `json:"outcome"`  // Applied, or why it was rejected
}

// Encode writes a record in canonical form: one JSON object (RFC 8259) without spaces, its fields in the order of the struct, strings in
// UTF-8 with only the escapes that JSON demands. It fails if the commands are not JSON in UTF-8, or too much.
func (r Record) Encode() ([]byte, error) {
	out := make([]byte, 0, len(r.Commands)+len(r.By)+len(r.Request)+len(r.Outcome)+128)
	out = strconv.AppendUint(append(out, `{"seq":`...), r.Seq, 10)
	out = strconv.AppendInt(append(out, `,"at":`...), r.At, 10)
	out = strconv.AppendUint(append(out, `,"index":`...), r.Index, 10)
	out = appendString(append(out, `,"by":`...), r.By)
	out = appendString(append(out, `,"request":`...), r.Request)
	out = append(out, `,"commands":`...)
	if len(r.Commands) == 0 {
		out = append(out, "[]"...)
	} else {
		b := bytes.NewBuffer(out)
		if !utf8.Valid(r.Commands) {
			return nil, fmt.Errorf("%w: the commands of record %d are not UTF-8", ErrMalformed, r.Seq)
		}
		if err := json.Compact(b, r.Commands); err != nil {
			return nil, fmt.Errorf("%w: the commands of record %d: %w", ErrMalformed, r.Seq, err)
		}
		out = b.Bytes()
	}
	out = append(appendString(append(out, `,"outcome":`...), r.Outcome), '}')
	if len(out) > MaxRecord {
		return nil, fmt.Errorf("%w: record %d has %d bytes, more than %d", ErrMalformed, r.Seq, len(out), MaxRecord)
	}
	return out, nil
}

// Decode reads a record in canonical form: what Encode would write differently is refused, so equal records have equal bytes.
func Decode(encoded []byte) (Record, error) {
	var r Record
	if len(encoded) > MaxRecord {
		return Record{}, fmt.Errorf("%w: %d bytes are more than %d", ErrMalformed, len(encoded), MaxRecord)
	}
	dec := json.NewDecoder(bytes.NewReader(encoded))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if again, err := r.Encode(); err != nil || !bytes.Equal(again, encoded) {
		return Record{}, fmt.Errorf("%w: not in canonical form", ErrMalformed)
	}
	return r, nil
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string of at most MaxText bytes of s; what is not UTF-8 becomes U+FFFD.
func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	size := 0
	for _, c := range s {
		if size += utf8.RuneLen(c); size > MaxText {
			break
		}
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', byte(c))
		case c < ' ':
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			out = utf8.AppendRune(out, c)
		}
	}
	return append(out, '"')
}
