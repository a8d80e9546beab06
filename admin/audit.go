package admin

import (
	"context"
	"encoding/json"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
)

type audits struct{ *Handler }

var _ adminv1connect.AuditServiceHandler = audits{}

// GetRecords implements skein.admin.v1.
func (h audits) GetRecords(ctx context.Context, r *connect.Request[adminv1.GetRecordsRequest], out *connect.ServerStream[adminv1.GetRecordsResponse]) error {
	from, head := r.Msg.From, h.c.Live().Now().Audit()
	if last := r.Msg.Last; last > 0 && head.Seq > last {
		from = max(from, head.Seq-last+1)
	}
	return h.c.AuditLines(ctx, from, func(lines []byte) error { return out.Send(&adminv1.GetRecordsResponse{Lines: lines}) })
}

// GetHead implements skein.admin.v1.
func (h audits) GetHead(context.Context, *connect.Request[adminv1.GetHeadRequest]) (*connect.Response[adminv1.GetHeadResponse], error) {
	head, authority, err := h.c.AuditHead()
	if err != nil {
		return nil, err
	}
	signed, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.GetHeadResponse{Seq: head.Head.Seq, Hash: head.Head.Hash.String(), Signed: signed, Authority: authority}), nil
}
