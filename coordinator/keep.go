package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/s3"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/library"
	"github.com/skein-project/skein/wire"
)

// Pace of keeping the library.
const (
	tidyEvery   = time.Minute      // at most this, and a quarter of Config.Keep
	spreadEvery = 30 * time.Second // at most this, and a quarter of Config.Absent
	lackingWait = 10 * time.Second // for a coordinator's answer
	maxLacking  = 10_000           // blobs of one question
	copyWait    = 12 * time.Hour   // for the blobs of one version
)

// bucket reads where the cluster's bucket is.
func (c Config) bucket() (s3.Config, error) {
	rest, ok := strings.CutPrefix(c.Bucket, "s3://")
	name, prefix, _ := strings.Cut(rest, "/")
	if !ok || name == "" || c.Hub.S3Keys == "" {
		return s3.Config{}, errors.New("bucket: want s3://BUCKET/PREFIX, and hub_s3_keys")
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	at := c.Hub.S3URL
	if at == "" {
		at = "https://s3.amazonaws.com"
	}
	return s3.Config{URL: at, Region: c.Hub.S3Region, Bucket: name, Prefix: prefix, Keys: c.Hub.S3Keys}, nil
}

// openOutside prepares what is called outside of the cluster. Nothing is called yet.
func (s *Server) openOutside() (err error) {
	if s.outside, err = s.cfg.outside(); err != nil || s.cfg.Bucket == "" {
		return err
	}
	b, err := s.cfg.bucket()
	if err == nil {
		s.bucket, err = s3.Open(b, s.outside)
	}
	return err
}

// copyOut brings a version's blobs to another coordinator, and to the bucket where there is one: one of the two must have them.
func (s *Server) copyOut(ctx context.Context, v *cluster.Version, blobs []blob.Digest, step func(string)) error {
	var err error
	v.Holders, err = s.replicate(ctx, blobs)
	if s.bucket == nil || s.live.Now().Cluster().Feature < 2 {
		return err
	}
	step("copying to the bucket")
	if failed := s.toBucket(ctx, blobs); failed != nil {
		if err == nil {
			s.log.Warn("a version is not in the bucket", "err", failed)
		}
		return err
	}
	v.Bucket = true
	if err != nil {
		s.log.Warn("a version is on this coordinator and in the bucket only", "err", err)
		v.Holders = []cluster.NodeID{s.member.ID}
	}
	return nil
}

func (s *Server) toBucket(ctx context.Context, blobs []blob.Digest) error {
	for _, d := range blobs {
		x, err := s.blobs.Index(d)
		if err != nil {
			return err
		}
		r, err := s.blobs.Reader(d)
		if err != nil {
			return err
		}
		if err := errors.Join(s.bucket.Put(ctx, x, r), r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// BlobIndex is the index of a blob, wherever it is.
func (s *Server) BlobIndex(ctx context.Context, d blob.Digest) (blob.Index, error) {
	if x, err := s.blobs.Index(d); err == nil {
		return x, nil
	}
	x, err := wire.FetchIndexAny(ctx, s.dialer, s.otherAddrs(), d)
	if err != nil && s.bucket != nil {
		var failed error
		if x, failed = s.bucket.Index(ctx, d); failed == nil {
			return x, nil
		}
		err = errors.Join(err, failed)
	}
	return x, err
}

// bring fetches ranges of a blob, or all of it, from members that have it, else from the bucket.
func (s *Server) bring(ctx context.Context, sources []string, d blob.Digest, refs ...blob.Ref) error {
	err := wire.Fetch(ctx, s.dialer, sources, d, refs, s.blobs, s.watch.took)
	if err == nil || isFull(err) || s.bucket == nil {
		return err
	}
	x, failed := s.bucket.Index(ctx, d)
	if failed != nil {
		return errors.Join(err, failed)
	}
	missing, failed := s.blobs.Begin(x, refs...)
	for _, i := range missing {
		var b []byte
		if b, failed = s.bucket.ReadChunk(ctx, x, i); failed == nil {
			failed = s.blobs.WriteChunk(d, i, b)
		}
		if failed != nil {
			break
		}
		s.watch.took(int64(len(b)))
	}
	if failed != nil {
		return errors.Join(err, failed)
	}
	return s.blobs.Flush(d)
}

// every calls something now and then until ctx ends.
func (s *Server) every(ctx context.Context, pause time.Duration, do func(context.Context)) {
	for s.wait(ctx, pause) {
		do(ctx)
	}
}

// or is a time, or what holds if none was named.
func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// tidy removes blobs that nothing has named for long, and what was received in part and given up. It runs on every coordinator.
func (s *Server) tidy(ctx context.Context) {
	keep := or(s.cfg.Keep, defaultKeep)
	g := &library.Garbage{Keep: keep, Tidy: keep}
	known := map[cluster.VersionID]namedBlobs{}
	s.every(ctx, min(tidyEvery, keep/4), func(ctx context.Context) {
		before := time.Now()
		if _, err := s.blobs.Expire(before.Add(-keep)); err != nil {
			s.log.Warn("parts of uploads were not removed", "err", err)
		}
		in := library.Needs{Named: map[blob.Digest]bool{}}
		for _, st := range s.blobs.List() {
			in.Blobs = append(in.Blobs, library.Blob{Digest: st.Digest, Bytes: st.Present, Touched: st.Touched})
		}
		s.pins.named(in.Named) // before the state is read: what is held no more by then is named there
		known, in.Sure = s.named(ctx, known, in.Named)
		in.Sure = job.Blobs(s.live.Now(), func(d blob.Digest) { in.Named[d] = true }) && in.Sure
		for _, d := range g.Step(before, in) {
			deleted, err := s.blobs.DeleteUntouched(d, before.Add(-keep))
			if err != nil {
				s.log.Warn("a blob was not removed", "digest", d.Short(), "err", err)
			} else if deleted {
				s.log.Info("removed a blob that nothing names", "digest", d.Short())
			}
		}
	})
}

// namedBlobs are a version's; they never change.
type namedBlobs struct {
	manifest blob.Digest
	list     []blob.Digest
}

// named adds the blobs of all versions to a set. sure is false where those of some version could not be found out.
func (s *Server) named(ctx context.Context, known map[cluster.VersionID]namedBlobs, to map[blob.Digest]bool) (next map[cluster.VersionID]namedBlobs, sure bool) {
	state := s.live.Now()
	next, sure = map[cluster.VersionID]namedBlobs{}, state.Cluster().ID != ""
	for v := range state.Versions() {
		n, ok := known[v.VersionID]
		if !ok || n.manifest != v.Manifest {
			list, err := s.versionBlobs(ctx, v)
			if err != nil {
				s.log.Debug("a version's blobs are not known", "version", v.VersionID, "err", err)
				sure = false
				continue
			}
			n = namedBlobs{v.Manifest, list}
		}
		next[v.VersionID] = n
		for _, d := range n.list {
			to[d] = true
		}
	}
	return next, sure
}

// spread keeps every version on two coordinators. It runs on all of them; only the leader asks and decides.
func (s *Server) spread(ctx context.Context) {
	h := &library.Holders{Patience: or(s.cfg.Absent, defaultAbsent)}
	known := map[cluster.VersionID]namedBlobs{}
	s.every(ctx, min(spreadEvery, h.Patience/4), func(ctx context.Context) {
		if !s.store.IsLeader() {
			h = &library.Holders{Patience: h.Patience} // who was silent for another leader is another matter
			s.copies.set(nil)
			return
		}
		var view library.View
		known, _ = s.named(ctx, known, map[blob.Digest]bool{})
		for v := range s.live.Now().Versions() {
			if _, ok := known[v.VersionID]; ok {
				view.Versions = append(view.Versions, v)
			}
		}
		view.Coordinators, view.Answers = s.askHolders(ctx, known)
		kept := map[cluster.VersionID]library.Kept{}
		for v := range s.live.Now().Versions() {
			kept[v.VersionID] = view.Kept(v)
		}
		s.copies.set(kept)
		for _, o := range h.Step(time.Now(), view) {
			if err := s.obey(ctx, o, known[o.Version].list); err != nil {
				s.log.Warn("a version is held by too few", "version", o.Version, "why", o.Why, "err", err)
			} else {
				s.log.Info("other coordinators hold a version", "version", o.Version, "why", o.Why, "holders", o.Holders)
			}
		}
	})
}

// copies is what the leader last found out about the copies of versions.
type copies struct {
	mu   sync.Mutex
	kept map[cluster.VersionID]library.Kept
}

func (c *copies) set(kept map[cluster.VersionID]library.Kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = kept
}

// now is nil where nothing was found out yet, or another leads. It is not changed any more.
func (c *copies) now() map[cluster.VersionID]library.Kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

// lacking answers wire.Lacking.
func (s *Server) lacking(_ context.Context, r *wire.LackingRequest) (*wire.LackingResponse, error) {
	out := &wire.LackingResponse{}
	for _, d := range r.Blobs {
		if st, err := s.blobs.Stat(d); err != nil || !st.Complete {
			out.Blobs = append(out.Blobs, d)
		}
	}
	return out, nil
}

// askHolders asks every coordinator which versions it has whole.
func (s *Server) askHolders(ctx context.Context, versions map[cluster.VersionID]namedBlobs) ([]cluster.NodeID, map[cluster.NodeID]library.Answer) {
	var all []blob.Digest
	for _, n := range versions {
		all = append(all, n.list...)
	}
	all = unique(all)
	var members []cluster.NodeID
	answers := map[cluster.NodeID]library.Answer{}
	for _, m := range s.coordinators() {
		members = append(members, m.ID)
		gone, err := s.lackedBy(ctx, m, all)
		if err != nil {
			continue
		}
		a := library.Answer{Lacks: map[cluster.VersionID]bool{}}
		for id, n := range versions {
			a.Lacks[id] = slices.ContainsFunc(n.list, func(d blob.Digest) bool { return gone[d] })
		}
		answers[m.ID] = a
	}
	return members, answers
}

// lackedBy asks a coordinator which of some blobs it has not whole.
func (s *Server) lackedBy(ctx context.Context, m cluster.Member, all []blob.Digest) (map[blob.Digest]bool, error) {
	gone := map[blob.Digest]bool{}
	ask := func(part []blob.Digest) error {
		ctx, cancel := context.WithTimeout(ctx, lackingWait)
		defer cancel()
		req := &wire.LackingRequest{Blobs: part}
		res, err := s.lacking(ctx, req)
		if m.ID != s.member.ID {
			res, err = wire.Call[wire.LackingRequest, wire.LackingResponse](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Lacking, req)
		}
		if err == nil {
			for _, d := range res.Blobs {
				gone[d] = true
			}
		}
		return err
	}
	for part := range slices.Chunk(all, maxLacking) {
		if err := ask(part); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// obey lets a coordinator copy a version where an order says so, and notes who holds it.
func (s *Server) obey(ctx context.Context, o library.Order, blobs []blob.Digest) error {
	ctx, cancel := context.WithTimeout(ctx, copyWait)
	defer cancel()
	if o.To != "" {
		if err := s.copyTo(ctx, library.Copy{To: o.To, From: o.From, Blobs: blobs}); err != nil {
			return err
		}
	}
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.SetHolders{Version: o.Version, Holders: o.Holders, Was: o.Was}}})
	if err == nil && rejected[0] != nil {
		err = rejected[0]
	}
	return err
}

// copyTo lets a coordinator copy blobs from others.
func (s *Server) copyTo(ctx context.Context, c library.Copy) error {
	req := &wire.HoldRequest{Blobs: c.Blobs}
	for _, m := range s.coordinators() {
		if slices.Contains(c.From, m.ID) {
			req.Sources = append(req.Sources, m.Addr)
		}
	}
	var err error
	if c.To == s.member.ID {
		_, err = s.hold(ctx, req)
	} else {
		m, _ := s.live.Now().Member(c.To)
		_, err = wire.Call[wire.HoldRequest, wire.Empty](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Hold, req)
	}
	if err != nil {
		return fmt.Errorf("copy to %s: %w", c.To, err)
	}
	return nil
}
