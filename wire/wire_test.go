package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	"github.com/skein-project/skein/cluster"
)

var clusterID = strings.Repeat("ab", 16)

func papers(t testing.TB, ca *Authority, who Identity, at time.Time) *Credentials {
	t.Helper()
	key, csr, err := Request()
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.Sign(csr, who, at)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPapers(der, key, ca.Cert)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredentials(p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authority(t testing.TB) *Authority {
	t.Helper()
	ca, err := NewAuthority(clusterID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func serve(t testing.TB, creds *Credentials, m *Mux) (*Listener, string) {
	t.Helper()
	l, err := Listen("127.0.0.1:0", creds, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, m) }()
	t.Cleanup(func() {
		cancel()
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l, l.Addr().String()
}

func member(role cluster.Role) Identity { return Identity{Cluster: clusterID, Role: role, ID: NewID()} }

// Every procedure answers exactly the roles of the table, and nobody without a certificate but a joiner.
func TestRoles(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	var reached atomic.Int32
	for p := range allowed {
		m.handle(p, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached.Add(1) }))
	}
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	for _, role := range []cluster.Role{cluster.RoleCoordinator, cluster.RoleNode, cluster.RoleGateway, "stranger"} {
		d := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		if role != "stranger" {
			d = NewDialer(papers(t, ca, member(role), time.Now())).http[cluster.RoleCoordinator]
		}
		for p, roles := range allowed {
			before := reached.Load()
			res, err := d.Post("https://"+addr+string(p), "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(role, p, err)
			}
			res.Body.Close()
			want := slices.Contains(roles, role) || p == Join
			if got := reached.Load() > before; got != want || (res.StatusCode == http.StatusForbidden) == want {
				t.Errorf("%s calls %s: reached %v, status %d; want reached %v", role, p, got, res.StatusCode, want)
			}
		}
		d.CloseIdleConnections()
	}
}

// A certificate of another cluster's authority, of another cluster by the same authority, or out of date opens nothing.
func TestForeignCertificates(t *testing.T) {
	ca, other := authority(t), authority(t)
	m := NewMux()
	Handle(m, Ping, func(context.Context, *Empty) (*Pong, error) { return &Pong{}, nil })
	server := papers(t, ca, member(cluster.RoleCoordinator), time.Now())
	_, addr := serve(t, server, m)
	node := func(ca *Authority, who Identity, at time.Time) *Credentials {
		c := papers(t, ca, who, at)
		c.ca = server.ca // the intruder knows the real authority
		return c
	}
	foreign := member(cluster.RoleNode)
	foreign.Cluster = strings.Repeat("cd", 16)
	for name, c := range map[string]*Credentials{
		"other authority": node(other, member(cluster.RoleNode), time.Now()),
		"expired":         node(ca, member(cluster.RoleNode), time.Now().Add(-2*CertLife)),
		"not yet valid":   node(ca, member(cluster.RoleNode), time.Now().Add(2*CertLife)),
		"other cluster":   node(ca, foreign, time.Now()),
	} {
		c.who.Cluster = clusterID
		d := NewDialer(c)
		if _, err := Call[Empty, Pong](t.Context(), d, cluster.RoleCoordinator, addr, Ping, &Empty{}); err == nil {
			t.Errorf("%s: the call went through", name)
		}
		d.Close()
	}
	good := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer good.Close()
	if _, err := Call[Empty, Pong](t.Context(), good, cluster.RoleCoordinator, addr, Ping, &Empty{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Call[Empty, Pong](t.Context(), good, cluster.RoleNode, addr, Ping, &Empty{}); !errors.Is(err, ErrRole) {
		t.Errorf("a coordinator passed for a node: %v", err)
	}
}

// Raft's port answers coordinators only, and its dialer accepts coordinators only.
func TestRaftLayer(t *testing.T) {
	ca := authority(t)
	a, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), NewMux())
	b, _ := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), NewMux())
	n, naddr := serve(t, papers(t, ca, member(cluster.RoleNode), time.Now()), NewMux())
	got := make(chan string, 1)
	go func() {
		c, err := a.Raft().Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 5)
		c.Read(buf)
		got <- string(buf)
		c.Close()
	}()
	if c, err := n.Raft().Dial(raft.ServerAddress(addr), time.Second); err == nil {
		c.Write([]byte("node?"))
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a node talks to Raft")
		}
	}
	c, err := b.Raft().Dial(raft.ServerAddress(addr), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("hello"))
	if s := <-got; s != "hello" {
		t.Errorf("Raft received %q", s)
	}
	c.Close()
	if _, err := b.Raft().Dial(raft.ServerAddress(naddr), time.Second); err == nil {
		t.Error("Raft dialled a node")
	}
}

