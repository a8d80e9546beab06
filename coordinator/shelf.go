package coordinator

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/shelf"
	"github.com/skein-project/skein/wire"
)

const (
	shelfDir     = "answers"
	defaultShelf = 1 << 30 // bytes
	sweepEvery   = 5 * time.Second
	boxWait      = 2 * time.Second  // for another coordinator
	copiesWait   = 30 * time.Second // for all of them: shorter than a dropped box is remembered (shelf.DroppedFor)
	boxCopies    = 64               // that are on their way to others at once; what is beyond has no copy
)

func (s *Server) openShelf() (err error) {
	s.shelf, err = shelf.Open(filepath.Join(s.cfg.Dir, shelfDir), cmp.Or(s.cfg.Answers, defaultShelf), s.log)
	return err
}

// PutBox answers wire.PutBox. A box is kept here, and soon at one other coordinator that takes it.
func (s *Server) PutBox(ctx context.Context, r *wire.PutBoxRequest) (*wire.Empty, error) {
	if !r.Box.Valid() {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: "a malformed box"}
	}
	err := s.shelf.Put(r.Box, int64(s.now()))
	switch {
	case errors.Is(err, shelf.ErrLarge):
		return nil, &wire.Refused{Code: connect.CodeResourceExhausted, Why: err.Error()}
	case errors.Is(err, shelf.ErrDropped) && !r.Copy:
		return nil, &wire.Refused{Code: connect.CodeAborted, Why: err.Error()}
	case err != nil && !errors.Is(err, shelf.ErrDropped):
		return nil, err
	case r.Copy: // a copy of what was dropped has come to its end too
		return &wire.Empty{}, nil
	}
	select {
	case s.boxes <- struct{}{}:
		s.running.Go(func() {
			defer func() { <-s.boxes }()
			s.copyBox(context.WithoutCancel(ctx), r.Box)
		})
	default:
	}
	return &wire.Empty{}, nil
}

// copyBox brings a box to another coordinator, as long as it is here. Nobody waits for it: with one that is silent, all answers would be late.
func (s *Server) copyBox(ctx context.Context, b results.Box) {
	ctx, cancel := context.WithTimeout(ctx, copiesWait)
	defer cancel()
	for _, addr := range spreadOver(s.otherAddrs(), b.Name) {
		if ctx.Err() != nil || !s.shelf.Has(b.Name, b.Owner, int64(s.now())) {
			return
		}
		if _, err := askShelf[wire.PutBoxRequest, wire.Empty](ctx, s, addr, wire.PutBox, &wire.PutBoxRequest{Box: b, Copy: true}); err == nil {
			return
		}
	}
}

// spreadOver puts coordinators in an order that differs by box.
func spreadOver(addrs []string, name string) []string {
	if len(addrs) == 0 {
		return nil
	}
	at := int(name[0]) % len(addrs)
	return slices.Concat(addrs[at:], addrs[:at])
}

func askShelf[Req, Res any](ctx context.Context, s *Server, addr string, p wire.Procedure, r *Req) (*Res, error) {
	ctx, cancel := context.WithTimeout(ctx, boxWait)
	defer cancel()
	return wire.Call[Req, Res](ctx, s.dialer, cluster.RoleCoordinator, addr, p, r)
}

// GetBox answers wire.GetBox: what is not here is asked for everywhere.
func (s *Server) GetBox(ctx context.Context, r *wire.BoxRequest) (*wire.BoxResponse, error) {
	b, err := s.shelf.Get(r.Name, r.Owner, int64(s.now()))
	if err != nil {
		s.log.Warn("a kept answer cannot be read", "err", err)
	}
	if b != nil || r.Here {
		return &wire.BoxResponse{Found: b != nil, Box: b}, nil
	}
	return s.askShelves(ctx, wire.GetBox, r), nil
}

// DropBox answers wire.DropBox: every copy goes, wherever it is.
func (s *Server) DropBox(ctx context.Context, r *wire.BoxRequest) (*wire.BoxResponse, error) {
	there, err := s.shelf.Drop(r.Name, r.Owner, int64(s.now()))
	if err != nil {
		return nil, err
	}
	if r.Here {
		return &wire.BoxResponse{Found: there}, nil
	}
	out := s.askShelves(ctx, wire.DropBox, r)
	out.Found = out.Found || there
	return out, nil
}

// askShelves asks all other coordinators at once.
func (s *Server) askShelves(ctx context.Context, p wire.Procedure, r *wire.BoxRequest) *wire.BoxResponse {
	out, only := &wire.BoxResponse{}, *r
	only.Here = true
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, addr := range s.otherAddrs() {
		asking.Go(func() {
			res, err := askShelf[wire.BoxRequest, wire.BoxResponse](ctx, s, addr, p, &only)
			mu.Lock()
			defer mu.Unlock()
			var refused *wire.Refused
			switch {
			case errors.As(err, &refused) && refused.Code == connect.CodeUnimplemented: // an older program, which has none
			case err != nil:
				out.Silent++
			case res.Found:
				out.Found, out.Box = true, res.Box
			}
		})
	}
	asking.Wait()
	return out
}

// sweep forgets kept answers whose time is over, and those of tenants and applications that are no more.
func (s *Server) sweep(ctx context.Context) {
	s.every(ctx, sweepEvery, func(context.Context) {
		state := s.live.Now()
		_, current := s.live.Age() // a state from before the last stop may not know a tenant yet
		s.shelf.Sweep(int64(s.now()), func(o results.Owner) bool {
			_, tenant := state.Tenant(o.Tenant)
			_, app := state.Application(cluster.AppID{Tenant: o.Tenant, ID: o.App})
			return !current || (tenant || o.Tenant == "") && (app || o.App == "")
		})
	})
}
