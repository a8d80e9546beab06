package sim

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// Limits of a script.
const (
	MaxScriptLines = 10_000
	MaxScriptTime  = 100 * time.Hour // of simulated time
)

// ScriptError says which line of a script is wrong, or asserts what is not so.
type ScriptError struct {
	Line int
	Text string
	Err  error
}

func (e *ScriptError) Error() string {
	return fmt.Sprintf("sim: line %d: %v (%q)", e.Line, e.Err, e.Text)
}

// Unwrap gives the reason.
func (e *ScriptError) Unwrap() error { return e.Err }

// Script runs a story in a new world, and returns its text with what happened after each line, indented. Lines that begin with # are comments and
// indented lines are ignored, so the result is a script again. The checks of the world run after every event. Verbs:
//
//	node SIZE…                         a machine with a device of each size: n1, n2, …; its devices are n1-d0, n1-d1, …
//	model NAME BLOCKS SIZE             version 1 of a model, with so many blocks of a size
//	serve NAME REPLICAS [slots=N] [pin=REPLICA:STAGE:DEVICE]… [avoid=DEVICE]…
//	unserve NAME
//	tenant NAME WEIGHT
//	need NAME MIN MAX [latency=D] [first=D] [percent=N] [priority=N] [owner=TENANT] [slots=N]
//	load NAME RATE D [burst=N] [limit=D] [tenant=TENANT]
//	                                   requests per second, each of which takes D alone; limit is only measured
//	measure                            begins to count anew what follows
//	assert kept NAME PERCENT           answers within the limit, at least
//	assert moves NAME N                changes of the number of replicas, at most
//	assert wanted NAME LEAST MOST      replicas
//	drain NODE, undrain NODE
//	quarantine NODE|DEVICE [DURATION], lift NODE|DEVICE
//	kill ID, start ID                  a node or a coordinator (c1, c2, c3); "leader" is the coordinator that leads
//	partition ID…                      cuts them off from all others
//	heal                               ends every fault
//	fail DEVICE, repair DEVICE
//	badloads DEVICE                    loads on it fail
//	run DURATION
//	settle DURATION                    ends every fault and waits for rest, at most so long
//	assert ready NAME N                ready replicas
//	assert answers NAME                every gateway gets an answer
//	assert status NODE ready|draining|lost
//	assert empty NODE                  no replica has a stage there
//	show                               prints nodes and replicas
func Script(c Config, in io.Reader) ([]byte, error) {
	p := &player{w: New(c)}
	p.w.Trace = &p.log
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		if strings.HasPrefix(text, "  ") {
			continue
		}
		fmt.Fprintln(&p.out, text)
		fields := strings.Fields(text)
		if len(fields) == 0 || strings.HasPrefix(text, "#") {
			continue
		}
		err := p.play(fields)
		p.flush()
		if err == nil && n > MaxScriptLines {
			err = fmt.Errorf("more lines than the limit of %d", MaxScriptLines)
		}
		if err != nil {
			return p.out.Bytes(), &ScriptError{Line: n, Text: text, Err: err}
		}
	}
	return p.out.Bytes(), lines.Err()
}

// player plays a script.
type player struct {
	w   *World
	log bytes.Buffer // the trace since the last line
	out bytes.Buffer
}

// flush prints what of the trace tells the story: entries, deaths, and leaders.
func (p *player) flush() {
	for line := range strings.Lines(p.log.String()) {
		what := strings.TrimSpace(line)
		_, what, _ = strings.Cut(what, "  ")
		for _, word := range []string{"entry ", "term ", "leads no more", "crashes", "dies", "VIOLATION", "operator: "} {
			if strings.Contains(what, word) {
				p.out.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
				break
			}
		}
	}
	p.log.Reset()
}

func (p *player) play(f []string) error {
	w := p.w
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	switch f[0] {
	case "node":
		return p.node(f[1:])
	case "model":
		return p.model(f[1:])
	case "serve":
		return p.serve(f[1:])
	case "unserve":
		w.Unserve(arg(1))
	case "tenant":
		weight, err := strconv.Atoi(arg(2))
		if err != nil {
			return err
		}
		w.Admit(arg(1), weight)
	case "need", "load":
		return p.demand(f)
	case "measure":
		w.Measure()
	case "drain", "undrain":
		n, err := p.find(arg(1))
		if err != nil {
			return err
		}
		w.Drain(n.id, f[0] == "drain")
	case "quarantine", "lift":
		return p.quarantine(f[0] == "lift", arg(1), arg(2))
	case "kill", "start":
		return p.life(arg(1), f[0] == "start")
	case "partition":
		return p.partition(f[1:])
	case "heal":
		w.heal()
	case "fail", "repair", "badloads":
		return p.device(f[0], arg(1))
	case "run", "settle":
		d, err := time.ParseDuration(arg(1))
		switch {
		case err != nil:
			return err
		case d < 0 || w.Elapsed()+d > MaxScriptTime:
			return fmt.Errorf("%s is beyond the limit of %s", w.Elapsed()+d, MaxScriptTime)
		case f[0] == "settle":
			return w.Settle(d)
		}
		return w.Run(d)
	case "assert":
		return p.assert(f[1:])
	case "show":
		p.show()
	default:
		return fmt.Errorf("unknown verb")
	}
	return nil
}

