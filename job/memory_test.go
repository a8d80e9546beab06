package job

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
)

// endless is an input of n lines that is nowhere whole; line bad is no JSON.
type endless struct {
	n, bad, at int
	left       []byte
}

func (e *endless) Read(p []byte) (int, error) {
	for len(e.left) == 0 {
		switch e.at++; {
		case e.at > e.n:
			return 0, io.EOF
		case e.at == e.bad:
			e.left = []byte("{\"custom_id\": \"x\", \"method\"\n")
		default:
			e.left = fmt.Appendf(nil, `{"custom_id": "request-%d", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "text number %d", "max_tokens": 1}}`+"\n", e.at, e.at)
		}
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

// A file of a million lines with one that is bad is read in memory of 24 bytes a line and of one line, and the line is named.
func TestManyLines(t *testing.T) {
	n := 50_000
	if os.Getenv("SKEIN_FULL") != "" {
		n = MaxLines
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c, lines, peak := NewChecker("/v1/completions"), NewLines(&endless{n: n, bad: n - 7}, 0), before
	for {
		line, long, err := lines.Next()
		if err != nil {
			break
		}
		if c.Line(lines.Number, line, long); lines.Number%int64(n/4) == 0 {
			peak = max(peak, heap())
		}
	}
	peak = max(peak, heap())
	total, faults := c.Result()
	if total != int64(n-1) || len(faults) != 1 || faults[0].Line != int64(n-7) || faults[0].Code != codeJSON {
		t.Errorf("%d requests, %+v", total, faults)
	}
	if used, most := int64(peak)-int64(before), int64(n)*24*2+1<<20; used > most {
		t.Errorf("%d bytes were held for %d lines, at most %d", used, n, most)
	}
	c.Line(0, nil, false)
}
