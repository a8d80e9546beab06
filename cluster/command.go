package cluster

// A Command changes one record. It is sealed: every kind is in this file, has a tag that is never reused, and one case in Apply.
//
// Compare-and-set: a field Was holds the Rev of the record that the proposer read (0 = the record must not exist yet), and for
// replicas the Epoch; a command whose Was differs is rejected with ReasonStale and its whole transaction with it.
type Command interface{ tag() string }

// Init creates the cluster record; valid once.
type Init struct {
	ID     string `json:"id"`
	CACert []byte `json:"ca_cert"`
	CAKey  []byte `json:"ca_key"`
}

// SetFeature raises the committed feature level.
type SetFeature struct {
	Was     int `json:"was"`
	Feature int `json:"feature"`
}

// PutMember adds or changes a coordinator or gateway.
type PutMember struct {
	Member Member `json:"member"`
	Was    Index  `json:"was"`
}

// DeleteMember removes a coordinator or gateway.
type DeleteMember struct {
	ID  NodeID `json:"id"`
	Was Index  `json:"was"`
}

// PutNode admits a node or changes its address, name or inventory. Its status is left alone if it exists, except that a lost node that
// reports again becomes ready.
type PutNode struct {
	Node Node  `json:"node"`
	Was  Index `json:"was"`
}

// SetNodeStatus moves a node between ready, draining and lost.
type SetNodeStatus struct {
	ID     NodeID     `json:"id"`
	Status NodeStatus `json:"status"`
	Why    string     `json:"why,omitempty"`
	Was    Index      `json:"was"`
}

// DeleteNode forgets a node that holds no stage.
type DeleteNode struct {
	ID  NodeID `json:"id"`
	Was Index  `json:"was"`
}

// PutJoinToken creates a join token.
type PutJoinToken struct {
	Token JoinToken `json:"token"`
}

// UseJoinToken spends a token; rejected if it is unknown, expired at the entry's time, used, or for another role.
type UseJoinToken struct {
	Hash string `json:"hash"`
	Role Role   `json:"role"`
	By   NodeID `json:"by"`
}

// PutKey creates an API key, or revokes it.
type PutKey struct {
	Key Key   `json:"key"`
	Was Index `json:"was"`
}

// PutVersion publishes a version. Number must be the next one of the model. The first version of a model also creates the alias
// with the model's name, unless that name is taken.
type PutVersion struct {
	Version Version `json:"version"`
}

// SetHolders says which coordinators hold a version's blobs.
type SetHolders struct {
	Version VersionID `json:"version"`
	Holders []NodeID  `json:"holders"`
	Was     Index     `json:"was"`
}

// DeleteVersion removes a version that no alias, deployment or replica names.
type DeleteVersion struct {
	Version VersionID `json:"version"`
	Was     Index     `json:"was"`
}

// PutAlias points a name at a version. Rejected if the version has no ready replica while the present target has one, unless Force.
type PutAlias struct {
	Name   string    `json:"name"`
	Target VersionID `json:"target"`
	Force  bool      `json:"force,omitempty"`
	Was    Index     `json:"was"`
}

// RollbackAlias points a name back at the newest entry of its history.
type RollbackAlias struct {
	Name string `json:"name"`
	Was  Index  `json:"was"`
}

// DeleteAlias removes a name.
type DeleteAlias struct {
	Name string `json:"name"`
	Was  Index  `json:"was"`
}

// PutDeployment creates or changes the wish to serve a version.
type PutDeployment struct {
	Deployment Deployment `json:"deployment"`
	Was        Index      `json:"was"`
}

// DeleteDeployment ends it; its replicas are stopped by the scheduler.
type DeleteDeployment struct {
	Version VersionID `json:"version"`
	Was     Index     `json:"was"`
}

// PlaceReplica places all stages of a replica, with the next epoch. Rejected whole unless every node is ready, every device exists and has
// Reserve left in the ledger after the replica's own earlier placement (Was) is taken away, and the spans cover the model's blocks.
type PlaceReplica struct {
	Replica Replica `json:"replica"` // Status must be Loading, Epoch greater than every earlier epoch of this id
	Was     Epoch   `json:"was"`     // epoch of the placement it replaces, 0 = the replica does not exist
}

// MarkReplica says that every stage of a placement is held (Ready, with an endpoint per stage) or that it must stop (Stopping).
type MarkReplica struct {
	ID        ReplicaID     `json:"id"`
	Epoch     Epoch         `json:"epoch"`
	Status    ReplicaStatus `json:"status"`
	Endpoints []string      `json:"endpoints,omitempty"`
	Why       string        `json:"why,omitempty"`
}

// RemoveReplica frees the memory of a replica that no node holds any more.
type RemoveReplica struct {
	ID    ReplicaID `json:"id"`
	Epoch Epoch     `json:"epoch"`
}

func (Init) tag() string             { return "init" }
func (SetFeature) tag() string       { return "set_feature" }
func (PutMember) tag() string        { return "put_member" }
func (DeleteMember) tag() string     { return "delete_member" }
func (PutNode) tag() string          { return "put_node" }
func (SetNodeStatus) tag() string    { return "set_node_status" }
func (DeleteNode) tag() string       { return "delete_node" }
func (PutJoinToken) tag() string     { return "put_join_token" }
func (UseJoinToken) tag() string     { return "use_join_token" }
func (PutKey) tag() string           { return "put_key" }
func (PutVersion) tag() string       { return "put_version" }
func (SetHolders) tag() string       { return "set_holders" }
func (DeleteVersion) tag() string    { return "delete_version" }
func (PutAlias) tag() string         { return "put_alias" }
func (RollbackAlias) tag() string    { return "rollback_alias" }
func (DeleteAlias) tag() string      { return "delete_alias" }
func (PutDeployment) tag() string    { return "put_deployment" }
func (DeleteDeployment) tag() string { return "delete_deployment" }
func (PlaceReplica) tag() string     { return "place_replica" }
func (MarkReplica) tag() string      { return "mark_replica" }
func (RemoveReplica) tag() string    { return "remove_replica" }

// Txn is a list of commands that are applied together or not at all.
type Txn struct {
	Do []Command
}

// Envelope is one log entry.
type Envelope struct {
	V    int    // format, 1
	At   Millis // the leader's clock; commands have no other time
	Txns []Txn
}

// Limits of the state, in records or characters.
const (
	MaxName     = 128  // characters of a name of a model, alias, node or key
	MaxHistory  = 32   // earlier targets of an alias
	MaxTxns     = 1024 // transactions of an entry
	MaxCommands = 256  // commands of a transaction
	MaxStages   = 64   // stages of a replica
	MaxReplicas = 1024 // replicas of a deployment
)
