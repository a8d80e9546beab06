package cluster

import (
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// StageKey is what a stage is, apart from who owns it now: two placements with equal keys need the same bytes in memory,
// so a stage that is loaded is kept when only its epoch changes.
type StageKey struct {
	Manifest blob.Digest   `json:"manifest"`
	Span     shard.Span    `json:"span"`
	Variant  string        `json:"variant,omitempty"` // "" = the weights as published
	Serving  shard.Serving `json:"serving"`
}

// Assignment tells a node what it should hold: never what to do.
type Assignment struct {
	Replica ReplicaID    `json:"replica"`
	Epoch   Epoch        `json:"epoch"`
	Stage   int          `json:"stage"`
	Key     StageKey     `json:"key"`
	Device  gpu.DeviceID `json:"device"`
	Reserve gpu.Bytes    `json:"reserve"`
	Chain   []string     `json:"chain"`           // endpoints of all stages of the replica, "" where not known yet
	Drain   bool         `json:"drain,omitempty"` // finish what runs, take nothing new, then unload
	Sources []string     `json:"sources"`         // addresses of members that hold the version's blobs
}

// Desired is the leader's answer to a report: everything the node should hold.
type Desired struct {
	Term        uint64       `json:"term"`  // of the leader that says so
	Index       Index        `json:"index"` // of the state it was derived from; an older one is ignored
	Assignments []Assignment `json:"assignments"`
}

// HeldStatus is how far a stage is on its node.
type HeldStatus string

// States of a held stage.
const (
	HeldFetching HeldStatus = "fetching"
	HeldLoading  HeldStatus = "loading"
	HeldReady    HeldStatus = "ready"
	HeldFailed   HeldStatus = "failed"
	HeldLeaving  HeldStatus = "leaving" // in memory, but no longer assigned, or being unloaded
)

// Held is one stage as its node has it.
type Held struct {
	Replica  ReplicaID    `json:"replica"`
	Epoch    Epoch        `json:"epoch"`
	Stage    int          `json:"stage"`
	Key      StageKey     `json:"key"`
	Device   gpu.DeviceID `json:"device"`
	Status   HeldStatus   `json:"status"`
	Why      string       `json:"why,omitempty"`      // of failed
	Endpoint string       `json:"endpoint,omitempty"` // host:port of the worker, once ready
	Used     gpu.Bytes    `json:"used,omitempty"`     // measured
	Fetched  int64        `json:"fetched,omitempty"`  // bytes so far
	Fetch    int64        `json:"fetch,omitempty"`    // bytes in all
	Active   int          `json:"active,omitempty"`   // sequences running
}

// Report is what a node says about itself, once a second and whenever something changed. It is soft state: the leader keeps the
// last one of each node in memory and never logs it.
type Report struct {
	Node     NodeID        `json:"node"`
	Session  uint64        `json:"session"` // random per start of the node process
	Seq      uint64        `json:"seq"`
	Addr     string        `json:"addr"`
	Name     string        `json:"name"`
	Zone     string        `json:"zone,omitempty"`
	Software string        `json:"software"`
	Devices  gpu.Inventory `json:"devices"`
	Readings []gpu.Reading `json:"readings"`
	Held     []Held        `json:"held"`
	Seen     Index         `json:"seen"` // index of the newest Desired received
}
