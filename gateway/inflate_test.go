package gateway

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestInflated(t *testing.T) {
	packed := func(w func(io.Writer) io.WriteCloser, text string) string {
		var b bytes.Buffer
		z := w(&b)
		if _, err := z.Write([]byte(text)); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	gz := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	text, bomb := strings.Repeat("a", 1000), strings.Repeat("a", 1001)
	for what, c := range map[string]struct {
		kind, body string
		want       Fault // 0 = it is text
	}{
		"plain": {"", text, 0}, "identity": {"identity", text, 0}, "gzip": {"gzip", packed(gz, text), 0},
		"deflate": {"deflate", packed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, text), 0},
		"a bomb":  {"gzip", packed(gz, bomb), FaultTooLarge}, "no gzip": {"gzip", text, FaultInvalid}, "cut": {"gzip", packed(gz, text)[:20], FaultInvalid},
		"brotli": {"br", text, FaultUnsupported},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Encoding", c.kind)
		got, err := readAll(r, 1000)
		var e *Error
		if c.want == 0 && (err != nil || string(got) != text) || c.want != 0 && (!errors.As(err, &e) || e.Fault != c.want) {
			t.Errorf("%s: %.20q %v", what, got, err)
		}
	}
}
