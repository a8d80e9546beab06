package scheduler

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/golden"
)

// TestGolden replays testdata/*.txt. Lines starting with # are comments; the other lines are verbs (see play), and the indented lines after
// one are what the loop decided.
func TestGolden(t *testing.T) {
	golden.Scripts(t, func(t *testing.T, text string) string {
		r := newRig(t)
		var out strings.Builder
		for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
			if strings.HasPrefix(line, "  ") {
				continue
			}
			fmt.Fprintln(&out, line)
			if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(line, "#") {
				r.log.Reset()
				r.play(fields)
				for l := range strings.Lines(r.log.String()) {
					out.WriteString("  " + l)
				}
			}
		}
		if outs := Replay(r.loop.Recording()); fmt.Sprint(outs[len(outs)-1]) != fmt.Sprint(r.last) {
			t.Errorf("the last step, replayed, is another:\n%+v\n%+v", outs[len(outs)-1], r.last)
		}
		return out.String()
	})
}

// play runs one line:
//
//	node ID DEVICE=SIZE…         a machine that reports from now on
//	model NAME BLOCKS SIZE       version 1 of a model
//	deploy NAME REPLICAS         pin=REPLICA:STAGE:DEVICE avoid=DEVICE slots=N
//	undeploy NAME
//	need NAME MIN MAX            replicas follow demand: latency=MS first=MS percent=N priority=N owner=TENANT slots=N
//	tenant ID WEIGHT
//	calls NAME RATE MS [WAITING] what the gateway reports from now on: requests per second, ms each
//	drain ID, undrain ID         the operator's wish
//	quarantine device|node ID [DURATION]
//	lift device|node ID
//	kill ID, mute ID             no reports; a muted machine answers probes
//	start ID                     as a new process that holds nothing
//	sick DEVICE, bad DEVICE      the device fails; loads on it fail
//	slow ID, keeps ID            loads never end; stages are never let go
//	leader                       a new term of a new coordinator
//	suspect ID                   gossip misses it
//	run DURATION
//	notes                        prints the reasons that stand
func (r *rig) play(f []string) {
	id := cluster.NodeID("")
	if len(f) > 1 {
		id = cluster.NodeID(f[1])
	}
	switch f[0] {
	case "node":
		var devices []gpu.Device
		for _, d := range f[2:] {
			name, size, _ := strings.Cut(d, "=")
			b, err := gpu.ParseBytes(size)
			if err != nil {
				r.tb.Fatal(err)
			}
			devices = append(devices, host(gpu.DeviceID(name), b))
		}
		r.node(id, devices...)
	case "model":
		b, err := gpu.ParseBytes(f[3])
		if err != nil {
			r.tb.Fatal(err)
		}
		r.model(f[1], r.number(f[2]), b)
	case "deploy":
		r.deploy(f[1], r.number(f[2]), func(d *cluster.Deployment) { r.wish(d, f[3:]) })
	case "need":
		r.need(f[1], r.number(f[2]), r.number(f[3]), f[4:])
	case "tenant":
		r.must(cluster.PutTenant{Tenant: cluster.Tenant{ID: f[1], Name: f[1], Weight: r.number(f[2])}})
	case "calls":
		c := calls{took: int64(r.number(f[3]))}
		fmt.Sscan(f[2], &c.rate)
		if len(f) > 4 {
			c.waiting = r.number(f[4])
		}
		r.calls[f[1]] = c
	case "undeploy":
		d, _ := r.state.Deployment(cluster.VersionID{Model: f[1], Number: 1})
		r.must(cluster.DeleteDeployment{Version: d.Version, Was: d.Rev})
	case "drain":
		r.status(id, cluster.NodeDraining)
	case "undrain":
		r.status(id, cluster.NodeReady)
	case "quarantine", "lift":
		r.quarantine(quarantined(f[1], f[2]), f[0] == "lift", f[3:])
	case "kill":
		r.nodes[id].down = true
	case "mute":
		r.nodes[id].mute = true
	case "start":
		m := r.nodes[id]
		m.down, m.mute, m.held, m.report.Seen = false, false, nil, 0
		m.report.Session++
	case "sick", "bad":
		for _, m := range r.nodes {
			if _, ok := m.report.Devices.Device(gpu.DeviceID(f[1])); ok {
				m.sick[gpu.DeviceID(f[1])] = f[0] == "sick" || m.sick[gpu.DeviceID(f[1])]
				m.badLoads[gpu.DeviceID(f[1])] = true
			}
		}
	case "slow":
		r.nodes[id].slow = true
	case "keeps":
		r.nodes[id].keeps = true
	case "leader":
		r.term++
		r.loop, r.ready, r.commit = New(Config{}), nil, nil
	case "suspect":
		out := r.loop.Step(r.now, Input{State: r.state, Term: r.term, Suspects: []cluster.NodeID{id}})
		fmt.Fprintf(&r.log, "probes %d\n", len(out.Probes))
	case "run":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			r.tb.Fatal(err)
		}
		r.run(d)
	case "notes":
		for _, n := range r.last.Notes {
			fmt.Fprintf(&r.log, "%s: %s\n", n.Subject, n.Why)
		}
	default:
		r.tb.Fatalf("unknown line %q", f)
	}
}

func (r *rig) need(model string, least, most int, args []string) {
	n := cluster.Need{Min: least, Max: most}
	r.deploy(model, 0, func(d *cluster.Deployment) {
		for _, a := range args {
			k, v, _ := strings.Cut(a, "=")
			switch k {
			case "latency":
				n.Latency = int64(r.number(v))
			case "first":
				n.FirstToken = int64(r.number(v))
			case "percent":
				n.Percent = r.number(v)
			case "priority":
				n.Priority = r.number(v)
			case "owner":
				d.Owner = v
			case "slots":
				d.Serving.Slots = r.number(v)
			}
		}
		d.Need = &n
	})
}

func (r *rig) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		r.tb.Fatal(err)
	}
	return n
}

func (r *rig) wish(d *cluster.Deployment, args []string) {
	d.Pins, d.Avoid = nil, nil
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		switch k {
		case "pin":
			p := strings.Split(v, ":")
			d.Pins = append(d.Pins, cluster.Pin{Replica: r.number(p[0]), Stage: r.number(p[1]), Device: gpu.DeviceID(p[2])})
		case "avoid":
			d.Avoid = append(d.Avoid, gpu.DeviceID(v))
		case "slots":
			d.Serving.Slots = r.number(v)
		}
	}
}
