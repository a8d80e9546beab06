package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/sqlstore"
	"github.com/skein-project/skein/wire"
)

// Asker asks a kept request again of another version: the gateway of this process.
type Asker interface {
	Again(ctx context.Context, who cluster.Principal, was results.Record, to cluster.VersionID) (results.Record, error)
}

// AskBy lets requests be asked again by a gateway.
func (h *Handler) AskBy(a Asker) { h.again = a }

// Limits of a re-run.
const (
	maxRerun        = 100_000 // records
	defaultRerun    = 1000
	maxParallel     = 64 // requests at once
	defaultParallel = 4
	rerunPage       = 200 // records that are read and stored at once
)

// RerunResults implements skein.admin.v1.
func (h resultService) RerunResults(ctx context.Context, r *connect.Request[adminv1.RerunResultsRequest], out *connect.ServerStream[adminv1.RerunResultsResponse]) error {
	f, err := filter(ctx, resultsWrite, r.Msg.Where)
	if err != nil {
		return err
	}
	run, err := h.rerun(ctx, r.Msg)
	if err != nil {
		return err
	}
	if err := h.note(ctx, "rerun", r.Msg.Version, r.Msg.Where); err != nil {
		return err
	}
	if err := out.Send(&adminv1.RerunResultsResponse{Run: run.id}); err != nil {
		return err
	}
	var at results.Cursor
	for left := run.limit; left > 0; {
		size := min(left, rerunPage)
		page, next, err := run.store.Query(ctx, f, results.Page{After: at, Limit: size})
		if err != nil {
			return away(err)
		}
		pairs := run.page(ctx, page)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := run.store.AppendPairs(ctx, pairs); err != nil {
			return away(err)
		}
		for _, p := range pairs {
			run.count.Add(p)
			if err := out.Send(&adminv1.RerunResultsResponse{Run: run.id, Pair: pairOf(p), Count: countOf(run.count)}); err != nil {
				return err
			}
		}
		if next == (results.Cursor{}) {
			break
		}
		at, left = next, left-len(page)
	}
	return out.Send(&adminv1.RerunResultsResponse{Run: run.id, Count: countOf(run.count)})
}

// rerun is one re-run.
type rerun struct {
	h        resultService
	store    *sqlstore.Store
	id       string
	who      cluster.Principal
	version  string
	number   int // of Version where it names no model
	limit    int
	parallel int
	rules    results.Rules
	count    results.Count
}

// rerun reads what is asked for. A version that is named and gone is refused before anything is done.
func (h resultService) rerun(ctx context.Context, r *adminv1.RerunResultsRequest) (*rerun, error) {
	out := &rerun{h: h, id: "rerun-" + string(wire.NewID()), who: callerOf(ctx).Principal, version: r.Version, limit: int(r.Limit), parallel: int(r.Parallel)}
	if out.limit == 0 {
		out.limit = defaultRerun
	}
	if out.parallel == 0 {
		out.parallel = defaultParallel
	}
	switch {
	case h.again == nil:
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the coordinator that keeps records has no gateway: give it a client API"))
	case out.limit < 0 || out.limit > maxRerun:
		return nil, invalid("limit %d: want 1 to %d", r.Limit, maxRerun)
	case out.parallel < 0 || out.parallel > maxParallel:
		return nil, invalid("parallel %d: want 1 to %d", r.Parallel, maxParallel)
	case r.Version == "":
		return nil, invalid("a version is needed: team/spam@8, or 8 for that version of each record's model")
	}
	n, err := strconv.Atoi(strings.TrimPrefix(r.Version, "v"))
	if err == nil {
		out.number = n
	} else if _, err := version(h.c.Live().Now(), r.Version); err != nil {
		return nil, err
	}
	if out.store, err = h.store(); err != nil {
		return nil, err
	}
	out.rules, err = h.rules()
	return out, err
}

