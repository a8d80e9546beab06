package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
)

// world is a batch with several who would work it, blobs that they wrote, and a state that takes a change only of whoever has seen the
// newest revision.
type world struct {
	t       *rapid.T
	now     Millis
	batch   Batch
	rev     int
	lines   int
	blobs   map[blob.Digest]string
	workers []*hand
	flying  []func() bool // changes that are on their way
	calls   []int         // how often each line was computed
}

// hand is somebody who works the batch, with what it believes.
type hand struct {
	name   string
	seen   Batch           // as it last was, perhaps long ago
	output strings.Builder // computed and not laid down
	errors strings.Builder
	p      Progress

	pending func(Batch) (Batch, error) // a change of which it is not known what became
}

func (w *world) look(h *hand) {
	h.seen, h.pending = w.batch, nil
	h.output.Reset()
	h.errors.Reset()
	h.p = Progress{From: w.batch.Offset, To: w.batch.Offset}
}

// append is what a worker does with bytes: they go behind the parts that are there.
func (w *world) append(parts []Part, more string) []Part {
	if more == "" {
		return parts
	}
	n := Keep(parts, int64(len(more)))
	text := ""
	for _, p := range parts[n:] {
		text += w.blobs[p.Digest]
	}
	text += more
	d := blob.Of([]byte(text)).Digest()
	w.blobs[d] = text
	return append(parts[:n:n], Part{d, int64(len(text))})
}

func (w *world) text(parts []Part) (s string) {
	for _, p := range parts {
		s += w.blobs[p.Digest]
	}
	return s
}

// propose makes a change of the newest batch that there is, and again until it is known that it was made, or that it cannot be.
func (w *world) propose(h *hand, do func(Batch) (Batch, error)) {
	h.pending = do
	next, err := do(w.batch)
	if err != nil {
		if !errors.Is(err, ErrLost) && !errors.Is(err, ErrOver) && !errors.Is(err, ErrMade) {
			w.t.Fatalf("%s: %v", h.name, err)
		}
		w.look(h)
		return
	}
	rev := w.rev
	arrive := func() bool {
		if w.rev != rev {
			return false
		}
		w.batch, w.rev = next, w.rev+1
		return true
	}
	switch rapid.SampledFrom([]string{"ok", "ok", "ok", "lost", "late", "unheard"}).Draw(w.t, "fate") {
	case "ok":
		if arrive() {
			w.look(h)
		}
	case "late":
		w.flying = append(w.flying, arrive)
	case "unheard":
		arrive()
	}
}

// work is one thing that a worker does: what Next says of the batch as it believes it to be.
func (w *world) work(h *hand) {
	switch {
	case h.pending != nil:
		w.propose(h, h.pending)
	case h.seen.Owner != h.name:
		if w.look(h); h.seen.Free(w.now) {
			w.propose(h, func(b Batch) (Batch, error) { return b.Claim(h.name, w.now) })
		}
	case h.seen.Next(w.now) == Check:
		w.propose(h, func(b Batch) (Batch, error) { return b.Read(h.name, int64(w.lines), nil, w.now) })
	case h.seen.Next(w.now) == Answer:
		w.answer(h, rapid.IntRange(0, 3).Draw(w.t, "lines"))
	case h.seen.Next(w.now) == Drain && h.seen.Ending == "":
		w.propose(h, func(b Batch) (Batch, error) { return b.End(h.name, Expired, nil, w.now) })
	case h.seen.Next(w.now) == Drain:
		for ; h.p.To < int64(w.lines); h.p.To++ {
			h.p.Bad++
			fmt.Fprintf(&h.errors, "%d ", h.p.To)
		}
		w.lay(h)
	case h.seen.Next(w.now) == Finish:
		w.propose(h, func(b Batch) (Batch, error) {
			next, err := b.Done(h.name, "out of "+h.name, "err of "+h.name, w.now)
			next.Output, next.Errors = b.Output, b.Errors // of the files that they are now
			return next, err
		})
	default:
		w.look(h)
	}
}

