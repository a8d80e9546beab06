package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/people"
	"github.com/skein-project/skein/wire"
)

const (
	maxKey    = 256 // bytes of a presented key
	maxCallID = 128 // bytes of a client's own request id; a longer one is replaced
)

// requestHeader carries the id of a request, the client's own or the one that it is given.
const requestHeader = "X-Request-Id"

// procedures says what every RPC of the operator's API needs, by its description: all files of the package that are linked.
func procedures() access.Procedures {
	var files []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage(adminv1.File_skein_admin_v1_admin_proto.Package(), func(f protoreflect.FileDescriptor) bool {
		files = append(files, f)
		return true
	})
	return access.Of(files...)
}

// caller is who makes a call, and the call's id.
type caller struct {
	cluster.Principal
	request string
}

type callerKey struct{}

// callerOf is who makes the call that ctx belongs to; the zero caller inside of the process.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// gate refuses every call whose caller is unknown or may not make it.
type gate struct {
	h     *Handler
	needs access.Procedures
}

// admit finds the caller of a procedure.
func (g gate) admit(ctx context.Context, procedure string, header http.Header, peer string) (context.Context, error) {
	c := caller{request: header.Get(requestHeader)}
	if c.request == "" || len(c.request) > maxCallID {
		c.request = "req-" + string(wire.NewID())
	}
	var err error
	if c.Principal, err = g.h.principal(ctx, header, peer); err != nil {
		said := connect.NewError(connect.CodeUnauthenticated, err)
		if errors.As(err, &said) && said.Code() == connect.CodeUnavailable {
			return nil, said // nobody was refused
		}
		return nil, g.h.refuse(c.Principal, address(header, peer).String(), procedure, 0, said)
	}
	need, ok := g.needs.Requires(procedure)
	if !ok || !c.May(need) {
		return nil, g.h.refuse(c.Principal, address(header, peer).String(), procedure, need,
			connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s lacks the permission %s", c.Principal, permission(need))))
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// permission is a permission's name for people.
func permission(p access.Permission) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "PERMISSION_"))
}

// principal finds who presents what is in "Authorization: Bearer …": an API key, or a person's ID token.
func (h *Handler) principal(ctx context.Context, header http.Header, peer string) (cluster.Principal, error) {
	secret, ok := strings.CutPrefix(header.Get("Authorization"), "Bearer ")
	if ok && people.MayBeToken(secret) {
		return h.person(ctx, secret, header)
	}
	if !ok || len(secret) > maxKey {
		return cluster.Principal{}, errors.New("a key is needed: Authorization: Bearer KEY")
	}
	p, refused := h.c.Live().Now().Admit(wire.SecretHash(strings.TrimSpace(secret)), cluster.Millis(time.Now().UnixMilli()), address(header, peer))
	if refused != "" {
		return p, errors.New(string(refused))
	}
	return p, nil
}

// address is where a call comes from: a coordinator that passes it on says so.
func address(header http.Header, peer string) netip.Addr {
	if passed, err := netip.ParseAddr(header.Get(wire.ClientHeader)); err == nil {
		return passed
	}
	at, _ := netip.ParseAddrPort(peer)
	return at.Addr().Unmap()
}

// WrapUnary implements connect.Interceptor.
func (g gate) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, err := g.admit(ctx, r.Spec().Procedure, r.Header(), r.Peer().Addr)
		if err != nil {
			return nil, err
		}
		res, err := next(ctx, r)
		return res, g.h.explain(err)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (g gate) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (g gate) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		ctx, err := g.admit(ctx, c.Spec().Procedure, c.RequestHeader(), c.Peer().Addr)
		if err != nil {
			return err
		}
		return g.h.explain(next(ctx, c))
	}
}

// may refuses a caller whose permission counts only for its own tenant what belongs to another one, in the words for what does not
// exist: who may not see a thing does not learn that it is there.
func may(ctx context.Context, p access.Permission, tenant string, absent error) error {
	c := callerOf(ctx)
	if access.AllowsEverywhere(c.Roles, p) || c.May(p) && c.Tenant == tenant {
		return nil
	}
	return absent
}

// mayModel is may for what belongs to a model: its owner's publishers keep it.
func mayModel(ctx context.Context, s cluster.State, p access.Permission, model string) error {
	return may(ctx, p, s.Model(model).Owner, unknownModel(model))
}

func unknownModel(name string) error {
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("the model %.128q does not exist", name))
}

// asker is who asks for what is proposed, once the cluster's coordinators can all read that.
func (h *Handler) asker(ctx context.Context) cluster.Asker {
	c := callerOf(ctx)
	if c.Tenant == "" || h.c.Live().Now().Cluster().Feature < 2 {
		return cluster.Asker{}
	}
	return cluster.Asker{By: c.String(), Request: c.request}
}
