package cluster

import (
	"errors"
	"github.com/skein-project/skein/audit"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/series"
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
	Sharers []Sharer     `json:"sharers,omitempty"`
}

// Sharer is a stage of the same version on another node, which fetches some of the same bytes at about this time, or has them.
type Sharer struct {
	Addr string     `json:"addr"`
	Span shard.Span `json:"span"`
}

// ShareOf is how many replicas of a version, by ordinal, share the work of fetching it: every one of them asks all others.
const ShareOf = 32

// Desired is the leader's answer to a report: everything the node should hold.
type Desired struct {
	Term        uint64       `json:"term"`  // of the leader that says so
	Index       Index        `json:"index"` // of the state it was derived from; an older one is ignored
	Assignments []Assignment `json:"assignments"`
	Gone        []NodeID     `json:"gone,omitempty"` // members that were removed while their certificates still count
	// Head is the end of the audit log as it was lately, signed by the cluster's authority. Nodes keep such heads.
	Head *audit.Signed `json:"head,omitempty"`
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
	Upkeep   Upkeep        `json:"upkeep,omitzero"`
}

// Upkeep is what any member says of itself that somebody has to look after in time. It is soft state like a Report; the zero value
// says nothing.
type Upkeep struct {
	CertificateEnds Millis `json:"certificate_ends,omitempty"` // 0 = not said
	DiskFree        int64  `json:"disk_free,omitempty"`        // bytes of the data directory's file system that are free
	DiskSize        int64  `json:"disk_size,omitempty"`        // bytes of that file system; 0 = not said
	Lag             uint64 `json:"lag,omitempty"`              // of a coordinator: committed entries that it has not applied
}

// Disk is the free part of the member's disk, in bytes, and its size; ok is false if it said nothing that can be.
func (u Upkeep) Disk() (free, size int64, ok bool) {
	return u.DiskFree, u.DiskSize, u.DiskSize > 0 && u.DiskFree >= 0 && u.DiskFree <= u.DiskSize
}

// Spool is what a gateway says of the records of requests that wait on its disk for the results database. It is soft state like a Report; the
// zero value says nothing.
type Spool struct {
	Used    int64 `json:"used,omitempty"`    // bytes
	Room    int64 `json:"room,omitempty"`    // bytes that they may take; 0 = not said
	Dropped int64 `json:"dropped,omitempty"` // records that were lost since the gateway's process began
}

// Validate refuses what no gateway would say.
func (s Spool) Validate() error {
	if min(s.Used, s.Room, s.Dropped) < 0 {
		return errors.New("spool: a negative amount")
	}
	return nil
}

// Limits of what a gateway says about demand.
const (
	MaxDemands   = 4096 // rows of one report
	MaxFailing   = 8    // requests that a row names
	maxRequestID = 128  // bytes
)

// Demand is what one gateway saw of one tenant's requests for one version since its last report, about a second before. It is soft
// state like a Report. Running and Waiting are of the moment; everything else is counted since the last report, each request once.
type Demand struct {
	Gateway NodeID           `json:"gateway,omitempty"` // who says so; the leader writes it from the certificate
	Over    Millis           `json:"over,omitempty"`    // milliseconds since its last report
	Version VersionID        `json:"version"`
	Tenant  string           `json:"tenant"`
	Running int              `json:"running,omitempty"` // at replicas
	Waiting int              `json:"waiting,omitempty"` // for a replica
	Arrived int              `json:"arrived,omitempty"`
	Ended   int              `json:"ended,omitempty"`   // however
	Failed  int              `json:"failed,omitempty"`  // of Ended, for reasons of ours
	Refused int              `json:"refused,omitempty"` // of Ended, for want of room or by a limit
	Limited int              `json:"limited,omitempty"` // of Refused, by a limit
	Prompt  int64            `json:"prompt,omitempty"`  // tokens of requests that ended
	Answer  int64            `json:"answer,omitempty"`  // tokens of requests that ended
	First   series.Histogram `json:"first"`             // time to the first token, of answers that went well and have tokens
	Total   series.Histogram `json:"total"`             // time of requests that went well
	Failing []Failing        `json:"failing,omitempty"` // some of Failed

	Shadowed int `json:"shadowed,omitempty"` // copies whose answers were compared with those of the version that a name means
	Agreed   int `json:"agreed,omitempty"`   // of Shadowed, that were equal
}

// Failing names a request that failed, as it stands in logs and traces.
type Failing struct {
	Request string `json:"request"`
	Trace   string `json:"trace,omitempty"` // id; "" = it is not traced
}

// Validate refuses what no gateway would say.
func (d Demand) Validate() error {
	switch {
	case !ValidName(d.Version.Model), !validID(d.Tenant):
		return errors.New("demand: malformed version or tenant")
	case min(d.Running, d.Waiting, d.Arrived, d.Ended, d.Failed, d.Refused, d.Limited, d.Shadowed, d.Agreed) < 0, min(d.Prompt, d.Answer, int64(d.Over)) < 0:
		return errors.New("demand: a negative amount")
	case len(d.Failing) > MaxFailing:
		return errors.New("demand: too many failing requests")
	}
	for _, f := range d.Failing {
		if len(f.Request) > maxRequestID || len(f.Trace) > maxRequestID {
			return errors.New("demand: a request's id is too long")
		}
	}
	return nil
}
