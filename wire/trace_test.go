package wire

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
)

// A traceparent goes with unary and streaming calls, and only where there is one.
func TestTraceGoesWithCalls(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	Handle(m, Ping, func(ctx context.Context, _ *Empty) (*Pong, error) { return &Pong{ID: cluster.NodeID(Trace(ctx))}, nil })
	HandleStream(m, Follow, func(ctx context.Context, _ *FollowRequest, send func(*LogPiece) error) error {
		return send(&LogPiece{Leader: Trace(ctx)})
	})
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	d := NewDialer(papers(t, ca, member(cluster.RoleGateway), time.Now()))
	defer d.Close()
	for given, want := range map[string]string{"": "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", strings.Repeat("x", maxTrace+1): ""} {
		ctx := t.Context()
		if given != "" {
			ctx = WithTrace(ctx, given)
		}
		pong, err := Call[Empty, Pong](ctx, d, cluster.RoleCoordinator, addr, Ping, &Empty{})
		if err != nil || string(pong.ID) != want {
			t.Errorf("%q: a call brings %+v, %v", given, pong, err)
		}
		err = Read(ctx, d, cluster.RoleCoordinator, addr, Follow, &FollowRequest{}, func(p *LogPiece) error {
			if p.Leader != want {
				t.Errorf("%q: a stream brings %q", given, p.Leader)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
