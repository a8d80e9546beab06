package export

import (
	"bytes"
	"strings"
	"testing"

	"github.com/skein-project/skein/results"
)

// Lines of CSV end as RFC 4180 says.
func TestLines(t *testing.T) {
	var b bytes.Buffer
	w, ok := New(CSV, &b)
	if !ok {
		t.Fatal("no CSV")
	}
	if err := w.Write(results.Record{ID: "1", Model: "calc"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); strings.Count(s, "\r\n") != 2 || strings.Count(s, "\n") != 2 || !strings.HasSuffix(s, "\r\n") {
		t.Errorf("%q", s)
	}
}
