package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Pace of asking again after a cut.
const (
	tries      = 5                      // without a byte in between
	retryFirst = 300 * time.Millisecond // before the second try; it doubles
)

// errShort is an end before its time. It may be a cut, so it counts as a lie only when it stays so.
var errShort = errors.New("hub: ended too soon")

// steady reads a file, and goes on where the connection was cut.
type steady struct {
	again  func(off int64) (io.ReadCloser, error)
	wait   func(time.Duration) error
	body   io.ReadCloser
	source string
	file   File
	at     int64 // bytes from the start
	failed int   // tries since the last byte
}

// steadily opens a file of a source.
func steadily(ctx context.Context, src Source, f File, off int64) (*steady, error) {
	s := &steady{source: src.String(), file: f, at: off,
		again: func(off int64) (io.ReadCloser, error) { return src.Open(ctx, f, off) },
		wait: func(d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	for {
		err := s.reopen()
		var status *Status
		if err == nil || !errors.As(err, &status) || !status.temporary() {
			return s, err
		}
		if err := s.pause(err); err != nil {
			return s, err
		}
	}
}

func (s *steady) reopen() (err error) {
	s.body, err = s.again(s.at)
	return err
}

// pause waits before another try, or gives up.
func (s *steady) pause(why error) error {
	if s.failed++; s.failed == tries {
		return why
	}
	return s.wait(retryFirst << (s.failed - 1))
}

// lost says that asking again cannot help.
func lost(err error) bool {
	var lied *Lied
	var status *Status
	return errors.As(err, &lied) || errors.As(err, &status) && !status.temporary() || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Read implements io.Reader. It ends where the file should, or goes on beyond it if the source does: that is for the reader to notice.
func (s *steady) Read(p []byte) (int, error) {
	for {
		err := error(nil)
		if s.body == nil {
			err = s.reopen()
		}
		if err == nil {
			var n int
			n, err = s.body.Read(p)
			s.at += int64(n)
			if n > 0 {
				s.failed = 0
			}
			switch {
			case n > 0 && s.at < s.file.Size, err == nil:
				return n, nil // what went wrong will go wrong again
			case errors.Is(err, io.EOF) && s.at >= s.file.Size, n > 0:
				return n, err
			case errors.Is(err, io.EOF):
				err = errShort
			}
			s.body.Close()
		}
		s.body = nil
		if lost(err) {
			return 0, err
		}
		switch err := s.pause(err); {
		case errors.Is(err, errShort):
			return 0, &Lied{s.source, s.file.Name, fmt.Sprintf("ends after %d bytes, and %d were announced", s.at, s.file.Size)}
		case err != nil:
			return 0, err
		}
	}
}

// Close implements io.Closer.
func (s *steady) Close() error {
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}
