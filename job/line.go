package job

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// Line is a request of a batch.
type Line struct {
	CustomID string
	Body     json.RawMessage
}

// Codes of faults of an input, as the OpenAI API has them.
const (
	codeJSON      = "invalid_json_line"
	codeID        = "missing_custom_id"
	codeDuplicate = "duplicate_custom_id"
	codeMethod    = "invalid_method"
	codeURL       = "mismatched_endpoint"
	codeBody      = "invalid_request_body"
	codeLong      = "line_too_long"
	codeMany      = "too_many_lines"
	codeEmpty     = "empty_file"
)

// ParseLine reads a line of an input for an endpoint.
func ParseLine(endpoint string, b []byte) (l Line, f *Fault) {
	var v struct {
		CustomID string          `json:"custom_id"`
		Method   string          `json:"method"`
		URL      string          `json:"url"`
		Body     json.RawMessage `json:"body"`
	}
	if !utf8.Valid(b) {
		return l, &Fault{Code: codeJSON, Message: "The line is not UTF-8."}
	}
	if err := json.Unmarshal(b, &v); err != nil || b[0] != '{' {
		return l, &Fault{Code: codeJSON, Message: "The line is not a JSON object with the fields custom_id, method, url and body."}
	}
	switch {
	case v.CustomID == "":
		return l, &Fault{Code: codeID, Message: "The line has no custom_id.", Param: "custom_id"}
	case len(v.CustomID) > MaxCustomID:
		return l, &Fault{Code: codeID, Message: fmt.Sprintf("The custom_id has %d bytes, at most %d are allowed.", len(v.CustomID), MaxCustomID), Param: "custom_id"}
	case v.Method != "POST":
		return l, &Fault{Code: codeMethod, Message: fmt.Sprintf("The method is %.16q, want POST.", v.Method), Param: "method"}
	case v.URL != endpoint:
		return l, &Fault{Code: codeURL, Message: fmt.Sprintf("The url is %.64q, and the batch is for %s.", v.URL, endpoint), Param: "url"}
	case len(v.Body) == 0 || v.Body[0] != '{':
		return l, &Fault{Code: codeBody, Message: "The body is not a JSON object.", Param: "body"}
	}
	var body struct {
		Stream json.RawMessage `json:"stream"`
	}
	if json.Unmarshal(v.Body, &body) == nil && string(body.Stream) == "true" {
		return l, &Fault{Code: codeBody, Message: "Answers of a batch are not streamed.", Param: "body.stream"}
	}
	return Line{v.CustomID, v.Body}, nil
}

// Lines reads an input line by line, in memory of one line.
type Lines struct {
	Offset int64 // bytes that were read, lines and their ends
	Number int64 // of the line that was read, from 1 on

	r    *bufio.Reader
	line []byte
}

// NewLines reads lines from where an input was opened.
func NewLines(r io.Reader, offset int64) *Lines {
	return &Lines{Offset: offset, r: bufio.NewReaderSize(r, 64<<10)}
}

// Next gives the next line that is not blank, without its end; it is valid until the next call. Of a line of more than MaxLine bytes nothing is
// given, and long is true. At the end the error is io.EOF.
func (l *Lines) Next() (line []byte, long bool, err error) {
	for {
		l.line, long = l.line[:0], false
		for {
			piece, err := l.r.ReadSlice('\n')
			l.Offset += int64(len(piece))
			if long = long || len(l.line)+len(bytes.TrimRight(piece, "\r\n")) > MaxLine; long {
				l.line = l.line[:0]
			} else {
				l.line = append(l.line, piece...)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil && (!errors.Is(err, io.EOF) || len(l.line) == 0 && !long) {
				return nil, false, err
			}
			break
		}
		l.Number++
		if long {
			return nil, true, nil
		}
		if line = bytes.TrimSpace(l.line); len(line) > 0 {
			return line, false, nil
		}
	}
}

// Checker looks at an input before any of its requests is made. It holds 24 bytes of each line.
type Checker struct {
	endpoint string
	seen     []named
	faults   []Fault
}

// named is a line's custom_id: the beginning of its SHA-256.
type named struct {
	id   [16]byte
	line int64
}

// NewChecker looks at an input for an endpoint.
func NewChecker(endpoint string) *Checker { return &Checker{endpoint: endpoint} }

// Line looks at a line; long = it is too long to be looked at. What is false says that there is no need to go on.
func (c *Checker) Line(number int64, b []byte, long bool) bool {
	switch {
	case len(c.seen) >= MaxLines:
		c.fault(Fault{Line: number, Code: codeMany, Message: fmt.Sprintf("The file has more than %d requests.", MaxLines)})
		return false
	case long:
		c.fault(Fault{Line: number, Code: codeLong, Message: fmt.Sprintf("The line has more than %d bytes.", MaxLine)})
		return len(c.faults) < MaxFaults
	}
	l, f := ParseLine(c.endpoint, b)
	if f != nil {
		f.Line = number
		c.fault(*f)
		return len(c.faults) < MaxFaults
	}
	sum := sha256.Sum256([]byte(l.CustomID))
	c.seen = append(c.seen, named{[16]byte(sum[:16]), number})
	return true
}

func (c *Checker) fault(f Fault) { c.faults = append(c.faults, f) }

// Result is how many requests there are, or what is wrong: the first MaxFaults faults.
func (c *Checker) Result() (total int64, faults []Fault) {
	slices.SortFunc(c.seen, func(a, b named) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.line, b.line))
	})
	var twice []Fault
	for i := 1; i < len(c.seen); i++ {
		if c.seen[i].id == c.seen[i-1].id {
			if len(twice) >= 64*MaxFaults { // of so many the first are enough
				twice = first(twice)
			}
			twice = append(twice, Fault{Line: c.seen[i].line, Code: codeDuplicate, Message: fmt.Sprintf("The custom_id is that of line %d.", c.seen[i-1].line), Param: "custom_id"})
		}
	}
	if len(c.seen) == 0 && len(c.faults) == 0 {
		c.fault(Fault{Code: codeEmpty, Message: "The file has no requests."})
	}
	c.faults = first(append(c.faults, twice...))
	return int64(len(c.seen)), c.faults
}

// first are the faults of the first lines.
func first(list []Fault) []Fault {
	slices.SortStableFunc(list, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	return list[:min(len(list), MaxFaults)]
}