func TestJoin(t *testing.T) {
	ca := authority(t)
	token := NewToken(cluster.RoleNode, ca.Cert)
	used := false
	m := NewMux()
	Handle(m, Join, func(_ context.Context, r *JoinRequest) (*JoinResponse, error) {
		if SecretHash(r.Secret) != token.Hash() || used {
			return nil, &Refused{Code: connect.CodePermissionDenied, Why: "token is unknown, used or expired"}
		}
		used = true
		cert, err := ca.Sign(r.CSR, Identity{Cluster: clusterID, Role: r.Role, ID: r.ID}, time.Now())
		return &JoinResponse{Cert: cert, CA: ca.Cert.Raw, Coordinators: []cluster.Member{{Addr: "x:1"}}}, err
	})
	Handle(m, Ping, func(ctx context.Context, _ *Empty) (*Pong, error) { return &Pong{ID: Peer(ctx).ID}, nil })
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)

	parsed, err := ParseToken(token.String())
	if err != nil || parsed != token {
		t.Fatalf("ParseToken(String) = %v, %v", parsed, err)
	}
	elsewhere := NewToken(cluster.RoleNode, authority(t).Cert)
	if _, err := JoinCluster(t.Context(), addr, elsewhere, NewID(), "n"); !errors.Is(err, ErrIdentity) {
		t.Errorf("a token of another cluster: %v", err)
	}
	id := NewID()
	ms, err := JoinCluster(t.Context(), addr, parsed, id, "n1")
	if err != nil {
		t.Fatal(err)
	}
	var ref *Refused
	if _, err := JoinCluster(t.Context(), addr, parsed, NewID(), "n2"); !errors.As(err, &ref) || ref.Code != connect.CodePermissionDenied {
		t.Errorf("a used token: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "d")
	if err := ms.Save(dir); err != nil {
		t.Fatal(err)
	}
	back, err := LoadMembership(dir)
	if err != nil || back.ID != id || back.Coordinators[0] != "x:1" {
		t.Fatalf("membership %+v, %v", back, err)
	}
	creds, err := NewCredentials(back.Papers)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDialer(creds)
	defer d.Close()
	pong, err := Call[Empty, Pong](t.Context(), d, cluster.RoleCoordinator, addr, Ping, &Empty{})
	if err != nil || pong.ID != id {
		t.Errorf("call with the new certificate: %+v, %v", pong, err)
	}
}

func TestParseTokenRefuses(t *testing.T) {
	for _, s := range []string{"", "skein1", "skein1.node.a.b", "skein2.node." + strings.Repeat("a", 64) + "." + strings.Repeat("b", 48)} {
		if _, err := ParseToken(s); !errors.Is(err, ErrToken) {
			t.Errorf("ParseToken(%q): %v", s, err)
		}
	}
}

// Frames are copied out and in: nothing that connect recycles reaches the caller.
func TestFrames(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	HandleFrames(m, func(_ context.Context, s *connect.BidiStream[Frame, Frame]) error {
		for {
			f, err := s.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.Send(f); err != nil {
				return err
			}
		}
	})
	_, addr := serve(t, papers(t, ca, member(cluster.RoleNode), time.Now()), m)
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := Frames(ctx, d, addr)
	var kept []Frame
	for i := range 50 {
		f := Frame(strings.Repeat(string(rune('a'+i%26)), 8192))
		if err := s.Send(&f); err != nil {
			t.Fatal(err)
		}
		g, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, *g)
		if string(f) != strings.Repeat(string(rune('a'+i%26)), 8192) {
			t.Fatalf("frame %d was overwritten at the sender", i)
		}
	}
	for i, f := range kept {
		if string(f) != strings.Repeat(string(rune('a'+i%26)), 8192) {
			t.Fatalf("frame %d was overwritten at the receiver", i)
		}
	}
	s.CloseRequest()
}

// A stream that is cancelled ends for its receiver although nothing is being sent.
func TestCancelledStreamEnds(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	HandleFrames(m, func(ctx context.Context, s *connect.BidiStream[Frame, Frame]) error {
		f, err := s.Receive()
		if err == nil {
			err = s.Send(f)
		}
		<-ctx.Done()
		return err
	})
	_, addr := serve(t, papers(t, ca, member(cluster.RoleNode), time.Now()), m)
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := Frames(ctx, d, addr)
	f := Frame("hello")
	if err := s.Send(&f); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Receive()
		ended <- err
	}()
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a frame that nobody sent")
		}
	case <-time.After(20 * time.Second):
		t.Error("the receiver is still waiting")
	}
}

// Half-open connections do not keep members out.
func TestHalfOpen(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	Handle(m, Ping, func(context.Context, *Empty) (*Pong, error) { return &Pong{}, nil })
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	for range maxStrangers - 1 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	if _, err := Call[Empty, Pong](t.Context(), d, cluster.RoleCoordinator, addr, Ping, &Empty{}); err != nil {
		t.Fatal(err)
	}
}

func TestRenew(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	Handle(m, Renew, func(ctx context.Context, r *JoinRequest) (*JoinResponse, error) {
		cert, err := ca.Sign(r.CSR, Peer(ctx), time.Now().Add(time.Hour))
		return &JoinResponse{Cert: cert, CA: ca.Cert.Raw}, err
	})
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	creds := papers(t, ca, member(cluster.RoleNode), time.Now())
	before := creds.RenewAt()
	d := NewDialer(creds)
	defer d.Close()
	if _, err := RenewCluster(t.Context(), d, addr); err != nil {
		t.Fatal(err)
	}
	if !creds.RenewAt().After(before) {
		t.Error("the old certificate is still in force")
	}
}
