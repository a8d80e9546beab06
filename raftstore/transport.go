package raftstore

import (
	"io"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// transport is the library's NetworkTransport with the doors shut through which it breaks its own rules. It is
// embedded, not hidden: the library finds RequestPreVote and Close by type assertion.
type transport struct {
	*raft.NetworkTransport
	fault *fault
}

func newTransport(c Config, f *fault, logger hclog.Logger) transport {
	return transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  c.StreamLayer,
			MaxPool: 3,
			// No pipelining: it stays wedged after a follower's disk stalled (hashicorp/raft#612).
			MaxRPCsInFlight: 1,
			Timeout:         c.RPCTimeout,
			Logger:          logger,
		}),
		fault: f,
	}
}

// SetHeartbeatHandler keeps heartbeats on the library's main loop. Its fast path raises the term on another goroutine
// while the leader's loop sleeps, and the deposed leader then writes its entry under the new leader's term
// (hashicorp/raft#695).
func (transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries lowers the commit index to what the message itself proves (Raft, figure 2: the index of the last new
// entry). The library reads its commit index after it has chosen the entries, and the receiver trusts it up to the end
// of its own log, of which the message may not have reached the part that conflicts.
func (t transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.fault.raised(); err != nil {
		return err
	}
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, req.PrevLogEntry+uint64(len(req.Entries)))
	return t.NetworkTransport.AppendEntries(id, to, req, resp)
}

// The other messages, too, stop at a fault: a server whose disk hangs must fall silent at once.

func (t transport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := t.fault.raised(); err != nil {
		return err
	}
	return t.NetworkTransport.RequestVote(id, to, req, resp)
}

func (t transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := t.fault.raised(); err != nil {
		return err
	}
	return t.NetworkTransport.RequestPreVote(id, to, req, resp)
}

func (t transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, snapshot io.Reader) error {
	if err := t.fault.raised(); err != nil {
		return err
	}
	return t.NetworkTransport.InstallSnapshot(id, to, req, resp, snapshot)
}

// Close also closes the connections that the library keeps for later.
func (t transport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	return err
}
