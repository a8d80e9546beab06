package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/follower"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/wire"
)

// site is a running fleet with what is needed to call it in every way that a gateway can.
type site struct {
	*devfleet.Fleet
	admin  *client.Client
	dialer *wire.Dialer
	follow *follower.Follower
	stop   context.CancelFunc
}

// raise starts a fleet of real processes and joins it as a gateway.
func (b *bench) raise(ctx context.Context, name string, cfg devfleet.Config) (*site, error) {
	cfg.Bin, cfg.Library, cfg.Dir = b.bin, b.library, filepath.Join(b.dir, name)
	f, err := devfleet.Start(ctx, cfg, func(s string) { say("%s: %s", name, s) })
	if err != nil {
		return nil, err
	}
	s := &site{Fleet: f}
	if err := s.join(ctx); err != nil {
		f.Stop()
		return nil, err
	}
	return s, nil
}

func (s *site) join(ctx context.Context) (err error) {
	if s.admin, err = s.Client(); err != nil {
		return err
	}
	status, err := s.admin.Cluster.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
	if err != nil {
		return err
	}
	var addrs []string
	for _, m := range status.Msg.Members {
		if m.Role == string(cluster.RoleCoordinator) {
			addrs = append(addrs, m.Addr)
		}
	}
	if len(addrs) == 0 {
		return errors.New("the fleet has no coordinator")
	}
	res, err := s.admin.Nodes.CreateJoinToken(ctx, connect.NewRequest(&adminv1.CreateJoinTokenRequest{Role: string(cluster.RoleGateway)}))
	if err != nil {
		return err
	}
	token, err := wire.ParseToken(res.Msg.Token)
	if err != nil {
		return err
	}
	member, err := wire.JoinCluster(ctx, addrs[0], token, wire.NewID(), "bench")
	if err != nil {
		return err
	}
	creds, err := wire.NewCredentials(member.Papers)
	if err != nil {
		return err
	}
	s.dialer = wire.NewDialer(creds)
	s.follow = follower.New(s.dialer, addrs, slog.New(slog.DiscardHandler))
	ctx, s.stop = context.WithCancel(ctx)
	go s.follow.Run(ctx)
	return nil
}

// down ends the fleet.
func (s *site) down() {
	s.stop()
	s.dialer.Close()
	s.Stop()
}

// push uploads and publishes a folder.
func (s *site) push(ctx context.Context, dir, name string) (version string, err error) {
	files, err := client.Folder(dir, func(string) {})
	if err != nil {
		return "", err
	}
	blobs, err := s.admin.Upload(ctx, files, func(client.File, int64, int64) {})
	if err != nil {
		return "", err
	}
	return s.admin.Publish(ctx, name, blobs, false, func(string) {})
}

// Placing a model. A node that has just joined is not planned with before it has reported, so an answer that a model fits nowhere is
// not the last word.
const (
	placeWithin = time.Minute
	placeEvery  = 200 * time.Millisecond
)

// insist asks to serve until it is not refused.
func (s *site) insist(ctx context.Context, r *adminv1.ServeRequest) (*adminv1.ServeResponse, error) {
	for {
		res, err := s.admin.Deployments.Serve(ctx, connect.NewRequest(r))
		if err == nil && len(res.Msg.Refused) == 0 {
			return res.Msg, nil
		}
		if err == nil {
			err = errors.New(strings.Join(res.Msg.Refused, "; "))
		} else if connect.CodeOf(err) != connect.CodeFailedPrecondition {
			return nil, err
		}
		select {
		case <-time.After(placeEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("serve %s: %w: %w", r.Model, ctx.Err(), err)
		}
	}
}

// serve deploys a version and waits for the route to its replica.
func (s *site) serve(ctx context.Context, r *adminv1.ServeRequest) (router.Route, error) {
	ctx, cancel := context.WithTimeout(ctx, placeWithin)
	defer cancel()
	if _, err := s.insist(ctx, r); err != nil {
		return router.Route{}, err
	}
	for {
		state, changed := s.follow.Live().Load()
		route, err := router.Pick(router.TableOf(state), r.Model, nil, nil, 0)
		if err == nil {
			return route, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return route, fmt.Errorf("wait for %s: %w: %w", r.Model, ctx.Err(), err)
		}
	}
}

// reserve is the memory in bytes that one device needs to hold a version whole.
func (s *site) reserve(ctx context.Context, r *adminv1.ServeRequest) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, placeWithin)
	defer cancel()
	r.ValidateOnly = true
	res, err := s.insist(ctx, r)
	if err != nil {
		return 0, err
	}
	if len(res.Replicas) != 1 || len(res.Replicas[0].Stages) != 1 {
		return 0, fmt.Errorf("want a plan of one replica of one stage: %v", res)
	}
	return res.Replicas[0].Stages[0].Reserve, nil
}
