package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/alert/kept"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/export"
	"github.com/skein-project/skein/results/sqlstore"
)

type resultService struct{ *Handler }

var _ adminv1connect.ResultServiceHandler = resultService{}

const (
	resultsRead  = accessv1.Permission_PERMISSION_RESULTS_READ
	resultsWrite = accessv1.Permission_PERMISSION_RESULTS_WRITE
)

// Archive is what this API needs of a coordinator about what is kept of requests.
type Archive interface {
	Results() *sqlstore.Store // nil if this coordinator has none
	Bucketed() bool           // the cluster has a bucket
	ToResults() http.Handler  // passes a call on to a coordinator that has a store, or to the leader where none has
}

// questionFor bounds the time of one question to the store.
const questionFor = 2 * time.Minute

// store is where records are.
func (h resultService) store() (*sqlstore.Store, error) {
	s := h.c.Results()
	if s == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("no coordinator keeps records of requests: set results to sqlite or to a PostgreSQL database on one"))
	}
	return s, nil
}

// filter reads conditions. Who is confined to a tenant sees that tenant's records alone.
func filter(ctx context.Context, p access.Permission, where ...[]string) (results.Filter, error) {
	f, err := results.ParseFilter(slices.Concat(where...))
	if err != nil {
		return f, err
	}
	tenant := confined(ctx, p)
	switch {
	case tenant == "":
	case len(f.Tenants) == 0 || slices.Contains(f.Tenants, tenant):
		f.Tenants = []string{tenant}
	default:
		return f, unknownTenant(f.Tenants[0])
	}
	return f, nil
}

// ListPolicies implements skein.admin.v1.
func (h resultService) ListPolicies(ctx context.Context, _ *connect.Request[adminv1.ListPoliciesRequest]) (*connect.Response[adminv1.ListPoliciesResponse], error) {
	list, err := documents[results.Policy](h.c.Live().Now(), cluster.KeepPolicy)
	res := &adminv1.ListPoliciesResponse{}
	for _, p := range list {
		if p.Tenant != results.Any && !sees(ctx, resultsRead, p.Tenant) {
			continue // one for every tenant is everybody's to know: it says what is kept of them
		}
		v := &adminv1.ResultPolicy{Tenant: p.Tenant, Model: p.Model, Keep: string(p.Keep), Days: int32(p.Days), To: string(p.Destination()), Comment: p.Comment}
		for _, r := range p.Redact {
			v.Redact = append(v.Redact, &adminv1.Redaction{Field: r.Field, Pattern: r.Pattern, With: r.With})
		}
		res.Policies = append(res.Policies, v)
	}
	return connect.NewResponse(res), err
}

