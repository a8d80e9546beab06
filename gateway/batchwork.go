package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/wire"
)

// Pace of working batches.
const (
	batchPoll  = 500 * time.Millisecond // that batches without an owner are looked for, and owners look whether theirs is wanted
	changeWait = 30 * time.Second       // for one change, with all attempts
	changeRest = 250 * time.Millisecond // between two
	freeWait   = 2 * time.Second        // for giving batches back at the end
)

// Works says where a gateway's files are, and in whose name it works batches.
type Works struct {
	Gateway cluster.NodeID
	Depot   Depot
}

// batching is a gateway that works batches.
type batching struct {
	Works
	s     *Server
	owner string // this process

	mu   sync.Mutex
	busy map[cluster.DocumentID]bool
	jobs sync.WaitGroup
}

// RunBatches works batches that nobody else does, until ctx ends. Until it runs, files and batches are refused.
func (s *Server) RunBatches(ctx context.Context, w Works) {
	b := &batching{Works: w, s: s, owner: string(w.Gateway) + "/" + string(wire.NewID()), busy: map[cluster.DocumentID]bool{}}
	s.batching.Store(b)
	defer b.jobs.Wait()
	var seen cluster.Index
	known := map[cluster.DocumentID]job.Held{}
	for {
		if state := s.live.Now(); state.Index() != seen || len(known) > 0 {
			seen = state.Index()
			known = b.look(ctx, state, known)
		}
		select {
		case <-time.After(batchPoll):
		case <-ctx.Done():
			return
		}
	}
}

// look claims batches that nobody works. known are those that are not over.
func (b *batching) look(ctx context.Context, state cluster.State, known map[cluster.DocumentID]job.Held) map[cluster.DocumentID]job.Held {
	next := map[cluster.DocumentID]job.Held{}
	var all []job.Held
	for d := range state.Documents(cluster.Batch) {
		h, ok := known[d.DocumentID]
		if !ok || h.Doc.Rev != d.Rev {
			batch, err := job.DecodeBatch(d)
			if err != nil {
				b.s.log.Error("a batch cannot be read", "batch", d.ID, "err", err)
				continue
			}
			h = job.Held{Doc: d, Batch: batch}
		}
		if !h.Batch.Status.Over() {
			next[d.DocumentID] = h
			all = append(all, h)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range job.Pick(all, b.s.cfg.MaxJobs-len(b.busy), cluster.Millis(time.Now().UnixMilli())) {
		id := h.Doc.DocumentID
		if b.busy[id] {
			continue
		}
		b.busy[id] = true
		b.jobs.Go(func() {
			w := &worker{batching: b, id: id}
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				b.s.log.Warn("a batch is left to whoever takes it", "batch", id.ID, "err", err)
			}
			b.mu.Lock()
			delete(b.busy, id)
			b.mu.Unlock()
		})
	}
	return next
}

// worker is the owner of a batch.
type worker struct {
	*batching
	id cluster.DocumentID
}

func millis() cluster.Millis { return cluster.Millis(time.Now().UnixMilli()) }

// now is the batch as the state has it.
func (w *worker) now() (job.Batch, cluster.Document, error) {
	d, ok := w.s.live.Now().Document(w.id)
	if !ok {
		return job.Batch{}, d, job.ErrLost
	}
	b, err := job.DecodeBatch(d)
	return b, d, err
}

// change makes a change of the batch, again where somebody else changed it meanwhile, or where it is not known what came of it. more is
// documents that come to be with it.
func (w *worker) change(ctx context.Context, blobs []blob.Digest, do func(job.Batch) (job.Batch, error), more ...cluster.PutDocument) (job.Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	for {
		_, changed := w.s.live.Load()
		b, d, err := w.now()
		if err == nil {
			b, err = do(b)
		}
		if errors.Is(err, job.ErrMade) {
			return b, nil
		}
		if err == nil {
			d.Body, err = json.Marshal(b)
		}
		if err != nil {
			return b, err
		}
		res, err := w.Depot.Commit(ctx, &wire.CommitRequest{Blobs: blobs, Put: append([]cluster.PutDocument{{Document: d, Was: d.Rev}}, more...)})
		switch {
		case err == nil && res.Rejected == nil:
			return b, nil
		case err == nil && res.Rejected.Reason != cluster.ReasonStale && res.Rejected.Reason != cluster.ReasonExists:
			return b, res.Rejected
		case err == nil: // this process has not heard of the last change yet
		default:
			changed = nil
		}
		select {
		case <-changed:
		case <-time.After(changeRest):
		case <-ctx.Done():
			return b, fmt.Errorf("change of a batch: %w", cmp.Or(err, ctx.Err()))
		}
	}
}

// run claims the batch and works it until it is over or somebody else's.
func (w *worker) run(ctx context.Context) error {
	b, err := w.change(ctx, nil, func(b job.Batch) (job.Batch, error) {
		if b.Owner == w.owner {
			return b, job.ErrMade
		}
		return b.Claim(w.owner, millis())
	})
	if errors.Is(err, job.ErrLost) {
		return nil // another gateway was quicker
	}
	for err == nil && ctx.Err() == nil {
		switch b.Next(millis()) {
		case job.Rest:
			return nil
		case job.Check:
			b, err = w.check(ctx, b)
		case job.Answer:
			b, err = w.answer(ctx, b)
		case job.Drain:
			b, err = w.drain(ctx, b)
		case job.Finish:
			b, err = w.finish(ctx, b)
		}
		if errors.Is(err, job.ErrFull) {
			b, err = w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.Abandon(w.owner, job.TooLarge, millis()) })
		}
	}
	if !errors.Is(err, job.ErrLost) && !errors.Is(err, job.ErrOver) {
		w.release(ctx)
	}
	return err
}

