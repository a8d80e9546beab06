package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/placement"
)

// facts is what the world knows and nobody in it does.
type facts struct {
	state  cluster.State // the newest that anybody applied
	sums   map[cluster.Index][sha256.Size]byte
	served map[fact]bool
	places int // replicas placed so far
	scales []scales
	by     map[string]int // transactions that were applied, by whose they are
}

// fact is that a worker did take requests for a stage of a placement.
type fact struct {
	replica cluster.ReplicaID
	epoch   cluster.Epoch
	stage   int
}

func newFacts() facts {
	return facts{sums: map[cluster.Index][sha256.Size]byte{}, served: map[fact]bool{}, by: map[string]int{}}
}

// hashEvery is how many entries lie between two that every coordinator's state is hashed at. A difference does not heal, so the next hash, or the one
// when the world has come to rest, shows it.
const hashEvery = 16

// committed checks an entry that a coordinator applied. Equal index means equal state; the rest is checked where an entry is new.
func (w *World) committed(before, after cluster.State, e entry, errs []error) {
	if e.index%hashEvery == 0 {
		w.checkSum(after)
	}
	if e.index <= w.facts.state.Index() {
		return
	}
	w.facts.state = after
	w.checkMemory(after)
	for i, txn := range e.envelope.Txns {
		if i >= len(errs) || errs[i] == nil {
			w.facts.by[txn.By]++
		}
		for _, c := range txn.Do {
			if i < len(errs) && errs[i] != nil {
				w.trace("entry %d: %s: %v", e.index, w.describe(before, c), errs[i])
				continue
			}
			w.trace("entry %d: %s", e.index, w.describe(before, c))
			switch c := c.(type) {
			case cluster.PlaceReplica:
				w.facts.places++
				w.checkPlace(before, after, c)
			case cluster.SetScale:
				w.checkScale(before, c)
			case cluster.RollbackAlias:
				w.checkRollback(before, c)
			case cluster.DeleteDeployment:
				if txn.By == "retire" { // an operator may
					w.checkRetired(before, c)
				}
			case cluster.MarkReplica:
				w.checkMark(after, c)
				if c.Status == cluster.Stopping {
					w.checkStop(before, after, c)
				}
			}
		}
	}
}

func (w *World) checkSum(s cluster.State) {
	sum := s.Hash()
	if known, ok := w.facts.sums[s.Index()]; ok && known != sum {
		w.fail("two states at index %d differ", s.Index())
	}
	w.facts.sums[s.Index()] = sum
}

// checkMemory adds the reservations up by itself.
func (w *World) checkMemory(s cluster.State) {
	reserved := map[gpu.DeviceID]gpu.Bytes{}
	for r := range s.Replicas() {
		for _, st := range r.Stages {
			reserved[st.Device] += st.Reserve
		}
	}
	for n := range s.Nodes() {
		for _, d := range n.Devices {
			if reserved[d.ID] > d.Memory {
				w.fail("device %s has %s, and %s are reserved", d.ID, d.Memory, reserved[d.ID])
			}
		}
	}
}

// checkPlace: nothing is placed on a node that does not take work, or on what is under quarantine before and after the entry.
func (w *World) checkPlace(before, after cluster.State, c cluster.PlaceReplica) {
	for _, st := range c.Replica.Stages {
		if n := w.node(st.Node); n == nil {
			w.fail("%s is placed on node %s, which never was", c.Replica.ReplicaID, st.Node)
		}
		if n, ok := before.Node(st.Node); ok && n.Status == cluster.NodeDraining {
			w.fail("%s is placed on node %s, which drains", c.Replica.ReplicaID, st.Node)
		}
		for q := range before.Quarantines() {
			if still, ok := after.Quarantine(q.QuarantineID); ok && still == q && (q.Device == st.Device || q.Node == st.Node) {
				w.fail("%s is placed on device %s of node %s, and %s is under quarantine", c.Replica.ReplicaID, st.Device, st.Node, q.QuarantineID)
			}
		}
	}
}

// checkMark: a replica that is called ready did serve, every stage, at this epoch.
func (w *World) checkMark(after cluster.State, c cluster.MarkReplica) {
	if c.Status != cluster.Ready {
		return
	}
	r, ok := after.Replica(c.ID)
	if !ok || r.Epoch != c.Epoch {
		return
	}
	for i := range r.Stages {
		if !w.facts.served[fact{c.ID, c.Epoch, i}] {
			w.fail("%s is called ready at epoch %d, and nothing ever served its stage %d", c.ID, c.Epoch, i)
		}
	}
}

