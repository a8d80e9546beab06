package nvml

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Subcommand is the argument with which the executable is started as a child. It must call Serve with its standard input and output.
const Subcommand = "nvml-probe"

// Variable names the environment variable with the path of libnvidia-ml.so.1. Default: where the loader finds it.
const Variable = "SKEIN_NVML_LIB"

// Pace of talking to the child, and of starting it anew.
const (
	roundEvery   = time.Second     // memory and utilisation
	answerWithin = 2 * time.Second // a child that takes longer hangs in the driver, and is killed
	helloWithin  = time.Minute     // initialising the driver takes seconds on a machine with many GPUs
	killWithin   = 2 * time.Second // longer than this only a process lives that is stuck in the kernel
	restartFirst = 200 * time.Millisecond
	restartMost  = 30 * time.Second
	stableAfter  = time.Minute // a child that lived this long starts anew at restartFirst
	firstTries   = 3           // children that may end before the machine counts as one without usable GPUs
)

// maxStderr is how many of the child's first bytes to standard error are kept, to say what it died of.
const maxStderr = 2 << 10

// errHangs says that the child did not answer in time.
var errHangs = fmt.Errorf("%w: it hangs", ErrChild)

// Child starts "executable nvml-probe" and waits until it lists the devices. It is kept alive until ctx ends or the probe is closed: a
// child that dies, or does not answer in answerWithin, is started anew, and meanwhile every device is gpu.Unknown. Errors: ErrLibrary,
// ErrDriver, ErrDevices, ErrBuild, ErrChild.
func Child(ctx context.Context, log *slog.Logger, executable string) (*Probe, error) {
	return start(ctx, log, func() *exec.Cmd { return exec.Command(executable, Subcommand) })
}

func start(ctx context.Context, log *slog.Logger, command func() *exec.Cmd) (*Probe, error) {
	ctx, stop := context.WithCancel(ctx)
	p := &Probe{log: log, command: command, stop: stop, ended: make(chan struct{})}
	listed, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(p.ended)
		p.keep(ctx, listed, failed)
	}()
	var err error
	select {
	case <-listed:
		return p, nil
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.Close()
	return nil, fmt.Errorf("start the GPU probe: %w", err)
}

// keep starts the child again and again until ctx ends, or until it is clear that there is nothing to read.
func (p *Probe) keep(ctx context.Context, listed chan<- struct{}, failed chan<- error) {
	pause := restartFirst
	for tries := 1; ; tries++ {
		began := time.Now()
		err := p.once(ctx, listed)
		if ctx.Err() != nil {
			return
		}
		if p.Inventory() == nil && (tries == firstTries || !errors.Is(err, ErrChild) || errors.Is(err, errHangs)) {
			failed <- err
			return
		}
		if time.Since(began) > stableAfter {
			pause = restartFirst
		}
		p.log.Error("GPU probe ended", "err", err, "again_in", pause)
		p.quiet(err.Error())
		select {
		case <-time.After(pause):
			pause = min(2*pause, restartMost)
		case <-ctx.Done():
			return
		}
	}
}

// once runs one child from its start to its end. The error is never nil.
func (p *Probe) once(ctx context.Context, listed chan<- struct{}) error {
	cmd := p.command()
	asks, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChild, err)
	}
	defer asks.Close()
	out, in, err := os.Pipe() // not cmd.StdoutPipe: Wait would close it before everything was read
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChild, err)
	}
	defer out.Close()
	var said head
	cmd.Stdout, cmd.Stderr = in, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = killWithin
	err = cmd.Start()
	in.Close()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChild, err)
	}
	ears, deaf := context.WithCancel(ctx)
	defer deaf()
	lines, end := make(chan line), make(chan error, 1)
	go func() { end <- listen(ears, out, lines) }()
	err = p.talk(ctx, newWriter(asks), lines, end, listed)
	return p.bury(ctx, func() { _ = cmd.Process.Kill() }, cmd.Wait, err, &said) // a dead one cannot be killed: no error worth telling
}

