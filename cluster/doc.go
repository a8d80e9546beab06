// Package cluster is the replicated truth: nodes, models, versions, aliases, keys, deployments, replicas.
//
// Apply(state, index, envelope) is the only way it changes, and a pure function: no clock, no map order, no float. The shell that
// applies the log has three duties: apply every entry in order; halt with the message when Decode returns an error, above all an
// *UnknownTag; never write to a slice of a record.
//
// What a lost node means. SetNodeStatus{lost} is one field: State.Routable is false for every replica with a stage on the node, so
// routes vanish everywhere at once, and such a replica cannot be marked Ready. The node's memory stays reserved until its replicas
// are placed elsewhere (which frees it in the same step) or are marked Stopping and removed, which needs no word from the node. If
// the node was only cut off, it comes back, is told what it should hold now, and unloads the rest; until then it serves old
// epochs, which receivers refuse.
//
// Deployments, replicas and nodes are fenced by what the proposer read (Was, Epoch), so a decision made on an old state is rejected
// and made again, and no proposer needs a strict read. Memory is checked again in Apply with the arithmetic that placement used
// (gpu.Ledger), so no race of proposers oversells a device.
package cluster
