package worker

import (
	"testing"
	"testing/synctest"
	"time"
)

// A step is watched while it runs, and a load is not.
func TestDeviceBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t.Context())
		if d.do(func() { time.Sleep(time.Hour) }); d.busy() != 0 {
			t.Errorf("after a load: %v", d.busy())
		}
		go d.do(func() { time.Sleep(time.Hour) })
		time.Sleep(time.Minute)
		if d.busy() != 0 {
			t.Errorf("a load counts as a step: %v", d.busy())
		}
		time.Sleep(time.Hour)
		go d.step(stepDecode, 1, func() { time.Sleep(time.Hour) })
		time.Sleep(time.Minute)
		if d.busy() != time.Minute {
			t.Errorf("a step of a minute: %v", d.busy())
		}
		time.Sleep(time.Hour)
		if d.busy() != 0 {
			t.Errorf("after the step: %v", d.busy())
		}
	})
}
