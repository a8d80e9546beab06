package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/version"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// Watch is how a program with a client API shows what it does.
type Watch struct {
	telemetry.Tracing `yaml:",inline"`
	RequestLog        string `yaml:"request_log" help:"level of the line that is logged per request: info, debug or off (default info)"`
	Debug             bool   `yaml:"debug" help:"serve /debug/pprof/ to keys that may read metrics"`
}

// Validate checks the settings.
func (w Watch) Validate() error {
	if _, err := w.level(); err != nil {
		return err
	}
	return w.Tracing.Validate()
}

func (w Watch) level() (slog.Level, error) {
	switch w.RequestLog {
	case "", "info":
		return slog.LevelInfo, nil
	case "debug":
		return slog.LevelDebug, nil
	case "off":
		return gateway.LogOff, nil
	}
	return 0, fmt.Errorf("request log %.40q: want info, debug or off", w.RequestLog)
}

// Gateway completes the configuration of a gateway that is watched so.
func (w Watch) Gateway(c gateway.Config, tracer *telemetry.Tracer) (gateway.Config, error) {
	var err error
	c.Tracer, c.Software = tracer, version.Version
	c.RequestLog, err = w.level()
	return c, err
}

// Serve adds /metrics, and /debug/pprof/ where it is wanted, for whom the gateway lets through.
func (w Watch) Serve(mux *http.ServeMux, s *gateway.Server, sources ...telemetry.Source) {
	r := telemetry.NewRegistry(version.Version)
	for _, source := range append(sources, s.Collect) {
		r.Add(source)
	}
	mux.Handle("GET /metrics", s.Protect(r.Handler()))
	if w.Debug {
		mux.Handle("GET /debug/pprof/", s.Protect(telemetry.Profiles()))
	}
}

// closeWithin is how long a program that ends waits until its spans are delivered.
const closeWithin = 3 * time.Second

// Trace makes the tracer of a member, nil where there is no endpoint, and what ends it.
func Trace(ctx context.Context, t telemetry.Tracing, program, name, dir string, log *slog.Logger) (*telemetry.Tracer, func(), error) {
	if t.TraceEndpoint == "" {
		return nil, func() {}, nil
	}
	m, err := wire.LoadMembership(dir)
	if err != nil {
		return nil, nil, err
	}
	tracer, err := t.Tracer(ctx, telemetry.Identity{Program: program, Version: version.Version, Member: string(m.ID), Name: name}, log)
	return tracer, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		if tracer.Close(ctx) != nil { // its words may hold the endpoint's URL
			log.Debug("spans were not delivered at the end")
		}
	}, err
}

// noCore keeps the memory of a process that dies off the disk: it holds keys, prompts and weights. GOTRACEBACK=crash asks for it all the same.
func noCore() {
	if os.Getenv("GOTRACEBACK") != "crash" {
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // lowering a limit is always allowed
	}
}
