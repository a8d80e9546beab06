package node

import (
	"context"
	"errors"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/library"
)

// Times that blobs are kept which no stage of this node needs.
const (
	defaultKeep = 7 * 24 * time.Hour
	tidySoon    = 10 * time.Minute // where there is no room for what a stage needs; at most a quarter of Config.Keep
	tidyEvery   = time.Minute      // at most this, and a quarter of Config.Keep
)

// tidy removes blobs that no stage has needed for long, sooner where a fetch finds no room.
func (s *Server) tidy(ctx context.Context) {
	keep := s.cfg.Keep
	if keep == 0 {
		keep = defaultKeep
	}
	g := &library.Garbage{Keep: keep, Tidy: min(tidySoon, keep/4)}
	known := map[cluster.StageKey][]blob.Digest{}
	for {
		var short int64
		select {
		case <-time.After(min(tidyEvery, keep/4)):
		case short = <-s.crowded:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		in := library.Needs{Named: map[blob.Digest]bool{}, Short: short}
		for _, st := range s.blobs.List() {
			in.Blobs = append(in.Blobs, library.Blob{Digest: st.Digest, Bytes: st.Present, Touched: st.Touched})
		}
		known, in.Sure = s.needed(known, in.Named)
		for _, d := range g.Step(now, in) {
			deleted, err := s.blobs.DeleteUntouched(d, now.Add(-g.Tidy))
			if err != nil {
				s.log.Warn("a blob was not removed", "digest", d.Short(), "err", err)
			} else if deleted {
				s.log.Info("removed a blob that no stage needs", "digest", d.Short())
			}
		}
	}
}

// needed adds the blobs of all stages that are held to a set. sure is false before a leader said what they are.
func (s *Server) needed(known map[cluster.StageKey][]blob.Digest, to map[blob.Digest]bool) (next map[cluster.StageKey][]blob.Digest, sure bool) {
	r, ok := s.link.newest()
	next = map[cluster.StageKey][]blob.Digest{}
	for _, h := range r.Held {
		list, is := known[h.Key]
		if !is {
			list = []blob.Digest{h.Key.Manifest}
			m, err := s.manifest(h.Key.Manifest)
			if err == nil {
				for _, ref := range m.Refs(h.Key.Span.From, h.Key.Span.To) {
					list = append(list, ref.Digest)
				}
			}
			is = err == nil // else it is being fetched, and what comes is touched
		}
		if is {
			next[h.Key] = list
		}
		for _, d := range list {
			to[d] = true
		}
	}
	return next, ok && r.Seen > 0
}

// room asks for room where a fetch found none.
func (s *Server) room(f agent.Fetched, err error) {
	var full disk.Full
	if !errors.As(err, &full) {
		return
	}
	s.log.Warn("no room for a stage", "stage", f.Key.Span, "need", full.Need, "free", full.Free)
	select {
	case s.crowded <- full.Need - full.Free:
	default: // it was asked for already
	}
}
