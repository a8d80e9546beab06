package main

import (
	"fmt"
	"syscall"
	"time"
)

// busy measures the processor time that something takes, of all threads of this process, what its garbage costs included. On a machine that
// others use too it is what the clock would show on a quiet one, or more.
func busy(do func() error) (time.Duration, error) {
	before, err := processor()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := processor()
	return after - before, err
}

func processor() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read the processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
