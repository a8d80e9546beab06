package cluster

import (
	"iter"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/table"
	"github.com/skein-project/skein/quota"
)

// State is the replicated truth after some log entry. It is a value that never changes: Apply returns a new one, copying one is
// copying a dozen pointers, and readers need no lock. Slices inside the records it returns are shared and must not be written to.
// The zero value is the state before the first entry.
type State struct {
	index Index  // of the newest entry applied
	at    Millis // newest time of an entry; it never goes back, though leaders' clocks differ

	cluster     Cluster // Rev 0 = not initialised
	members     table.Table[NodeID, Member]
	nodes       table.Table[NodeID, Node]
	tokens      table.Table[text, JoinToken]
	keys        table.Table[text, Key]
	lineages    table.Table[text, lineage]
	versions    table.Table[VersionID, Version]
	aliases     table.Table[text, Alias]
	deployments table.Table[VersionID, Deployment]
	marks       table.Table[ReplicaID, mark]
	replicas    table.Table[ReplicaID, Replica]

	tenants   table.Table[text, Tenant]
	apps      table.Table[AppID, Application]
	limits    table.Table[text, LimitSet]
	balances  table.Table[quota.ID, quota.Balance]
	settled   table.Table[NodeID, Settled]
	usage     table.Table[UsageID, Usage]
	models    table.Table[text, Model]
	documents table.Table[DocumentID, Document]
	gone      table.Table[NodeID, Gone]

	quarantines table.Table[QuarantineID, Quarantine]

	audit audit.Head

	derived
}

// derived is what follows from the records. Apply keeps it up step by step, Read rebuilds it, and a test proves both equal.
type derived struct {
	ledger gpu.Ledger                        // capacity of the nodes' devices, reserved by the replicas' stages
	owners table.Table[gpu.DeviceID, NodeID] // the node that has a device
	seats  table.Table[seat, struct{}]       // which nodes hold stages of which replicas
	hashes table.Table[text, string]         // key hash → key id

	documentCounts table.Table[text, int] // documents by kind
}

// Routing is all of a state that says where requests go: names, versions, deployments, replicas, and the nodes of these. States whose
// Routings are equal (==) send requests to the same places; the converse need not hold. Comparing costs nothing, so that whoever keeps
// what follows from it, such as a table of routes, need not look at the many entries that change something else.
type Routing struct {
	versions    table.Table[VersionID, Version]
	aliases     table.Table[text, Alias]
	deployments table.Table[VersionID, Deployment]
	replicas    table.Table[ReplicaID, Replica]
	nodes       table.Table[NodeID, Node]
}

// Routing is what the state says about where requests go.
func (s State) Routing() Routing {
	return Routing{s.versions, s.aliases, s.deployments, s.replicas, s.nodes}
}

// Index is the index of the newest entry applied, rejected or not.
func (s State) Index() Index { return s.index }

// At is the newest time of an entry, which is what expiry is measured against.
func (s State) At() Millis { return s.at }

// Cluster is the record about the cluster; its Rev is 0 before Init.
func (s State) Cluster() Cluster { return s.cluster }

// Rise is the feature level that the cluster can be raised to: the lowest that all its coordinators understand, by what each of them
// says; 0 = none above the present one, or not all are heard.
func (s State) Rise(understood map[NodeID]int) int {
	lowest := Feature
	for m := range s.Members() {
		if m.Role == RoleCoordinator {
			lowest = min(lowest, understood[m.ID])
		}
	}
	if lowest <= s.cluster.Feature || s.cluster.Rev == 0 {
		return 0
	}
	return lowest
}

// Member finds a coordinator or gateway.
func (s State) Member(id NodeID) (Member, bool) { return s.members.Get(id) }

// Members yields coordinators and gateways by id.
func (s State) Members() iter.Seq[Member] { return s.members.Values() }

// Node finds a node.
func (s State) Node(id NodeID) (Node, bool) { return s.nodes.Get(id) }

// Nodes yields the nodes by id.
func (s State) Nodes() iter.Seq[Node] { return s.nodes.Values() }

// JoinToken finds a token by the hash of its secret.
func (s State) JoinToken(hash string) (JoinToken, bool) { return s.tokens.Get(text(hash)) }

// JoinTokens yields the tokens by hash.
func (s State) JoinTokens() iter.Seq[JoinToken] { return s.tokens.Values() }

// Enrolled says whether an id joined with a token that is still kept.
func (s State) Enrolled(id NodeID) bool {
	for t := range s.JoinTokens() {
		if t.UsedBy == id {
			return true
		}
	}
	return false
}

// Key finds an API key by its visible id.
func (s State) Key(id string) (Key, bool) { return s.keys.Get(text(id)) }

// KeyByHash finds an API key by the hash of the whole key; revoked ones too.
func (s State) KeyByHash(hash string) (Key, bool) {
	id, ok := s.hashes.Get(text(hash))
	if !ok {
		return Key{}, false
	}
	return s.Key(id)
}

// Keys yields the API keys by id.
func (s State) Keys() iter.Seq[Key] { return s.keys.Values() }

