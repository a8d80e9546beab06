package raftstore

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Machine is the replicated state machine. Its methods are called from one goroutine, except the function that
// Snapshot returns.
type Machine interface {
	// Apply executes a committed entry. It must be deterministic; its result goes to the proposer. It may panic, to end
	// the process: an entry that it does not know must not be skipped.
	Apply(index uint64, entry []byte) any
	// Snapshot captures the state in O(1); write is called later, concurrently with Apply, or never.
	Snapshot() (write func(io.Writer) error)
	// Restore replaces the state by what a snapshot wrote. After an error the old state must still be there.
	Restore(r io.Reader) error
}

// stateMachine is the library's FSM around a Machine.
type stateMachine struct {
	machine Machine
	fault   *fault
	applied atomic.Uint64 // index of the last entry that the machine applied; the library's own counter runs ahead
}

func (m *stateMachine) Apply(l *raft.Log) any {
	defer func() {
		if p := recover(); p != nil {
			// Goexit inside halt: what follows in the log must not be applied.
			_ = m.fault.halt(fmt.Errorf("%w at entry %d: %v\n%s", ErrMachinePanic, l.Index, p, debug.Stack()))
		}
	}()
	result := m.machine.Apply(l.Index, l.Data)
	m.applied.Store(l.Index)
	return result
}

// StoreConfiguration makes the library count configuration entries as applied; it refuses to take a snapshot of a
// machine that has applied nothing since the last one.
func (m *stateMachine) StoreConfiguration(uint64, raft.Configuration) {}

// A machine's snapshot begins with the index of the last entry it applied (8 bytes, big endian).
const appliedBytes = 8

func (m *stateMachine) Snapshot() (raft.FSMSnapshot, error) {
	return &capture{applied: m.applied.Load(), write: m.machine.Snapshot()}, nil
}

func (m *stateMachine) Restore(r io.ReadCloser) error {
	var head [appliedBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read snapshot head: %w", err)
	}
	if err := m.machine.Restore(r); err != nil {
		return fmt.Errorf("restore the machine: %w", err)
	}
	m.applied.Store(binary.BigEndian.Uint64(head[:]))
	return nil
}

// capture is a state of the machine on its way to disk.
type capture struct {
	applied uint64
	write   func(io.Writer) error
}

func (c *capture) Persist(sink raft.SnapshotSink) error {
	if s, ok := sink.(*snapshotSink); ok {
		s.local = true
	}
	w := bufio.NewWriterSize(sink, 64<<10)
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, c.applied))
	if err == nil {
		err = c.write(w)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("write snapshot: %w", err)
	}
	return sink.Close()
}

func (c *capture) Release() {}
