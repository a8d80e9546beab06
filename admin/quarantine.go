package admin

import (
	"context"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

const maxQuarantine = 10 * 365 * 24 * time.Hour // that is given an end

// Quarantine implements skein.admin.v1.
func (h nodes) Quarantine(ctx context.Context, r *connect.Request[adminv1.QuarantineRequest]) (*connect.Response[adminv1.QuarantineResponse], error) {
	q := cluster.Quarantine{Why: r.Msg.Why, By: callerOf(ctx).String()}
	if lasts := time.Duration(r.Msg.TtlSeconds) * time.Second; r.Msg.TtlSeconds != 0 {
		if r.Msg.TtlSeconds < 0 || lasts <= 0 || lasts > maxQuarantine {
			return nil, invalid("a quarantine of %d seconds, 1 to %.0f are allowed", r.Msg.TtlSeconds, maxQuarantine.Seconds())
		}
		q.Until = h.now() + cluster.Millis(lasts.Milliseconds())
	}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		var err error
		q.QuarantineID, err = quarantined(s, r.Msg.Subject)
		old, _ := s.Quarantine(q.QuarantineID)
		return cluster.PutQuarantine{Quarantine: q, Was: old.Rev}, err
	})
	return connect.NewResponse(&adminv1.QuarantineResponse{}), err
}

// Lift implements skein.admin.v1.
func (h nodes) Lift(ctx context.Context, r *connect.Request[adminv1.LiftRequest]) (*connect.Response[adminv1.LiftResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		id, err := quarantined(s, r.Msg.Subject)
		old, _ := s.Quarantine(id)
		return cluster.DeleteQuarantine{ID: id, Was: old.Rev}, err
	})
	return connect.NewResponse(&adminv1.LiftResponse{}), err
}

// quarantined finds what is, or is to be, under quarantine: a device by its id, whether a node has it or it had to go, or a node.
func quarantined(s cluster.State, subject string) (cluster.QuarantineID, error) {
	id := cluster.QuarantineID{Device: gpu.DeviceID(subject)}
	_, known := s.Owner(id.Device)
	if _, ok := s.Quarantine(id); ok || known {
		return id, nil
	}
	n, err := node(s, subject)
	return cluster.QuarantineID{Node: n.ID}, err
}

func quarantineView(q cluster.Quarantine, ok bool) *adminv1.QuarantineView {
	if !ok {
		return nil
	}
	return &adminv1.QuarantineView{Device: string(q.Device), Node: string(q.Node), By: q.By, Why: q.Why, SinceMs: int64(q.Since), UntilMs: int64(q.Until)}
}
