// Package admin serves the operator: models, deployments, nodes, keys, and the reasons for what the cluster does.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/placement"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/scheduler"
	"github.com/skein-project/skein/wire"
)

// Coordinator is what the operator's API needs of the process that it runs in.
type Coordinator interface {
	Live() *live.State
	Leads() bool
	LeaderID() cluster.NodeID
	ToLeader() http.Handler
	Software() string
	Propose(ctx context.Context, txns ...cluster.Txn) ([]*cluster.Rejected, error)
	Report(id cluster.NodeID) (r cluster.Report, age time.Duration, ok bool)
	Reasons() (standing, all []scheduler.Dated)
	Preview(ctx context.Context, d cluster.Deployment) (placement.Solution, error)
	Recording(ctx context.Context) (scheduler.Recording, error)
	BeginBlob(x blob.Index) (missing []int, err error)
	WriteChunk(d blob.Digest, chunk int, data []byte) error
	Standing(ctx context.Context) map[cluster.NodeID]wire.Standing
	RemoveMember(ctx context.Context, asker cluster.Asker, id cluster.NodeID) error
	Backup(ctx context.Context, asker cluster.Asker, blobs bool, to io.Writer) error
	AuditHead() (head audit.Signed, authority []byte, err error)
	AuditLines(ctx context.Context, from uint64, take func(lines []byte) error) error
	Library
	Archive
	Publish(ctx context.Context, asker cluster.Asker, owner, name string, files map[string]blob.Digest, accept bool, step func(string)) (cluster.VersionID, error)
	NewJoinToken(role cluster.Role, life time.Duration) (token string, record cluster.JoinToken)
}

// maxRequest bounds a request in bytes: a chunk of a blob, and what is around it.
const maxRequest = blob.ChunkSize + 1<<20

// Handler answers skein.admin.v1.
type Handler struct {
	c       Coordinator
	watcher Watcher
	log     *slog.Logger
	again   Asker // nil: this process has no gateway
	folk    folk
	shown   shown

	refusals  refusedCalls
	downloads downloads
	exports   atomic.Int32                   // that are being written
	origin    func(*http.Request) netip.Addr // nil: of the connection
}

// New makes a handler for a coordinator and what watches in it.
func New(c Coordinator, w Watcher, log *slog.Logger) *Handler {
	return &Handler{c: c, watcher: w, log: log}
}

// Register adds the services to the mux of a client API. A coordinator that does not lead passes every call on: the leader alone knows
// what nodes report, and one place keeps uploads together.
func (h *Handler) Register(mux *http.ServeMux) {
	forward := h.c.ToLeader()
	for path, local := range h.services() {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del(wire.ClientHeader)
			h.locate(r)
			switch {
			case path == resultsPath && h.c.Results() != nil, path != resultsPath && h.c.Leads():
				local.ServeHTTP(w, r)
			case path == resultsPath:
				h.c.ToResults().ServeHTTP(w, r)
			default:
				forward.ServeHTTP(w, r)
			}
		})
	}
}

// Forwarded answers what other coordinators passed on, as long as this one leads.
func (h *Handler) Forwarded() http.Handler {
	local := http.NewServeMux()
	for path, service := range h.services() {
		local.Handle(path, service)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if results := strings.HasPrefix(r.URL.Path, resultsPath) && h.c.Results() != nil; !results && !h.c.Leads() {
			http.Error(w, "this coordinator does not lead any more", http.StatusServiceUnavailable)
			return
		}
		local.ServeHTTP(w, r)
	})
}

// resultsPath is the service that coordinators answer which keep records, whoever leads.
const resultsPath = "/" + adminv1connect.ResultServiceName + "/"

// services are the handlers of all services by path.
func (h *Handler) services() map[string]http.Handler {
	out := map[string]http.Handler{}
	add := func(path string, service http.Handler) { out[path] = service }
	opts := []connect.HandlerOption{connect.WithReadMaxBytes(maxRequest), connect.WithInterceptors(gate{h, procedures()}), connect.WithCompressMinBytes(4 << 10)}
	add(adminv1connect.NewModelServiceHandler(models{h}, opts...))
	add(adminv1connect.NewDeploymentServiceHandler(deployments{h}, opts...))
	add(adminv1connect.NewNodeServiceHandler(nodes{h}, opts...))
	add(adminv1connect.NewClusterServiceHandler(clusters{h}, opts...))
	add(adminv1connect.NewRolloutServiceHandler(rollouts{h}, opts...))
	add(adminv1connect.NewLibraryServiceHandler(libraries{h}, opts...))
	add(adminv1connect.NewTenantServiceHandler(tenants{h}, opts...))
	add(adminv1connect.NewUsageServiceHandler(usages{h}, opts...))
	add(adminv1connect.NewAuditServiceHandler(audits{h}, opts...))
	add(adminv1connect.NewMemberServiceHandler(members{h}, opts...))
	add(adminv1connect.NewBackupServiceHandler(backups{h}, opts...))
	add(adminv1connect.NewPeopleServiceHandler(persons{h}, opts...))
	add(adminv1connect.NewAlertServiceHandler(alerts{h}, opts...))
	add(adminv1connect.NewResultServiceHandler(resultService{h}, opts...))
	add(adminv1connect.NewViewServiceHandler(views{h}, opts...))
	return out
}

