// Package agent is a node's loop: it compares what the node should hold with what it holds, and says what to fetch, load, serve and unload.
//
// Loop.Step is a pure function of the loop's own memory, the time and the input. Its caller has these duties:
//
//  1. Call Step when there is input and not later than Output.Wake. One goroutine owns the loop.
//  2. Carry out the actions, those for one device in order. Fetches of different keys run side by side. An action for a device whose
//     worker does not run may be dropped: Input.Workers says that it died, and that answers everything.
//  3. Answer every Fetch, Load and Unload once, after it ended; never after saying that the device's worker died.
//  4. Send the newest Output.Report to whatever coordinator answers, and give every Desired that comes back to the loop.
//
// It is level-triggered: Desired says how things should be, so a lost, repeated or reordered one does no harm, and while no
// coordinator answers, the node keeps serving what it holds.
package agent

import (
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// Paces and bounds of the loop.
const (
	ReportEvery = time.Second            // between reports, unless something changed
	RetryFirst  = 500 * time.Millisecond // before the second try of a fetch or a load; it doubles with every failure
	RetryMost   = 30 * time.Second       // between two tries
	Tries       = 3                      // failures in a row after which a stage is reported as failed; it is tried on while it is assigned
	Settle      = 500 * time.Millisecond // a draining stage is idle if it has been told so this long and no sequence runs
	HeadGone    = 3 * time.Second        // a draining stage behind the head is idle once the head has been gone this long
	DrainMost   = time.Minute            // sequences that are not finished by then are cut; the gateway continues them elsewhere
)

// Config says which node this is. Devices have unique ids.
type Config struct {
	Node     cluster.NodeID
	Session  uint64 // random per start of the node process
	Addr     string // host:port of the internal listener
	Name     string
	Zone     string
	Software string
	Devices  gpu.Inventory
}

// Slot is a place for one loaded stage on a device. Two replicas may need the same stage on one device; each has a copy, since each
// has KV memory of its own.
type Slot struct {
	Device gpu.DeviceID     `json:"device"`
	Key    cluster.StageKey `json:"key"`
	Copy   int              `json:"copy,omitempty"` // from 0
}

// Input is what happened since the last step. Every field may be empty.
type Input struct {
	Desired  *cluster.Desired // the newest answer of a leader
	Workers  []Worker         // workers that started or died, in order, before the results below
	Fetched  []Fetched        // progress and ends of fetches
	Loaded   []Loaded         // ends of loads
	Unloaded []Slot           // ends of unloads
	Active   []Active         // devices whose activity changed
	Readings []gpu.Reading    // what the probes read; devices that are missing keep their last reading
}

// Worker says that the worker process of a device listens at Endpoint, or with an empty Endpoint that it died and its memory is gone.
type Worker struct {
	Device   gpu.DeviceID
	Endpoint string // host:port
	Why      string // of a death
}

// Fetched is the progress of a Fetch, or its end.
type Fetched struct {
	Key   cluster.StageKey
	Bytes int64 // of the stage's ranges that are here and verified
	Total int64 // bytes of all its ranges
	Done  bool  // it ended: well, or with Err
	Err   string
}

// Loaded is the end of a Load.
type Loaded struct {
	Slot
	Used gpu.Bytes // measured
	Err  string    // "" = it is loaded
}

// Active counts the sequences at work on a device. What is not listed has none.
type Active struct {
	Device gpu.DeviceID
	Counts []Count
}

// Count is the number of sequences of a replica that a worker's stage has at work. A stage behind the head may count its open streams
// instead: what matters is zero or not.
type Count struct {
	Replica cluster.ReplicaID
	Epoch   cluster.Epoch
	N       int
}

// Output is what to do now.
type Output struct {
	Actions []Action
	Report  *cluster.Report // nil = nothing to say yet
	Wake    time.Time       // call Step again by then
	Notes   []Note          // what a person may want to know
}

// Note explains something that went wrong or was decided.
type Note struct{ Subject, Why string }

// Action is one of Fetch, StopFetch, Load, Unload and Serve.
type Action interface{ action() }

// Fetch asks for the byte ranges of a stage on the disk. It is idempotent: what is there is only checked.
type Fetch struct {
	Key     cluster.StageKey
	Sources []string // addresses of members that hold the version's blobs
}

// StopFetch ends a Fetch that nothing needs any more. The fetch still answers.
type StopFetch struct{ Key cluster.StageKey }

// Load asks the device's worker to load a stage whose files are on the disk.
type Load struct {
	Slot
	Reserve gpu.Bytes
}

// Unload asks the device's worker to free a stage. No duty has it any more.
type Unload struct{ Slot }

// Serve tells a device's worker all duties it has from now on: what is missing is served no more.
type Serve struct {
	Device gpu.DeviceID
	Duties []Duty // sorted by replica; no replica twice
}

// Duty says for which replica, at which epoch, a loaded stage works.
type Duty struct {
	Slot
	Replica cluster.ReplicaID `json:"replica"`
	Epoch   cluster.Epoch     `json:"epoch"`
	Stage   int               `json:"stage"`
	Chain   []string          `json:"chain"`           // endpoints of all stages of the replica, "" where not known yet
	Drain   bool              `json:"drain,omitempty"` // take no new sequence
}

func (Fetch) action()     {}
func (StopFetch) action() {}
func (Load) action()      {}
func (Unload) action()    {}
func (Serve) action()     {}
