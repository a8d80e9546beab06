package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
)

// Headers have a limit, in HTTP/1 and HTTP/2.
func TestBigHeaders(t *testing.T) {
	ca := authority(t)
	addr := answering(t, ca)
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	for size, want := range map[int]bool{1 << 10: true, 1 << 20: false} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+addr+string(Ping), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Big", strings.Repeat("x", size))
		res, err := d.http[cluster.RoleCoordinator].Do(req)
		if err == nil {
			res.Body.Close()
		}
		if got := err == nil && res.StatusCode == http.StatusOK; got != want {
			t.Errorf("header of %d bytes over HTTP/2: %v, %v", size, res, err)
		}
	}
	c, err := tls.Dial("tcp", addr, d.creds.client([]string{alpnH1}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	go fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nX-Big: %s\r\n\r\n", Ping, strings.Repeat("x", 1<<20))
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
		if res.Body.Close(); res.StatusCode < 400 {
			t.Errorf("a header of 1 MiB over HTTP/1: %s", res.Status)
		}
	}
}

type text struct {
	Text string `json:"text"`
}

// Messages have a limit in both directions, a small one before anything is proved.
func TestBigMessages(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	m := NewMux()
	Handle(m, Propose, func(_ context.Context, r *text) (*text, error) {
		n, _ := strconv.Atoi(r.Text)
		return &text{strings.Repeat("x", n)}, nil
	})
	for _, p := range []Procedure{Join, Renew} {
		Handle(m, p, func(context.Context, *text) (*text, error) { return &text{}, nil })
	}
	HandleBidi(m, Sync, func(_ context.Context, s *connect.BidiStream[text, text]) error {
		r, err := s.Receive()
		if err == nil {
			err = s.Send(r)
		}
		return err
	})
	HandleFrames(m, func(_ context.Context, s *connect.BidiStream[Frame, Frame]) error {
		f, err := s.Receive()
		if err == nil {
			err = s.Send(f)
		}
		return err
	})
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	coord, node := NewDialer(papers(t, ca, member(cluster.RoleCoordinator), time.Now())), NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer coord.Close()
	defer node.Close()
	call := func(p Procedure, size int) error {
		_, err := Call[text, text](t.Context(), coord, cluster.RoleCoordinator, addr, p, &text{strings.Repeat("x", size)})
		return err
	}
	// The client has a limit too, so its own is lifted to see the server's.
	bare := func(p Procedure, size int) error {
		c := connect.NewClient[text, text](coord.http[cluster.RoleCoordinator], "https://"+addr+string(p), connect.WithCodec(jsonCodec{}))
		_, err := c.CallUnary(t.Context(), connect.NewRequest(&text{strings.Repeat("x", size)}))
		return err
	}
	for name, c := range map[string]struct {
		err  error
		fits bool
	}{
		"answer within":    {call(Propose, 0), true},
		"request beyond":   {bare(Propose, MaxMessage+1), false},
		"sending beyond":   {call(Propose, MaxMessage+1), false},
		"join within":      {bare(Join, MaxJoin/2), true},
		"join beyond":      {bare(Join, MaxJoin+1), false},
		"renew beyond":     {bare(Renew, MaxJoin+1), false},
		"answer beyond":    {answer(t, coord, addr, MaxMessage+1), false},
		"answer of 15 MiB": {answer(t, coord, addr, 15<<20), true},
	} {
		if (c.err == nil) != c.fits || !c.fits && connect.CodeOf(unwrapRefused(c.err)) != connect.CodeResourceExhausted {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	for size, fits := range map[int]bool{MaxReport / 2: true, MaxReport + 1: false} {
		s := Bidi[text, text](t.Context(), node, cluster.RoleCoordinator, addr, Sync)
		s.Send(&text{strings.Repeat("x", size)})
		if _, err := s.Receive(); (err == nil) != fits {
			t.Errorf("a report of %d bytes: %v", size, err)
		}
		s.CloseRequest()
		s.CloseResponse()
	}
	for size, fits := range map[int]bool{MaxMessage - 1: true, MaxMessage + 1: false} {
		c := connect.NewClient[Frame, Frame](node.http[cluster.RoleCoordinator], "https://"+addr+string(StageLink), connect.WithCodec(frameCodec{}))
		s := c.CallBidiStream(t.Context())
		f := Frame(bytes.Repeat([]byte("x"), size))
		s.Send(&f)
		if g, err := s.Receive(); (err == nil) != fits || fits && len(*g) != size {
			t.Errorf("a frame of %d bytes: %v", size, err)
		}
		s.CloseRequest()
		s.CloseResponse()
	}
}

func answer(t *testing.T, d *Dialer, addr string, size int) error {
	_, err := Call[text, text](t.Context(), d, cluster.RoleCoordinator, addr, Propose, &text{strconv.Itoa(size)})
	return err
}

// unwrapRefused makes a *connect.Error of a Refused again.
func unwrapRefused(err error) error {
	var refused *Refused
	if errors.As(err, &refused) {
		return connect.NewError(refused.Code, refused)
	}
	return err
}

// What is no message of the protocol is refused: it reaches no handler.
func TestMalformed(t *testing.T) {
	ca := authority(t)
	addr := answering(t, ca)
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	for _, body := range []string{"", "{", "[]", `"x"`, "{}{}", strings.Repeat("[", 100_000), "\xff"} {
		res, err := d.http[cluster.RoleCoordinator].Post("https://"+addr+string(Ping), "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ Code string }
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil || res.StatusCode != http.StatusBadRequest || e.Code != "invalid_argument" {
			t.Errorf("%.20q: %s %s %v", body, res.Status, e.Code, err)
		}
		res.Body.Close()
	}
}
