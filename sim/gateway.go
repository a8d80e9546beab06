package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/router"
)

// gateway routes requests by a table of the state that it has: that of its coordinator, or its own copy.
type gateway struct {
	w     *World
	id    cluster.NodeID
	on    *coordinator // nil: it stands alone and follows any coordinator it reaches
	state cluster.State
	table *router.Table
	desks []*desk
	loads []placedLoad
}

// follow takes a newer state, if there is one in reach.
func (g *gateway) follow() {
	newest := g.state
	for _, c := range g.w.coordinators {
		if (g.on == nil || g.on == c) && c.up && g.w.net.both(g.id, c.id) && c.state.Index() > newest.Index() {
			newest = c.state
		}
	}
	if newest.Index() == g.state.Index() {
		return
	}
	g.state = newest
	if g.table == nil || !g.w.Plant.StaleRoutes && !g.table.Shows(newest) {
		g.table = router.TableOf(newest)
	}
	g.w.checkTable(g)
}

// followers lets the gateways near a coordinator see what it applied.
func (w *World) followers(c *coordinator) {
	for _, g := range w.gateways {
		if g.on == c || g.on == nil && w.net.both(g.id, c.id) {
			g.follow()
		}
	}
}

// trafficEvery is how often a gateway is asked something.
const trafficEvery = 250 * time.Millisecond

// traffic asks for a random model and lets the question travel: by the time it arrives, the replica may be elsewhere, and then it must be refused.
func (g *gateway) traffic() {
	w := g.w
	w.after(w.between(0, 2*trafficEvery), "traffic", g.traffic)
	if g.table == nil || w.versions == 0 {
		return
	}
	route, err := router.Pick(g.table, fmt.Sprintf("m%d", w.rng.IntN(w.versions)), nil, nil, w.rng.Uint64())
	if err != nil {
		return
	}
	w.after(w.between(0, w.net.slow), "request", func() { w.serve(g.id, route.Replica, route.Epoch, 0, route.Head()) })
}

// request asks a model a question through a gateway, and says why there was no answer. Only the way is simulated: the head, its chain, their epochs.
func (g *gateway) request(name string) error {
	if g.table == nil {
		return fmt.Errorf("gateway %s has no table", g.id)
	}
	var failed []router.Placed
	for {
		route, err := router.Pick(g.table, name, nil, failed, g.w.rng.Uint64())
		if err != nil {
			return err
		}
		why := g.w.serve(g.id, route.Replica, route.Epoch, 0, route.Head())
		if why == "" {
			return nil
		}
		failed = append(failed, route.Placed())
		g.w.trace("%s: %s at epoch %d: %s", g.id, route.Replica, route.Epoch, why)
	}
}

// serve follows a request along the stages of a replica; "" = it was answered.
func (w *World) serve(from cluster.NodeID, id cluster.ReplicaID, at cluster.Epoch, stage int, endpoint string) string {
	parts := strings.Split(endpoint, "/") // node/device/port
	if len(parts) != 3 {
		return fmt.Sprintf("stage %d has no endpoint", stage)
	}
	n := w.node(cluster.NodeID(parts[0]))
	if n == nil || !n.up || !w.net.both(from, n.id) {
		return fmt.Sprintf("stage %d: node %s is out of reach", stage, parts[0])
	}
	wk := n.workers[gpu.DeviceID(parts[1])]
	if wk == nil || wk.endpoint != endpoint {
		return fmt.Sprintf("stage %d: nothing listens at %s", stage, endpoint)
	}
	duty := wk.duty(id, at, stage, w.Plant.AnyEpoch)
	if duty == nil {
		return fmt.Sprintf("stage %d: %s does not serve epoch %d", stage, endpoint, at)
	}
	if duty.Epoch != at {
		w.fail("a request for epoch %d of %s was served by epoch %d on %s", at, id, duty.Epoch, n.id)
	}
	if stage+1 < len(duty.Chain) {
		return w.serve(n.id, id, at, stage+1, duty.Chain[stage+1])
	}
	return ""
}

// duty finds what a worker does for a request. A worker that drains finishes what runs and takes nothing new.
func (k *worker) duty(id cluster.ReplicaID, at cluster.Epoch, stage int, any bool) *agent.Duty {
	for i := range k.duties {
		if d := &k.duties[i]; d.Replica == id && d.Stage == stage && (d.Epoch == at || any) && (!d.Drain || stage > 0) {
			return d
		}
	}
	return nil
}
