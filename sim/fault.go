package sim

import (
	"fmt"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/scheduler"
)

// FaultsFor is how long a random world is disturbed.
const FaultsFor = 30 * time.Second

// Random makes a fleet of random size with random models, and plans random faults and wishes for the first FaultsFor.
func Random(c Config) *World {
	w := New(c)
	for range 2 + w.rng.IntN(4) {
		var sizes []gpu.Bytes
		for range 1 + w.rng.IntN(2) {
			sizes = append(sizes, gpu.Bytes(70+w.rng.IntN(100))*gpu.MiB)
		}
		w.AddNode(sizes...)
	}
	for i := range 1 + w.rng.IntN(3) {
		model := fmt.Sprintf("m%d", i)
		blocks, block := 2+w.rng.IntN(5), gpu.Bytes(3+w.rng.IntN(15))*gpu.MiB
		if w.chance(40) { // too large for most devices
			blocks, block = 4+w.rng.IntN(5), gpu.Bytes(15+w.rng.IntN(15))*gpu.MiB
		}
		w.Publish(model, blocks, block)
		replicas := 1 + w.rng.IntN(3)
		w.after(time.Second, "wish", func() { w.Serve(model, replicas, nil) })
	}
	for _, g := range w.gateways {
		g.traffic()
	}
	for range 3 + w.rng.IntN(15) {
		w.after(w.between(2*time.Second, FaultsFor), "fault", w.fault)
	}
	return w
}

// fault lets one random thing go wrong, or one operator change a mind. What lasts ends by itself after a while, or when the world is healed.
func (w *World) fault() {
	lasts := w.between(500*time.Millisecond, 12*time.Second)
	switch w.rng.IntN(18) {
	case 0, 1:
		n := w.anyNode()
		w.trace("fault: %s dies", n.id)
		n.stop()
		if n.gone = w.left() > 2 && w.chance(15); n.gone {
			w.trace("%s never comes back", n.id)
			return
		}
		w.ends(lasts, "node restart", n.start)
	case 2:
		c := w.coordinators[w.rng.IntN(len(w.coordinators))]
		if c.up {
			c.crash("by a fault")
		}
	case 3:
		if l := w.log.leader; l != nil {
			l.crash("while it leads")
		}
	case 4, 5:
		w.isolate(lasts)
	case 6:
		w.net.loss, w.net.duplicate = w.rng.IntN(40), w.rng.IntN(40)
		w.trace("fault: loss %d %%, duplication %d %%", w.net.loss, w.net.duplicate)
		w.ends(lasts, "network better", func() { w.net.loss, w.net.duplicate = 0, 0 })
	case 7:
		w.net.slow = w.between(20*time.Millisecond, 900*time.Millisecond)
		w.trace("fault: delays up to %s", w.net.slow)
		w.ends(lasts, "network faster", func() { w.net.slow = newNetwork().slow })
	case 8:
		w.trace("fault: slow disks")
		w.luck.slowDisk = true
		w.ends(lasts, "disks faster", func() { w.luck.slowDisk = false })
	case 9:
		n := w.anyNode()
		k := n.workers[n.devices[w.rng.IntN(len(n.devices))].ID]
		w.trace("fault: device %s fails", k.device.ID)
		n.health(k, true)
		if w.chance(20) {
			k.gone = true
			return
		}
		w.ends(lasts, "device better", func() { n.health(n.workers[k.device.ID], false) })
	case 10:
		n := w.anyNode()
		k := n.workers[n.devices[w.rng.IntN(len(n.devices))].ID]
		w.trace("fault: loads on %s fail", k.device.ID)
		k.badLoads = true
		w.ends(lasts, "loads better", func() { n.workers[k.device.ID].badLoads = false })
	case 11:
		n := w.anyNode()
		n.kill(n.workers[n.devices[0].ID], "by a fault")
	case 12:
		w.luck.fetchFails, w.luck.loadFails, w.luck.crash = w.rng.IntN(50), w.rng.IntN(30), w.rng.IntN(12)
		w.trace("fault: fetches fail %d %%, loads %d %%, crashes around effects %d %%", w.luck.fetchFails, w.luck.loadFails, w.luck.crash)
		w.ends(lasts, "luck better", func() { w.luck = luck{slowDisk: w.luck.slowDisk} })
	case 13:
		n := w.anyNode()
		w.Drain(n.id, true)
		if w.chance(60) {
			w.ends(lasts, "undrain", func() { w.Drain(n.id, false) })
		}
	case 14:
		w.change()
	case 17:
		w.distrust(lasts)
	case 16: // a gateway does not hear of what follows a node's death
		n, g := w.anyNode(), w.gateways[0]
		w.trace("fault: %s is cut off from the coordinators, and %s dies", g.id, n.id)
		for _, c := range w.coordinators {
			w.partition([]cluster.NodeID{g.id}, []cluster.NodeID{c.id}, false)
		}
		n.stop()
		w.ends(lasts, "node restart", n.start)
		w.ends(lasts+3*time.Second, "network whole", func() { w.net.cut = newNetwork().cut })
	case 15:
		if l := w.log.leader; l != nil {
			l.step(scheduler.Input{Suspects: []cluster.NodeID{w.anyNode().id}})
		}
	}
}

