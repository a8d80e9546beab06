package daemon

import (
	"io"
	"net/http"
	"time"
)

// stallFor is how long a client may keep the server waiting for the next bytes of its request, or with the next bytes of an answer.
const stallFor = time.Minute

// stalled ends requests whose client neither sends nor takes anything for so long. Time that the server itself takes does not count.
func stalled(within time.Duration, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		c.SetWriteDeadline(time.Time{}) // an earlier request on the connection may have left one
		r.Body = &body{r.Body, c, within}
		h.ServeHTTP(&writer{w, c, within}, r)
		if r.ProtoMajor == 1 { // what is still in the buffer goes out now; on HTTP/2 a deadline would end the stream
			c.SetWriteDeadline(time.Now().Add(within))
		}
	})
}

// body is a request's body. A deadline is there only while somebody waits: net/http looks for the client's end with the same connection.
type body struct {
	io.ReadCloser
	c      *http.ResponseController
	within time.Duration
}

func (b *body) Read(p []byte) (int, error) {
	b.c.SetReadDeadline(time.Now().Add(b.within))
	defer b.c.SetReadDeadline(time.Time{})
	return b.ReadCloser.Read(p)
}

// writer is an answer.
type writer struct {
	http.ResponseWriter
	c      *http.ResponseController
	within time.Duration
}

func (w *writer) Write(p []byte) (int, error) {
	w.c.SetWriteDeadline(time.Now().Add(w.within))
	defer w.c.SetWriteDeadline(time.Time{})
	return w.ResponseWriter.Write(p)
}

// FlushError sends what is in the buffer.
func (w *writer) FlushError() error {
	w.c.SetWriteDeadline(time.Now().Add(w.within))
	defer w.c.SetWriteDeadline(time.Time{})
	return w.c.Flush()
}

// Flush implements http.Flusher, which connect asks for.
func (w *writer) Flush() { _ = w.FlushError() } // the interface has no error

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