// checkDuties: a device serves what it has loaded, and no two epochs of a replica.
func (w *World) checkDuties(n *node, k *worker) {
	for i, d := range k.duties {
		if _, ok := k.memory[d.Slot]; !ok {
			w.fail("device %s serves %s stage %d, which is not loaded", k.device.ID, d.Replica, d.Stage)
		}
		if slices.ContainsFunc(k.duties[:i], func(o agent.Duty) bool { return o.Replica == d.Replica && o.Epoch != d.Epoch }) {
			w.fail("device %s serves two epochs of %s", k.device.ID, d.Replica)
		}
		if !d.Drain {
			w.facts.served[fact{d.Replica, d.Epoch, d.Stage}] = true
		}
	}
}

// checkTable: every route is to a replica that is ready, at its epoch, on nodes that are not lost, in the state that the gateway has.
func (w *World) checkTable(g *gateway) {
	if !g.table.Shows(g.state) {
		w.fail("gateway %s has state %d and the table of an older one", g.id, g.state.Index())
	}
	for v := range g.state.Versions() {
		for _, route := range g.table.Routes(v.VersionID) {
			r, ok := g.state.Replica(route.Replica)
			if !ok || r.Status != cluster.Ready || r.Epoch != route.Epoch {
				w.fail("gateway %s routes to %s at epoch %d, which is not ready", g.id, route.Replica, route.Epoch)
				continue
			}
			for _, st := range r.Stages {
				if n, ok := g.state.Node(st.Node); !ok || n.Status == cluster.NodeLost {
					w.fail("gateway %s routes to %s, and node %s is lost", g.id, route.Replica, st.Node)
				}
			}
		}
	}
}

// check looks at what events change without passing one of the checks above. It runs after every event.
func (w *World) check() error {
	for _, n := range w.nodes {
		for _, k := range n.workers { // all are looked at, in any order
			if used := k.used(); used > k.device.Memory {
				w.fail("device %s has %s, and its stages take %s", k.device.ID, k.device.Memory, used)
			}
			if k.endpoint == "" && len(k.duties) > 0 {
				w.fail("device %s serves without a worker", k.device.ID)
			}
		}
	}
	return w.broken
}

// Settle ends every fault, and gives the fleet a time to come to rest: every deployment that fits is served and answers everywhere, draining nodes are
// empty, all states are equal, few replicas moved for it, and then nothing is decided any more.
func (w *World) Settle(bound time.Duration) error {
	w.heal()
	before, wanted := w.facts.places, 0
	for d := range w.facts.state.Deployments() {
		wanted += d.Wanted()
	}
	why, quiet := "nothing happened yet", 0
	for end := w.now.Add(bound); quiet < 3; {
		if !w.now.Before(end) {
			w.fail("not at rest %s after the last fault: %s", bound, why)
			return w.broken
		}
		if err := w.Run(time.Second); err != nil {
			return err
		}
		if why = w.unrest(); why == "" {
			quiet++
		} else {
			quiet = 0
		}
	}
	if moves := w.facts.places - before; moves > 3*wanted+3 {
		w.fail("%d placements after the last fault, for %d replicas wanted", moves, wanted)
	}
	for _, c := range w.coordinators {
		w.checkSum(c.state)
	}
	entries := len(w.log.entries)
	if err := w.Run(10 * time.Second); err != nil {
		return err
	}
	if len(w.log.entries) != entries {
		w.fail("%d entries were decided although nothing happened", len(w.log.entries)-entries)
	}
	return w.broken
}

// unrest says what is not yet as it should be; "" = nothing.
func (w *World) unrest() string {
	s := w.facts.state
	for _, c := range w.coordinators {
		if c.state.Index() != s.Index() {
			return fmt.Sprintf("%s is at index %d of %d", c.id, c.state.Index(), s.Index())
		}
	}
	for _, n := range w.nodes {
		if got, ok := s.Node(n.id); n.gone != (!ok || got.Status == cluster.NodeLost) {
			return fmt.Sprintf("node %s is %q, and gone for good: %t", n.id, got.Status, n.gone)
		}
	}
	for q := range s.Quarantines() {
		if q.Until != 0 {
			return q.QuarantineID.String() + " is under quarantine for a while"
		}
	}
	for r := range s.Replicas() {
		if _, ok := s.Deployment(r.Version); !ok || r.Status == cluster.Stopping {
			return fmt.Sprintf("%s is %s", r.ReplicaID, r.Status)
		}
	}
	for d := range s.Deployments() {
		if why := w.unserved(s, d); why != "" {
			return why
		}
	}
	return w.starves(s)
}

