package follower

import (
	"context"
	"fmt"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Deposit brings the bytes of a small blob to a coordinator.
func (f *Follower) Deposit(ctx context.Context, data []byte) (d blob.Digest, err error) {
	err = f.anywhere("", func(addr string) error {
		res, failed := wire.Call[wire.DepositRequest, wire.DepositResponse](ctx, f.dialer, cluster.RoleCoordinator, addr, wire.Deposit, &wire.DepositRequest{Data: data})
		if failed == nil {
			d = res.Digest
		}
		return failed
	})
	return d, err
}

// Commit changes documents of files and batches, and waits until the state here shows it.
func (f *Follower) Commit(ctx context.Context, r *wire.CommitRequest) (res *wire.CommitResponse, err error) {
	err = f.anywhere("", func(addr string) (failed error) {
		res, failed = wire.Call[wire.CommitRequest, wire.CommitResponse](ctx, f.dialer, cluster.RoleCoordinator, addr, wire.Commit, r)
		return failed
	})
	if err != nil {
		return nil, err
	}
	for {
		state, changed := f.live.Load()
		if state.Index() >= res.Index {
			return res, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("entry %d is committed and not here yet: %w", res.Index, ctx.Err())
		}
	}
}
