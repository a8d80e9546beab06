package coordinator

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// join answers wire.Join: it spends the token in the log, and then certifies the member.
func (s *Server) join(ctx context.Context, r *wire.JoinRequest) (*wire.JoinResponse, error) {
	who := wire.Identity{Cluster: s.cluster(), Role: r.Role, ID: r.ID}
	if err := who.Validate(); err != nil {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: err.Error()}
	}
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.UseJoinToken{Hash: wire.SecretHash(r.Secret), Role: r.Role, By: r.ID}}})
	if err != nil {
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
	}
	if rejected[0] != nil {
		return nil, &wire.Refused{Code: connect.CodePermissionDenied, Why: rejected[0].Error()}
	}
	return s.certify(who, r.CSR)
}

// renew answers wire.Renew: the certificate of the connection is the permission, for the same member only.
func (s *Server) renew(ctx context.Context, r *wire.JoinRequest) (*wire.JoinResponse, error) {
	return s.certify(wire.Peer(ctx), r.CSR)
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
		res.Secret = s.member.Secret
	}
	return res, nil
}

// authority opens the cluster's authority out of the state.
func (s *Server) authority() (*wire.Authority, error) {
	c := s.live.Now().Cluster()
	key, err := wire.Open(s.member.Secret, c.CAKey)
	if err != nil {
		return nil, fmt.Errorf("open the authority's key: %w", err)
	}
	return wire.OpenAuthority(c.CACert, key)
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

// CreateJoinToken makes a one-time token for a role.
func (s *Server) CreateJoinToken(ctx context.Context, role cluster.Role, life time.Duration) (token string, expires cluster.Millis, err error) {
	t := wire.NewToken(role, s.creds.CA())
	expires = s.now() + cluster.Millis(min(life, wire.JoinTokenLife).Milliseconds())
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.PutJoinToken{Token: cluster.JoinToken{Hash: t.Hash(), Role: role, Expires: expires}}}})
	if err == nil && rejected[0] != nil {
		err = rejected[0]
	}
	return t.String(), expires, err
}
