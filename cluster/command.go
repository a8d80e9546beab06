package cluster

// A Command changes one record. It is sealed: every kind is in this package, has a tag that is never reused, and one case in Apply.
//
// Compare-and-set: a field Was holds the Rev of the record that the proposer read (0 = the record must not exist yet), and for
// replicas the Epoch; a command whose Was differs is rejected with ReasonStale and its whole transaction with it. A record's Rev
// becomes the entry's index, so a transaction changes each such record once.
type Command interface{ tag() string }

// Init creates the cluster record; valid once.
type Init struct {
	ID      string `json:"id"`
	CACert  []byte `json:"ca_cert"`
	CAKey   []byte `json:"ca_key"`
	Feature int    `json:"feature,omitempty"` // level to start with; 0 = 1
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
// reports again becomes ready, or draining if it was, or if that was wished meanwhile.
type PutNode struct {
	Node Node  `json:"node"`
	Was  Index `json:"was"`
}

// SetNodeStatus moves a node between ready, draining and lost. A lost node stays lost until it reports (PutNode): ready and draining
// then say what it becomes.
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

// PutJoinToken creates a join token. Tokens that expired more than TokenKept ago are dropped on the way.
type PutJoinToken struct {
	Token JoinToken `json:"token"`
}

// UseJoinToken spends a token; rejected if it is unknown, expired at the entry's time, used, or for another role, or if its user's id is
// somebody's already.
type UseJoinToken struct {
	Hash string `json:"hash"`
	Role Role   `json:"role"`
	By   NodeID `json:"by"`
}

// PutKey creates an API key (Created is set to the entry's time), renames it, or revokes it. Its hash never changes, and a revoked
// key stays revoked.
type PutKey struct {
	Key Key   `json:"key"`
	Was Index `json:"was"`
}

// PutVersion publishes a version. Number must be the next one of the model (State.NextNumber); Created is set to the entry's time.
// Holders must be coordinators: two of them where the cluster has two. The first version of a model also creates the alias
// with the model's name, unless that name is taken. Rejected with ReasonOwner if Owner may not use the name (State.MayPublish).
type PutVersion struct {
	Version Version `json:"version"`
	Owner   string  `json:"owner,omitempty"` // tenant in whose name alone it is published, and whose a new model becomes; "" = whosever it is
}

// SetHolders says which coordinators hold a version's blobs.
type SetHolders struct {
	Version VersionID `json:"version"`
	Holders []NodeID  `json:"holders"`
	Was     Index     `json:"was"`
}

// DeleteVersion removes a version that no alias target, deployment or replica names; it also leaves the histories of aliases.
// Its number is never given again. With the last version of a model goes what is written about the model.
type DeleteVersion struct {
	Version VersionID `json:"version"`
	Was     Index     `json:"was"`
}

// PutAlias points a name at a version, and ends the canary, if there is one: it is promoted, or no longer wanted. Rejected if the
// version has no ready replica while the present target has one, unless Force; and if it breaks what the present target's clients
// rely on (Traits), unless Accept.
type PutAlias struct {
	Name   string    `json:"name"`
	Target VersionID `json:"target"`
	Force  bool      `json:"force,omitempty"`
	Was    Index     `json:"was"`
	Accept bool      `json:"accept,omitempty"`
}

// RollbackAlias ends an alias's canary, or, without one, points the name back at the newest entry of its history and takes it out of
// there. It also ends Follow, which would undo it. Rejected like PutAlias if the earlier version has no ready replica while the
// present target has one, unless Force; what clients rely on is not asked about: they had that version before.
type RollbackAlias struct {
	Name  string `json:"name"`
	Force bool   `json:"force,omitempty"`
	Was   Index  `json:"was"`
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

// PlaceReplica places all stages of a replica, with the next epoch. Rejected whole unless the version is deployed, every node is ready,
// neither it nor the device is under quarantine,
// every device exists on its node and has Reserve left in the ledger after the replica's own earlier placement (Was) is taken away,
// the deployment's pins and avoids are kept, no device has two of its stages, and the spans cover the model's blocks.
type PlaceReplica struct {
	Replica Replica `json:"replica"` // Status must be Loading, Epoch greater than every earlier epoch of this id
	Was     Epoch   `json:"was"`     // epoch of the placement it replaces, 0 = the replica does not exist
}

// MarkReplica says that every stage of a placement is held (Ready, with an endpoint per stage; again when an endpoint changed), that
// one is held no more and is being loaded again (Loading), or that it must stop (Stopping, for good). Ready is rejected while a
// stage is on a lost node.
type MarkReplica struct {
	ID        ReplicaID     `json:"id"`
	Epoch     Epoch         `json:"epoch"`
	Status    ReplicaStatus `json:"status"`
	Endpoints []string      `json:"endpoints,omitempty"`
	Why       string        `json:"why,omitempty"`
}

// RemoveReplica frees the memory of a Stopping replica that no node holds any more. Apply cannot see what a node holds, so it does
// not ask: a replica whose nodes are lost is marked Stopping and removed in one transaction.
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
	Asker
}

// Asker is who asked for a transaction; the zero Asker is the cluster itself. Set it only at feature level 2 and above.
type Asker struct {
	By      string `json:"by,omitempty"`      // for people, without any secret
	Request string `json:"request,omitempty"` // id of the request
}

// Envelope is one log entry.
type Envelope struct {
	V    int    // of the format in which it was read; Encode writes the lowest that can hold it
	At   Millis // the leader's clock; commands have no other time
	Txns []Txn
}
