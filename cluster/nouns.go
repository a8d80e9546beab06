package cluster

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// NodeID is the random immutable id of a machine's process (coordinator, node or gateway): 32 hexadecimal digits, given once,
// the same in its certificate, in Raft and in gossip.
type NodeID string

// Index is a position in the replicated log. The Rev of a record is the index of the entry that last changed it.
type Index uint64

// Epoch fences the owner of a replica's stages: it grows with each placement, and receivers refuse smaller ones.
type Epoch uint64

// Millis is a wall-clock time in milliseconds since 1970, put into the log by the leader.
type Millis int64

// Role is what a member of the cluster may do.
type Role string

// Roles.
const (
	RoleCoordinator Role = "coordinator"
	RoleNode        Role = "node"
	RoleGateway     Role = "gateway"
)

// Cluster is the record about the cluster itself.
type Cluster struct {
	ID      string `json:"id"`      // random, given at bootstrap
	Feature int    `json:"feature"` // committed feature level: commands above it are refused
	CACert  []byte `json:"ca_cert"` // DER of the cluster's own certificate authority
	CAKey   []byte `json:"ca_key"`  // its key, sealed with the cluster secret that coordinators hold in a file
	Rev     Index  `json:"rev"`
}

// Member is a coordinator or a stand-alone gateway.
type Member struct {
	ID   NodeID `json:"id"`
	Name string `json:"name"`
	Role Role   `json:"role"`
	Addr string `json:"addr"`          // host:port of the internal mTLS listener
	API  string `json:"api,omitempty"` // host:port of the client API
	Rev  Index  `json:"rev"`
}

// NodeStatus says whether a node takes work.
type NodeStatus string

// States of a node.
const (
	NodeReady    NodeStatus = "ready"
	NodeDraining NodeStatus = "draining" // keeps what it serves until others have taken over; takes nothing new
	NodeLost     NodeStatus = "lost"     // reports stopped and probes failed: nothing on it counts
)

// Node is a machine that holds stages.
type Node struct {
	ID       NodeID        `json:"id"`
	Name     string        `json:"name"`
	Addr     string        `json:"addr"` // host:port of the internal mTLS listener
	Zone     string        `json:"zone,omitempty"`
	Software string        `json:"software,omitempty"`
	Devices  gpu.Inventory `json:"devices"`
	Status   NodeStatus    `json:"status"`
	Why      string        `json:"why,omitempty"`
	Drain    *Drain        `json:"drain,omitempty"` // of a lost node: it is to be drained when it is back
	Rev      Index         `json:"rev"`
}

// Drain is the wish that a node be empty, kept while the node is lost.
type Drain struct {
	Why string `json:"why,omitempty"`
}

// JoinToken is a one-time permission to join. Only the hash of its secret is kept.
type JoinToken struct {
	Hash    string `json:"hash"` // SHA-256 of the secret, hexadecimal
	Role    Role   `json:"role"`
	Expires Millis `json:"expires"`
	UsedBy  NodeID `json:"used_by,omitempty"`
	Rev     Index  `json:"rev"`
}

// Key is a client's API key. Only the hash of its secret is kept.
type Key struct {
	ID      string `json:"id"` // visible prefix
	Name    string `json:"name"`
	Hash    string `json:"hash"`            // SHA-256 of the whole key, hexadecimal
	Admin   bool   `json:"admin,omitempty"` // has the role admin: how keys of feature level 1 say it
	Created Millis `json:"created"`
	Revoked bool   `json:"revoked,omitempty"`

	Tenant   string        `json:"tenant,omitempty"`   // "" = DefaultTenant
	App      string        `json:"app,omitempty"`      // id of the tenant's application that it is for; "" = the tenant itself
	Roles    []access.Role `json:"roles,omitempty"`    // none = caller
	Models   []string      `json:"models,omitempty"`   // patterns that narrow what it may call; none = what its tenant and application may
	Expires  Millis        `json:"expires,omitempty"`  // 0 = never
	Replaces string        `json:"replaces,omitempty"` // id of the key that it was made to follow

	Suspended bool `json:"suspended,omitempty"` // not valid until an admin says so: it came out of a backup

	Rev Index `json:"rev"`
}

// VersionID names a version of a model, printed "model@number".
type VersionID struct {
	Model  string `json:"model"`
	Number int    `json:"number"`
}

func (v VersionID) String() string { return v.Model + "@" + strconv.Itoa(v.Number) }

// ParseVersionID reads "model@number"; ok is false for anything else.
func ParseVersionID(s string) (v VersionID, ok bool) {
	name, num, found := strings.Cut(s, "@")
	n, err := strconv.Atoi(num)
	if !found || name == "" || err != nil || n < 1 || strconv.Itoa(n) != num {
		return VersionID{}, false
	}
	return VersionID{Model: name, Number: n}, true
}

