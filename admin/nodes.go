package admin

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/wire"
)

type nodes struct{ *Handler }

var _ adminv1connect.NodeServiceHandler = nodes{}

func (h nodes) ListNodes(context.Context, *connect.Request[adminv1.ListNodesRequest]) (*connect.Response[adminv1.ListNodesResponse], error) {
	s := h.c.Live().Now()
	res := &adminv1.ListNodesResponse{}
	for n := range s.Nodes() {
		v := &adminv1.NodeView{Id: string(n.ID), Name: n.Name, Addr: n.Addr, Status: string(n.Status), Why: n.Why, Software: n.Software, ReportAgeMs: -1}
		if n.Drain != nil {
			v.Why += "; to be drained when it is back"
		}
		v.Quarantine = quarantineView(s.Quarantine(cluster.QuarantineID{Node: n.ID}))
		report, age, ok := h.c.Report(n.ID)
		if ok {
			v.ReportAgeMs = age.Milliseconds()
		}
		for _, d := range n.Devices {
			dv := &adminv1.DeviceView{Id: string(d.ID), Kind: string(d.Kind), Name: d.Name, Memory: int64(d.Memory), Reserved: int64(s.Reserved(d.ID)), Health: string(gpu.Unknown)}
			dv.Quarantine = quarantineView(s.Quarantined(n.ID, d.ID))
			for _, r := range report.Readings {
				if r.ID == d.ID {
					dv.Used, dv.Percent, dv.Health, dv.Why = int64(r.Used), int32(r.Percent), string(r.Health), r.Why
				}
			}
			v.Devices = append(v.Devices, dv)
		}
		for r := range s.ReplicasOn(n.ID) {
			for _, at := range r.Stages {
				if at.Node == n.ID {
					v.Stages++
				}
			}
		}
		res.Nodes = append(res.Nodes, v)
	}
	for q := range s.Quarantines() {
		res.Quarantines = append(res.Quarantines, quarantineView(q, true))
	}
	return connect.NewResponse(res), nil
}

func (h nodes) setStatus(ctx context.Context, name string, status cluster.NodeStatus, why string) error {
	return h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		n, err := node(s, name)
		return cluster.SetNodeStatus{ID: n.ID, Status: status, Why: why, Was: n.Rev}, err
	})
}

func (h nodes) Drain(ctx context.Context, r *connect.Request[adminv1.DrainRequest]) (*connect.Response[adminv1.DrainResponse], error) {
	return connect.NewResponse(&adminv1.DrainResponse{}), h.setStatus(ctx, r.Msg.Node, cluster.NodeDraining, r.Msg.Why)
}

func (h nodes) Resume(ctx context.Context, r *connect.Request[adminv1.ResumeRequest]) (*connect.Response[adminv1.ResumeResponse], error) {
	return connect.NewResponse(&adminv1.ResumeResponse{}), h.setStatus(ctx, r.Msg.Node, cluster.NodeReady, "")
}

// reporting is the age of a report up to which a node counts as running.
const reporting = 3 * time.Second

func (h nodes) RemoveNode(ctx context.Context, r *connect.Request[adminv1.RemoveNodeRequest]) (*connect.Response[adminv1.RemoveNodeResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		n, err := node(s, r.Msg.Node)
		if _, age, ok := h.c.Report(n.ID); err == nil && ok && age < reporting && (n.Status != cluster.NodeDraining || s.Cluster().Feature < 2) {
			err = connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("the node %s still reports: drain it, or stop it, first", n.Name))
		}
		return cluster.DeleteNode{ID: n.ID, Was: n.Rev}, err
	})
	return connect.NewResponse(&adminv1.RemoveNodeResponse{}), err
}

func (h nodes) CreateJoinToken(ctx context.Context, r *connect.Request[adminv1.CreateJoinTokenRequest]) (*connect.Response[adminv1.CreateJoinTokenResponse], error) {
	life := time.Duration(r.Msg.TtlSeconds) * time.Second
	if life == 0 {
		life = wire.JoinTokenLife
	}
	if life < 0 || life > wire.JoinTokenLife {
		return nil, invalid("a join token lives %s at most", wire.JoinTokenLife)
	}
	role := cluster.Role(r.Msg.Role)
	if role != cluster.RoleCoordinator && role != cluster.RoleNode && role != cluster.RoleGateway {
		return nil, invalid("role %.40q: want node, coordinator or gateway", r.Msg.Role)
	}
	token, record := h.c.NewJoinToken(role, life)
	err := h.do(ctx, cluster.PutJoinToken{Token: record})
	return connect.NewResponse(&adminv1.CreateJoinTokenResponse{Token: token, ExpiresMs: int64(record.Expires)}), err
}

type clusters struct{ *Handler }

var _ adminv1connect.ClusterServiceHandler = clusters{}

func (h clusters) GetStatus(ctx context.Context, _ *connect.Request[adminv1.GetStatusRequest]) (*connect.Response[adminv1.GetStatusResponse], error) {
	s := h.c.Live().Now()
	res := &adminv1.GetStatusResponse{Cluster: s.Cluster().ID, Index: uint64(s.Index()), Software: h.c.Software()}
	if b, ok := backup.Last(s); ok {
		res.BackupMs = int64(b.At)
	}
	leader, standing := h.c.LeaderID(), h.c.Standing(ctx)
	for m := range s.Members() {
		v := &adminv1.MemberView{Id: string(m.ID), Name: m.Name, Role: string(m.Role), Addr: m.Addr, Api: m.API, Leader: m.ID == leader}
		if st, ok := standing[m.ID]; ok {
			v.Voter, v.Lag, v.ContactMs = st.Voter, st.Lag, max(-1, st.Contact.Milliseconds())
		}
		res.Members = append(res.Members, v)
	}
	return connect.NewResponse(res), nil
}
