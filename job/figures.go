package job

import (
	"strings"

	"github.com/skein-project/skein/cluster"
)

// Figures is how the batches of a tenant are.
type Figures struct {
	Waiting  int   // that nobody works
	Running  int   // that somebody works
	Answered int64 // lines of both
	Failed   int64 // lines
	Left     int64 // lines, of batches whose input was checked
	Oldest   int64 // milliseconds since the oldest of both began
	Still    int64 // milliseconds since any of both moved
	GivenUp  int   // batches, over by now, that nobody could be told of
}

// Open says that there are batches that are not over.
func (f Figures) Open() bool { return f.Waiting+f.Running > 0 }

// FiguresOf says how batches are, by tenant.
func FiguresOf(state cluster.State, now Millis) map[string]Figures {
	all := map[string]Figures{}
	for d := range state.Documents(cluster.Batch) {
		b, err := DecodeBatch(d)
		if err != nil {
			continue
		}
		tenant, _, _ := strings.Cut(d.ID, "/")
		f := all[tenant]
		switch {
		case !b.Status.Over():
			f = f.with(b, now)
		case b.Callback != nil && b.Callback.State == GivenUp:
			f.GivenUp++
		}
		all[tenant] = f
	}
	return all
}

func (f Figures) with(b Batch, now Millis) Figures {
	still := int64(max(0, now-b.moved()))
	if f.Open() {
		still = min(still, f.Still)
	}
	f.Still, f.Oldest = still, max(f.Oldest, int64(now-b.Since[Validating]))
	f.Answered, f.Failed, f.Left = f.Answered+b.OK, f.Failed+b.Bad, f.Left+b.Total-b.OK-b.Bad
	if b.Free(now) {
		f.Waiting++
	} else {
		f.Running++
	}
	return f
}

// moved is when the batch last came further.
func (b Batch) moved() Millis {
	at := b.Moved
	for _, since := range b.Since {
		at = max(at, since)
	}
	return at
}
