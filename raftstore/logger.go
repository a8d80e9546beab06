package raftstore

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/go-hclog"
)

// raftLogger writes the library's log to slog.
type raftLogger struct {
	to   *slog.Logger
	name string
	with []any
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	case hclog.Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (l raftLogger) Log(level hclog.Level, msg string, args ...any) {
	at := slogLevel(level)
	if !l.to.Enabled(context.Background(), at) {
		return
	}
	plain := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case hclog.Format:
			if len(v) > 0 {
				a = fmt.Sprintf(fmt.Sprint(v[0]), v[1:]...)
			}
		case fmt.Stringer: // the library logs itself; as JSON that would be its fields
			a = v.String()
		}
		plain[i] = a
	}
	l.to.Log(context.Background(), at, msg, plain...)
}

func (l raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l raftLogger) enabled(level hclog.Level) bool {
	return l.to.Enabled(context.Background(), slogLevel(level))
}
func (l raftLogger) IsTrace() bool { return false }
func (l raftLogger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l raftLogger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l raftLogger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l raftLogger) IsError() bool { return l.enabled(hclog.Error) }

func (l raftLogger) ImpliedArgs() []any { return l.with }
func (l raftLogger) With(args ...any) hclog.Logger {
	return raftLogger{to: l.to.With(args...), name: l.name, with: append(l.with[:len(l.with):len(l.with)], args...)}
}
func (l raftLogger) Name() string { return l.name }
func (l raftLogger) Named(name string) hclog.Logger {
	return raftLogger{to: l.to, name: name, with: l.with}
}
func (l raftLogger) ResetNamed(name string) hclog.Logger { return l.Named(name) }

// SetLevel does nothing: the level is the slog handler's.
func (l raftLogger) SetLevel(hclog.Level) {}
func (l raftLogger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Info, hclog.Warn} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Error
}
func (l raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.to.Handler(), slog.LevelInfo)
}
func (l raftLogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(o).Writer()
}

// pebbleLogger writes Pebble's log to slog; what Pebble calls fatal is a fault.
type pebbleLogger struct {
	to    *slog.Logger
	fault *fault
}

func (l pebbleLogger) Infof(format string, args ...any)  { l.to.Debug(fmt.Sprintf(format, args...)) }
func (l pebbleLogger) Errorf(format string, args ...any) { l.to.Error(fmt.Sprintf(format, args...)) }

// Fatalf does not return, as Pebble demands. While the store is being opened it panics, for Open to recover.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("pebble: "+format, args...)
	if l.fault.running.Load() {
		_ = l.fault.halt(err)
	}
	panic(pebbleFatal{err})
}

type pebbleFatal struct{ error }

// events tells of a disk in trouble. A background write that failed is a fault like any other.
func (l pebbleLogger) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { l.fault.raise(fmt.Errorf("pebble in background: %w", err)) },
		DiskSlow: func(i pebble.DiskSlowInfo) {
			l.to.Warn("disk is slow", "path", i.Path, "duration", i.Duration)
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			l.to.Warn("log store holds writes back", "reason", i.Reason)
		},
	}
}
