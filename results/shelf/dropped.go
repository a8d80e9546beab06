package shelf

import "github.com/skein-project/skein/results"

// Bounds of what is remembered of boxes that were dropped.
const (
	DroppedFor = 120_000 // milliseconds that none of that name is taken: longer than a copy is on its way
	MaxDropped = 1 << 16 // names; with more, the one that was dropped first is forgotten
)

// grave is the name of a dropped box and who dropped it: a name that another drops stays free.
type grave struct {
	name  string
	owner results.Owner
}

// tombstones are the graves of the last time, in memory only.
type tombstones struct {
	until map[grave]int64
	queue []burial // the oldest first
}

type burial struct {
	grave
	until int64
}

func (t *tombstones) add(g grave, now int64) {
	for len(t.queue) > 0 && (now >= t.queue[0].until || len(t.queue) >= MaxDropped) {
		if old := t.queue[0]; t.until[old.grave] == old.until { // else it was dropped again since
			delete(t.until, old.grave)
		}
		t.queue[0] = burial{}
		t.queue = t.queue[1:]
	}
	t.until[g] = now + DroppedFor
	t.queue = append(t.queue, burial{g, now + DroppedFor})
}

func (t *tombstones) has(g grave, now int64) bool { return now < t.until[g] }
