package coordinator

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// tokenWait is how long a token that was made a moment ago may take to be known here.
const tokenWait = 2 * time.Second

// join answers wire.Join: it spends the token in the log, and then hands out the certificate. Whoever has no token gets nothing into the
// log, and a request that is malformed does not cost the token.
func (s *Server) join(ctx context.Context, r *wire.JoinRequest) (*wire.JoinResponse, error) {
	who, hash := wire.Identity{Cluster: s.cluster(), Role: r.Role, ID: r.ID}, wire.SecretHash(r.Secret)
	if err := who.Validate(); err != nil {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: err.Error()}
	}
	if !s.hasToken(ctx, hash) {
		unknown := cluster.Rejected{Reason: cluster.ReasonNotFound, Subject: "join token", Why: "it does not exist"}
		return nil, &wire.Refused{Code: connect.CodePermissionDenied, Why: unknown.Error()}
	}
	res, err := s.certify(who, r.CSR)
	if err != nil {
		return nil, err
	}
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.UseJoinToken{Hash: hash, Role: r.Role, By: r.ID}}})
	if err != nil {
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
	}
	if rejected[0] != nil {
		return nil, &wire.Refused{Code: connect.CodePermissionDenied, Why: rejected[0].Error()}
	}
	return res, nil
}

func (s *Server) hasToken(ctx context.Context, hash string) bool {
	ctx, cancel := context.WithTimeout(ctx, tokenWait)
	defer cancel()
	for {
		state, changed := s.live.Load()
		if _, ok := state.JoinToken(hash); ok {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// renew answers wire.Renew: the certificate of the connection is the permission, for the same member only, and as long as it is one.
// A gateway that was never a member is one that joined before gateways were.
func (s *Server) renew(ctx context.Context, r *wire.JoinRequest) (*wire.JoinResponse, error) {
	who := wire.Peer(ctx)
	if who.Role != cluster.RoleGateway && !s.enrolled(who.ID) || who.Role == cluster.RoleGateway && s.removed(who.ID) {
		return nil, &wire.Refused{Code: connect.CodePermissionDenied, Why: string(who.ID) + " is no member"}
	}
	return s.certify(who, r.CSR)
}

// enrolled says whether an id belongs to a member. While nothing is known here, everybody may be one.
func (s *Server) enrolled(id cluster.NodeID) bool {
	state := s.live.Now()
	_, member := state.Member(id)
	_, node := state.Node(id)
	return member || node || state.Cluster().ID == "" || state.Enrolled(id) && !state.Gone(id)
}

func (s *Server) certify(who wire.Identity, csr []byte) (*wire.JoinResponse, error) {
	ca, err := s.authority()
	if err != nil {
		return nil, err
	}
	cert, err := ca.Sign(csr, who, time.Now())
	if err != nil {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: err.Error()}
	}
	res := &wire.JoinResponse{Cert: cert, CA: ca.Cert.Raw, Coordinators: s.coordinators(), GossipKey: s.member.GossipKey, Seeds: s.seeds()}
	if who.Role == cluster.RoleCoordinator {
		res.Secret, res.CAKey = s.member.Secret, s.sealedKey()
	}
	return res, nil
}

// cluster is the cluster's id. It is in the member's own certificate, so it is known before the state is.
func (s *Server) cluster() string { return s.creds.Identity().Cluster }

// coordinators lists the coordinators by id.
func (s *Server) coordinators() []cluster.Member {
	var out []cluster.Member
	for m := range s.live.Now().Members() {
		if m.Role == cluster.RoleCoordinator {
			out = append(out, m)
		}
	}
	return out
}

// seeds lists where the coordinators gossip.
func (s *Server) seeds() []string {
	out := []string{s.cfg.Gossip}
	for _, m := range s.gossip.List() {
		if m.Meta.Role == cluster.RoleCoordinator && m.Seed != s.cfg.Gossip {
			out = append(out, m.Seed)
		}
	}
	return out
}

// NewJoinToken makes a one-time token for a role, and what the cluster keeps of it: it counts once that is committed. Its life begins at
// the log's time, which may be ahead of the clock: a clock that was wrong once must not make every token expired from the start.
func (s *Server) NewJoinToken(role cluster.Role, life time.Duration) (token string, record cluster.JoinToken) {
	t := wire.NewToken(role, s.creds.CA())
	expires := max(s.now(), s.live.Now().At()) + cluster.Millis(min(life, wire.JoinTokenLife).Milliseconds())
	return t.String(), cluster.JoinToken{Hash: t.Hash(), Role: role, Expires: expires}
}
