package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/oip"
)

// oipStatistics answers GET /v2/models/{model}/stats; "" = all.
func (s *Server) oipStatistics(w http.ResponseWriter, r *http.Request) error {
	out, err := s.statistics(r.Context(), r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, out)
	return nil
}

// statistics tells what this gateway counted of a version, of all versions of a model, or of all models ("") that whoever asks may call: the
// requests of its own tenant, and those of all for who may read metrics.
func (s *Server) statistics(ctx context.Context, name, version string) (out oip.Statistics, err error) {
	who, state := callOf(ctx).principal(), s.live.Now()
	s.served.prune(state)
	tenant := who.Tenant
	if access.AllowsEverywhere(who.Roles, accessv1.Permission_PERMISSION_METRICS_READ) {
		tenant = ""
	}
	out.Models = []oip.ModelStatistics{}
	add := func(as string, v cluster.VersionID) {
		out.Models = append(out.Models, oip.Of(as, strconv.Itoa(v.Number), s.served.of(v, tenant)))
	}
	var of cluster.Version
	if name != "" {
		if of, err = s.oipTarget(ctx, name, version); err != nil {
			return out, err
		}
	}
	if version != "" {
		add(name, of.VersionID)
		return out, nil
	}
	for v := range state.Versions() {
		switch {
		case name != "" && v.Model == of.Model && (v.VersionID == of.VersionID || state.MayCall(who, v.VersionID.String())):
			add(name, v.VersionID)
		case name == "" && state.MayCall(who, v.VersionID.String()):
			add(v.Model, v.VersionID)
		}
	}
	return out, nil
}

// oipIndex answers POST /v2/repository/index.
func (s *Server) oipIndex(w http.ResponseWriter, r *http.Request) error {
	var req oip.IndexRequest
	if err := readOptional(r, s.cfg.MaxBody, &req); err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, s.index(r.Context(), req.Ready))
	return nil
}

// index lists the versions that whoever asks may see: those of its tenant, what it may call, and all for whom roles count everywhere.
func (s *Server) index(ctx context.Context, ready bool) []oip.IndexEntry {
	who, state := callOf(ctx).principal(), s.live.Now()
	all := access.AllowsEverywhere(who.Roles, accessv1.Permission_PERMISSION_MODELS_READ)
	table, _ := s.table()
	out := []oip.IndexEntry{}
	for v := range state.Versions() {
		if !all && state.Model(v.Model).Owner != who.Tenant && !state.MayCall(who, v.VersionID.String()) {
			continue
		}
		e := oip.IndexEntry{Name: v.Model, Version: strconv.Itoa(v.Number), State: oip.StateReady}
		if len(table.Routes(v.VersionID)) == 0 {
			e.State, e.Reason = oip.StateUnavailable, "not deployed"
			if _, deployed := state.Deployment(v.VersionID); deployed {
				e.State, e.Reason = oip.StateLoading, "no replica is ready"
			}
		}
		if !ready || e.State == oip.StateReady {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, oip.IndexEntry.Compare)
	return out
}

// readOptional reads a body that may be empty.
func readOptional(r *http.Request, most int64, v any) error {
	b, err := readAll(r, most)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return invalid("", "the request's body is not JSON: %v", err)
	}
	return nil
}

// DeployBy lets models be loaded and unloaded over the Open Inference Protocol: operator answers the operators' API, and judges every such call
// by the key that it came with. Without it the gateway says that this is unsupported.
func (s *Server) DeployBy(operator http.Handler) { s.operator = operator }

func (s *Server) oipLoad(w http.ResponseWriter, r *http.Request) error {
	return s.oipRepository(w, r, s.loadModel)
}

func (s *Server) oipUnload(w http.ResponseWriter, r *http.Request) error {
	return s.oipRepository(w, r, s.unloadModel)
}