func (p *player) node(sizes []string) error {
	var list []gpu.Bytes
	for _, s := range sizes {
		b, err := gpu.ParseBytes(s)
		if err != nil {
			return err
		}
		list = append(list, b)
	}
	if len(list) == 0 || len(list) > cluster.MaxDevices {
		return fmt.Errorf("a node has 1 to %d devices", cluster.MaxDevices)
	}
	p.w.AddNode(list...)
	return nil
}

func (p *player) model(f []string) error {
	if len(f) != 3 || !cluster.ValidName(f[0]) {
		return fmt.Errorf("want NAME BLOCKS SIZE")
	}
	blocks, err := strconv.Atoi(f[1])
	if err != nil || blocks < 1 || blocks > cluster.MaxLayers {
		return fmt.Errorf("1 to %d blocks are allowed", cluster.MaxLayers)
	}
	size, err := gpu.ParseBytes(f[2])
	if err != nil {
		return err
	}
	p.w.Publish(f[0], blocks, size)
	return nil
}

func (p *player) serve(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("want NAME REPLICAS")
	}
	replicas, err := strconv.Atoi(f[1])
	if err != nil || replicas < 0 || replicas > cluster.MaxReplicas {
		return fmt.Errorf("0 to %d replicas are allowed", cluster.MaxReplicas)
	}
	var slots int
	var pins []cluster.Pin
	var avoid []gpu.DeviceID
	for _, a := range f[2:] {
		k, v, _ := strings.Cut(a, "=")
		switch k {
		case "slots":
			if slots, err = strconv.Atoi(v); err != nil {
				return err
			}
		case "pin":
			pin, err := parsePin(v)
			if err != nil {
				return err
			}
			pins = append(pins, pin)
		case "avoid":
			avoid = append(avoid, gpu.DeviceID(v))
		default:
			return fmt.Errorf("unknown wish %q", a)
		}
	}
	p.w.Serve(f[0], replicas, func(d *cluster.Deployment) {
		d.Pins, d.Avoid = pins, avoid
		if slots > 0 {
			d.Serving.Slots = slots
		}
	})
	return nil
}

// demand reads what is needed and what is asked.
func (p *player) demand(f []string) error {
	if len(f) < 4 {
		return fmt.Errorf("want a name and two values")
	}
	opts, numbers, times := map[string]string{"slots": "1", "burst": "1", "percent": "0", "priority": "0", "latency": "0s", "first": "0s", "limit": "0s"}, map[string]int{}, map[string]time.Duration{}
	for _, a := range f[4:] {
		k, v, _ := strings.Cut(a, "=")
		opts[k] = v
	}
	for _, k := range []string{"slots", "burst", "percent", "priority"} {
		n, err := strconv.Atoi(opts[k])
		if err != nil {
			return err
		}
		numbers[k] = n
	}
	for _, k := range []string{"latency", "first", "limit"} {
		d, err := time.ParseDuration(opts[k])
		if err != nil {
			return err
		}
		times[k] = d
	}
	if f[0] == "load" {
		rate, err := strconv.ParseFloat(f[2], 64)
		if err != nil || rate < 0 || rate > 10_000 {
			return fmt.Errorf("0 to 10000 requests a second are allowed")
		}
		takes, err := time.ParseDuration(f[3])
		if err != nil {
			return err
		}
		p.w.Load(f[1], cmp.Or(opts["tenant"], cluster.DefaultTenant), rate, float64(numbers["burst"]), takes, times["limit"])
		return nil
	}
	least, err := strconv.Atoi(f[2])
	if err != nil {
		return err
	}
	most, err := strconv.Atoi(f[3])
	if err != nil {
		return err
	}
	p.w.Follow(f[1], opts["owner"], cluster.Need{Min: least, Max: most, FirstToken: times["first"].Milliseconds(), Latency: times["latency"].Milliseconds(),
		Percent: numbers["percent"], Priority: numbers["priority"]}, numbers["slots"])
	return nil
}

func parsePin(s string) (cluster.Pin, error) {
	f := strings.Split(s, ":")
	if len(f) != 3 {
		return cluster.Pin{}, fmt.Errorf("want REPLICA:STAGE:DEVICE, not %q", s)
	}
	replica, err := strconv.Atoi(f[0])
	if err != nil {
		return cluster.Pin{}, err
	}
	stage, err := strconv.Atoi(f[1])
	return cluster.Pin{Replica: replica, Stage: stage, Device: gpu.DeviceID(f[2])}, err
}

func (p *player) find(id string) (*node, error) {
	if n := p.w.node(cluster.NodeID(id)); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("no node %q", id)
}

