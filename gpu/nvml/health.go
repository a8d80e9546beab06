package nvml

import (
	"fmt"
	"strings"
	"time"

	"github.com/skein-project/skein/gpu"
)

// recoverAfter is how long a device that was lost must answer without a break before it counts as well again.
const recoverAfter = time.Minute

// action is what an event asks for.
type action int

// Actions, from the mildest to the hardest.
const (
	ignore action = iota // the application's fault, or no fault at all: whoever caused it dies, the device is well
	cordon               // the device must be reset when it is empty: nothing new is placed
	fail                 // the device is gone: nothing runs here
)

// condition is what is known of one device's health. Three kinds of trouble have three ways to end:
//
//   - What an event said stays until the node's process starts anew. Such a device needs a reset, and a reset needs every program to let
//     go of it, the probe too; so nobody can have cured it while this process ran.
//   - A device that is lost, or that a new child no longer finds, is well again when it has answered for recoverAfter without a break.
//   - Everything else (the child is silent, a call fails, a reset is pending) ends with the next round that does not show it.
//
// The zero value is a device that was not read yet.
type condition struct {
	read    bool
	worst   action    // the hardest action that an event asked for
	event   string    // the first event that asked for it; later ones are often its echo
	gone    string    // why the device is lost; "" = it is not
	steady  time.Time // since when a device that was lost answers again; zero = it does not
	silent  string    // why the child does not answer; "" = it does
	fault   string    // the call that failed in the last round
	pending string    // what a reset of the device would cure
}

// sampled is the condition after a round.
func (c condition) sampled(now time.Time, s sample) condition {
	c.read, c.silent, c.fault, c.pending = true, "", s.Fault, s.Pending
	switch {
	case s.Lost:
		return c.lost("the driver says that the GPU is lost")
	case c.gone == "":
	case s.Fault != "":
		c.steady = time.Time{}
	case c.steady.IsZero():
		c.steady = now
	case now.Sub(c.steady) >= recoverAfter:
		c.gone, c.steady = "", time.Time{}
	}
	return c
}

// lost is the condition of a device that is not there.
func (c condition) lost(why string) condition {
	c.gone, c.steady = why, time.Time{}
	return c
}

// quiet is the condition while the child does not answer.
func (c condition) quiet(why string) condition {
	c.silent, c.steady = why, time.Time{}
	return c
}

// struck is the condition after an event.
func (c condition) struck(e event) condition {
	if what, a := e.meaning(); a > c.worst {
		c.worst, c.event = a, what
	}
	return c
}

// verdict says whether work may be placed on the device, and if not, why.
func (c condition) verdict() (gpu.Health, string) {
	var failed, unknown []string
	switch c.worst {
	case fail:
		failed = append(failed, c.event)
	case cordon:
		unknown = append(unknown, c.event+": it needs a reset")
	}
	switch {
	case c.gone != "" && c.steady.IsZero():
		failed = append(failed, c.gone)
	case c.gone != "":
		failed = append(failed, fmt.Sprintf("it was lost (%s) and must answer for %s", c.gone, recoverAfter))
	}
	for _, why := range []string{c.silent, c.fault, c.pending} {
		if why != "" {
			unknown = append(unknown, why)
		}
	}
	if !c.read && c.silent == "" {
		unknown = append(unknown, "it was not read yet")
	}
	switch {
	case len(failed) > 0:
		return gpu.Failed, strings.Join(failed, "; ")
	case len(unknown) > 0:
		return gpu.Unknown, strings.Join(unknown, "; ")
	}
	return gpu.Healthy, ""
}