// release gives the batch back, so that nobody waits for the end of the lease.
func (w *worker) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freeWait)
	defer cancel()
	if _, err := w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.Release(w.owner) }); err != nil {
		w.s.log.Debug("a batch is not given back", "batch", w.id.ID, "err", err)
	}
}

// source reads a file from a place on, part by part.
type source struct {
	ctx   context.Context //nolint:containedctx // of the one reader
	s     *Server
	parts []job.Part
	skip  int64
	left  []byte
}

// input opens the input of a batch.
func (w *worker) input(ctx context.Context, b job.Batch) (io.Reader, error) {
	tenant, _, _ := strings.Cut(w.id.ID, "/")
	d, ok := w.s.live.Now().Document(cluster.DocumentID{Kind: cluster.File, ID: tenant + "/" + b.Input})
	if !ok {
		return nil, errNoInput
	}
	f, err := job.DecodeFile(d)
	if err != nil {
		return nil, err
	}
	src := &source{ctx: ctx, s: w.s, parts: f.Parts, skip: b.Offset}
	for len(src.parts) > 0 && src.skip >= src.parts[0].Bytes {
		src.skip -= src.parts[0].Bytes
		src.parts = src.parts[1:]
	}
	return src, nil
}

var errNoInput = errors.New("gateway: the input of the batch is gone")

// Read implements io.Reader.
func (src *source) Read(p []byte) (int, error) {
	for len(src.left) == 0 {
		if len(src.parts) == 0 {
			return 0, io.EOF
		}
		part := src.parts[0]
		b, err := src.s.library.ReadBlob(src.ctx, blob.Ref{Digest: part.Digest, Len: part.Bytes})
		if err != nil {
			return 0, fmt.Errorf("read the input of a batch: %w", err)
		}
		src.left, src.skip, src.parts = b[src.skip:], 0, src.parts[1:]
	}
	n := copy(p, src.left)
	src.left = src.left[n:]
	return n, nil
}

// check reads the input once, before any request is made.
func (w *worker) check(ctx context.Context, b job.Batch) (job.Batch, error) {
	src, err := w.input(ctx, b)
	if err != nil {
		return w.lost(ctx, err)
	}
	lines, c, renewed := job.NewLines(src, 0), job.NewChecker(b.Endpoint), time.Now()
	for {
		line, long, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b, err
		}
		if !c.Line(lines.Number, line, long) {
			break
		}
		if time.Since(renewed) > job.RenewEvery*time.Millisecond {
			renewed = time.Now()
			if b, err = w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.Renew(w.owner, millis()) }); err != nil || b.Ending != "" || millis() >= b.Due {
				return b, err
			}
		}
	}
	total, faults := c.Result()
	return w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.Read(w.owner, total, faults, millis()) })
}

// lost ends a batch whose input is gone.
func (w *worker) lost(ctx context.Context, why error) (job.Batch, error) {
	if !errors.Is(why, errNoInput) {
		return job.Batch{}, why
	}
	fault := job.Fault{Code: "input_file_gone", Message: "The input file does not exist any more."}
	return w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.Abandon(w.owner, fault, millis()) })
}

// finish makes files of what came out.
func (w *worker) finish(ctx context.Context, b job.Batch) (job.Batch, error) {
	tenant, _, _ := strings.Cut(w.id.ID, "/")
	now := millis()
	output, errs := timedID("file-", now), timedID("file-", now)
	var puts []cluster.PutDocument
	made := func(id, name string, parts []job.Part) (string, error) {
		if len(parts) == 0 {
			return "", nil
		}
		f := job.File{ID: id, App: b.App, Name: name, Purpose: job.PurposeOutput, Bytes: job.Size(parts), Created: now, Expires: now + cluster.Millis(b.Keep), Parts: parts}
		body, err := json.Marshal(f)
		puts = append(puts, cluster.PutDocument{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.File, ID: tenant + "/" + id}, Body: body, Size: f.Bytes}})
		return id, err
	}
	output, err := made(output, b.ID+"_output.jsonl", b.Output)
	if err != nil {
		return b, err
	}
	if errs, err = made(errs, b.ID+"_error.jsonl", b.Errors); err != nil {
		return b, err
	}
	return w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.Done(w.owner, output, errs, millis()) }, puts...)
}

// principal is in whose name the batch's requests are made, as long as the key that it came with is good.
func (w *worker) principal(b job.Batch) (cluster.Principal, error) {
	if err := w.s.stale(); err != nil {
		return cluster.Principal{}, err
	}
	state := w.s.live.Now()
	k, ok := state.Key(b.Key)
	if !ok {
		return cluster.Principal{}, &Error{Fault: FaultKey, Why: "the API key is not valid: " + string(cluster.KeyUnknown)}
	}
	from, _ := netip.ParseAddr(b.From) // the zero Addr = not known
	who, refused := state.Admit(k.Hash, millis(), from)
	if refused != "" {
		return who, &Error{Fault: FaultKey, Why: "the API key is not valid: " + string(refused)}
	}
	return who, nil
}
