// Package worker runs the stages of one device in a process of its own, so that a crash of native code takes one worker and not the node.
package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// File descriptors of the control pipes in the worker process; native code may print to stdout and stderr as it likes.
const (
	OrdersFD  = 3 // node → worker: Order, one JSON value after another
	NoticesFD = 4 // worker → node: Notice
)

// Setup is the first thing that a worker is told.
type Setup struct {
	Papers  wire.Papers `json:"papers"`
	Library string      `json:"library"` // path of libonnxruntime
	Blobs   string      `json:"blobs"`   // folder that holds a file per blob, named by its digest
	Host    string      `json:"host"`    // IP address to listen on; the port is free
	Device  gpu.Device  `json:"device"`

	Gone []cluster.NodeID `json:"gone,omitempty"` // removed members
}

// Order is what the node wants; one of its fields is set.
type Order struct {
	Setup  *Setup        `json:"setup,omitempty"`
	Load   *Load         `json:"load,omitempty"`
	Unload *agent.Slot   `json:"unload,omitempty"`
	Duties *[]agent.Duty `json:"duties,omitempty"` // all of them: what is missing is no longer served
	Papers *wire.Papers  `json:"papers,omitempty"` // renewed

	Gone *[]cluster.NodeID `json:"gone,omitempty"` // all removed members
}

// Load asks for a stage. Its files are there already.
type Load struct {
	Slot     agent.Slot `json:"slot"`
	Manifest []byte     `json:"manifest"` // encoded model.Manifest
}

// Notice is what the worker tells; one of its fields is set.
type Notice struct {
	Started  *Started       `json:"started,omitempty"`
	Loaded   *agent.Loaded  `json:"loaded,omitempty"`
	Unloaded *agent.Slot    `json:"unloaded,omitempty"`
	Active   *[]agent.Count `json:"active,omitempty"` // of all heads, whenever it changes
	Alive    *Alive         `json:"alive,omitempty"`  // every AliveEvery, from the first moment on
}

// AliveEvery is the pace at which a worker says that it lives.
const AliveEvery = time.Second

// Alive says that a worker lives, and whether its device does.
type Alive struct {
	Step time.Duration `json:"step"` // how long the forward step that is on the device has run; 0 = there is none
	Work Work          `json:"work"`
}

// Work is what a worker has done since it started.
type Work struct {
	Steps map[string]telemetry.Tally `json:"steps,omitempty"` // seconds of forward steps by their kind: prefill, decode, encode
	Rows  telemetry.Tally            `json:"rows"`            // of decoding steps
}

// Started says where the worker listens.
type Started struct {
	Endpoint string `json:"endpoint"`
}

// Pipe sends values one way as JSON. It is safe for concurrent use.
type Pipe struct {
	mu  sync.Mutex
	enc *json.Encoder
}

// NewPipe writes to w.
func NewPipe(w io.Writer) *Pipe { return &Pipe{enc: json.NewEncoder(w)} }

// Send writes one value.
func (p *Pipe) Send(v any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.enc.Encode(v); err != nil {
		return fmt.Errorf("worker: control pipe: %w", err)
	}
	return nil
}
