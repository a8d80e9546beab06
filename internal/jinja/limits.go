package jinja

import "time"

// Defaults of Limits, and the limits no caller can raise.
const (
	DefaultSteps  = 1_000_000 // evaluation steps: about 50 ms on one core
	DefaultDepth  = 2_000     // nested evaluations
	DefaultOutput = 1 << 20   // bytes
	MaxSource     = 256 << 10 // bytes of template text

	maxNesting   = 1_000   // nested constructs while parsing
	maxItems     = 100_000 // elements of one list built by a template, or of one range
	bytesPerStep = 32      // bytes copied or compared at the price of one step
	integerBits  = 64      // bits of the largest integer
)

// Limits bounds one Render. A zero field means its default.
type Limits struct {
	Steps  int // evaluation steps; copying text costs one per 32 bytes. Default DefaultSteps.
	Depth  int // nested evaluations: expressions, statements, macro calls, values within values. Default DefaultDepth.
	Output int // bytes of the result and of every intermediate string. Default DefaultOutput.
	Source int // bytes of template text. Default MaxSource.

	Now time.Time // what strftime_now formats, in its own zone; where it is zero, strftime_now fails
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Steps, DefaultSteps)
	set(&l.Depth, DefaultDepth)
	set(&l.Output, DefaultOutput)
	set(&l.Source, MaxSource)
	return l
}

// run is the state of one Render.
type run struct {
	lim   Limits
	steps int // left
	depth int // in use
	line  int // being evaluated
	out   []byte
	frame *frame
	vars  map[string]value
}

func newRun(lim Limits) *run {
	lim = lim.withDefaults()
	return &run{lim: lim, steps: lim.Steps}
}

// step pays for n units of work before they are done.
func (r *run) step(n int) {
	r.steps -= n
	if r.steps < 0 {
		fail(&LimitError{What: "evaluation steps", Limit: r.lim.Steps})
	}
}

// enter goes one level deeper; leave comes back. A fault need not leave: nothing evaluates after it.
func (r *run) enter() {
	r.depth++
	if r.depth > r.lim.Depth {
		fail(&LimitError{What: "nested evaluations", Limit: r.lim.Depth})
	}
}

func (r *run) leave() { r.depth-- }

// scan pays for reading n bytes.
func (r *run) scan(n int) { r.step(n / bytesPerStep) }

// grow pays for a string of n bytes that is about to be built.
func (r *run) grow(n int) {
	if n < 0 || n > r.lim.Output {
		fail(&LimitError{What: "string bytes", Limit: r.lim.Output})
	}
	r.step(n / bytesPerStep)
}

// items pays for a list of n elements that is about to be built.
func (r *run) items(n int) {
	if n < 0 || n > maxItems {
		fail(&LimitError{What: "list elements", Limit: maxItems})
	}
	r.step(n)
}

// write appends to the output, or to the string being captured.
func (r *run) write(s string) {
	if len(r.out)+len(s) > r.lim.Output {
		fail(&LimitError{What: "output bytes", Limit: r.lim.Output})
	}
	r.step(len(s) / bytesPerStep)
	r.out = append(r.out, s...)
}

// capture returns what f writes. Where f was left by break or continue, that is discarded by the caller.
func (r *run) capture(f func() signal) (string, signal) {
	outer := r.out
	r.out = nil
	sig := f()
	s := string(r.out)
	r.out = outer
	return s, sig
}

func overflow() { fail(&LimitError{What: "bits in an integer", Limit: integerBits}) }