// unserved says what is wrong with a deployment's replicas.
func (w *World) unserved(s cluster.State, d cluster.Deployment) string {
	ready, leaving, kept := 0, 0, 0
	for r := range s.ReplicasOf(d.Version) {
		kept++
		if s.Routable(r) {
			ready++
		}
		if slices.ContainsFunc(r.Stages, func(st cluster.StagePlace) bool {
			n, _ := s.Node(st.Node)
			_, barred := s.Quarantined(st.Node, st.Device)
			return barred || n.Status == cluster.NodeDraining
		}) {
			leaving++
		}
	}
	switch {
	case kept > d.Wanted():
		return fmt.Sprintf("%s has %d replicas, wanted are %d", d.Version, kept, d.Wanted())
	case kept > ready:
		return fmt.Sprintf("%s has %d replicas, and %d of them are not ready", d.Version, kept, kept-ready)
	case (ready < d.Wanted() || leaving > 0) && w.fits(s, d):
		return fmt.Sprintf("%s has %d of %d replicas ready, %d on draining nodes or under quarantine, and there is room for another", d.Version, ready, d.Wanted(), leaving)
	}
	if ready == 0 {
		return ""
	}
	for _, g := range w.gateways {
		if err := g.request(d.Version.String()); err != nil {
			return fmt.Sprintf("%s has no answer for %s: %v", g.id, d.Version, err)
		}
	}
	return ""
}

// fits says whether one more replica has a place beside everything that is placed.
func (w *World) fits(s cluster.State, d cluster.Deployment) bool {
	v, _ := s.Version(d.Version)
	p := placement.Problem{Demands: []placement.Demand{{
		Replica: cluster.ReplicaID{Version: d.Version, Ordinal: cluster.MaxReplicas}, Profile: v.Profile, Serving: d.Serving, MaxStages: 16,
		Avoid: d.Avoid, AvoidOn: d.AvoidOn,
	}}}
	for _, pin := range d.Pins {
		if pin.Replica < d.Wanted() {
			return false // where the missing replica must go is the operator's choice, which may not fit
		}
	}
	ledger := s.Ledger()
	for _, n := range w.nodes {
		known, ok := s.Node(n.id)
		if !ok || known.Status != cluster.NodeReady || !n.up {
			continue
		}
		for _, k := range n.sortedWorkers() {
			if _, barred := s.Quarantined(n.id, k.device.ID); !k.sick && !k.badLoads && !barred {
				p.Devices = append(p.Devices, placement.Device{ID: k.device.ID, Node: n.id, Kind: k.device.Kind, Capacity: k.device.Memory, Free: ledger.Free(k.device.ID)})
			}
		}
	}
	return len(placement.Solve(p).Placed) > 0
}

// describe says in a line what a command does.
func (w *World) describe(before cluster.State, c cluster.Command) string {
	switch c := c.(type) {
	case cluster.PutNode:
		if old, ok := before.Node(c.Node.ID); ok {
			return fmt.Sprintf("node %s, which was %s, changes", c.Node.ID, old.Status)
		}
		return fmt.Sprintf("node %s is admitted", c.Node.ID)
	case cluster.SetNodeStatus:
		return strings.TrimSpace(fmt.Sprintf("node %s is %s %s", c.ID, c.Status, c.Why))
	case cluster.PlaceReplica:
		var at []string
		for _, st := range c.Replica.Stages {
			at = append(at, fmt.Sprintf("%s on %s", st.Span, st.Device))
		}
		return fmt.Sprintf("%s epoch %d (was %d) is placed: %s", c.Replica.ReplicaID, c.Replica.Epoch, c.Was, strings.Join(at, ", "))
	case cluster.MarkReplica:
		return strings.TrimSpace(fmt.Sprintf("%s epoch %d is %s %s", c.ID, c.Epoch, c.Status, c.Why))
	case cluster.RemoveReplica:
		return fmt.Sprintf("%s epoch %d is removed", c.ID, c.Epoch)
	case cluster.PutVersion:
		return fmt.Sprintf("version %s is published", c.Version.VersionID)
	case cluster.PutDeployment:
		if n := c.Deployment.Need; n != nil {
			return fmt.Sprintf("%s is to have %d to %d replicas", c.Deployment.Version, n.Min, n.Max)
		}
		return fmt.Sprintf("%s is to have %d replicas", c.Deployment.Version, c.Deployment.Replicas)
	case cluster.SetScale:
		return fmt.Sprintf("%s scales to %d: %s", c.Version, c.Replicas, c.Why)
	case cluster.PutQuarantine:
		return fmt.Sprintf("%s is under quarantine", c.Quarantine.QuarantineID)
	case cluster.DeleteQuarantine:
		return fmt.Sprintf("%s is under quarantine no more", c.ID)
	case cluster.DeleteDeployment:
		return fmt.Sprintf("%s is to be served no more", c.Version)
	}
	return fmt.Sprintf("%T", c)
}