// answer computes some lines and perhaps lays them down. A byte of the input is a line.
func (w *world) answer(h *hand, n int) {
	for ; n > 0 && h.p.To < int64(w.lines); n-- {
		w.calls[h.p.To]++
		if h.p.To%3 == 0 {
			h.p.Bad++
			fmt.Fprintf(&h.errors, "%d ", h.p.To)
		} else {
			h.p.OK++
			fmt.Fprintf(&h.output, "%d ", h.p.To)
		}
		h.p.To++
	}
	if h.p.To == int64(w.lines) || rapid.Bool().Draw(w.t, "lay") {
		w.lay(h)
	}
}

func (w *world) lay(h *hand) {
	p := h.p
	p.Output, p.Errors = w.append(h.seen.Output, h.output.String()), w.append(h.seen.Errors, h.errors.String())
	w.propose(h, func(b Batch) (Batch, error) { return b.Advance(h.name, p, w.now) })
}

// Whoever works, dies, comes back, hears late or not at all, and whoever cancels: every line is in the output or the errors exactly once,
// in order, and the counts are those of the lines.
func TestEveryLineOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, lines: rapid.IntRange(1, 12).Draw(t, "lines"), blobs: map[blob.Digest]string{}}
		w.calls = make([]int, w.lines)
		w.batch = Batch{Window: 200_000, Keep: 1}.New(0)
		for i := range 3 {
			w.workers = append(w.workers, &hand{name: fmt.Sprint("w", i)})
		}
		t.Repeat(map[string]func(*rapid.T){
			"work": func(t *rapid.T) {
				w.t = t
				w.work(rapid.SampledFrom(w.workers).Draw(t, "who"))
			},
			"die": func(t *rapid.T) {
				h := rapid.SampledFrom(w.workers).Draw(t, "who")
				name := h.name + "'"
				*h = hand{name: name}
			},
			"arrive": func(*rapid.T) {
				if len(w.flying) > 0 {
					w.flying[0]()
					w.flying = w.flying[1:]
				}
			},
			"wait": func(t *rapid.T) { w.now += Millis(rapid.IntRange(1, LeaseFor).Draw(t, "ms")) },
			"cancel": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
					if next, err := w.batch.Cancel(w.now); err == nil {
						w.batch, w.rev = next, w.rev+1
					}
				}
			},
			"": func(*rapid.T) {},
		})
		w.t = t
		for i := 0; !w.batch.Status.Over(); i++ {
			if w.now += 5000; i > 10_000 {
				t.Fatalf("it does not end: %+v", w.batch)
			}
			w.work(w.workers[i%3])
		}
		w.check()
	})
}

// check compares what came out with the plain list of lines.
func (w *world) check() {
	b := w.batch
	ok, bad := strings.Fields(w.text(b.Output)), strings.Fields(w.text(b.Errors))
	if b.OK != int64(len(ok)) || b.Bad != int64(len(bad)) {
		w.t.Fatalf("%d and %d lines, counted as %d and %d", len(ok), len(bad), b.OK, b.Bad)
	}
	if !b.Checked {
		if len(ok)+len(bad) > 0 || b.Status != Cancelled && b.Status != Expired {
			w.t.Fatalf("%s with %v %v", b.Status, ok, bad)
		}
		return
	}
	var all []int
	for _, list := range [][]string{ok, bad} {
		last := -1
		for _, text := range list {
			var n int
			if _, err := fmt.Sscan(text, &n); err != nil || n <= last {
				w.t.Fatalf("%s after %d: %v %v", text, last, ok, bad)
			}
			last, all = n, append(all, n)
		}
	}
	slices.Sort(all)
	for i := range w.lines {
		if i >= len(all) || all[i] != i || len(all) != w.lines {
			w.t.Fatalf("%d lines gave %v", w.lines, all)
		}
		if b.Status == Completed && w.calls[i] == 0 {
			w.t.Fatalf("line %d was never computed", i)
		}
	}
}
