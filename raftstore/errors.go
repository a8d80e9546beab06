package raftstore

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrOutcomeUnknown wraps every error after which a proposal may or may not be, or still become, committed.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrRefused wraps the errors of a leader that did not take the proposal; it is not in the log.
	ErrRefused = errors.New("leader refused")
	// ErrTooLarge is returned for an entry above MaxEntryBytes.
	ErrTooLarge = errors.New("entry too large")
	// ErrHalted wraps the error that was given to OnFatal.
	ErrHalted = errors.New("store halted")
	// ErrCorrupt wraps what is wrong with stored bytes: a checksum, a length, a gap.
	ErrCorrupt = errors.New("corrupt")
	// ErrLogConflict is given to OnFatal when the leader's snapshot contradicts the local log: only a restart makes the
	// library forget that log (hashicorp/raft#697).
	ErrLogConflict = errors.New("snapshot from the leader contradicts the log")
	// ErrWedged is given to OnFatal when this server stays leader but takes no proposals (hashicorp/raft#696).
	ErrWedged = errors.New("leader takes no proposals")
	// ErrMachinePanic is given to OnFatal when Machine.Apply panicked.
	ErrMachinePanic = errors.New("machine panicked")
)

// NotLeader says that a proposal or barrier was given to a server that does not lead; nothing was written.
type NotLeader struct {
	LeaderID, LeaderAddr string // the leader as this server knows it; empty while there is none
}

func (e NotLeader) Error() string {
	if e.LeaderID == "" {
		return "not the leader, and no leader is known"
	}
	return fmt.Sprintf("not the leader: ask %s at %s", e.LeaderID, e.LeaderAddr)
}

// DirMismatch refuses a data directory that belongs to another server or was written in another format.
type DirMismatch struct {
	Dir       string
	Field     string // "format version" or "server id"
	Got, Want string
}

func (e DirMismatch) Error() string {
	return fmt.Sprintf("data directory %s: %s is %q, want %q", e.Dir, e.Field, e.Got, e.Want)
}

// Stalled says that a write to disk took longer than Config.StallLimit.
type Stalled struct {
	Op    string
	Limit time.Duration
}

func (e Stalled) Error() string {
	return fmt.Sprintf("disk stalled: %s took over %v", e.Op, e.Limit)
}
