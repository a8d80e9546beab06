package coordinator

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/skein-project/skein/audit/journal"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/wire"
)

func entry(t *testing.T, name string) []byte {
	t.Helper()
	key := cluster.Key{ID: name, Name: name, Hash: name}
	b, err := cluster.Encode(cluster.Envelope{V: cluster.EnvelopeFormat, At: 1, Txns: []cluster.Txn{{Do: []cluster.Command{cluster.PutKey{Key: key}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is kept of the log is bounded in entries and in bytes, and never has a gap that nobody notices.
func TestKeptEntries(t *testing.T) {
	m := newMachine(t)
	if _, ok := m.between(0, 0); ok {
		t.Error("nothing is kept, and all of it is there")
	}
	const last = 3 * keptEntries
	for i := uint64(10); i <= last; i += 2 { // the other indexes are Raft's own
		m.Apply(i, entry(t, fmt.Sprint("k", i)))
	}
	if len(m.kept) != keptEntries {
		t.Errorf("%d entries are kept", len(m.kept))
	}
	oldest := m.kept[0].Index
	for _, c := range []struct {
		after, upTo cluster.Index
		n           int
		ok          bool
	}{
		{last, last, 0, true},
		{last - 2, last, 1, true},
		{last - 3, last, 2, true},
		{last - 20, last - 10, 5, true}, // what is newer than the state that the caller saw does not come
		{oldest, last, keptEntries - 1, true},
		{oldest - 1, last, keptEntries, false}, // an entry between may be gone
		{0, last, keptEntries, false},
	} {
		entries, ok := m.between(c.after, c.upTo)
		if len(entries) != c.n || ok != c.ok {
			t.Errorf("between %d and %d: %d entries, %v; want %d, %v", c.after, c.upTo, len(entries), ok, c.n, c.ok)
		}
	}
	big := bytes.Repeat([]byte("x"), 1<<20)
	for i := range cluster.Index(40) {
		m.keep(wireEntry(last+1+i, big))
	}
	if m.size > keptBytes || m.size != size(m) {
		t.Errorf("%d bytes are kept, counted as %d", size(m), m.size)
	}

	var snapshot bytes.Buffer
	if err := m.Snapshot()(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := m.Restore(strings.NewReader("rubbish")); err == nil || m.live.Now().Index() != last {
		t.Errorf("rubbish is restored: %v, index %d", err, m.live.Now().Index())
	}
	if err := m.Restore(&snapshot); err != nil || m.live.Now().Index() != last || len(m.kept) != 0 {
		t.Errorf("restored: %v, index %d, %d entries kept", err, m.live.Now().Index(), len(m.kept))
	}
}

// An entry of a newer program ends this one.
func TestUnknownEntryHalts(t *testing.T) {
	m := newMachine(t)
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "newer") {
			t.Errorf("it goes on: %v", p)
		}
	}()
	m.Apply(1, []byte(`{"v":1,"at":1,"txns":[[{"t":"fly","v":1,"do":{}}]]}`))
}

func wireEntry(i cluster.Index, b []byte) wire.LogEntry { return wire.LogEntry{Index: i, Entry: b} }

func size(m *machine) (n int) {
	for _, e := range m.kept {
		n += len(e.Entry)
	}
	return n
}

func newMachine(t *testing.T) *machine {
	j, err := journal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return &machine{live: live.New(), audit: j}
}
