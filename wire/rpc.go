package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
)

// Limits of the messages of internal calls in bytes. A chunk of a blob does not pass through here.
const (
	MaxMessage = 16 << 20
	MaxReport  = 2 << 20  // of a node: the leader keeps the newest of each
	MaxSettle  = 8 << 20  // of a gateway: usage, asks and demand of one settlement
	MaxJoin    = 64 << 10 // of somebody who has proved nothing yet
)

// jsonCodec carries plain Go structs. Its name replaces connect's JSON codec, which knows only generated types.
type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }

// Marshal leaves out the escapes that HTML wants, which would make six bytes of one in what is passed on as it is.
func (jsonCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

func (jsonCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// frameCodec carries *Frame without encoding: one copy out, one copy in. Marshal may not return the caller's slice, since connect
// recycles what it is given.
type frameCodec struct{}

func (frameCodec) Name() string { return "frame" }

func (frameCodec) Marshal(v any) ([]byte, error) { return bytes.Clone(*v.(*Frame)), nil }

func (frameCodec) MarshalAppend(dst []byte, v any) ([]byte, error) {
	return append(dst, *v.(*Frame)...), nil
}

func (frameCodec) Unmarshal(b []byte, v any) error {
	f := v.(*Frame)
	*f = append((*f)[:0], b...)
	return nil
}

// Frame is one message of a stage stream.
type Frame []byte

// Procedure is a call between members: its name, and which roles may make it. The table below is complete: what is not in it does not
// exist, and a call from another role is refused before its handler runs.
type Procedure string

// Procedures.
const (
	Join       Procedure = "/skein.fleet.v1.Join/Join"
	Renew      Procedure = "/skein.fleet.v1.Join/Renew"
	Sync       Procedure = "/skein.fleet.v1.NodeLink/Sync"
	Ping       Procedure = "/skein.fleet.v1.Probe/Ping"
	ProbeNode  Procedure = "/skein.fleet.v1.Probe/Node"
	Follow     Procedure = "/skein.fleet.v1.Log/Follow"
	Propose    Procedure = "/skein.fleet.v1.Truth/Propose"
	Settle     Procedure = "/skein.fleet.v1.Truth/Settle"
	Enlist     Procedure = "/skein.fleet.v1.Truth/Enlist"
	Keep       Procedure = "/skein.fleet.v1.Results/Keep"
	Deposit    Procedure = "/skein.fleet.v1.Depot/Deposit"
	Commit     Procedure = "/skein.fleet.v1.Depot/Commit"
	PutBox     Procedure = "/skein.fleet.v1.Shelf/Put"
	GetBox     Procedure = "/skein.fleet.v1.Shelf/Get"
	DropBox    Procedure = "/skein.fleet.v1.Shelf/Drop"
	Hold       Procedure = "/skein.fleet.v1.Library/Hold"
	Lacking    Procedure = "/skein.fleet.v1.Library/Lacking"
	Observe    Procedure = "/skein.fleet.v1.Truth/Observe"
	AuditLines Procedure = "/skein.fleet.v1.Truth/AuditLines"
	Generate   Procedure = "/skein.fleet.v1.Head/Generate"
	Steer      Procedure = "/skein.fleet.v1.Head/Steer" // Generate of what programs before it would not heed, so that they refuse it
	EncodeRows Procedure = "/skein.fleet.v1.Head/Encode"
	RunTensors Procedure = "/skein.fleet.v1.Head/RunTensors" // binary: HandleTensors
	StageLink  Procedure = "/skein.fleet.v1.Stage/Stream"
	Forward    Procedure = "/skein.fleet.v1.Forward/" // the operator's API, passed on to the leader
	BlobIndex  Procedure = "/skein.fleet.v1.Blobs/Index"
	BlobChunk  Procedure = "/skein.fleet.v1.Blobs/Chunk" // plain HTTP: POST {digest, chunk}, answered with the bytes
)

var allowed = map[Procedure][]cluster.Role{
	Join:       {}, // no certificate yet: the token is the permission
	Renew:      {cluster.RoleCoordinator, cluster.RoleNode, cluster.RoleGateway},
	Sync:       {cluster.RoleNode},
	Ping:       {cluster.RoleCoordinator, cluster.RoleNode, cluster.RoleGateway},
	ProbeNode:  {cluster.RoleCoordinator},
	Follow:     {cluster.RoleCoordinator, cluster.RoleGateway},
	Propose:    {cluster.RoleCoordinator},
	Settle:     {cluster.RoleCoordinator, cluster.RoleGateway},
	Enlist:     {cluster.RoleGateway},
	Keep:       {cluster.RoleCoordinator, cluster.RoleGateway},
	Deposit:    {cluster.RoleCoordinator, cluster.RoleGateway},
	Commit:     {cluster.RoleCoordinator, cluster.RoleGateway},
	PutBox:     {cluster.RoleCoordinator, cluster.RoleGateway},
	GetBox:     {cluster.RoleCoordinator, cluster.RoleGateway},
	DropBox:    {cluster.RoleCoordinator, cluster.RoleGateway},
	Hold:       {cluster.RoleCoordinator},
	Lacking:    {cluster.RoleCoordinator},
	AuditLines: {cluster.RoleCoordinator},
	Observe:    {cluster.RoleCoordinator},
	Generate:   {cluster.RoleCoordinator, cluster.RoleGateway},
	Steer:      {cluster.RoleCoordinator, cluster.RoleGateway},
	EncodeRows: {cluster.RoleCoordinator, cluster.RoleGateway},
	RunTensors: {cluster.RoleCoordinator, cluster.RoleGateway},
	StageLink:  {cluster.RoleNode},
	Forward:    {cluster.RoleCoordinator},
	BlobIndex:  {cluster.RoleCoordinator, cluster.RoleNode, cluster.RoleGateway},
	BlobChunk:  {cluster.RoleCoordinator, cluster.RoleNode, cluster.RoleGateway},
}

// Mux routes internal calls.
type Mux struct{ http *http.ServeMux }

// NewMux makes an empty one: every procedure answers 404 until it is handled.
func NewMux() *Mux { return &Mux{http: http.NewServeMux()} }

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.http.ServeHTTP(w, r) }

// handle puts the role check before a handler.
func (m *Mux) handle(p Procedure, h http.Handler) {
	roles, ok := allowed[p]
	if !ok {
		panic("wire: procedure without roles: " + string(p))
	}
	m.http.HandleFunc(string(p), func(w http.ResponseWriter, r *http.Request) {
		who, err := peer(r.TLS)
		if p != Join && (err != nil || !slices.Contains(roles, who.Role)) {
			http.Error(w, ErrRole.Error(), http.StatusForbidden)
			return
		}
		if p != Join && p != Renew && time.Now().After(r.TLS.PeerCertificates[0].NotAfter) {
			http.Error(w, errExpired.Error(), http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r.WithContext(takeTrace(context.WithValue(r.Context(), peerKey{}, who), r.Header)))
	})
}

var errExpired = errors.New("wire: the certificate has ended: renew it")

type peerKey struct{}

// peer is who the other end of a verified connection is.
func peer(cs *tls.ConnectionState) (Identity, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return Identity{}, ErrIdentity
	}
	return identityOf(cs.PeerCertificates[0])
}

// Peer is who makes the call that ctx belongs to.
func Peer(ctx context.Context) Identity {
	who, _ := ctx.Value(peerKey{}).(Identity)
	return who
}

// maxRequest is the largest message that a caller of a procedure may send.
func maxRequest(p Procedure) int {
	switch p {
	case Join, Renew:
		return MaxJoin
	case Sync:
		return MaxReport
	case Settle:
		return MaxSettle
	case Enlist:
		return MaxJoin
	}
	return MaxMessage
}

func handlerOptions(p Procedure, codec connect.Codec) []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithCodec(codec), connect.WithReadMaxBytes(maxRequest(p)), connect.WithSendMaxBytes(MaxMessage),
		connect.WithCompression("gzip", nil, nil), // 2–3 times the latency of small messages
	}
}

