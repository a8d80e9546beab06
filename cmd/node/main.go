// Command node supervises a machine: it says what devices there are, and keeps on them what the cluster wants.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/gpu/host"
	"github.com/skein-project/skein/gpu/nvml"
	"github.com/skein-project/skein/internal/daemon"
	"github.com/skein-project/skein/internal/settings"
	"github.com/skein-project/skein/internal/version"
	"github.com/skein-project/skein/node"
	"github.com/skein-project/skein/node/worker"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// options is every setting of the program.
type options struct {
	node.Config       `yaml:",inline"`
	daemon.Joining    `yaml:",inline"`
	Metrics           string `yaml:"metrics_listen" help:"host:port that answers /metrics (default: none)"`
	MetricsToken      string `yaml:"metrics_token_file" help:"file that holds the token which a scraper of metrics_listen must present"`
	Debug             bool   `yaml:"debug" help:"serve /debug/pprof/ beside /metrics, to the same token"`
	daemon.TLS        `yaml:",inline"`
	telemetry.Tracing `yaml:",inline"`
	daemon.Log        `yaml:",inline"`
}

// Validate implements daemon.Options.
func (o *options) Validate() error {
	o.Name, o.Software = daemon.HostName(o.Name), version.Version
	var err error
	if o.Executable, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program's own path: %w", err)
	}
	if o.Library == "" {
		o.Library, err = findLibrary(filepath.Dir(o.Executable))
	}
	if !usesGPUs(o.Devices) {
		_, wrong := hostDevices("", o.Devices)
		err = errors.Join(err, wrong)
	}
	if o.Metrics != "" {
		err = errors.Join(err, o.TLS.Validate(o.Metrics))
		if o.MetricsToken == "" {
			err = errors.Join(err, errors.New("--metrics-listen needs --metrics-token-file"))
		}
	}
	return errors.Join(err, o.Config.Validate(), o.Tracing.Validate())
}

// libraryName is the file that holds ONNX Runtime.
const libraryName = "libonnxruntime.so.1"

// findLibrary looks for ONNX Runtime beside this program.
func findLibrary(beside string) (string, error) {
	if path := ort.Find(beside); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("%s is not installed beside this program: name it with --ort-lib or %s (\"make ort\" fetches it)", libraryName, ort.Variable)
}

// allGPUs is the --device that stands for the machine's NVIDIA GPUs. It is the default, and stands alone.
const allGPUs = "nvml"

func usesGPUs(specs []string) bool { return len(specs) == 0 || slices.Equal(specs, []string{allGPUs}) }

// hostDevices makes the devices of a machine without GPUs. Their names come from the member's id, which nobody else has.
func hostDevices(id cluster.NodeID, specs []string) (gpu.Inventory, error) {
	if slices.Contains(specs, allGPUs) {
		return nil, fmt.Errorf("--device %s stands alone: it is all of this machine's GPUs", allGPUs)
	}
	return host.Devices(string(id)[:min(len(id), 12)], specs)
}

// probe composes what reads the devices, and what ends it.
func (o *options) probe(ctx context.Context, log *slog.Logger, id cluster.NodeID) (node.Probe, func(), error) {
	if usesGPUs(o.Devices) {
		p, err := nvml.Child(ctx, log, o.Executable)
		if err != nil {
			return nil, nil, fmt.Errorf("%w; on a machine without GPUs name --device host:SIZE, for example --device host:2GiB", err)
		}
		return p, p.Close, nil
	}
	devices, err := hostDevices(id, o.Devices)
	return host.New(devices), func() {}, err
}

func main() {
	o := &options{Tracing: telemetry.DefaultTracing()}
	root := daemon.Command("skein-node", "Run stages of models on this machine's devices", o, o.run)
	root.AddCommand(
		&cobra.Command{Use: "worker", Short: "Run the stages of one device (started by the node)", Hidden: true, Args: cobra.NoArgs, RunE: runWorker},
		&cobra.Command{Use: nvml.Subcommand, Short: "Read this machine's NVIDIA GPUs (started by the node)", Hidden: true, Args: cobra.NoArgs, RunE: runProbe})
	root.AddCommand(&cobra.Command{Use: "library PATH", Short: "Check the ONNX Runtime library (started by the node)", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ort.Open(args[0])
			return err
		}})
	os.Exit(daemon.Main(root))
}

