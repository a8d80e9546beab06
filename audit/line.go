package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// ErrTorn says that a file ends within a line: whoever wrote it was stopped. The lines before it are whole.
var ErrTorn = errors.New("audit: the last line is not whole")

// Line is a record as it stands in a file, with the hash of the chain up to it.
type Line struct {
	Record  Record
	Encoded []byte // the record in canonical form
	Hash    Hash
}

// A line is lineHead, the record, lineMid, the hash's digits, lineTail.
const (
	lineHead = `{"record":`
	lineMid  = `,"hash":"`
	lineTail = `"}`
)

// AppendLine writes an encoded record and the head after it as a line of JSON, with its end of line.
func AppendLine(out, encoded []byte, after Head) []byte {
	out = append(append(append(out, lineHead...), encoded...), lineMid...)
	return append(append(append(out, after.Hash.String()...), lineTail...), '\n')
}

// ParseLine reads a line without its end of line.
func ParseLine(b []byte) (Line, error) {
	const digits = 2 * len(Hash{})
	end := len(b) - len(lineMid) - digits - len(lineTail)
	if end < len(lineHead) || !bytes.HasPrefix(b, []byte(lineHead)) || !bytes.HasSuffix(b, []byte(lineTail)) || !bytes.HasPrefix(b[end:], []byte(lineMid)) {
		return Line{}, fmt.Errorf("%w: a line of %d bytes without record and hash", ErrMalformed, len(b))
	}
	var l Line
	if err := l.Hash.UnmarshalText(b[end+len(lineMid) : len(b)-len(lineTail)]); err != nil {
		return Line{}, err
	}
	l.Encoded = bytes.Clone(b[len(lineHead):end])
	var err error
	l.Record, err = Decode(l.Encoded)
	return l, err
}

// Lines reads the lines of a file, up to the first that is not one. Memory: at most one line of MaxRecord and a little.
func Lines(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		in := bufio.NewScanner(r)
		in.Buffer(nil, maxLine)
		in.Split(whole)
		for in.Scan() {
			line, err := ParseLine(in.Bytes())
			if !yield(line, err) || err != nil {
				return
			}
		}
		err := in.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("%w: a line is longer than %d bytes", ErrMalformed, maxLine)
		}
		if err != nil {
			yield(Line{}, err)
		}
	}
}

// whole splits at ends of lines, and does not take a rest for a line.
func whole(b []byte, eof bool) (int, []byte, error) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1, b[:i], nil
	}
	if eof && len(b) > 0 {
		return 0, nil, ErrTorn
	}
	return 0, nil, nil
}