// page asks records again, several at once. The pairs are in the order of the records.
func (r *rerun) page(ctx context.Context, page []results.Record) []results.Pair {
	out := make([]results.Pair, len(page))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(r.parallel, len(page)) {
		wg.Go(func() {
			for i := range next {
				out[i] = r.one(ctx, page[i]).Fit()
			}
		})
	}
	for i := range page {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// one asks one record again.
func (r *rerun) one(ctx context.Context, was results.Record) results.Pair {
	p := results.Pair{Run: r.id, ID: was.ID, At: was.At, Tenant: was.Tenant, Model: was.Model, Version: was.Version, Expires: was.Expires()}
	state := r.h.c.Live().Now()
	to := cluster.VersionID{Model: was.Model, Number: r.number}
	if r.number == 0 {
		if v, err := version(state, r.version); err == nil {
			to = v.VersionID
		}
	}
	p.ToModel, p.ToVersion = to.Model, to.Number
	if was.Request == nil {
		p.Status, p.Error = results.NoRequest, "the policy kept no request, so there is nothing to ask again"
		return p
	}
	if _, there := state.Version(to); !there || to.Number == 0 {
		p.Status, p.Error = results.NoModel, fmt.Sprintf("the version %s does not exist", to)
		return p
	}
	got, err := r.h.again.Again(ctx, r.who, was, to)
	if err != nil {
		p.Status, p.Error = "failed", err.Error()
		return p
	}
	rule := r.rules.Of(was.Tenant, was.Model)
	kept := rule
	kept.Keep = results.All // what is taken out of answers was taken out of the one that it is compared with
	got = kept.Apply(got)
	p.Status, p.Error, p.Latency = got.Status, got.Error, got.Latency
	if p.Status != results.OK {
		return p
	}
	if why := results.Incomparable(was, got); why != "" {
		p.Status, p.Error = results.Unlike, why
	} else {
		p.Difference = results.Compare(was, got.Labels, got.Answer)
	}
	if rule.Keep.Answers() {
		p.Labels, p.Answer = got.Labels, got.Answer
	}
	return p
}

func pairOf(p results.Pair) *adminv1.ResultPair {
	return &adminv1.ResultPair{Id: p.ID, Model: p.Model, Version: int32(p.Version), ToModel: p.ToModel, ToVersion: int32(p.ToVersion), Status: p.Status, Error: p.Error,
		LatencyUs: p.Latency, Labels: labelsOf(p.Labels), Answer: string(p.Answer), Differs: p.Differs, LabelsMove: int32(p.LabelsMove), TextMoves: p.TextMoves, FormMoves: p.FormMoves,
		ScoreDelta: p.Score, NumberDelta: p.Numbers}
}

func countOf(c results.Count) *adminv1.RerunCount {
	return &adminv1.RerunCount{Asked: c.Asked, Same: c.Same, Differ: c.Differ, LabelsMove: c.Labels, TextMoves: c.Texts, ScoresMove: c.Scores, NoRequest: c.NoRequest, NoModel: c.NoModel, Failed: c.Failed, NotComparable: c.Unlike}
}

// ListPairs implements skein.admin.v1.
func (h resultService) ListPairs(ctx context.Context, r *connect.Request[adminv1.ListPairsRequest]) (*connect.Response[adminv1.ListPairsResponse], error) {
	limit, err := pageOf(r.Msg.Limit)
	if err != nil {
		return nil, err
	}
	store, err := h.store()
	if err != nil {
		return nil, err
	}
	tenant := confined(ctx, resultsRead)
	if tenant == "" {
		tenant = results.Any
	}
	list, next, err := store.Pairs(ctx, r.Msg.Run, tenant, r.Msg.After, limit)
	if err != nil {
		return nil, away(err)
	}
	res := &adminv1.ListPairsResponse{After: next}
	for _, p := range list {
		if !r.Msg.Differing || p.Differs {
			res.Pairs = append(res.Pairs, pairOf(p))
		}
	}
	return connect.NewResponse(res), nil
}
