// Command coordinator is one of the few processes that agree on what the cluster runs; it also serves the client API.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skein-project/skein/admin"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/daemon"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/internal/version"
	"github.com/skein-project/skein/people"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/telemetry"
)

// usageDir is the folder of usage that could not be settled, in the data directory.
const usageDir = "usage"

// recordsDir is the folder of records that wait for their database, in the data directory.
const recordsDir = "records"

// options is every setting of the program.
type options struct {
	coordinator.Config `yaml:",inline"`
	Found              bool `yaml:"found" help:"found a new cluster; does nothing once this member lives in the data directory"`
	daemon.Joining     `yaml:",inline"`
	daemon.TLS         `yaml:",inline"`
	daemon.Watch       `yaml:",inline"`
	daemon.Log         `yaml:",inline"`
	Inference          gateway.Config `yaml:",inline"`
	People             people.Config  `yaml:",inline"`
}

// Validate implements daemon.Options.
func (o *options) Validate() error {
	o.Name, o.Software = daemon.HostName(o.Name), version.Version
	var err error
	if o.Executable, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program's own path: %w", err)
	}
	if o.Library == "" {
		o.Library = ort.Find(filepath.Dir(o.Executable))
	}
	if o.Found && o.Join != "" {
		err = errors.New("--found makes a new cluster, --join enters one: name one of them")
	}
	if o.API != "" {
		err = errors.Join(err, o.TLS.Validate(o.API))
	}
	return errors.Join(err, o.Config.Validate(), o.Watch.Validate(), o.Inference.Validate(), o.People.Validate())
}

func main() {
	o := &options{Watch: daemon.Watch{Tracing: telemetry.DefaultTracing()}}
	root := daemon.Command("skein-coordinator", "Agree with the other coordinators on what the cluster runs, and serve the client API", o, o.run)
	root.AddCommand(&cobra.Command{Use: "convert", Short: "Read a model's files and write its manifest (started by the coordinator)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return convertOrder(os.Stdin, os.Stdout) }})
	root.AddCommand(&cobra.Command{Use: "prove", Short: "Try a version before it exists (started by the coordinator)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return proveOrder(os.Stdin, os.Stdout) }})
	os.Exit(daemon.Main(root))
}

// membership makes sure that a member lives in the data directory.
func (o *options) membership(ctx context.Context) error {
	there, err := daemon.Joined(o.Dir, cluster.RoleCoordinator)
	if err != nil || there {
		return err
	}
	if o.Found {
		return coordinator.Found(o.Dir, o.Name)
	}
	return o.Ensure(ctx, o.Dir, o.Name, cluster.RoleCoordinator)
}

// run composes the coordinator: its port first, so that a port in use is found before anything starts; the client API last and closed first.
func (o *options) run(ctx context.Context, log *slog.Logger) (err error) {
	var api *daemon.API
	if o.API != "" {
		if api, err = o.TLS.Listen(o.API, log); err != nil {
			return err
		}
		defer api.Close()
	}
	if err := o.membership(ctx); err != nil {
		return err
	}
	fatal := func(err error) {
		log.Error("the coordinator must not go on", "err", err)
		if errors.Is(err, raftstore.ErrLogConflict) {
			// Only a new start makes the library forget its log (hashicorp/raft#697); what is in the way on the disk is dropped by it.
			err = syscall.Exec(o.Executable, os.Args, os.Environ())
			log.Error("cannot start again", "err", err)
		}
		os.Exit(daemon.ExitFatal)
	}
	s, err := coordinator.Start(o.Config, fatal, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	operator := admin.New(s, s.Monitor(), log)
	inside, err := o.People.Networks()
	if err != nil {
		return err
	}
	operator.LetPeopleIn(people.NewVerifier(egress.New(egress.Config{Allow: inside})))
	s.Forwarded(operator.Forwarded())
	if api == nil {
		<-ctx.Done()
		return nil
	}
	tracer, end, err := daemon.Trace(ctx, o.Tracing, "skein-coordinator", o.Name, o.Dir, log)
	if err != nil {
		return err
	}
	defer end()
	cfg, err := o.Watch.Gateway(o.Inference, tracer)
	if err != nil {
		return err
	}
	inference, err := gateway.New(cfg, s.Live(), s, s.Dialer(), log)
	if err != nil {
		return err
	}
	operator.AskBy(inference)
	var running sync.WaitGroup
	defer running.Wait()
	guarding, stop := context.WithCancel(context.WithoutCancel(ctx)) // requests that end late are watched too
	defer stop()
	running.Go(func() { inference.Guard(guarding) })
	running.Go(func() {
		account := gateway.Account{Gateway: s.ID(), Settler: s, Dir: filepath.Join(o.Dir, usageDir)}
		if err := inference.Settle(guarding, account); err != nil {
			log.Error("usage cannot be settled", "err", err)
		}
	})
	running.Go(func() {
		if err := inference.KeepRecords(guarding, gateway.Archive{Gateway: s.ID(), Keeper: s, Dir: filepath.Join(o.Dir, recordsDir)}); err != nil {
			log.Error("records of requests cannot be kept", "err", err)
		}
	})
	running.Go(func() { inference.RunBatches(guarding, gateway.Works{Gateway: s.ID(), Depot: s}) })
	mux := http.NewServeMux()
	operator.Behind(inference.Origin)
	operator.Register(mux)
	inference.Register(mux)
	inference.DeployBy(mux)
	o.Watch.Serve(mux, inference, s.Collect, operator.Refused)
	return api.Serve(ctx, mux, func() error { return ready(s) })
}

// ready says why requests should not come here yet.
func ready(s *coordinator.Server) error {
	switch {
	case s.Live().Now().Cluster().ID == "":
		return errors.New("the cluster's state is not here yet")
	case s.Leader() == "":
		return errors.New("there is no leader")
	}
	return nil
}
