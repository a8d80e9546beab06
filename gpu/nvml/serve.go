//go:build linux && cgo

package nvml

import (
	"context"
	"errors"
	"io"
	"slices"
)

// Serve is the child: it loads the driver's library (a path; "" = where the loader finds it), lists the devices on out, reads them
// whenever in asks, and tells events as they come, until in or ctx ends. The process must end after it: a call into the driver that
// hangs is left behind, and a process can load only one such library.
func Serve(ctx context.Context, in io.Reader, out io.Writer, library string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &server{out: newWriter(out), asks: make(chan uint64)}
	ended := make(chan error, 2)
	go func() { ended <- s.answer(ctx, library) }()
	go func() { ended <- readLines(in, func(a ask) error { return s.take(ctx, a) }) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// server is the running child.
type server struct {
	out    *writer
	asks   chan uint64
	driver driver
}

// take hands an ask to answer, or says which call keeps it.
func (s *server) take(ctx context.Context, a ask) error {
	select {
	case s.asks <- a.Read:
		return nil
	default:
	}
	if call := s.driver.call.Load(); call != nil {
		return s.out.write(line{Busy: *call})
	}
	select {
	case s.asks <- a.Read:
	case <-ctx.Done():
	}
	return nil
}

// answer owns the driver.
func (s *server) answer(ctx context.Context, library string) error {
	err := s.driver.open(library)
	if err == nil {
		err = s.rounds(ctx)
	}
	var f fault
	if errors.As(err, &f) {
		err = errors.Join(err, s.out.write(line{Fault: &f}))
	}
	return err
}

func (s *server) rounds(ctx context.Context) error {
	if err := s.out.write(line{Hello: s.driver.hello()}); err != nil {
		return err
	}
	devices := slices.Clone(s.driver.devices)                                           // reading changes the originals
	go s.driver.watch(ctx, devices, func(e event) { _ = s.out.write(line{Event: &e}) }) // a broken pipe ends rounds too
	for {
		select {
		case n := <-s.asks:
			samples, err := s.driver.read()
			if err == nil {
				err = s.out.write(line{Round: &round{Read: n, Devices: samples}})
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
