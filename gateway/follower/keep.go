package follower

import (
	"context"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Keep brings records to a coordinator that has a store of them.
func (f *Follower) Keep(ctx context.Context, r *wire.KeepRequest) (res *wire.KeepResponse, err error) {
	f.mu.Lock()
	first := f.holder
	f.mu.Unlock()
	err = f.anywhere(first, func(addr string) error {
		var failed error
		if res, failed = wire.Call[wire.KeepRequest, wire.KeepResponse](ctx, f.dialer, cluster.RoleCoordinator, addr, wire.Keep, r); failed == nil {
			f.mu.Lock()
			f.holder = addr
			f.mu.Unlock()
		}
		return failed
	})
	return res, err
}