// Handle answers a unary call.
func Handle[Req, Res any](m *Mux, p Procedure, f func(context.Context, *Req) (*Res, error)) {
	m.handle(p, connect.NewUnaryHandler(string(p), func(ctx context.Context, r *connect.Request[Req]) (*connect.Response[Res], error) {
		res, err := f(ctx, r.Msg)
		if err != nil {
			return nil, toConnect(err)
		}
		return connect.NewResponse(res), nil
	}, handlerOptions(p, jsonCodec{})...))
}

// HandleStream answers a call with a stream of messages.
func HandleStream[Req, Res any](m *Mux, p Procedure, f func(context.Context, *Req, func(*Res) error) error) {
	m.handle(p, connect.NewServerStreamHandler(string(p), func(ctx context.Context, r *connect.Request[Req], s *connect.ServerStream[Res]) error {
		return toConnect(f(ctx, r.Msg, s.Send))
	}, handlerOptions(p, jsonCodec{})...))
}

// HandleBidi answers a call in which both sides stream.
func HandleBidi[Req, Res any](m *Mux, p Procedure, f func(context.Context, *connect.BidiStream[Req, Res]) error) {
	m.handle(p, connect.NewBidiStreamHandler(string(p), func(ctx context.Context, s *connect.BidiStream[Req, Res]) error {
		return toConnect(f(ctx, s))
	}, handlerOptions(p, jsonCodec{})...))
}

// HandleFrames answers a stage stream.
func HandleFrames(m *Mux, f func(context.Context, *connect.BidiStream[Frame, Frame]) error) {
	m.handle(StageLink, connect.NewBidiStreamHandler(string(StageLink), func(ctx context.Context, s *connect.BidiStream[Frame, Frame]) error {
		return toConnect(f(ctx, s))
	}, handlerOptions(StageLink, frameCodec{})...))
}

// Refused is an error that its receiver should tell apart: a code, words, and where to ask instead.
type Refused struct {
	Code connect.Code
	Why  string
	Addr string // of the leader, with CodeUnavailable
}