// NextNumber is the number that the next version of a model must have.
func (s State) NextNumber(model string) int {
	l, _ := s.lineages.Get(text(model))
	return l.Number + 1
}

// Version finds a version.
func (s State) Version(id VersionID) (Version, bool) { return s.versions.Get(id) }

// Versions yields the versions by model and number.
func (s State) Versions() iter.Seq[Version] { return s.versions.Values() }

// VersionsOf yields the versions of one model by number.
func (s State) VersionsOf(model string) iter.Seq[Version] {
	return prefix(s.versions, VersionID{Model: model}, func(v VersionID) bool { return v.Model == model })
}

// Alias finds an alias.
func (s State) Alias(name string) (Alias, bool) { return s.aliases.Get(text(name)) }

// Aliases yields the aliases by name.
func (s State) Aliases() iter.Seq[Alias] { return s.aliases.Values() }

// Deployment finds the wish to serve a version.
func (s State) Deployment(v VersionID) (Deployment, bool) { return s.deployments.Get(v) }

// Deployments yields the deployments by version.
func (s State) Deployments() iter.Seq[Deployment] { return s.deployments.Values() }

// Replica finds a replica.
func (s State) Replica(id ReplicaID) (Replica, bool) { return s.replicas.Get(id) }

// Replicas yields the replicas by version and ordinal.
func (s State) Replicas() iter.Seq[Replica] { return s.replicas.Values() }

// ReplicasOf yields the replicas of one version by ordinal.
func (s State) ReplicasOf(v VersionID) iter.Seq[Replica] {
	return prefix(s.replicas, ReplicaID{Version: v, Ordinal: -1}, func(r ReplicaID) bool { return r.Version == v })
}

// ReplicasOn yields the replicas that have a stage on a node, by id.
func (s State) ReplicasOn(node NodeID) iter.Seq[Replica] {
	return func(yield func(Replica) bool) {
		for at := range s.seats.From(seat{node: node}) {
			if r, ok := s.replicas.Get(at.replica); at.node != node || ok && !yield(r) {
				return
			}
		}
	}
}

// LastEpoch is the highest epoch that a replica id ever had, also after its removal; 0 = never placed.
func (s State) LastEpoch(id ReplicaID) Epoch {
	m, _ := s.marks.Get(id)
	return m.Epoch
}

// Ledger holds what every device has and what is reserved on it. A lost node's reservations stay in it until its replicas are
// placed elsewhere or removed: the machine may be running, only cut off.
func (s State) Ledger() gpu.Ledger { return s.ledger }

// Reserved is the sum of the reservations on a device.
func (s State) Reserved(d gpu.DeviceID) gpu.Bytes { return s.ledger.Reserved(d) }

// Owner is the node that has a device.
func (s State) Owner(d gpu.DeviceID) (NodeID, bool) { return s.owners.Get(d) }

// Routable says whether requests may go to a replica: it is ready and no node of its stages is lost.
func (s State) Routable(r Replica) bool { return r.Status == Ready && s.lostStage(r) < 0 }

// lostStage is the first stage that is on a lost or forgotten node, or −1.
func (s State) lostStage(r Replica) int {
	for i, at := range r.Stages {
		if n, ok := s.nodes.Get(at.Node); !ok || n.Status == NodeLost {
			return i
		}
	}
	return -1
}

// answers says whether a version has a routable replica.
func (s State) answers(v VersionID) bool {
	for r := range s.ReplicasOf(v) {
		if s.Routable(r) {
			return true
		}
	}
	return false
}

func prefix[K table.Key[K], V any](t table.Table[K, V], from K, in func(K) bool) iter.Seq[V] {
	return func(yield func(V) bool) {
		for k, v := range t.From(from) {
			if !in(k) || !yield(v) {
				return
			}
		}
	}
}

// derive computes what follows from the records, from nothing.
func (s State) derive() derived {
	var d derived
	for n := range s.Nodes() {
		d.addDevices(n)
	}
	for r := range s.Replicas() {
		for _, at := range r.Stages {
			d.ledger = d.ledger.Restate(at.Device, at.Reserve)
		}
		d.seat(r)
	}
	for k := range s.Keys() {
		d.hashes = d.hashes.Set(text(k.Hash), k.ID)
	}
	for id := range s.documents.All() {
		d.count(id.Kind, 1)
	}
	return d
}

func (d *derived) addDevices(n Node) {
	for _, dev := range n.Devices {
		d.ledger = d.ledger.Add(dev.ID, dev.Memory)
		d.owners = d.owners.Set(dev.ID, n.ID)
	}
}

func (d *derived) removeDevices(n Node) {
	for _, dev := range n.Devices {
		d.ledger = d.ledger.Remove(dev.ID)
		d.owners = d.owners.Delete(dev.ID)
	}
}

func (d *derived) seat(r Replica) {
	for _, at := range r.Stages {
		d.seats = d.seats.Set(seat{at.Node, r.ReplicaID}, struct{}{})
	}
}

func (d *derived) unseat(r Replica) {
	for _, at := range r.Stages {
		d.ledger = d.ledger.Release(at.Device, at.Reserve)
		d.seats = d.seats.Delete(seat{at.Node, r.ReplicaID})
	}
}