// ends lets a fault end by itself, unless all have ended by then.
func (w *World) ends(d time.Duration, what string, do func()) {
	w.after(d, what, func() {
		if !w.healed {
			do()
		}
	})
}

// left is the number of nodes that are not gone for good.
func (w *World) left() int {
	left := 0
	for _, n := range w.nodes {
		if !n.gone {
			left++
		}
	}
	return left
}

func (w *World) anyNode() *node { return w.nodes[w.rng.IntN(len(w.nodes))] }

// isolate cuts some machines off, in one direction or both: from all the others, or only from the coordinators.
func (w *World) isolate(lasts time.Duration) {
	ids := w.ids()
	w.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	group, from, oneWay := ids[:1+w.rng.IntN(2)], ids, w.chance(30)
	if w.chance(50) {
		from = nil
		for _, c := range w.coordinators {
			from = append(from, c.id)
		}
	}
	w.trace("fault: %v are cut off from %d others (one way: %t)", group, len(from), oneWay)
	w.partition(group, from, oneWay)
	w.ends(lasts, "network whole", func() { w.net.cut = newNetwork().cut })
}

// distrust puts a device or a node under quarantine, for a while, until it is lifted, or for good.
func (w *World) distrust(lasts time.Duration) {
	n := w.anyNode()
	id := cluster.QuarantineID{Node: n.id}
	if w.chance(60) {
		id = cluster.QuarantineID{Device: n.devices[w.rng.IntN(len(n.devices))].ID}
	}
	if w.chance(40) {
		w.Quarantine(id, lasts)
		return
	}
	w.Quarantine(id, 0)
	if w.chance(60) {
		w.ends(lasts, "quarantine lifted", func() { w.Lift(id) })
	}
}

// change is an operator's change of mind.
func (w *World) change() {
	model := fmt.Sprintf("m%d", w.rng.IntN(w.versions))
	n := w.anyNode()
	device := n.devices[0].ID
	switch w.rng.IntN(6) {
	case 0, 1:
		w.Serve(model, w.rng.IntN(4), nil)
	case 2:
		slots := 1 + w.rng.IntN(8)
		w.Serve(model, 1+w.rng.IntN(2), func(d *cluster.Deployment) { d.Serving.Slots = slots })
	case 3:
		w.Serve(model, 1+w.rng.IntN(2), func(d *cluster.Deployment) {
			d.Avoid = nil
			d.Pins = []cluster.Pin{{Device: device}}
		})
	case 4:
		w.Serve(model, 1, func(d *cluster.Deployment) { d.Pins, d.Avoid = nil, []gpu.DeviceID{device} })
	case 5:
		w.Unserve(model)
	}
}

// heal ends every fault but those that are for good. Wishes of operators stay.
func (w *World) heal() {
	w.trace("all faults end")
	w.healed, w.net, w.luck = true, newNetwork(), luck{}
	for _, c := range w.coordinators {
		c.start()
	}
	for _, n := range w.nodes {
		n.start()
		for _, k := range n.sortedWorkers() {
			k.badLoads = false
			if k.sick && !k.gone {
				n.health(k, false)
			}
		}
	}
}
