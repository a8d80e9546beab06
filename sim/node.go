package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// node is a machine: its process, its workers, its disk.
type node struct {
	w       *World
	id      cluster.NodeID
	devices gpu.Inventory
	up      bool
	gone    bool // for good
	life    int
	loop    *agent.Loop
	workers map[gpu.DeviceID]*worker
	disk    map[cluster.StageKey]bool
	fetches map[cluster.StageKey]int // number of the fetch under way
	contact *coordinator             // to whom it reports
	heard   time.Time                // when somebody last answered
	skew    time.Duration
	wake    uint64
	ports   int
	fetched int
	other   int64 // bytes on its disk that are not the fleet's
}

// worker is the process that owns a device.
type worker struct {
	device   gpu.Device
	endpoint string // "" = not running
	life     int
	sick     bool // the device failed
	gone     bool // for good
	badLoads bool // loads on it fail
	memory   map[agent.Slot]gpu.Bytes
	duties   []agent.Duty
	idle     bool // as its node knows it
	heat
}

// AddNode brings a machine with devices of a size into the fleet, and starts it.
func (w *World) AddNode(sizes ...gpu.Bytes) {
	n := &node{w: w, id: cluster.NodeID(fmt.Sprintf("n%d", len(w.nodes)+1)), disk: map[cluster.StageKey]bool{}}
	for i, size := range sizes {
		n.devices = append(n.devices, gpu.Device{ID: gpu.DeviceID(fmt.Sprintf("%s-d%d", n.id, i)), Kind: cmp.Or(w.Kind, gpu.Host), Memory: size})
	}
	w.nodes = append(w.nodes, n)
	n.start()
}

