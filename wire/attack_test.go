package wire

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skein-project/skein/cluster"
)

// Every constant of type Procedure is in the table, and nothing else is.
func TestTableIsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "rpc.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []Procedure
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Procedure" {
				text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, Procedure(text))
			}
		}
	}
	if len(names) < 14 {
		t.Fatalf("only %d procedures are found", len(names))
	}
	for _, p := range names {
		if roles, ok := allowed[p]; !ok || len(roles) == 0 && p != Join {
			t.Errorf("%s is not in the table", p)
		}
	}
	if len(allowed) != len(names) {
		t.Errorf("the table has %d procedures, %d are declared", len(allowed), len(names))
	}
	defer func() {
		if recover() == nil {
			t.Error("a procedure without roles is handled")
		}
	}()
	NewMux().handle("/skein.fleet.v1.New/New", nil)
}

// answering is a coordinator that answers pings, and counts nothing else.
func answering(t *testing.T, ca *Authority) (addr string) {
	t.Helper()
	m := NewMux()
	Handle(m, Ping, func(context.Context, *Empty) (*Pong, error) { return &Pong{}, nil })
	_, addr = serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	return addr
}

func ping(t *testing.T, ca *Authority, addr string) error {
	t.Helper()
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := Call[Empty, Pong](ctx, d, cluster.RoleCoordinator, addr, Ping, &Empty{})
	return err
}

// Thousands of connections that never say a word, or stop in the middle of their handshake, keep no member out, and go away.
func TestHalfOpenFlood(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	addr := answering(t, ca)
	const flood = 4 * maxStrangers
	conns := make([]net.Conn, flood)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 { // a record of 16 kB begins, and never ends
			c.Write([]byte{22, 3, 1, 64, 0, 1, 0, 63, 252})
		}
		conns[i] = c
	}
	if err := ping(t, ca, addr); err != nil {
		t.Error(err)
	}
	for i, c := range conns { // the newest live for handshakeTimeout
		c.SetReadDeadline(time.Now().Add(10 * handshakeTimeout))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("connection %d is still open: %v", i, err)
		}
	}
}

// A connection without certificate ends soon, whatever it does: it is good for one call of Join.
func TestStrangersEnd(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	l, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), NewMux())
	var conns []*tls.Conn
	for range maxStrangers + 8 {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpnH1}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	conns[0].SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := conns[0].Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("more strangers than are allowed: %v", err)
	}
	l.mu.Lock()
	n := l.strangers.Len()
	l.mu.Unlock()
	if n > maxStrangers {
		t.Errorf("%d strangers", n)
	}
	c := &accepted{Conn: conns[1], listener: l, end: time.AfterFunc(time.Hour, func() {})}
	c.introduce(tls.ConnectionState{})
	if !c.end.Reset(time.Hour) {
		t.Error("a stranger has no end")
	}
	c.Close()
	if c.end.Stop() {
		t.Error("a closed connection keeps its timer")
	}
	c.introduce(tls.ConnectionState{})
	if c.end.Stop() {
		t.Error("a closed connection is given an end")
	}
}

// With a certificate that ended a member can renew it, and nothing else; not for ever, and not on Raft's share.
func TestExpired(t *testing.T) {
	ca, err := NewAuthority(clusterID, time.Now().Add(-2*RenewGrace))
	if err != nil {
		t.Fatal(err)
	}
	m := NewMux()
	Handle(m, Ping, func(context.Context, *Empty) (*Pong, error) { return &Pong{}, nil })
	Handle(m, Renew, func(ctx context.Context, r *JoinRequest) (*JoinResponse, error) {
		cert, err := ca.Sign(r.CSR, Peer(ctx), time.Now())
		return &JoinResponse{Cert: cert}, err
	})
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	ended := time.Now().Add(-CertLife - time.Hour)
	who := member(cluster.RoleNode)
	d := NewDialer(papers(t, ca, who, ended))
	defer d.Close()
	ask := func() error {
		_, err := Call[Empty, Pong](t.Context(), d, cluster.RoleCoordinator, addr, Ping, &Empty{})
		return err
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "permission_denied") && !strings.Contains(err.Error(), "403") {
		t.Errorf("a call with a certificate that ended: %v", err)
	}
	if _, err := RenewCluster(t.Context(), d, addr); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Errorf("after renewing: %v", err)
	}
	if d.creds.Identity() != who {
		t.Errorf("renewed as %+v", d.creds.Identity())
	}
	old := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now().Add(-CertLife-RenewGrace-time.Hour)))
	defer old.Close()
	if _, err := RenewCluster(t.Context(), old, addr); err == nil {
		t.Error("a certificate that ended long ago is renewed")
	}
	a, raftAddr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), NewMux())
	b, _ := serve(t, papers(t, ca, member(cluster.RoleCoordinator), ended), NewMux())
	if c, err := b.Raft().Dial(raft.ServerAddress(raftAddr), 5*time.Second); err == nil {
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Raft talks to a certificate that ended: %v", err)
		}
	}
	if c, err := a.Raft().Dial(raft.ServerAddress(b.Addr().String()), 5*time.Second); err == nil {
		c.Close()
		t.Error("Raft dials a certificate that ended")
	}
}

