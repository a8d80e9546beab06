// Package placement chooses the devices that hold each stage of each replica.
package placement

import (
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// Problem is a fleet and what has to find room on it.
type Problem struct {
	Devices []Device
	Demands []Demand
}

// Device is one accelerator as placement sees it.
type Device struct {
	ID       gpu.DeviceID
	Node     cluster.NodeID
	Name     string // of the node, for explanations; its id where empty
	Zone     string
	Kind     gpu.Kind
	Capacity gpu.Bytes
	Free     gpu.Bytes          // left in the ledger
	Holds    []cluster.StageKey // stages whose weights are loaded or on the node's disk: they cost less to place here
	Unusable string             // why nothing may be placed here; "" = usable
}

// Demand is one replica that has to be placed.
type Demand struct {
	Replica   cluster.ReplicaID
	Manifest  blob.Digest
	Profile   shard.Profile
	Serving   shard.Serving
	MaxStages int                  // most stages of a cut
	Pins      []cluster.Pin        // only those of this replica's ordinal count
	Avoid     []gpu.DeviceID       // never used
	AvoidOn   []cluster.NodeID     // never used
	Own       []cluster.StagePlace // the placement that this one replaces: its reservations come back, its usable stages stay where they can
	Beside    []cluster.NodeID     // nodes of the deployment's other replicas: used only where nothing else fits
}

// Solution answers every demand of a problem, placed or refused.
type Solution struct {
	Placed  []Placement
	Refused []Refusal
}

// Placement is where the stages of a replica go.
type Placement struct {
	Replica cluster.ReplicaID
	Serving shard.Serving
	Stages  []cluster.StagePlace // without endpoints
	Kept    int                  // stages that stay where they are
	Why     string
}

// Refusal says why a replica has no place.
type Refusal struct {
	Replica   cluster.ReplicaID `json:"replica"`
	Need      gpu.Bytes         `json:"need"` // of the whole model on one device
	Why       string            `json:"why"`
	PerDevice []Shortage        `json:"per_device"` // most free first, at most MaxShortages
	Left      int               `json:"left"`       // devices not listed
}

// Shortage says why one device does not do.
type Shortage struct {
	Device gpu.DeviceID   `json:"device"`
	Node   cluster.NodeID `json:"node"`
	Free   gpu.Bytes      `json:"free"`
	Need   gpu.Bytes      `json:"need"` // of the largest stage of the finest cut
	Why    string         `json:"why"`
}

// MaxShortages bounds the devices that a refusal lists.
const MaxShortages = 64
