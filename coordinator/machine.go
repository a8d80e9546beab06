package coordinator

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/wire"
)

// keptEntries is how many applied entries are kept for followers that come back; one that missed more gets a snapshot.
const keptEntries = 1024

// machine is cluster.State as the state machine of the log.
type machine struct {
	live *live.State

	mu   sync.Mutex
	kept []wire.LogEntry // consecutive, the newest last
}

// Apply implements raftstore.Machine. The result is []error, one per transaction. An entry that this program does not know
// halts it: to go on without would be another truth.
func (m *machine) Apply(index uint64, entry []byte) any {
	e, err := cluster.Decode(entry)
	if err != nil {
		panic(fmt.Errorf("coordinator: entry %d: %w", index, err))
	}
	state, errs := cluster.Apply(m.live.Now(), cluster.Index(index), e)
	m.mu.Lock()
	if len(m.kept) == keptEntries {
		m.kept = append(m.kept[:0], m.kept[keptEntries/2:]...)
	}
	m.kept = append(m.kept, wire.LogEntry{Index: cluster.Index(index), Entry: entry})
	m.mu.Unlock()
	m.live.Store(state)
	return errs
}

// Snapshot implements raftstore.Machine: the state is a value already.
func (m *machine) Snapshot() func(io.Writer) error {
	state := m.live.Now()
	return func(w io.Writer) error {
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
	m.kept = nil
	m.mu.Unlock()
	m.live.Store(state)
	return nil
}

// after gives the entries after an index; ok is false if some of them are not kept any more.
func (m *machine) after(index cluster.Index) (entries []wire.LogEntry, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range m.kept {
		if e.Index > index {
			// Raft's own entries have indexes too, so the first kept entry may lie beyond index+1 without one of ours missing;
			// that is known only where an entry at or before index is kept as well.
			return append(entries, m.kept[i:]...), i > 0
		}
	}
	return nil, len(m.kept) > 0
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