// Version is an immutable version of a model. What placement must know of it is kept beside its digest.
type Version struct {
	VersionID
	Manifest blob.Digest   `json:"manifest"` // blob that holds the encoded model.Manifest
	Profile  shard.Profile `json:"profile"`  // sizes and costs of its blocks
	Tasks    []string      `json:"tasks"`    // model.Task values
	Bytes    int64         `json:"bytes"`    // of all its blobs
	Holders  []NodeID      `json:"holders"`  // coordinators that hold all its blobs, ≥ 2 where there are 2 (sorted); none = restored without blobs
	Created  Millis        `json:"created"`
	Traits   *Traits       `json:"traits,omitempty"` // what clients rely on; nil = not known (feature level 1)
	Source   string        `json:"source,omitempty"` // where it was pulled from, pinned; "" = uploaded
	Bucket   bool          `json:"bucket,omitempty"` // all its blobs are in the cluster's bucket too
	Folder   blob.Digest   `json:"folder,omitzero"`  // blob that lists its files as they were uploaded or pulled; zero = not known (feature level 1)
	Proof    *Proof        `json:"proof,omitempty"`  // what was found when it was tried on publishing; nil = not tried (before feature level 3)
	Format   string        `json:"format,omitempty"` // of its files, as package convert names it; "" = not known (before feature level 3)
	Rev      Index         `json:"rev"`
}

// Alias is a name that clients call; it points to a version and can be moved back.
type Alias struct {
	Name    string      `json:"name"`
	Target  VersionID   `json:"target"`
	History []VersionID `json:"history"` // earlier targets, newest last, at most MaxHistory
	Rollout *Rollout    `json:"rollout,omitempty"`
	Since   Millis      `json:"since,omitempty"` // when it was pointed at Target; 0 = not known, or it was rolled back there
	Rev     Index       `json:"rev"`
}

// Pin fixes the device of one stage of one replica of a deployment.
type Pin struct {
	Replica int          `json:"replica"` // ordinal, from 0
	Stage   int          `json:"stage"`   // from 0
	Device  gpu.DeviceID `json:"device"`
}

// Deployment is the wish to serve a version.
type Deployment struct {
	Version  VersionID      `json:"version"` // also its key
	Replicas int            `json:"replicas"`
	Serving  shard.Serving  `json:"serving"`
	Pins     []Pin          `json:"pins,omitempty"`
	Avoid    []gpu.DeviceID `json:"avoid,omitempty"`       // devices never used
	AvoidOn  []NodeID       `json:"avoid_nodes,omitempty"` // nodes never used

	Owner string `json:"owner,omitempty"` // tenant that it is billed to; "" = DefaultTenant
	Need  *Need  `json:"need,omitempty"`  // set: replicas follow demand, and Replicas counts for nothing
	Scale *Scale `json:"scale,omitempty"` // what the scheduler decided last for Need

	Rev Index `json:"rev"`
}

// Need is what a business system asks of a deployment whose replicas follow demand.
type Need struct {
	Min        int   `json:"min"` // replicas; 0 = may be stopped when nobody calls
	Max        int   `json:"max"` // replicas, at least 1
	FirstToken int64 `json:"first_token_ms,omitempty"`
	Latency    int64 `json:"latency_ms,omitempty"` // of a whole answer
	Percent    int   `json:"percent,omitempty"`    // of the requests that are to be within these times; 0 = 95
	Priority   int   `json:"priority,omitempty"`   // who gets room when there is not enough: higher first, −100 to 100
}

// Scale is how many replicas the scheduler decided on, and why.
type Scale struct {
	Replicas int    `json:"replicas"`
	Why      string `json:"why"`
	At       Millis `json:"at"`
}

// Wanted is how many replicas a deployment is to have now.
func (d Deployment) Wanted() int {
	switch {
	case d.Need == nil:
		return d.Replicas
	case d.Scale == nil:
		return max(1, d.Need.Min) // nothing is known of its demand yet
	}
	return min(max(d.Scale.Replicas, d.Need.Min), d.Need.Max)
}

// Most is how many replicas a deployment may come to want.
func (d Deployment) Most() int {
	if d.Need != nil {
		return d.Need.Max
	}
	return d.Replicas
}

// ReplicaID names a replica: the version and an ordinal, printed "model@number/ordinal".
type ReplicaID struct {
	Version VersionID `json:"version"`
	Ordinal int       `json:"ordinal"`
}

func (r ReplicaID) String() string { return fmt.Sprintf("%s/%d", r.Version, r.Ordinal) }

// ReplicaStatus is the state of a replica.
type ReplicaStatus string

// States of a replica.
const (
	Loading  ReplicaStatus = "loading"  // placed; its nodes fetch and load
	Ready    ReplicaStatus = "ready"    // every stage reported held; routes exist
	Stopping ReplicaStatus = "stopping" // no routes; its nodes finish what runs and unload
)

// StagePlace is where one stage of a replica is, and what is reserved for it.
type StagePlace struct {
	shard.Span
	Node     NodeID       `json:"node"`
	Device   gpu.DeviceID `json:"device"`
	Reserve  gpu.Bytes    `json:"reserve"`
	Endpoint string       `json:"endpoint,omitempty"` // host:port of the worker that holds it, once ready
}

// Replica is one placed copy of a version: all its stages together.
type Replica struct {
	ReplicaID
	Epoch   Epoch         `json:"epoch"`
	Serving shard.Serving `json:"serving"`
	Stages  []StagePlace  `json:"stages"`
	Status  ReplicaStatus `json:"status"`
	Why     string        `json:"why,omitempty"` // the scheduler's reason for the placement, in words

	Since Millis `json:"since,omitempty"` // when it was placed
	Share int64  `json:"share,omitempty"` // whole devices that it reserves, in millionths
	Owner string `json:"owner,omitempty"` // tenant that its reservation is billed to

	Rev Index `json:"rev"`
}
