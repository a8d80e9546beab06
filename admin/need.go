package admin

import (
	"context"
	"fmt"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
)

// needOf reads a need; Apply checks it.
func needOf(n *adminv1.Need) *cluster.Need {
	return &cluster.Need{Min: int(n.Min), Max: int(n.Max), FirstToken: n.FirstTokenMs, Latency: n.LatencyMs, Percent: int(n.Percent), Priority: int(n.Priority)}
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