// oipRepository answers POST /v2/repository/models/{model}/load and unload.
func (s *Server) oipRepository(w http.ResponseWriter, r *http.Request, do func(context.Context, http.Header, string) error) error {
	var req oip.LoadRequest
	if err := readOptional(r, s.cfg.MaxBody, &req); err != nil {
		return err
	}
	for name, value := range req.Parameters {
		if err := loadParameter(name, value); err != nil {
			return err
		}
	}
	if err := do(r.Context(), r.Header, r.PathValue("model")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// loadParameter refuses what changes a model: it is what was published.
func loadParameter(name string, value any) error {
	if name == "unload_dependents" && value != true {
		return nil
	}
	return &Error{Fault: FaultUnsupported, Param: name, Why: fmt.Sprintf("unsupported: the parameter %.80q", name)}
}

// deployments is a client of the operators' API that presents the key of a call.
func (s *Server) deployments(ctx context.Context, header http.Header) (adminv1connect.DeploymentServiceClient, error) {
	if s.operator == nil {
		return nil, &Error{Fault: FaultUnsupported, Why: "unsupported: this gateway is no coordinator's; load and unload models at one, or with skein serve"}
	}
	secret, _ := secretOf(header) // it was let in by it
	carry := within{s.operator, secret, callOf(ctx)}
	return adminv1connect.NewDeploymentServiceClient(&http.Client{Transport: carry}, "http://operator"), nil
}

// loadModel has the version served that a name means, and waits until it is.
func (s *Server) loadModel(ctx context.Context, header http.Header, name string) error {
	operator, err := s.deployments(ctx, header)
	if err != nil {
		return err
	}
	res, err := operator.Serve(ctx, connect.NewRequest(&adminv1.ServeRequest{Model: name}))
	if err != nil {
		return operatorError(err)
	}
	v, ok := cluster.ParseVersionID(res.Msg.Version)
	if !ok {
		return fmt.Errorf("gateway: the operators' API serves %.80q", res.Msg.Version)
	}
	return s.settled(ctx, v, true)
}

// settled waits until a version has a replica that answers, or has none.
func (s *Server) settled(ctx context.Context, v cluster.VersionID, served bool) error {
	turn, enough := context.WithTimeout(ctx, s.cfg.Patience)
	defer enough()
	for {
		table, changed := s.table()
		if (len(table.Routes(v)) > 0) == served {
			return nil
		}
		select {
		case <-changed:
		case <-turn.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &Error{Fault: FaultUnavailable, Param: "model", Why: fmt.Sprintf("it was decided, and %s is not there yet", v)}
		}
	}
}

// unloadModel has the version served no more that a name means, and waits until it is not.
func (s *Server) unloadModel(ctx context.Context, header http.Header, name string) error {
	operator, err := s.deployments(ctx, header)
	if err != nil {
		return err
	}
	v, err := cluster.Resolve(s.live.Now(), name)
	known := err == nil
	// By the name that was asked for, also where there is none: what is said of a model that is another's is said in the same words.
	if _, err := operator.Unserve(ctx, connect.NewRequest(&adminv1.UnserveRequest{Model: name})); err != nil {
		return operatorError(err)
	}
	if !known {
		return nil // it came meanwhile
	}
	return s.settled(ctx, v, false)
}

// operatorError says in the gateway's words what the operators' API said.
func operatorError(err error) error {
	var said *connect.Error
	if !errors.As(err, &said) {
		return err
	}
	e := &Error{Fault: FaultInvalid, Why: said.Message()}
	switch said.Code() {
	case connect.CodeUnauthenticated:
		e.Fault = FaultKey
	case connect.CodePermissionDenied:
		e.Fault = FaultPermission
	case connect.CodeNotFound:
		e.Fault, e.Param = FaultModel, "model"
	case connect.CodeResourceExhausted:
		e.Fault = FaultBusy
	case connect.CodeUnavailable, connect.CodeAborted, connect.CodeUnknown:
		e.Fault = FaultUnavailable
	case connect.CodeCanceled:
		e.Fault = FaultCanceled
	case connect.CodeDeadlineExceeded:
		e.Fault = FaultTimeout
	case connect.CodeInternal:
		return err
	}
	return e
}

// within calls a handler of this process as if over the network.
type within struct {
	h      http.Handler
	secret string // that the call presents
	c      *call
}

// RoundTrip implements http.RoundTripper.
func (i within) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), netip.AddrPortFrom(i.c.shown.from, 0).String()
	r.Header.Set("Authorization", "Bearer "+i.secret)
	r.Header.Set(requestIDHeader, i.c.id)
	w := &kept{header: http.Header{}, status: http.StatusOK}
	i.h.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r}, nil
}

// kept is a response that nobody reads before it is whole.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *kept) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *kept) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *kept) Write(b []byte) (int, error) { return w.body.Write(b) }
