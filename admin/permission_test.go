package admin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// procedures lists every RPC of the operator's API, from its description: a new one is in it by itself. Messages are sent empty, which
// every message can be.
func rpcs() (streams map[string]bool) {
	streams = map[string]bool{}
	for _, f := range files() {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				streams["/"+string(s.FullName())+"/"+string(m.Name())] = m.IsStreamingServer()
			}
		}
	}
	return streams
}

// files are the descriptions of the operator's API.
func files() (list []protoreflect.FileDescriptor) {
	protoregistry.GlobalFiles.RangeFilesByPackage("skein.admin.v1", func(f protoreflect.FileDescriptor) bool {
		list = append(list, f)
		return true
	})
	return list
}

// code calls a procedure with an empty message.
func code(ctx context.Context, h connect.HTTPClient, url string, stream bool, authorization string) connect.Code {
	c := connect.NewClient[emptypb.Empty, emptypb.Empty](h, url)
	req := connect.NewRequest(&emptypb.Empty{})
	if authorization != "" {
		req.Header().Set("Authorization", authorization)
	}
	var err error
	if stream {
		var s *connect.ServerStreamForClient[emptypb.Empty]
		if s, err = c.CallServerStream(ctx, req); err == nil {
			for s.Receive() {
			}
			err = s.Err()
			s.Close()
		}
	} else {
		_, err = c.CallUnary(ctx, req)
	}
	if err == nil {
		return 0
	}
	return connect.CodeOf(err)
}

// Every RPC of the operator's API needs a valid admin key, at the leader, at a follower, and where a coordinator passes it on.
func TestPermissions(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	leader := r.api(r.Leader())
	key := func(name string, admin bool) (id, secret string) {
		res, err := leader.Cluster.CreateKey(t.Context(), connect.NewRequest(&adminv1.CreateKeyRequest{Name: name, Admin: admin}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Id, res.Msg.Key
	}
	_, caller := key("caller", false)
	id, revoked := key("revoked", true)
	want(t, 0, leader.Cluster.RevokeKey, &adminv1.RevokeKeyRequest{Id: id})

	coordinator := r.Dialer(r.Enrol(cluster.RoleCoordinator, "spare"))
	passedOn := httptest.NewServer(wire.Forwarder(coordinator, func() string { return r.Leader().Config.Listen }))
	defer passedOn.Close()
	doors := map[string]struct {
		http connect.HTTPClient
		url  string
	}{
		"leader":   {http.DefaultClient, leader.Profile.URL},
		"follower": {http.DefaultClient, r.api(r.Follower()).Profile.URL},
		"forward":  {http.DefaultClient, passedOn.URL},
	}
	needs := access.Of(files()...)
	if len(rpcs()) < 20 {
		t.Fatalf("only %d procedures", len(rpcs()))
	}
	for p, stream := range rpcs() {
		need, ok := needs.Requires(p)
		callers := ok && access.Allows([]access.Role{access.Caller}, need)
		for door, at := range doors {
			for authorization, want := range map[string]connect.Code{
				"":                                      connect.CodeUnauthenticated,
				"Bearer ":                               connect.CodeUnauthenticated,
				"Bearer sk-garbage":                     connect.CodeUnauthenticated,
				"Bearer " + strings.Repeat("k", 10_000): connect.CodeUnauthenticated,
				"Basic " + r.Key:                        connect.CodeUnauthenticated,
				r.Key:                                   connect.CodeUnauthenticated,
				"Bearer " + wire.SecretHash(r.Key):      connect.CodeUnauthenticated,
				"Bearer " + revoked:                     connect.CodeUnauthenticated,
				"Bearer " + caller:                      connect.CodePermissionDenied,
				"Bearer " + strings.ToUpper(r.Key):      connect.CodeUnauthenticated,
			} {
				got := code(t.Context(), at.http, at.url+p, stream, authorization)
				if passed := callers && authorization == "Bearer "+caller; passed && !answered(got) || !passed && got != want {
					t.Errorf("%s at the %s with %.20q: %v, want %v", p, door, authorization, got, want)
				}
			}
			if got := code(t.Context(), at.http, at.url+p, stream, "Bearer "+r.Key); !answered(got) {
				t.Errorf("%s at the %s with an admin key: %v", p, door, got)
			}
		}
	}
}

// answered says whether a call got as far as its handler.
func answered(got connect.Code) bool {
	return got != connect.CodeUnauthenticated && got != connect.CodePermissionDenied && got != connect.CodeUnimplemented
}
