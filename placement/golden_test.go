package placement

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/golden"
	"github.com/skein-project/skein/shard"
)

// TestGolden replays testdata/*.txt. Lines starting with # are comments. "device", "model" and "demand" lines describe the fleet, "place" solves
// and takes the memory that the solution uses, "lose" makes a device unusable and turns the replicas that had a stage there into demands; the lines
// after ---- are what was decided.
func TestGolden(t *testing.T) { golden.Scripts(t, replay) }

type script struct {
	t       *testing.T
	devices []Device
	models  map[string]shard.Profile
	demands []Demand
	placed  []Placement
	asked   map[cluster.ReplicaID]Demand
}

func replay(t *testing.T, text string) string {
	s := &script{t: t, models: map[string]shard.Profile{}, asked: map[cluster.ReplicaID]Demand{}}
	var out bytes.Buffer
	skip := false
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if skip && line != "" {
			continue
		}
		skip = false
		fmt.Fprintln(&out, line)
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		args := map[string]string{}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(f, "=")
			args[k] = v
		}
		switch fields[0] {
		case "device":
			s.device(fields[1], args)
		case "model":
			s.model(fields[1], args)
		case "demand":
			s.demand(fields[1], args)
		case "lose":
			s.lose(gpu.DeviceID(fields[1]))
		case "place":
			fmt.Fprintln(&out, "----")
			out.WriteString(s.place())
			skip = true
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	return out.String()
}

func (s *script) bytes(text string) gpu.Bytes {
	b, err := gpu.ParseBytes(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *script) device(id string, a map[string]string) {
	d := Device{ID: gpu.DeviceID(id), Node: cluster.NodeID(a["node"]), Zone: a["zone"], Kind: gpu.Host, Unusable: a["unusable"]}
	if a["kind"] != "" {
		d.Kind = gpu.Kind(a["kind"])
	}
	d.Capacity = s.bytes(a["free"])
	d.Free = d.Capacity
	s.devices = append(s.devices, d)
}

func (s *script) model(name string, a map[string]string) {
	n, err := strconv.Atoi(a["blocks"])
	if err != nil {
		s.t.Fatal(err)
	}
	p := shard.Profile{Decoder: true, Hidden: 64, Vocab: 1000, Heads: 4, Inner: 256, Expand: 100, BlockCost: 1000, TailCost: 500, Embed: s.bytes(a["ends"]), Tail: s.bytes(a["ends"])}
	for range n {
		p.Blocks = append(p.Blocks, s.bytes(a["block"]))
	}
	s.models[name] = p
}

func (s *script) demand(id string, a map[string]string) {
	version, ordinal, _ := strings.Cut(id, "/")
	v, ok := cluster.ParseVersionID(version)
	n, err := strconv.Atoi(ordinal)
	if !ok || err != nil {
		s.t.Fatalf("replica %q", id)
	}
	d := Demand{Replica: cluster.ReplicaID{Version: v, Ordinal: n}, Profile: s.models[v.Model], Serving: shard.Serving{Slots: 1, Context: 16}, MaxStages: 4}
	for pin := range strings.SplitSeq(a["pin"], ",") {
		if stage, device, ok := strings.Cut(pin, ":"); ok {
			k, err := strconv.Atoi(stage)
			if err != nil {
				s.t.Fatal(err)
			}
			d.Pins = append(d.Pins, cluster.Pin{Replica: n, Stage: k, Device: gpu.DeviceID(device)})
		}
	}
	if a["avoid"] != "" {
		d.Avoid = []gpu.DeviceID{gpu.DeviceID(a["avoid"])}
	}
	s.demands = append(s.demands, d)
	s.asked[d.Replica] = d
}

func (s *script) lose(id gpu.DeviceID) {
	for i := range s.devices {
		if s.devices[i].ID == id {
			s.devices[i].Unusable = "failed"
		}
	}
	var left []Placement
	for _, p := range s.placed {
		hit := false
		for _, st := range p.Stages {
			hit = hit || st.Device == id
		}
		if !hit {
			left = append(left, p)
			continue
		}
		d := s.asked[p.Replica]
		d.Own = p.Stages
		s.demands = append(s.demands, d)
	}
	s.placed = left
}

func (s *script) place() string {
	var b strings.Builder
	problem := Problem{Devices: s.devices, Demands: s.demands}
	solution := Solve(problem)
	if err := check(problem, solution); err != nil {
		s.t.Fatal(err)
	}
	for _, d := range s.demands {
		for _, own := range d.Own {
			s.take(own.Device, -own.Reserve)
		}
	}
	for _, p := range solution.Placed {
		fmt.Fprintf(&b, "%s: %s\n", p.Replica, p.Why)
		for _, st := range p.Stages {
			s.take(st.Device, st.Reserve)
		}
		s.placed = append(s.placed, p)
	}
	for _, r := range solution.Refused {
		fmt.Fprintf(&b, "%s refused: %s\n", r.Replica, r.Why)
		for _, d := range r.PerDevice {
			fmt.Fprintf(&b, "  %s on %s has %s: %s\n", d.Device, d.Node, d.Free, d.Why)
		}
	}
	for _, d := range s.devices {
		fmt.Fprintf(&b, "%s: %s of %s left\n", d.ID, d.Free, d.Capacity)
	}
	s.demands = nil
	return b.String()
}

func (s *script) take(id gpu.DeviceID, n gpu.Bytes) {
	for i := range s.devices {
		if s.devices[i].ID == id {
			s.devices[i].Free -= n
		}
	}
}