func (p *player) quarantine(lift bool, name, lasts string) error {
	id := cluster.QuarantineID{Device: gpu.DeviceID(name)}
	if n := p.w.node(cluster.NodeID(name)); n != nil {
		id = cluster.QuarantineID{Node: n.id}
	}
	if lift {
		p.w.Lift(id)
		return nil
	}
	d, err := time.ParseDuration(cmp.Or(lasts, "0s"))
	if err == nil {
		p.w.Quarantine(id, d)
	}
	return err
}

func (p *player) coordinator(id string) *coordinator {
	if id == "leader" {
		return p.w.log.leader
	}
	for _, c := range p.w.coordinators {
		if string(c.id) == id {
			return c
		}
	}
	return nil
}

func (p *player) life(id string, start bool) error {
	if c := p.coordinator(id); c != nil {
		if start {
			c.start()
		} else {
			p.w.trace("%s dies", c.id)
			c.stop()
		}
		return nil
	}
	n, err := p.find(id)
	if err != nil {
		return err
	}
	if start {
		n.start()
	} else {
		p.w.trace("%s dies", n.id)
		n.stop()
	}
	return nil
}

func (p *player) partition(group []string) error {
	var ids []cluster.NodeID
	for _, g := range group {
		id := cluster.NodeID(g)
		if c := p.coordinator(g); c != nil {
			id = c.id
		}
		if !slices.Contains(p.w.ids(), id) {
			return fmt.Errorf("no machine %q", g)
		}
		ids = append(ids, id)
	}
	p.w.partition(ids, p.w.ids(), false)
	return nil
}

func (p *player) device(verb, id string) error {
	for _, n := range p.w.nodes {
		if k := n.workers[gpu.DeviceID(id)]; k != nil {
			switch verb {
			case "badloads":
				k.badLoads = true
			default:
				n.health(k, verb == "fail")
			}
			return nil
		}
	}
	return fmt.Errorf("no device %q", id)
}

func (p *player) assert(f []string) error {
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	s := p.w.facts.state
	switch arg(0) {
	case "ready":
		want, err := strconv.Atoi(arg(2))
		if err != nil {
			return err
		}
		if got := p.ready(s, arg(1)); got != want {
			return fmt.Errorf("%s has %d ready replicas", arg(1), got)
		}
	case "kept", "moves", "wanted":
		return p.assertDemand(s, f)
	case "answers":
		for _, g := range p.w.gateways {
			if g.on == nil || g.on.up {
				if err := g.request(arg(1)); err != nil {
					return fmt.Errorf("gateway %s: %w", g.id, err)
				}
			}
		}
	case "status":
		if n, ok := s.Node(cluster.NodeID(arg(1))); !ok || string(n.Status) != arg(2) {
			return fmt.Errorf("node %s is %q", arg(1), n.Status)
		}
	case "empty":
		for r := range s.ReplicasOn(cluster.NodeID(arg(1))) {
			return fmt.Errorf("%s has a stage there", r.ReplicaID)
		}
	default:
		return fmt.Errorf("unknown assertion")
	}
	return nil
}

func (p *player) assertDemand(s cluster.State, f []string) error {
	var n []int
	for _, a := range f[2:] {
		v, err := strconv.Atoi(a)
		if err != nil {
			return err
		}
		n = append(n, v)
	}
	d, _ := s.Deployment(cluster.VersionID{Model: f[1], Number: 1})
	moves := 0
	for _, m := range p.w.facts.scales {
		if m.version == d.Version {
			moves = m.counted
		}
	}
	switch {
	case f[0] == "kept" && len(n) == 1:
		if got := p.w.Kept(f[1]); got < n[0] {
			return fmt.Errorf("%d %% are within the limit", got)
		}
	case f[0] == "moves" && len(n) == 1:
		if moves > n[0] {
			return fmt.Errorf("%d changes", moves)
		}
	case f[0] == "wanted" && len(n) == 2:
		if got := d.Wanted(); got < n[0] || got > n[1] {
			return fmt.Errorf("%d replicas are wanted", got)
		}
	default:
		return fmt.Errorf("wrong number of values")
	}
	return nil
}

func (p *player) ready(s cluster.State, model string) int {
	n := 0
	for r := range s.Replicas() {
		if r.Version.Model == model && s.Routable(r) {
			n++
		}
	}
	return n
}

// show prints what the state says of nodes and replicas.
func (p *player) show() {
	s := p.w.facts.state
	ledger := s.Ledger()
	for n := range s.Nodes() {
		fmt.Fprintf(&p.out, "  %s %s", n.ID, n.Status)
		for _, d := range n.Devices {
			fmt.Fprintf(&p.out, " %s:%s/%s", d.ID, ledger.Reserved(d.ID), d.Memory)
		}
		fmt.Fprintln(&p.out)
	}
	for r := range s.Replicas() {
		fmt.Fprintf(&p.out, "  %s epoch %d %s", r.ReplicaID, r.Epoch, r.Status)
		for _, st := range r.Stages {
			fmt.Fprintf(&p.out, " %s@%s", st.Span, st.Device)
		}
		fmt.Fprintln(&p.out)
	}
}