// New papers are what new connections show, and what Raft's show.
func TestRenewedPapersAreUsed(t *testing.T) {
	ca := authority(t)
	who := member(cluster.RoleCoordinator)
	creds := papers(t, ca, who, time.Now())
	_, addr := serve(t, creds, NewMux())
	shown := func(alpn string) string {
		c, err := tls.Dial("tcp", addr, papers(t, ca, member(cluster.RoleCoordinator), time.Now()).client([]string{alpn}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := shown(alpnH2)
	if err := creds.Replace(papers(t, ca, who, time.Now()).Papers()); err != nil {
		t.Fatal(err)
	}
	for _, alpn := range []string{alpnH2, alpnRaft} {
		if shown(alpn) == before {
			t.Errorf("%s shows the old certificate", alpn)
		}
	}
	if err := creds.Replace(papers(t, ca, member(cluster.RoleCoordinator), time.Now()).Papers()); !errors.Is(err, ErrIdentity) {
		t.Errorf("another member's papers: %v", err)
	}
}

// A connection to a protocol that nobody serves is closed; it takes no room from others.
func TestNobodyServesRaft(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	addr := answering(t, ca)
	c, err := tls.Dial("tcp", addr, papers(t, ca, member(cluster.RoleCoordinator), time.Now()).client([]string{alpnRaft}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(6 * handshakeTimeout))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is still open: %v", err)
	}
	if err := ping(t, ca, addr); err != nil {
		t.Error(err)
	}
}

// Forward passes on only for coordinators; a member of another role, or a leader that is gone, is an answer and no hang.
func TestForward(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	m.HandleForward(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, r.URL.Path)
	}))
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	_, nobody := serve(t, papers(t, ca, member(cluster.RoleNode), time.Now()), m)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, c := range map[string]struct {
		as        cluster.Role
		leader    string
		key, body string
		status    int
	}{
		"a coordinator":       {cluster.RoleCoordinator, addr, "key", "/skein.admin.v1.X/Y", 200},
		"without the key":     {cluster.RoleCoordinator, addr, "other", "", 401},
		"a node":              {cluster.RoleNode, addr, "key", ErrRole.Error() + "\n", 403},
		"a gateway":           {cluster.RoleGateway, addr, "key", ErrRole.Error() + "\n", 403},
		"no leader":           {cluster.RoleCoordinator, "", "key", "there is no leader at the moment\n", 503},
		"a leader that left":  {cluster.RoleCoordinator, closed.Addr().String(), "key", "the leader does not answer\n", 503},
		"a node for a leader": {cluster.RoleCoordinator, nobody, "key", "the leader does not answer\n", 503},
	} {
		d := NewDialer(papers(t, ca, member(c.as), time.Now()))
		defer d.Close()
		w := recorder{header: http.Header{}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://api/skein.admin.v1.X/Y", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.key)
		Forwarder(d, func() string { return c.leader }).ServeHTTP(&w, r)
		if w.status != c.status || w.body.String() != c.body {
			t.Errorf("%s: %d %q, want %d %q", name, w.status, w.body.String(), c.status, c.body)
		}
	}
}

// recorder is what a client would see.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(s int)   { r.status = s }
func (r *recorder) Flush()              {}
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.body.Write(b)
}

// A member's certificate signs nobody: only the authority's own key makes members.
func TestMembersAreNoAuthorities(t *testing.T) {
	ca := authority(t)
	addr := answering(t, ca)
	thief := papers(t, ca, member(cluster.RoleNode), time.Now())
	pretended := &Authority{Cert: thief.cert.Leaf, key: thief.cert.PrivateKey.(crypto.Signer)}
	forged := papers(t, pretended, member(cluster.RoleCoordinator), time.Now())
	forged.cert.Certificate = append(forged.cert.Certificate, ca.Cert.Raw)
	forged.ca = ca.Cert
	d := NewDialer(forged)
	defer d.Close()
	if _, err := Call[Empty, Pong](t.Context(), d, cluster.RoleCoordinator, addr, Ping, &Empty{}); err == nil {
		t.Error("a node made a coordinator")
	}
}