// listen passes the child's lines on. It returns io.EOF when there are no more.
func listen(ctx context.Context, r io.Reader, lines chan<- line) error {
	err := readLines(r, func(l line) error {
		if err := l.check(); err != nil {
			return err
		}
		select {
		case lines <- l:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	switch {
	case err == nil:
		return io.EOF
	case errors.Is(err, ErrChild):
		return err
	}
	return fmt.Errorf("%w: %w", ErrChild, err)
}

// talk asks the child for a round every roundEvery and takes what it says, until it ends or hangs. The error is never nil: io.EOF where
// the child ends by itself.
func (p *Probe) talk(ctx context.Context, w *writer, lines <-chan line, end <-chan error, listed chan<- struct{}) error {
	deadline, tick := time.NewTimer(helloWithin), time.NewTicker(roundEvery)
	defer deadline.Stop()
	defer tick.Stop()
	greeted, asked, busy := false, uint64(0), "its start"
	var answered uint64 // the newest ask when the last round came
	request := func() error {
		if greeted && asked == answered {
			deadline.Reset(answerWithin)
		}
		asked++
		if w.write(ask{asked}) != nil {
			return io.EOF // it has closed its end
		}
		return nil
	}
	for {
		var err error
		select {
		case l := <-lines:
			switch {
			case l.Fault != nil:
				err = *l.Fault
			case l.Hello != nil && !greeted:
				greeted, answered = true, asked
				if err = p.greet(*l.Hello, listed); err == nil {
					err = request()
				}
			case l.Round != nil && greeted:
				deadline.Stop()
				answered = asked
				p.round(time.Now(), *l.Round)
			case l.Event != nil && greeted:
				p.strike(*l.Event)
			case l.Busy != "":
				busy = l.Busy
			default:
				err = fmt.Errorf("%w: it says something out of turn", ErrChild)
			}
		case <-tick.C: // also before the hello, to learn which call takes so long
			err = request()
		case <-deadline.C:
			err = fmt.Errorf("%w: no answer in time from %s", errHangs, busy)
		case err = <-end:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// greet takes the child's list of devices.
func (p *Probe) greet(h hello, listed chan<- struct{}) error {
	for _, why := range h.Skipped {
		p.log.Warn("GPU not used", "why", why)
	}
	first, err := p.welcome(h)
	if first {
		p.log.Info("GPUs", "driver", h.Driver, "devices", len(h.Devices))
		close(listed)
	}
	return err
}

// bury waits for the end of a child that talk has ended with, and says what it died of. A child that is stuck in the kernel outlives
// even a kill; it is waited for, since a second one would join it there, but not when the node ends.
func (p *Probe) bury(ctx context.Context, kill func(), wait func() error, err error, said *head) error {
	ending := errors.Is(err, io.EOF)
	if !ending {
		kill()
	}
	if ctx.Err() == nil && !ending {
		p.quiet(err.Error())
	}
	dead := make(chan error, 1)
	go func() { dead <- wait() }()
	for {
		select {
		case status := <-dead:
			if ending {
				err = fmt.Errorf("%w: it ended (%s) %s", ErrChild, how(status), said.line())
			}
			return err
		case <-time.After(killWithin):
			kill()
			if ctx.Err() != nil {
				return err
			}
			p.quiet(fmt.Sprintf("%v; its process is stuck and cannot be killed", err))
		}
	}
}

// how says how a process ended, as [exec.Cmd.Wait] tells it.
func how(status error) string {
	if status == nil {
		return "exit status 0"
	}
	return status.Error()
}

// head keeps the first bytes that are written to it.
type head struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, b[:min(len(b), maxStderr-len(h.text))]...)
	return len(b), nil
}

// line is the first line.
func (h *head) line() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, _, _ := strings.Cut(strings.TrimSpace(string(h.text)), "\n")
	return first
}
