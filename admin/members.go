package admin

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
)

type members struct{ *Handler }

var _ adminv1connect.MemberServiceHandler = members{}

// RemoveMember implements skein.admin.v1.
func (h members) RemoveMember(ctx context.Context, r *connect.Request[adminv1.RemoveMemberRequest]) (*connect.Response[adminv1.RemoveMemberResponse], error) {
	m, err := member(h.c.Live().Now(), r.Msg.Member)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.RemoveMemberResponse{}), h.c.RemoveMember(ctx, h.asker(ctx), m.ID)
}

// member finds a coordinator or gateway by id or name.
func member(s cluster.State, name string) (cluster.Member, error) {
	if m, ok := s.Member(cluster.NodeID(name)); ok {
		return m, nil
	}
	var found []cluster.Member
	for m := range s.Members() {
		if m.Name == name {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return cluster.Member{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("the member %.128q does not exist", name))
	}
	return cluster.Member{}, invalid("%d members are called %.128q: use the id", len(found), name)
}
