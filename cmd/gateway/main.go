// Command gateway serves inference without a vote: it follows the coordinators' log and sends requests to the nodes.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gateway/follower"
	"github.com/skein-project/skein/internal/daemon"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// usageDir is the folder of usage that could not be settled, in the data directory.
const usageDir = "usage"

// recordsDir is the folder of records that wait for their database, in the data directory.
const recordsDir = "records"

// options is every setting of the program.
type options struct {
	Dir            string `yaml:"dir" help:"data directory"`
	Name           string `yaml:"name" help:"name for people (default: the host's name)"`
	API            string `yaml:"api" help:"host:port of the client API"`
	daemon.Joining `yaml:",inline"`
	daemon.TLS     `yaml:",inline"`
	daemon.Watch   `yaml:",inline"`
	daemon.Log     `yaml:",inline"`
	Inference      gateway.Config `yaml:",inline"`
}

// Validate implements daemon.Options.
func (o *options) Validate() error {
	o.Name = daemon.HostName(o.Name)
	var err error
	if o.Dir == "" {
		err = errors.New("a data directory is needed: --dir")
	}
	return errors.Join(err, o.TLS.Validate(o.API), o.Watch.Validate(), o.Inference.Validate())
}

func main() {
	o := &options{Watch: daemon.Watch{Tracing: telemetry.DefaultTracing()}}
	os.Exit(daemon.Main(daemon.Command("skein-gateway", "Serve inference without being a coordinator", o, o.run)))
}

func (o *options) run(ctx context.Context, log *slog.Logger) error {
	api, err := o.TLS.Listen(o.API, log)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := o.Ensure(ctx, o.Dir, o.Name, cluster.RoleGateway); err != nil {
		return err
	}
	member, err := wire.LoadMembership(o.Dir)
	if err != nil {
		return err
	}
	creds, err := wire.NewCredentials(member.Papers)
	if err != nil {
		return err
	}
	dialer := wire.NewDialer(creds)
	defer dialer.Close()
	tracer, end, err := daemon.Trace(ctx, o.Tracing, "skein-gateway", o.Name, o.Dir, log)
	if err != nil {
		return err
	}
	defer end()
	cfg, err := o.Watch.Gateway(o.Inference, tracer)
	if err != nil {
		return err
	}
	f := follower.New(dialer, member.Coordinators, log)
	creds.Refuse(func(id cluster.NodeID) bool { return f.Live().Now().Gone(id) })
	s, err := gateway.New(cfg, f.Live(), f, dialer, log)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	following, stop := context.WithCancel(context.WithoutCancel(ctx)) // requests that end late still need the newest routes
	defer stop()
	running.Go(func() { f.Run(following) })
	running.Go(func() { s.Guard(following) })
	running.Go(func() { expel(following, creds, f) })
	running.Go(func() { f.Enlist(following, member.ID, o.Name, api.Addr()) })
	running.Go(func() { renew(following, o.Dir, member, creds, dialer, f, log) })
	mux := http.NewServeMux()
	s.Register(mux)
	o.Watch.Serve(mux, s, func(sheet *telemetry.Sheet) { telemetry.Member(sheet, o.Dir, creds.Ends()) })
	var settled sync.WaitGroup
	defer settled.Wait() // before the state is followed no more
	settling, last := context.WithCancel(context.WithoutCancel(ctx))
	defer last()
	settled.Go(func() {
		account := gateway.Account{Gateway: member.ID, Settler: f, Dir: filepath.Join(o.Dir, usageDir),
			Upkeep: func() cluster.Upkeep { return telemetry.Upkeep(o.Dir, creds.Ends()) }}
		if err := s.Settle(settling, account); err != nil {
			log.Error("usage cannot be settled", "err", err)
		}
	})
	settled.Go(func() {
		if err := s.KeepRecords(settling, gateway.Archive{Gateway: member.ID, Keeper: f, Dir: filepath.Join(o.Dir, recordsDir)}); err != nil {
			log.Error("records of requests cannot be kept", "err", err)
		}
	})
	settled.Go(func() { s.RunBatches(settling, gateway.Works{Gateway: member.ID, Depot: f}) })
	return api.Serve(ctx, mux, s.Ready)
}

// expelPause is the shortest time between two looks at open connections.
const expelPause = 200 * time.Millisecond

// expel ends the connections to members as they are removed.
func expel(ctx context.Context, creds *wire.Credentials, f *follower.Follower) {
	for {
		_, changed := f.Live().Load()
		creds.Expel()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(expelPause):
		case <-ctx.Done():
			return
		}
	}
}

// renewRetry is the pause after a certificate could not be replaced.
const renewRetry = 10 * time.Second

// renew replaces the certificate at half its life: at once if the machine was off meanwhile.
func renew(ctx context.Context, dir string, m wire.Membership, creds *wire.Credentials, d *wire.Dialer, f *follower.Follower, log *slog.Logger) {
	for pause := time.Duration(0); ; pause = renewRetry {
		select {
		case <-time.After(max(time.Until(creds.RenewAt()), pause)):
		case <-ctx.Done():
			return
		}
		err := errors.New("no coordinator is known")
		for _, addr := range f.Coordinators() {
			var papers wire.Papers
			if papers, err = wire.RenewCluster(ctx, d, addr); err == nil {
				m.Papers = papers
				err = m.Save(dir)
				break
			}
		}
		if err != nil {
			log.Warn("certificate not renewed", "err", err)
		}
	}
}
