package follower

import (
	"context"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

const shelfWait = 3 * time.Second // for one coordinator: longer than it waits for others

// PutBox has a sealed answer kept by coordinators.
func (f *Follower) PutBox(ctx context.Context, r *wire.PutBoxRequest) (res *wire.Empty, err error) {
	return anyShelf[wire.PutBoxRequest, wire.Empty](ctx, f, wire.PutBox, r.Box.Name, r)
}

// GetBox finds a sealed answer.
func (f *Follower) GetBox(ctx context.Context, r *wire.BoxRequest) (*wire.BoxResponse, error) {
	return anyShelf[wire.BoxRequest, wire.BoxResponse](ctx, f, wire.GetBox, r.Name, r)
}

// DropBox forgets a sealed answer everywhere.
func (f *Follower) DropBox(ctx context.Context, r *wire.BoxRequest) (*wire.BoxResponse, error) {
	return anyShelf[wire.BoxRequest, wire.BoxResponse](ctx, f, wire.DropBox, r.Name, r)
}

// anyShelf makes a call at whichever coordinator takes it, first at another one for another box.
func anyShelf[Req, Res any](ctx context.Context, f *Follower, p wire.Procedure, name string, r *Req) (res *Res, err error) {
	addrs := f.Coordinators()
	slices.Sort(addrs)
	first := ""
	if len(addrs) > 0 && name != "" {
		first = addrs[int(name[len(name)-1])%len(addrs)]
	}
	err = f.anywhere(first, func(addr string) (failed error) {
		ctx, cancel := context.WithTimeout(ctx, shelfWait)
		defer cancel()
		res, failed = wire.Call[Req, Res](ctx, f.dialer, cluster.RoleCoordinator, addr, p, r)
		return failed
	})
	return res, err
}