// checkLibrary opens the library in a process of its own, where native code can do no harm: a wrong one is said at once, and not
// when the first stage is loaded.
func (o *options) checkLibrary(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, o.Executable, "library", o.Library).CombinedOutput()
	if _, why, ok := strings.Cut(strings.TrimSpace(string(out[:min(len(out), 1000)])), "skein-node: "); ok && err != nil {
		return errors.New(why)
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", o.Library, err)
	}
	return nil
}

func (o *options) run(ctx context.Context, log *slog.Logger) error {
	if err := o.checkLibrary(ctx); err != nil {
		return err
	}
	if err := o.Ensure(ctx, o.Dir, o.Name, cluster.RoleNode); err != nil {
		return err
	}
	member, err := wire.LoadMembership(o.Dir)
	if err != nil {
		return err
	}
	devices, end, err := o.probe(ctx, log, member.ID)
	if err != nil {
		return err
	}
	defer end()
	for name, value := range map[string]string{"LOG_LEVEL": o.LogLevel, "LOG_FORMAT": o.LogFormat, "DIR": o.Dir, "NAME": o.Name, "TRACE_ENDPOINT": o.TraceEndpoint} { // workers log and trace as the node does
		if err := os.Setenv(settings.Prefix+name, value); err != nil {
			return err
		}
	}
	s, err := node.Start(o.Config, devices, log)
	if err != nil {
		return err
	}
	log.Info("node", "id", member.ID, "name", o.Name, "devices", o.Devices)
	if o.Metrics != "" {
		if err := o.serveMetrics(ctx, s, log); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	<-ctx.Done()
	return s.Close()
}

// serveMetrics answers /metrics until ctx ends, to whoever presents the token.
func (o *options) serveMetrics(ctx context.Context, s *node.Server, log *slog.Logger) error {
	token, err := telemetry.ReadToken(o.MetricsToken)
	if err != nil {
		return err
	}
	l, err := o.TLS.Listen(o.Metrics, log)
	if err != nil {
		return err
	}
	r, mux := telemetry.NewRegistry(version.Version), http.NewServeMux()
	r.Add(s.Collect)
	mux.Handle("GET /metrics", token.Protect(r.Handler()))
	if o.Debug {
		mux.Handle("GET /debug/pprof/", token.Protect(telemetry.Profiles()))
	}
	return l.Serve(ctx, mux, func() error { return nil })
}

// runProbe answers the node until it closes the pipe or kills it.
func runProbe(cmd *cobra.Command, _ []string) error {
	signal.Ignore(os.Interrupt)
	return nvml.Serve(cmd.Context(), os.Stdin, os.Stdout, os.Getenv(nvml.Variable))
}

// runWorker obeys the node until it closes the pipe. Ctrl-C in a terminal reaches the whole group; here the node alone says when it ends.
func runWorker(cmd *cobra.Command, _ []string) error {
	signal.Ignore(os.Interrupt)
	var o struct {
		daemon.Log        `yaml:",inline"`
		telemetry.Tracing `yaml:",inline"`
		Dir               string `yaml:"dir"`
		Name              string `yaml:"name"`
	}
	if err := settings.Of(&o).Load("", os.LookupEnv); err != nil {
		return err
	}
	log, err := o.Logger()
	if err != nil {
		return err
	}
	log = log.With("worker", os.Getpid())
	tracer, end, err := daemon.Trace(cmd.Context(), o.Tracing, "skein-worker", o.Name, o.Dir, log)
	if err != nil {
		return err
	}
	defer end()
	orders, notices := os.NewFile(worker.OrdersFD, "orders"), os.NewFile(worker.NoticesFD, "notices")
	if orders == nil || notices == nil {
		return errors.New("a worker is started by its node, with descriptors 3 and 4")
	}
	return worker.Run(cmd.Context(), orders, notices, tracer, log)
}
