package gateway

import (
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
)

// inflated is a request's body as it was before its client compressed it: gzip, or deflate, which is zlib's form (RFC 9110, 8.4.1). Of that, most
// bytes are read, however few were sent; more is an *http.MaxBytesError.
func inflated(r *http.Request, most int64) (io.Reader, error) {
	var in io.ReadCloser
	var err error
	switch kind := r.Header.Get("Content-Encoding"); kind {
	case "", "identity":
		return r.Body, nil // entry bounds it
	case "gzip":
		in, err = gzip.NewReader(r.Body)
	case "deflate":
		in, err = zlib.NewReader(r.Body)
	default:
		return nil, &Error{Fault: FaultUnsupported, Why: fmt.Sprintf("unsupported: Content-Encoding %.40q", kind)}
	}
	if err != nil {
		return nil, invalid("", "the body is not what Content-Encoding says")
	}
	return http.MaxBytesReader(nil, in, most), nil
}
