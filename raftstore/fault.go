package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// fault is the way out: the first error raised is kept, given to Config.OnFatal, and from then on nothing leaves this
// server and nothing it does counts.
type fault struct {
	log     *slog.Logger
	onFatal func(error)
	err     atomic.Pointer[error]
	running atomic.Bool // the library's goroutines are the callers now
	closing atomic.Bool // errors of a store that is being closed are no faults
}

// raised is nil, or an error that wraps ErrHalted and the cause.
func (f *fault) raised() error {
	if p := f.err.Load(); p != nil {
		return *p
	}
	return nil
}

// raise reports a cause for which the process must end.
func (f *fault) raise(cause error) {
	if f.closing.Load() {
		return
	}
	err := fmt.Errorf("%w: %w", ErrHalted, cause)
	if !f.err.CompareAndSwap(nil, &err) {
		return
	}
	f.log.Error("raft store must restart", "error", cause)
	f.onFatal(cause)
}

// halt raises cause and, where the library is the caller, does not return: it would panic, or take an error for an
// answer and go on. Before the library runs, the error is returned.
func (f *fault) halt(cause error) error {
	f.raise(cause)
	if f.running.Load() {
		runtime.Goexit()
	}
	return cause
}

// watchedLog is the log with a limit on the time of each write. A leader whose disk hangs goes on sending heartbeats
// and is never replaced (hashicorp/raft#503, #666), so a write over the limit ends the process; an error does too
// (#614), since a server on a failing disk would be elected again and again.
type watchedLog struct {
	*logStore
	fault *fault
	limit time.Duration
}

func (w *watchedLog) write(op string, f func() error) error {
	if err := w.fault.raised(); err != nil {
		return w.fault.halt(err)
	}
	stall := time.AfterFunc(w.limit, func() { w.fault.raise(Stalled{Op: op, Limit: w.limit}) })
	err := f()
	stall.Stop()
	if err != nil {
		return w.fault.halt(err)
	}
	if err := w.fault.raised(); err != nil { // a late write must not be acknowledged
		return w.fault.halt(err)
	}
	return nil
}

func (w *watchedLog) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

func (w *watchedLog) StoreLogs(logs []*raft.Log) error {
	return w.write("append", func() error { return w.logStore.StoreLogs(logs) })
}

func (w *watchedLog) DeleteRange(lo, hi uint64) error {
	return w.write("delete", func() error { return w.logStore.DeleteRange(lo, hi) })
}

func (w *watchedLog) Set(name, value []byte) error {
	return w.write("write "+string(name), func() error { return w.logStore.Set(name, value) })
}

func (w *watchedLog) SetUint64(name []byte, v uint64) error {
	return w.write("write "+string(name), func() error { return w.logStore.SetUint64(name, v) })
}

// GetLog ends the process on anything but a missing entry: the library panics, or sends a snapshot instead.
func (w *watchedLog) GetLog(index uint64, l *raft.Log) error {
	err := w.logStore.GetLog(index, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return w.fault.halt(err)
	}
	return err
}