func (e *Refused) Error() string {
	if e.Addr != "" {
		return e.Why + " (ask " + e.Addr + ")"
	}
	return e.Why
}

const addrHeader = "Skein-Leader"

func toConnect(err error) error {
	var ref *Refused
	var ce *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ref):
		ce = connect.NewError(ref.Code, errors.New(ref.Why))
		if ref.Addr != "" {
			ce.Meta().Set(addrHeader, ref.Addr)
		}
		return ce
	case errors.As(err, &ce):
		return ce
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

// FromPeer turns an error of a call into *Refused if the peer itself said it; an error of reaching the peer stays as it is.
func FromPeer(err error) error {
	var ce *connect.Error
	if errors.As(err, &ce) && connect.IsWireError(err) {
		return &Refused{Code: ce.Code(), Why: ce.Message(), Addr: ce.Meta().Get(addrHeader)}
	}
	return err
}

// AnyRole lets a call go to every member of the cluster: where verified bytes come from does not matter.
const AnyRole cluster.Role = ""

// Dialer makes calls to members. Connections are kept and shared.
type Dialer struct {
	creds *Credentials
	http  map[cluster.Role]*http.Client
}

// Keep-alive of connections: a peer that is gone without a word is noticed within pingAfter + pingTimeout.
const (
	pingAfter   = 1500 * time.Millisecond
	pingTimeout = 1500 * time.Millisecond
)

// NewDialer makes a dialer for a member.
func NewDialer(creds *Credentials) *Dialer {
	d := &Dialer{creds: creds, http: map[cluster.Role]*http.Client{}}
	for _, role := range []cluster.Role{AnyRole, cluster.RoleCoordinator, cluster.RoleNode} {
		var roles []cluster.Role
		if role != AnyRole {
			roles = append(roles, role)
		}
		t := &http.Transport{
			DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return creds.dial(ctx, addr, creds.client([]string{alpnH2, alpnH1}, roles...))
			},
			MaxIdleConnsPerHost: 64, IdleConnTimeout: 2 * time.Minute,
			HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		}
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
		d.http[role] = &http.Client{Transport: t}
	}
	return d
}

// Close closes idle connections.
func (d *Dialer) Close() {
	for _, c := range d.http {
		c.CloseIdleConnections()
	}
}

func client[Req, Res any](d *Dialer, to cluster.Role, addr string, p Procedure, codec connect.Codec) *connect.Client[Req, Res] {
	return connect.NewClient[Req, Res](d.http[to], "https://"+addr+string(p), connect.WithCodec(codec),
		connect.WithReadMaxBytes(MaxMessage), connect.WithSendMaxBytes(MaxMessage), connect.WithAcceptCompression("gzip", nil, nil))
}

// Call makes a unary call to a member of a role.
func Call[Req, Res any](ctx context.Context, d *Dialer, to cluster.Role, addr string, p Procedure, req *Req) (*Res, error) {
	r := connect.NewRequest(req)
	carryTrace(ctx, r.Header())
	res, err := client[Req, Res](d, to, addr, p, jsonCodec{}).CallUnary(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("call %s at %s: %w", p, addr, FromPeer(err))
	}
	return res.Msg, nil
}

// Read makes a call that is answered by a stream; each message goes to f.
func Read[Req, Res any](ctx context.Context, d *Dialer, to cluster.Role, addr string, p Procedure, req *Req, f func(*Res) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := connect.NewRequest(req)
	carryTrace(ctx, r.Header())
	s, err := client[Req, Res](d, to, addr, p, jsonCodec{}).CallServerStream(ctx, r)
	if err != nil {
		return fmt.Errorf("call %s at %s: %w", p, addr, FromPeer(err))
	}
	defer s.Close()
	for s.Receive() {
		if err := f(s.Msg()); err != nil {
			return err
		}
	}
	if s.Err() != nil {
		return fmt.Errorf("read %s from %s: %w", p, addr, FromPeer(s.Err()))
	}
	return nil
}

// Bidi opens a call in which both sides stream. It ends with ctx.
func Bidi[Req, Res any](ctx context.Context, d *Dialer, to cluster.Role, addr string, p Procedure) *connect.BidiStreamForClient[Req, Res] {
	return bidi[Req, Res](ctx, d, to, addr, p, jsonCodec{})
}

// Frames opens a stage stream to the worker at addr. It ends with ctx.
func Frames(ctx context.Context, d *Dialer, addr string) *connect.BidiStreamForClient[Frame, Frame] {
	return bidi[Frame, Frame](ctx, d, cluster.RoleNode, addr, StageLink, frameCodec{})
}

// bidi closes the request with ctx: net/http's HTTP/2 client does not look at the context while it waits for more of a request's body, so a
// cancelled stream whose sender is silent would never end its receiver.
func bidi[Req, Res any](ctx context.Context, d *Dialer, to cluster.Role, addr string, p Procedure, codec connect.Codec) *connect.BidiStreamForClient[Req, Res] {
	s := client[Req, Res](d, to, addr, p, codec).CallBidiStream(ctx)
	context.AfterFunc(ctx, func() { s.CloseRequest() })
	return s
}
