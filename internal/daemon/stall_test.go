package daemon

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// stalling is a server that stalls soon, with what became of each request.
func stalling(t *testing.T, h func(http.ResponseWriter, *http.Request) error) (addr string, ended chan error) {
	t.Helper()
	ended = make(chan error, 8)
	s := httptest.NewUnstartedServer(stalled(stallWait, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ended <- h(w, r) })))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), ended
}

func dial(t *testing.T, addr, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

func wait(t *testing.T, ended chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the request goes on")
		return nil
	}
}

// stallWait is how long a client may stall in these tests: a noisy machine must not look like one.
const stallWait = time.Second

// A body that stops coming ends the request; one that comes slowly does not.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	addr, ended := stalling(t, readAll)
	dial(t, addr, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	if err := wait(t, ended); err == nil {
		t.Error("half a body is taken for a whole one")
	}
	slow := dial(t, addr, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
	tick := time.NewTicker(stallWait * 3 / 10)
	defer tick.Stop()
	for range 5 { // longer in all than one wait may be
		<-tick.C
		if _, err := io.WriteString(slow, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := wait(t, ended); err != nil {
		t.Errorf("a slow body: %v", err)
	}
}

func readAll(_ http.ResponseWriter, r *http.Request) error {
	_, err := io.ReadAll(r.Body)
	return err
}

// An answer that is not taken ends the request.
func TestStalledAnswer(t *testing.T) {
	t.Parallel()
	piece := bytes.Repeat([]byte("x"), 1<<16)
	addr, ended := stalling(t, func(w http.ResponseWriter, _ *http.Request) error {
		for {
			if _, err := w.Write(piece); err != nil {
				return err
			}
			w.(http.Flusher).Flush()
		}
	})
	dial(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // and reads nothing
	wait(t, ended)
}

// A server may take its time, on either protocol, again and again on one connection.
func TestStalledServer(t *testing.T) {
	t.Parallel()
	addr, ended := stalling(t, func(w http.ResponseWriter, r *http.Request) error {
		if err := readAll(w, r); err != nil {
			return err
		}
		select {
		case <-time.After(stallWait * 3 / 2):
		case <-r.Context().Done():
			return r.Context().Err()
		}
		_, err := io.WriteString(w, "late")
		return err
	})
	for _, h2 := range []bool{false, true} {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(!h2)
		tr.Protocols.SetUnencryptedHTTP2(h2)
		for range 2 {
			res, err := (&http.Client{Transport: tr}).Post("http://"+addr, "text/plain", strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || string(b) != "late" || wait(t, ended) != nil {
				t.Errorf("HTTP/2 %v: %q, %v", h2, b, err)
			}
		}
		tr.CloseIdleConnections()
	}
}
