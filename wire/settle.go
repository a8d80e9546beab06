package wire

import (
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
)

// SettleRequest is what a gateway says about once a second: what was used since its last settlement, what it wishes to hold of the
// limits, what it sees of demand, and how it is. Only the leader answers, and it knows from the certificate whose it is. A settlement may be
// repeated until the state says that it was applied; what it holds must not change meanwhile. Demand is told once, and lost if the
// answer is an error.
type SettleRequest struct {
	Session uint64           `json:"session,omitempty"`
	Seq     uint64           `json:"seq,omitempty"` // 0 = there is nothing to settle, only demand to tell
	Usage   []cluster.Used   `json:"usage,omitempty"`
	Asks    []quota.Ask      `json:"asks,omitempty"`
	Demand  []cluster.Demand `json:"demand,omitempty"`
	Upkeep  cluster.Upkeep   `json:"upkeep,omitzero"` // of a stand-alone gateway
	Spool   cluster.Spool    `json:"spool,omitzero"`
}

// SettleResponse says in which state the settlement is applied.
type SettleResponse struct {
	Index cluster.Index `json:"index"`
}

// EnlistRequest is what a stand-alone gateway says of itself.
type EnlistRequest struct {
	Name string `json:"name"`
	API  string `json:"api"` // host:port of the client API
}