// PutPolicy implements skein.admin.v1.
func (h resultService) PutPolicy(ctx context.Context, r *connect.Request[adminv1.PutPolicyRequest]) (*connect.Response[adminv1.PutPolicyResponse], error) {
	in := r.Msg.GetPolicy()
	p := results.Policy{Tenant: ownTenant(ctx, in.GetTenant()), Model: in.GetModel(), Keep: results.Keep(in.GetKeep()), Days: int(in.GetDays()), To: results.Destination(in.GetTo()), Comment: in.GetComment()}
	for _, d := range in.GetRedact() {
		p.Redact = append(p.Redact, results.Redaction{Field: d.GetField(), Pattern: d.GetPattern(), With: d.GetWith()})
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := may(ctx, resultsWrite, p.Tenant, unknownTenant(p.Tenant)); err != nil {
		return nil, err
	}
	if _, ok := h.c.Live().Now().Tenant(p.Tenant); !ok && p.Tenant != results.Any {
		return nil, unknownTenant(p.Tenant)
	}
	if p.Keeps() {
		if _, err := h.store(); err != nil {
			return nil, err
		}
		if p.To == results.Bucket && !h.c.Bucketed() {
			return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the coordinator that keeps records has no bucket: set its bucket, or send the records to the database"))
		}
	}
	return connect.NewResponse(&adminv1.PutPolicyResponse{}), h.put(ctx, cluster.KeepPolicy, p.ID(), p)
}

// DeletePolicy implements skein.admin.v1.
func (h resultService) DeletePolicy(ctx context.Context, r *connect.Request[adminv1.DeletePolicyRequest]) (*connect.Response[adminv1.DeletePolicyResponse], error) {
	p := results.Policy{Tenant: ownTenant(ctx, r.Msg.Tenant), Model: r.Msg.Model}
	if err := may(ctx, resultsWrite, p.Tenant, unknownTenant(p.Tenant)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.DeletePolicyResponse{}), h.drop(ctx, cluster.KeepPolicy, p.ID())
}

// rules are the policies in force.
func (h resultService) rules() (results.Rules, error) {
	out := results.Rules{}
	for d := range h.c.Live().Now().Documents(cluster.KeepPolicy) {
		p, err := kept.Read[results.Policy](d)
		if err != nil {
			return nil, err
		}
		if out[d.ID], err = p.Rule(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Pages of answers.
const defaultPage = 100

func pageOf(asked int32) (int, error) {
	switch {
	case asked == 0:
		return defaultPage, nil
	case asked < 0 || asked > results.MaxPage:
		return 0, invalid("a page of %d, at most %d are allowed", asked, results.MaxPage)
	}
	return int(asked), nil
}

// QueryResults implements skein.admin.v1.
func (h resultService) QueryResults(ctx context.Context, r *connect.Request[adminv1.QueryResultsRequest]) (*connect.Response[adminv1.QueryResultsResponse], error) {
	f, err := filter(ctx, resultsRead, r.Msg.Where)
	if err != nil {
		return nil, err
	}
	limit, err := pageOf(r.Msg.Limit)
	if err != nil {
		return nil, err
	}
	after, err := results.ParseCursor(r.Msg.Page)
	if err != nil {
		return nil, err
	}
	store, err := h.store()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, questionFor)
	defer cancel()
	list, next, err := store.Query(ctx, f, results.Page{After: after, Limit: limit, Brief: r.Msg.Brief})
	if err != nil {
		return nil, away(err)
	}
	res := &adminv1.QueryResultsResponse{NextPage: next.String()}
	for _, x := range list {
		res.Results = append(res.Results, resultOf(x))
	}
	return connect.NewResponse(res), nil
}

// away gives errors of the database a code: a client may try again.
func away(err error) error {
	switch {
	case errors.As(err, new(*results.Invalid)):
		return err
	case errors.Is(err, sqlstore.ErrNewer):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf("the results database does not answer: %w", err))
}

func resultOf(r results.Record) *adminv1.Result {
	return &adminv1.Result{Id: r.ID, AtMs: r.At, RequestId: r.RequestID, Tenant: r.Tenant, Application: r.App, Key: r.Key, Model: r.Model, Version: int32(r.Version), Alias: r.Alias,
		Operation: r.Operation, Path: r.Path, Status: r.Status, Error: r.Error, LatencyUs: r.Latency, FirstTokenUs: r.FirstToken, PromptTokens: int64(r.PromptTokens),
		AnswerTokens: int64(r.AnswerTokens), DeviceUs: r.Device, Seed: r.Seed, Gateway: r.Gateway, Labels: labelsOf(r.Labels), Request: string(r.Request), Answer: string(r.Answer),
		Cut: r.Cut, Redacted: r.Redacted, ExpiresMs: r.Expires()}
}

func labelsOf(list []results.Label) (out []*adminv1.ResultLabel) {
	for _, l := range list {
		out = append(out, &adminv1.ResultLabel{Input: int32(l.Input), Name: l.Name, Score: l.Score})
	}
	return out
}

// SummarizeResults implements skein.admin.v1.
func (h resultService) SummarizeResults(ctx context.Context, r *connect.Request[adminv1.SummarizeResultsRequest]) (*connect.Response[adminv1.SummarizeResultsResponse], error) {
	f, err := filter(ctx, resultsRead, r.Msg.Where)
	if err != nil {
		return nil, err
	}
	by, err := results.ParseFields(r.Msg.By)
	if err != nil {
		return nil, err
	}
	store, err := h.store()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, questionFor)
	defer cancel()
	rows, err := store.Summarize(ctx, f, by)
	if err != nil {
		return nil, away(err)
	}
	res := &adminv1.SummarizeResultsResponse{}
	for _, row := range rows {
		res.Rows = append(res.Rows, rowOf(row))
	}
	return connect.NewResponse(res), nil
}

func rowOf(r results.Row) *adminv1.ResultRow {
	return &adminv1.ResultRow{Group: r.Group, Count: r.Count, Failed: r.Failed, PromptTokens: r.PromptTokens, AnswerTokens: r.AnswerTokens, DeviceUs: r.Device,
		LatencyP50Us: r.P50, LatencyP90Us: r.P90, LatencyP99Us: r.P99, FirstP50Us: r.First50, FirstP99Us: r.First99}
}

// CompareResults implements skein.admin.v1.
func (h resultService) CompareResults(ctx context.Context, r *connect.Request[adminv1.CompareResultsRequest]) (*connect.Response[adminv1.CompareResultsResponse], error) {
	store, err := h.store()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, questionFor)
	defer cancel()
	res := &adminv1.CompareResultsResponse{}
	var labels [2]results.Distribution
	for i, side := range []struct {
		where []string
		row   **adminv1.ResultRow
	}{{r.Msg.Base, &res.Base}, {r.Msg.Now, &res.Now}} {
		f, err := filter(ctx, resultsRead, r.Msg.Where, side.where)
		if err != nil {
			return nil, err
		}
		rows, err := store.Summarize(ctx, f, nil)
		if err == nil {
			labels[i], err = store.Labels(ctx, f)
		}
		if err != nil {
			return nil, away(err)
		}
		*side.row = &adminv1.ResultRow{}
		if len(rows) > 0 {
			*side.row = rowOf(rows[0])
		}
	}
	d := results.DriftOf(labels[0], labels[1])
	res.Psi, res.TotalVariation, res.NotComparable = d.PSI, d.TV, !d.Comparable()
	for _, s := range d.Shares {
		res.Labels = append(res.Labels, &adminv1.LabelShare{Label: s.Label, Base: s.Base, Now: s.Now, BaseShare: s.BaseP, NowShare: s.NowP})
	}
	return connect.NewResponse(res), nil
}

// note puts into the audit log what is done with records, before it is done; of texts that are looked for a hash, since they may be what is forgotten.
func (h resultService) note(ctx context.Context, deed, version string, where []string) error {
	return h.do(ctx, cluster.NoteResults{Deed: deed, Tenant: confined(ctx, resultsRead), Where: results.Noted(where), Version: version})
}

// exportPiece is the bytes of a piece of an export, about.
const exportPiece = 256 << 10

// exported sends what is written in pieces.
type exported struct {
	out *connect.ServerStream[adminv1.ExportResultsResponse]
	b   []byte
}

// Write implements io.Writer.
func (p *exported) Write(b []byte) (int, error) {
	if p.b = append(p.b, b...); len(p.b) < exportPiece {
		return len(b), nil
	}
	return len(b), p.send()
}

func (p *exported) send() error {
	if len(p.b) == 0 {
		return nil
	}
	err := p.out.Send(&adminv1.ExportResultsResponse{Piece: p.b})
	p.b = nil
	return err
}

// maxExports is how many exports one coordinator writes at once.
const maxExports = 2

// ExportResults implements skein.admin.v1.
func (h resultService) ExportResults(ctx context.Context, r *connect.Request[adminv1.ExportResultsRequest], out *connect.ServerStream[adminv1.ExportResultsResponse]) error {
	f, err := filter(ctx, resultsRead, r.Msg.Where)
	if err != nil {
		return err
	}
	p := &exported{out: out}
	w, ok := export.New(r.Msg.Format, p)
	if !ok {
		return invalid("format %.40q: want parquet, csv or ndjson", r.Msg.Format)
	}
	store, err := h.store()
	if err != nil {
		return err
	}
	if h.exports.Add(1) > maxExports {
		h.exports.Add(-1)
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d exports are being written here: wait for one of them", maxExports))
	}
	defer h.exports.Add(-1)
	if err := h.note(ctx, "export", "", r.Msg.Where); err != nil {
		return err
	}
	var failed error
	err = store.Each(ctx, f, func(x results.Record) error {
		failed = w.Write(x)
		return failed
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return away(err)
	}
	if err := w.Close(); err != nil {
		return err
	}
	return p.send()
}

// ForgetResults implements skein.admin.v1.
func (h resultService) ForgetResults(ctx context.Context, r *connect.Request[adminv1.ForgetResultsRequest]) (*connect.Response[adminv1.ForgetResultsResponse], error) {
	if len(r.Msg.Where) == 0 {
		return nil, invalid("where: at least one condition is needed, so that nobody deletes everything by mistake")
	}
	f, err := filter(ctx, resultsWrite, r.Msg.Where)
	if err != nil {
		return nil, err
	}
	store, err := h.store()
	if err != nil {
		return nil, err
	}
	if err := h.note(ctx, "forget", "", r.Msg.Where); err != nil {
		return nil, err
	}
	gone, err := store.Forget(ctx, f)
	if err != nil {
		return nil, away(err)
	}
	return connect.NewResponse(&adminv1.ForgetResultsResponse{Forgotten: int64(gone)}), nil
}