func (w *World) node(id cluster.NodeID) *node {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (n *node) start() {
	if n.up || n.gone {
		return
	}
	n.up, n.skew = true, n.w.skew()
	n.life++
	n.loop = agent.New(agent.Config{Node: n.id, Session: n.w.rng.Uint64(), Addr: string(n.id) + ":7100", Name: string(n.id), Software: "sim", Devices: n.devices})
	old := n.workers
	n.workers, n.fetches = map[gpu.DeviceID]*worker{}, map[cluster.StageKey]int{}
	n.contact, n.heard = n.w.coordinators[n.w.rng.IntN(len(n.w.coordinators))], n.w.now
	var in agent.Input
	for _, d := range n.devices {
		k := &worker{device: d, memory: map[agent.Slot]gpu.Bytes{}}
		if o := old[d.ID]; o != nil {
			k.sick, k.gone, k.badLoads, k.heat = o.sick, o.gone, o.badLoads, o.heat
		}
		n.workers[d.ID] = k
		in.Readings = append(in.Readings, k.reading())
		n.boot(k)
	}
	n.step(in)
}

func (n *node) stop() {
	n.up = false
	n.life++
	for _, k := range n.workers {
		k.endpoint, k.duties = "", nil
		k.life++
		clear(k.memory)
	}
}

func (k *worker) reading() gpu.Reading {
	r := gpu.Reading{ID: k.device.ID, Free: k.device.Memory, Health: gpu.Healthy}
	if k.sick {
		r.Health, r.Why, r.XID = gpu.Failed, "XID 79", 79
	}
	return r
}

// boot starts a device's worker process.
func (n *node) boot(k *worker) {
	life, own := n.life, k.life
	n.w.after(n.w.between(20*time.Millisecond, 200*time.Millisecond), "worker", func() {
		if !n.up || n.life != life || k.life != own || k.sick || k.endpoint != "" {
			return
		}
		n.ports++
		k.endpoint = fmt.Sprintf("%s/%s/%d", n.id, k.device.ID, n.ports)
		n.step(agent.Input{Workers: []agent.Worker{{Device: k.device.ID, Endpoint: k.endpoint}}})
	})
}

// kill ends a device's worker process; its memory is gone. A new one is started unless the device failed.
func (n *node) kill(k *worker, why string) {
	if !n.up || k.endpoint == "" {
		return
	}
	n.w.trace("%s: worker of %s dies: %s", n.id, k.device.ID, why)
	k.endpoint, k.duties = "", nil
	k.life++
	clear(k.memory)
	n.boot(k)
	n.step(agent.Input{Workers: []agent.Worker{{Device: k.device.ID, Why: why}}})
}

// health lets a device fail or come back.
func (n *node) health(k *worker, sick bool) {
	k.sick = sick
	if !n.up {
		return
	}
	if sick {
		n.kill(k, "its device failed")
	} else if k.endpoint == "" {
		n.boot(k)
	}
	n.step(agent.Input{Readings: []gpu.Reading{k.reading()}})
}

// step runs the loop and does what it says.
func (n *node) step(in agent.Input) {
	if !n.up {
		return
	}
	w := n.w
	out := n.loop.Step(w.now.Add(n.skew), in)
	for _, a := range out.Actions {
		n.act(a)
	}
	if out.Report != nil {
		n.report(*out.Report)
	}
	n.wake++
	life, number := n.life, n.wake
	w.after(out.Wake.Sub(w.now.Add(n.skew)), "node wake", func() {
		if n.life == life && n.wake == number {
			n.step(agent.Input{})
		}
	})
}

// report goes to whom the node takes for the leader; without an answer it tries another coordinator.
func (n *node) report(r cluster.Report) {
	w := n.w
	if w.Plant.EarlyReady {
		for i, h := range r.Held {
			if h.Status == cluster.HeldLoading {
				r.Held[i].Status, r.Held[i].Endpoint = cluster.HeldReady, n.workers[h.Device].endpoint
			}
		}
	}
	if w.now.Sub(n.heard) > 1500*time.Millisecond {
		n.contact, n.heard = w.coordinators[w.rng.IntN(len(w.coordinators))], w.now
	}
	c := n.contact
	r.Upkeep = n.upkeep()
	w.send(n.id, c.id, "report", func() { c.hear(n, r) })
}

func (n *node) redirect(c *coordinator) {
	if n.up {
		n.contact, n.heard = c, n.w.now
	}
}

func (n *node) desired(c *coordinator, d cluster.Desired) {
	if !n.up {
		return
	}
	n.contact, n.heard = c, n.w.now
	n.step(agent.Input{Desired: &d})
}

// act carries out one action. Effects and results are two events, and the process may die between them.
func (n *node) act(a agent.Action) {
	switch a := a.(type) {
	case agent.Fetch:
		n.fetch(a.Key)
	case agent.StopFetch:
		n.finishFetch(a.Key, n.fetches[a.Key], "stopped")
	case agent.Load:
		n.load(a)
	case agent.Unload:
		n.unload(a.Slot)
	case agent.Serve:
		n.serve(a)
	}
}

func (n *node) fetch(key cluster.StageKey) {
	w := n.w
	n.fetched++
	n.fetches[key] = n.fetched
	number, life := n.fetched, n.life
	wait := w.between(20*time.Millisecond, 800*time.Millisecond)
	if w.luck.slowDisk {
		wait *= 8
	}
	why := ""
	if n.disk[key] {
		wait = 5 * time.Millisecond
	} else if w.chance(w.luck.fetchFails) {
		why = "connection reset"
	}
	w.after(wait, "fetched", func() {
		if n.life == life {
			n.finishFetch(key, number, why)
		}
	})
}

func (n *node) finishFetch(key cluster.StageKey, number int, why string) {
	if n.fetches[key] != number || number == 0 {
		return
	}
	delete(n.fetches, key)
	if why == "" {
		n.disk[key] = true
	}
	n.later(0, func() {
		n.step(agent.Input{Fetched: []agent.Fetched{{Key: key, Bytes: 1, Total: 1, Done: true, Err: why}}})
	})
}

// later does something if the process still lives then.
func (n *node) later(d time.Duration, do func()) {
	life := n.life
	n.w.after(d, "node", func() {
		if n.up && n.life == life {
			do()
		}
	})
}

func (n *node) load(a agent.Load) {
	w, k := n.w, n.workers[a.Device]
	if k.endpoint == "" {
		return // the loop hears of the worker's death, which answers everything
	}
	k.memory[a.Slot] = a.Reserve
	if used := k.used(); used > k.device.Memory {
		w.fail("device %s has %s and its stages take %s", k.device.ID, k.device.Memory, used)
	}
	own, fails := k.life, k.badLoads || w.chance(w.luck.loadFails)
	n.later(w.between(20*time.Millisecond, 400*time.Millisecond), func() {
		if k.life != own {
			return
		}
		result := agent.Loaded{Slot: a.Slot, Used: a.Reserve}
		if fails {
			result.Used, result.Err = 0, "out of memory"
			delete(k.memory, a.Slot)
		} else if w.chance(w.luck.crash) {
			n.crash("after a load")
			return
		}
		n.step(agent.Input{Loaded: []agent.Loaded{result}})
	})
}

func (k *worker) used() gpu.Bytes {
	var sum gpu.Bytes
	for _, b := range k.memory { // a sum does not depend on the order
		sum += b
	}
	return sum
}

func (n *node) unload(s agent.Slot) {
	k := n.workers[s.Device]
	own := k.life
	n.later(n.w.between(5*time.Millisecond, 100*time.Millisecond), func() {
		if k.life != own {
			return
		}
		if n.w.Plant.ForgetUnload {
			leak := s
			leak.Copy += 1000 + len(k.memory)
			k.memory[leak] = k.memory[s]
		}
		delete(k.memory, s)
		n.step(agent.Input{Unloaded: []agent.Slot{s}})
	})
}

// serve gives a worker its duties.
func (n *node) serve(a agent.Serve) {
	k := n.workers[a.Device]
	if k.endpoint == "" {
		return
	}
	duties := slices.Clone(a.Duties)
	if n.w.Plant.BothEpochs {
		for _, old := range k.duties {
			if !slices.ContainsFunc(duties, func(d agent.Duty) bool { return d.Replica == old.Replica && d.Epoch == old.Epoch }) {
				duties = append(duties, old)
			}
		}
	}
	k.duties = duties
	n.w.checkDuties(n, k)
}

// crash ends the process with all its workers and starts it again after a while.
func (n *node) crash(when string) {
	n.w.trace("%s crashes %s", n.id, when)
	n.stop()
	n.w.after(n.w.between(200*time.Millisecond, 8*time.Second), "node restart", n.start)
}

// sortedWorkers lists the workers by device.
func (n *node) sortedWorkers() []*worker {
	return slices.SortedFunc(maps.Values(n.workers), func(a, b *worker) int { return cmp.Compare(a.device.ID, b.device.ID) })
}
