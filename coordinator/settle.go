package coordinator

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/wire"
)

// Pace and size of what the leader settles in one entry.
const (
	gatherFor = 10 * time.Millisecond // settlements that come within it share a commit
	maxGather = 256                   // settlements of an entry
	maxUsages = 4 * cluster.MaxUsed   // rows of usage, and asks, of an entry
)

// settlement is one gateway's, on its way into the log.
type settlement struct {
	cluster.Settle
	done chan<- settled
}

// settled is what became of a settlement.
type settled struct {
	index    cluster.Index
	rejected *cluster.Rejected
	err      error
}

// settle answers wire.Settle.
func (s *Server) settle(ctx context.Context, r *wire.SettleRequest) (*wire.SettleResponse, error) {
	return s.settleFor(ctx, wire.Peer(ctx).ID, r)
}

// Settle settles for the gateway of this process, wherever the leader is.
func (s *Server) Settle(ctx context.Context, r *wire.SettleRequest) error {
	_, err := s.settleFor(ctx, s.member.ID, r)
	var refused *wire.Refused
	if errors.As(err, &refused) && refused.Addr != "" {
		_, err = wire.Call[wire.SettleRequest, wire.SettleResponse](ctx, s.dialer, cluster.RoleCoordinator, refused.Addr, wire.Settle, r)
	}
	return err
}

// settleFor settles for a gateway, if this coordinator leads.
func (s *Server) settleFor(ctx context.Context, gateway cluster.NodeID, r *wire.SettleRequest) (*wire.SettleResponse, error) {
	if !s.store.IsLeader() {
		return nil, s.notLeader()
	}
	demand := make([]cluster.Demand, 0, min(len(r.Demand), cluster.MaxDemands)+1)
	for _, d := range r.Demand[:min(len(r.Demand), cluster.MaxDemands)] {
		if d.Validate() == nil {
			d.Gateway = gateway
			demand = append(demand, d)
		}
	}
	s.fleet.ask(append(demand, cluster.Demand{Gateway: gateway})) // without any, that it is there
	s.fleet.keepUp(gateway, r.Upkeep)
	s.fleet.keepSpool(gateway, r.Spool)
	state := s.live.Now()
	last, _ := state.LastSettled(gateway)
	if r.Seq == 0 || !(quota.Mark{Session: last.Session, Seq: last.Seq}).Before(r.Session, r.Seq) {
		return &wire.SettleResponse{Index: state.Index()}, nil
	}
	done := make(chan settled, 1)
	next := settlement{cluster.Settle{Gateway: gateway, Session: r.Session, Seq: r.Seq, Usage: r.Usage, Asks: r.Asks}, done}
	select {
	case s.settling <- next:
	case <-s.stopping:
		return nil, s.notLeader()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case d := <-done:
		return d.answer()
	case <-s.stopping:
		return nil, s.notLeader()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d settled) answer() (*wire.SettleResponse, error) {
	var not raftstore.NotLeader
	switch {
	case errors.As(d.err, &not):
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: d.err.Error(), Addr: not.LeaderAddr}
	case d.err != nil:
		return nil, d.err
	case d.rejected == nil, d.rejected.Reason == cluster.ReasonStale: // it was applied before
		return &wire.SettleResponse{Index: d.index}, nil
	case d.rejected.Reason == cluster.ReasonNotFound:
		return nil, &wire.Refused{Code: connect.CodeFailedPrecondition, Why: d.rejected.Error()}
	}
	return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: d.rejected.Error()}
}

// settleAll puts settlements into the log, those of several gateways in one entry, until ctx ends.
func (s *Server) settleAll(ctx context.Context) {
	var held *settlement // one that found no room in the entry before
	for {
		batch := make([]settlement, 0, 16)
		if held != nil {
			batch, held = append(batch, *held), nil
		} else {
			select {
			case next := <-s.settling:
				batch = append(batch, next)
			case <-ctx.Done():
				return
			}
		}
		size := len(batch[0].Usage) + len(batch[0].Asks)
		closed := time.After(gatherFor)
	gather:
		for len(batch) < maxGather {
			select {
			case next := <-s.settling:
				if size += len(next.Usage) + len(next.Asks); size > maxUsages {
					held = &next
					break gather
				}
				batch = append(batch, next)
			case <-closed:
				break gather
			case <-ctx.Done():
				return
			}
		}
		s.commitSettlements(ctx, batch)
	}
}

// commitSettlements proposes one entry and tells everybody what became of theirs.
func (s *Server) commitSettlements(ctx context.Context, batch []settlement) {
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	txns := make([]cluster.Txn, len(batch))
	for i, b := range batch {
		txns[i] = cluster.Txn{Do: []cluster.Command{b.Settle}}
	}
	entry, err := cluster.Encode(cluster.Envelope{V: cluster.EnvelopeFormat, At: s.now(), Txns: txns})
	var result any
	var index uint64
	if err == nil {
		result, index, err = s.store.Propose(ctx, entry)
	}
	rejected := rejections(result)
	for i, b := range batch {
		d := settled{index: cluster.Index(index), err: err}
		if err == nil && i < len(rejected) {
			d.rejected = rejected[i]
		}
		b.done <- d
	}
}

// enlistGateway answers wire.Enlist: a stand-alone gateway is a member from when it says so. One that was removed stays so: what it has
// settled is remembered.
func (s *Server) enlistGateway(ctx context.Context, r *wire.EnlistRequest) (*wire.Empty, error) {
	who, state := wire.Peer(ctx), s.live.Now()
	old, known := state.Member(who.ID)
	if s.removed(who.ID) {
		return nil, &wire.Refused{Code: connect.CodePermissionDenied, Why: string(who.ID) + " was removed: it has to join anew"}
	}
	m := cluster.Member{ID: who.ID, Name: r.Name, Role: cluster.RoleGateway, Addr: r.API, API: r.API, Rev: old.Rev}
	if known && m == old {
		return &wire.Empty{}, nil
	}
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.PutMember{Member: m, Was: old.Rev}}})
	if err != nil {
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
	}
	if rejected[0] != nil {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: rejected[0].Error()}
	}
	return &wire.Empty{}, nil
}

// removed says that a gateway was a member and is none any more.
func (s *Server) removed(gateway cluster.NodeID) bool {
	state := s.live.Now()
	_, settled := state.LastSettled(gateway)
	_, member := state.Member(gateway)
	return state.Gone(gateway) || settled && !member
}

// ID is who this coordinator is.
func (s *Server) ID() cluster.NodeID { return s.member.ID }
