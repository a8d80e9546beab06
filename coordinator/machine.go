package coordinator

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/skein-project/skein/audit/journal"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// What is kept of the applied entries for followers that come back; one that missed more gets a snapshot.
const (
	keptEntries = 1024
	keptBytes   = 16 << 20
)

// machine is cluster.State as the state machine of the log.
type machine struct {
	live  *live.State
	audit *journal.Journal
	took  *telemetry.Histogram // seconds of an entry; nil = not measured

	mu   sync.Mutex
	kept []wire.LogEntry // consecutive, the newest last
	size int             // of their bytes
}

// Apply implements raftstore.Machine. The result is []error, one per transaction. An entry that this program does not know
// halts it: to go on without would be another truth.
func (m *machine) Apply(index uint64, entry []byte) any {
	if m.took != nil {
		defer func(began time.Time) { m.took.Observe(time.Since(began).Seconds()) }(time.Now())
	}
	e, err := cluster.Decode(entry)
	if err != nil {
		panic(fmt.Errorf("coordinator: entry %d: %w", index, err))
	}
	before := m.live.Now()
	state, errs := cluster.Apply(before, cluster.Index(index), e)
	if err := m.audit.Append(before.Audit(), cluster.Records(before, cluster.Index(index), e, errs)); err != nil {
		panic(fmt.Errorf("coordinator: entry %d: %w", index, err)) // what is not recorded must not be answered
	}
	m.keep(wire.LogEntry{Index: cluster.Index(index), Entry: entry})
	m.live.Store(state)
	return errs
}

func (m *machine) keep(e wire.LogEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = append(m.kept, e)
	m.size += len(e.Entry)
	for len(m.kept) > 1 && (len(m.kept) > keptEntries || m.size > keptBytes) {
		m.size -= len(m.kept[0].Entry)
		m.kept[0] = wire.LogEntry{}
		m.kept = m.kept[1:]
	}
}

// Snapshot implements raftstore.Machine: the state is a value already.
func (m *machine) Snapshot() func(io.Writer) error {
	state := m.live.Now()
	return func(w io.Writer) error {
		if err := m.audit.Sync(); err != nil { // the entries that could make the records again are dropped after this
			return err
		}
		_, err := state.WriteTo(w)
		return err
	}
}

// Restore implements raftstore.Machine.
func (m *machine) Restore(r io.Reader) error {
	state, err := cluster.Read(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.kept, m.size = nil, 0
	m.mu.Unlock()
	m.live.Store(state)
	return nil
}

// between gives the entries after one index up to another; ok is false if some of them are not kept any more. Raft's own entries have
// indexes too, so the first kept entry may lie beyond after+1 without one of ours missing: that is known only where an entry at or
// before after is kept as well.
func (m *machine) between(after, upTo cluster.Index) (entries []wire.LogEntry, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.kept {
		switch {
		case e.Index <= after:
			ok = true
		case e.Index <= upTo:
			entries = append(entries, e)
		}
	}
	return entries, ok
}

// rejections takes the *cluster.Rejected out of a result of Apply, nil for what was applied.
func rejections(result any) []*cluster.Rejected {
	errs, _ := result.([]error)
	out := make([]*cluster.Rejected, len(errs))
	for i, err := range errs {
		errors.As(err, &out[i])
	}
	return out
}
