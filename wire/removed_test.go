package wire

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
)

// A member that was removed can call nobody and be called by nobody: not on connections that are open, not on new ones, not to renew its
// certificate, and not in raft.
func TestRemovedMember(t *testing.T) {
	ca := authority(t)
	var mu sync.Mutex
	var gone []cluster.NodeID
	refused := func(id cluster.NodeID) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, g := range gone {
			if g == id {
				return true
			}
		}
		return false
	}
	here := papers(t, ca, member(cluster.RoleCoordinator), time.Now())
	here.Refuse(refused)
	m, entered := NewMux(), make(chan struct{}, 8)
	Handle(m, Ping, func(context.Context, *Empty) (*Pong, error) { return &Pong{}, nil })
	Handle(m, Renew, func(context.Context, *JoinRequest) (*JoinResponse, error) { return &JoinResponse{}, nil })
	HandleStream(m, Follow, func(ctx context.Context, _ *FollowRequest, _ func(*LogPiece) error) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	l, addr := serve(t, here, m)
	layer := l.Raft()
	for _, role := range []cluster.Role{cluster.RoleCoordinator, cluster.RoleGateway} {
		who := member(role)
		there := papers(t, ca, who, time.Now())
		d := NewDialer(there)
		t.Cleanup(d.Close)
		ping := func() error {
			_, err := Call[Empty, Pong](t.Context(), d, cluster.RoleCoordinator, addr, Ping, &Empty{})
			return err
		}
		if err := ping(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- Read(t.Context(), d, cluster.RoleCoordinator, addr, Follow, &FollowRequest{}, func(*LogPiece) error { return nil })
		}()
		<-entered
		var raft net.Conn
		if role == cluster.RoleCoordinator {
			accepted := make(chan net.Conn, 1)
			go func() {
				if c, err := layer.Accept(); err == nil {
					accepted <- c
				}
			}()
			var err error
			if raft, err = there.dial(t.Context(), addr, there.client([]string{alpnRaft}, cluster.RoleCoordinator)); err != nil {
				t.Fatal(err)
			}
			defer (<-accepted).Close()
		}
		mu.Lock()
		gone = append(gone, who.ID)
		mu.Unlock()
		here.Expel()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: its stream ended well", role)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: its stream goes on", role)
		}
		if raft != nil {
			raft.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := raft.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("its raft connection goes on: %v", err)
			}
		}
		if err := ping(); err == nil {
			t.Errorf("%s: it is answered", role)
		}
		if _, err := RenewCluster(t.Context(), d, addr); err == nil {
			t.Errorf("%s: it gets a certificate", role)
		}
		// Nor is it called.
		theirs := NewMux()
		Handle(theirs, Ping, func(context.Context, *Empty) (*Pong, error) { return &Pong{}, nil })
		_, back := serve(t, there, theirs)
		mine := NewDialer(here)
		if _, err := Call[Empty, Pong](t.Context(), mine, AnyRole, back, Ping, &Empty{}); !errors.Is(err, ErrRemoved) {
			t.Errorf("%s: it is called: %v", role, err)
		}
	}
	// One that stays is not touched.
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	t.Cleanup(d.Close)
	here.Expel()
	if _, err := Call[Empty, Pong](t.Context(), d, cluster.RoleCoordinator, addr, Ping, &Empty{}); err != nil {
		t.Error(err)
	}
	d.Close()
	tick, late := time.NewTicker(5*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for {
		here.conns.Lock()
		n := len(here.open)
		here.conns.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d closed connections are remembered", n)
		}
	}
}

// Who is called and is removed while the connection is open is called no more.
func TestRemovedWhileCalled(t *testing.T) {
	ca := authority(t)
	who := member(cluster.RoleNode)
	m, entered := NewMux(), make(chan struct{}, 1)
	HandleStream(m, Generate, func(ctx context.Context, _ *Empty, _ func(*Empty) error) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	_, addr := serve(t, papers(t, ca, who, time.Now()), m)
	here := papers(t, ca, member(cluster.RoleGateway), time.Now())
	var gone bool
	var mu sync.Mutex
	here.Refuse(func(id cluster.NodeID) bool {
		mu.Lock()
		defer mu.Unlock()
		return gone && id == who.ID
	})
	d := NewDialer(here)
	t.Cleanup(d.Close)
	ended := make(chan error, 1)
	go func() {
		ended <- Read(t.Context(), d, cluster.RoleNode, addr, Generate, &Empty{}, func(*Empty) error { return nil })
	}()
	<-entered
	mu.Lock()
	gone = true
	mu.Unlock()
	here.Expel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the call goes on")
	}
}
