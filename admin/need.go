package admin

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
)

// needOf reads a need; Apply checks it.
func needOf(n *adminv1.Need) *cluster.Need {
	return &cluster.Need{Min: int(n.Min), Max: int(n.Max), FirstToken: n.FirstTokenMs, Latency: n.LatencyMs, Percent: int(n.Percent), Priority: int(n.Priority)}
}

// precedence is the priority that a caller gets who asks for one. Who is confined to a tenant gets none above 0, which would take the room
// of all others, and keeps what somebody gave who may, unless it asks for less.
func precedence(ctx context.Context, was *cluster.Need, asked int) (int, error) {
	given := 0
	if was != nil {
		given = max(0, was.Priority)
	}
	switch {
	case confined(ctx, deploymentsWrite) == "" || asked < 0:
		return asked, nil
	case asked == 0:
		return given, nil
	case asked > given:
		return 0, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("a priority of %d: only who may deploy for all tenants sets one above %d", asked, given))
	}
	return asked, nil
}

// needView shows a need; nil where the number of replicas is fixed.
func needView(n *cluster.Need) *adminv1.Need {
	if n == nil {
		return nil
	}
	return &adminv1.Need{Min: int32(n.Min), Max: int32(n.Max), FirstTokenMs: n.FirstToken, LatencyMs: n.Latency, Percent: int32(n.Percent), Priority: int32(n.Priority)}
}

// scaling says how a deployment's replicas follow demand, and for how many there is room; "" where their number is fixed.
func (h deployments) scaling(ctx context.Context, d cluster.Deployment) (string, error) {
	if d.Need == nil {
		return "", nil
	}
	now, n := d.Wanted(), d.Need
	d.Replicas, d.Need = n.Max, nil
	all, err := h.c.Preview(ctx, d)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%d to %d replicas follow demand, %d now", n.Min, n.Max, now)
	if len(all.Refused) > 0 {
		text += fmt.Sprintf("; there is room for %d at the moment: more would have to be given up by others", len(all.Placed))
	}
	return text, nil
}
