package follower

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Settle tells the leader what was used, and asks for more. Whoever else answers says where the leader is.
func (f *Follower) Settle(ctx context.Context, r *wire.SettleRequest) error {
	f.mu.Lock()
	leader := f.leader
	f.mu.Unlock()
	return f.anywhere(leader, func(addr string) error {
		_, err := wire.Call[wire.SettleRequest, wire.SettleResponse](ctx, f.dialer, cluster.RoleCoordinator, addr, wire.Settle, r)
		return err
	})
}

// errNobody says that no coordinator is known.
var errNobody = errors.New("follower: no coordinator is known")

// anywhere makes a call at one coordinator after another until one takes it, first at the first. A refusal that names an address is
// followed once.
func (f *Follower) anywhere(first string, call func(addr string) error) error {
	addrs := f.Coordinators()
	if first != "" {
		addrs = append([]string{first}, slices.DeleteFunc(addrs, func(a string) bool { return a == first })...)
	}
	err := errNobody
	for _, addr := range addrs {
		if err = call(addr); err == nil {
			return nil
		}
		var refused *wire.Refused
		if errors.As(err, &refused) && refused.Addr != "" && refused.Addr != addr {
			if err = call(refused.Addr); err == nil {
				return nil
			}
		}
	}
	return err
}

// Pace of enlisting.
const (
	enlistEvery = time.Second      // while the record of this gateway is not right
	checkEvery  = 10 * time.Second // while it is
	enlistWait  = 5 * time.Second  // for one coordinator's answer
)

// Enlist keeps the record of this gateway right, until ctx ends: id is its own, api where clients reach it.
func (f *Follower) Enlist(ctx context.Context, id cluster.NodeID, name, api string) {
	for {
		pause := checkEvery
		if m, ok := f.live.Now().Member(id); !ok || m.Name != name || m.API != api {
			pause = enlistEvery
			if err := f.enlist(ctx, name, api); err != nil && ctx.Err() == nil {
				f.log.Warn("this gateway is no member yet", "err", err)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (f *Follower) enlist(ctx context.Context, name, api string) error {
	ctx, cancel := context.WithTimeout(ctx, enlistWait)
	defer cancel()
	err := f.anywhere("", func(addr string) error {
		_, err := wire.Call[wire.EnlistRequest, wire.Empty](ctx, f.dialer, cluster.RoleCoordinator, addr, wire.Enlist, &wire.EnlistRequest{Name: name, API: api})
		return err
	})
	if err != nil {
		return fmt.Errorf("enlist: %w", err)
	}
	return nil
}