// explain is the one place where errors become codes.
func (h *Handler) explain(err error) error {
	var ce *connect.Error
	var rejected *cluster.Rejected
	var refused convert.Refused
	var said *wire.Refused
	var full disk.Full
	switch {
	case err == nil || errors.As(err, &ce):
		return err
	case errors.As(err, &rejected):
		return connect.NewError(codeOf(rejected.Reason), err)
	case wrong(err), errors.As(err, &refused), errors.Is(err, blob.ErrCorrupt), errors.Is(err, blob.ErrIndex), errors.Is(err, blob.ErrDigest):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case errors.Is(err, blob.ErrUnknown):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.As(err, &full), errors.Is(err, syscall.ENOSPC):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, raftstore.ErrOutcomeUnknown):
		return connect.NewError(connect.CodeUnknown, err)
	case errors.As(err, &said):
		return connect.NewError(said.Code, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeUnavailable, err)
	}
	h.log.Warn("operator's call failed", "err", err)
	return connect.NewError(connect.CodeInternal, err)
}

func codeOf(r cluster.Reason) connect.Code {
	switch r {
	case cluster.ReasonStale:
		return connect.CodeAborted
	case cluster.ReasonExists:
		return connect.CodeAlreadyExists
	case cluster.ReasonNotFound:
		return connect.CodeNotFound
	case cluster.ReasonInvalid:
		return connect.CodeInvalidArgument
	case cluster.ReasonOwner:
		return connect.CodePermissionDenied
	case cluster.ReasonOversold, cluster.ReasonLimit:
		return connect.CodeResourceExhausted
	}
	return connect.CodeFailedPrecondition
}

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// do proposes one transaction in the name of the caller.
func (h *Handler) do(ctx context.Context, commands ...cluster.Command) error {
	rejected, err := h.c.Propose(ctx, cluster.Txn{Do: commands, Asker: h.asker(ctx)})
	if err == nil && rejected[0] != nil {
		err = rejected[0]
	}
	return err
}

// would asks the truth what it would say to a command now: limits are its business. Nothing is proposed.
func would(s cluster.State, c cluster.Command) error {
	_, errs := cluster.Apply(s, s.Index()+1, cluster.Envelope{V: cluster.EnvelopeFormat, At: s.At(), Txns: []cluster.Txn{{Do: []cluster.Command{c}}}})
	return errs[0]
}

// retries bounds how often a change is proposed again because somebody else changed the record in between.
const retries = 5

// change proposes what make reads from the newest state, again if that state was overtaken.
func (h *Handler) change(ctx context.Context, make func(cluster.State) (cluster.Command, error)) error {
	var err error
	for range retries {
		var c cluster.Command
		if c, err = make(h.c.Live().Now()); err != nil {
			return err
		}
		err = h.do(ctx, c)
		var rejected *cluster.Rejected
		if !errors.As(err, &rejected) || rejected.Reason != cluster.ReasonStale {
			return err
		}
	}
	return err
}

// version finds the version that a name means.
func version(s cluster.State, name string) (cluster.Version, error) {
	id, err := cluster.Resolve(s, name)
	if err != nil {
		return cluster.Version{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("the model %.128q does not exist", name))
	}
	v, ok := s.Version(id)
	if !ok {
		return cluster.Version{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("the version %s does not exist", id))
	}
	return v, nil
}

// node finds a node by id or name.
func node(s cluster.State, name string) (cluster.Node, error) {
	if n, ok := s.Node(cluster.NodeID(name)); ok {
		return n, nil
	}
	var found []cluster.Node
	for n := range s.Nodes() {
		if n.Name == name {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return cluster.Node{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("the node %.128q does not exist", name))
	}
	return cluster.Node{}, invalid("%d nodes are called %.128q: use the id", len(found), name)
}
