package placement

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

func drawProfile(t *rapid.T, blocks int) shard.Profile {
	mib := func(low, high int64, label string) gpu.Bytes {
		return gpu.Bytes(rapid.Int64Range(low, high).Draw(t, label)) * gpu.MiB
	}
	p := shard.Profile{
		Decoder: true, Hidden: 8, Vocab: 100, Heads: 2, Inner: 16, Expand: 100,
		Embed: mib(0, 20, "embed"), Tail: mib(0, 20, "tail"),
		BlockCost: 10, TailCost: rapid.Int64Range(0, 30).Draw(t, "tail cost"),
	}
	for range blocks {
		p.Blocks = append(p.Blocks, mib(1, 20, "block"))
	}
	return p
}

func drawDevices(t *rapid.T, least, most int) []Device {
	var list []Device
	for i := range rapid.IntRange(least, most).Draw(t, "devices") {
		free := gpu.Bytes(rapid.Int64Range(30, 100).Draw(t, "free")) * gpu.MiB
		list = append(list, Device{
			ID: gpu.DeviceID(fmt.Sprintf("d%d", i)), Node: cluster.NodeID(fmt.Sprintf("n%d", rapid.IntRange(0, most/2).Draw(t, "node"))),
			Kind: gpu.Host, Capacity: free + 10*gpu.MiB, Free: free,
		})
	}
	return list
}

// placeable tries every choice of distinct devices and every cut, and says with how few stages a demand can be placed; 0 = not at all.
func placeable(devices []Device, d Demand) int {
	n := len(d.Profile.Blocks)
	for k := 1; k <= min(n, len(devices), d.MaxStages); k++ {
		used := make([]bool, len(devices))
		var try func(stage, from int) bool
		try = func(stage, from int) bool {
			if stage == k {
				return from == n && !slices.ContainsFunc(d.Pins, func(p cluster.Pin) bool { return p.Stage >= k })
			}
			for i, dev := range devices {
				pinned := slices.IndexFunc(d.Pins, func(p cluster.Pin) bool { return p.Stage == stage })
				if used[i] || dev.Unusable != "" || slices.Contains(d.Avoid, dev.ID) || pinned >= 0 && d.Pins[pinned].Device != dev.ID {
					continue
				}
				used[i] = true
				for to := from + 1; to <= n && shard.Foot(d.Profile, shard.Span{From: from, To: to}, d.Serving, gpu.Host).Total() <= dev.Free; to++ {
					if try(stage+1, to) {
						return true
					}
				}
				used[i] = false
			}
			return false
		}
		if try(0, 0) {
			return k
		}
	}
	return 0
}

// check says what is wrong with a solution: memory taken twice, stages that do not cover the model, devices that may not be used.
func check(p Problem, s Solution) error {
	free, demands := map[gpu.DeviceID]gpu.Bytes{}, map[cluster.ReplicaID]Demand{}
	devices := map[gpu.DeviceID]Device{}
	for _, d := range p.Devices {
		free[d.ID], devices[d.ID] = d.Free, d
	}
	for _, d := range p.Demands {
		demands[d.Replica] = d
	}
	if len(s.Placed)+len(s.Refused) != len(p.Demands) {
		return fmt.Errorf("%d demands, %d answers", len(p.Demands), len(s.Placed)+len(s.Refused))
	}
	for _, pl := range s.Placed {
		d, at, seen := demands[pl.Replica], 0, map[gpu.DeviceID]bool{}
		for _, own := range d.Own {
			free[own.Device] += own.Reserve
		}
		for _, st := range pl.Stages {
			dev := devices[st.Device]
			need := shard.Foot(d.Profile, st.Span, d.Serving, dev.Kind).Total()
			free[st.Device] -= need
			switch {
			case st.From != at || st.To <= st.From:
				return fmt.Errorf("%s: stage %s after block %d", pl.Replica, st.Span, at)
			case st.Node != dev.Node || st.Reserve != need || dev.Unusable != "" || seen[st.Device] || slices.Contains(d.Avoid, st.Device):
				return fmt.Errorf("%s: stage %+v on %+v", pl.Replica, st, dev)
			case free[st.Device] < 0:
				return fmt.Errorf("%s: device %s is oversold by %s", pl.Replica, st.Device, -free[st.Device])
			}
			at, seen[st.Device] = st.To, true
		}
		if at != len(d.Profile.Blocks) {
			return fmt.Errorf("%s covers %d of %d blocks", pl.Replica, at, len(d.Profile.Blocks))
		}
	}
	return nil
}

// TestSolveAgainstBruteForce: a single demand is placed whenever any choice of devices and cut exists, with as few stages as possible.
func TestSolveAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		devices := drawDevices(t, 1, 4)
		for i := range devices {
			if rapid.IntRange(0, 5).Draw(t, "unusable") == 0 {
				devices[i].Unusable = "failed"
			}
		}
		d := Demand{
			Replica: cluster.ReplicaID{Version: cluster.VersionID{Model: "m", Number: 1}}, Profile: drawProfile(t, rapid.IntRange(1, 7).Draw(t, "blocks")),
			Serving: shard.Serving{Slots: 1, Context: 16}, MaxStages: rapid.IntRange(1, 4).Draw(t, "max stages"),
		}
		switch rapid.IntRange(0, 2).Draw(t, "wish") {
		case 1:
			stage := rapid.IntRange(0, min(d.MaxStages, len(d.Profile.Blocks))-1).Draw(t, "pinned stage")
			d.Pins = []cluster.Pin{{Stage: stage, Device: devices[rapid.IntRange(0, len(devices)-1).Draw(t, "pinned to")].ID}}
		case 2:
			d.Avoid = []gpu.DeviceID{devices[0].ID}
		}
		p := Problem{Devices: devices, Demands: []Demand{d}}
		s := Solve(p)
		if err := check(p, s); err != nil {
			t.Fatal(err)
		}
		want := placeable(devices, d)
		switch {
		case want == 0 && len(s.Placed) > 0:
			t.Fatalf("brute force finds nothing, Solve %+v", s.Placed[0])
		case want > 0 && len(s.Placed) == 0:
			t.Fatalf("%d stages are possible, Solve refuses: %+v", want, s.Refused[0])
		case want > 0 && len(s.Placed[0].Stages) != want:
			t.Fatalf("%d stages are enough, Solve takes %+v", want, s.Placed[0])
		case want > 0 && len(d.Pins) > 0 && s.Placed[0].Stages[d.Pins[0].Stage].Device != d.Pins[0].Device:
			t.Fatalf("pin %+v is not kept: %+v", d.Pins[0], s.Placed[0])
		case want == 0 && (s.Refused[0].Why == "" || s.Refused[0].Need <= 0 || len(s.Refused[0].PerDevice) != len(devices)):
			t.Fatalf("a refusal without reasons: %+v", s.Refused[0])
		}
	})
}

// drawProblem makes a fleet with several demands, some of which replace a placement that lost a device.
func drawProblem(t *rapid.T) Problem {
	p := Problem{Devices: drawDevices(t, 2, 8)}
	var first []Demand
	for i := range rapid.IntRange(1, 4).Draw(t, "models") {
		profile := drawProfile(t, rapid.IntRange(1, 6).Draw(t, "blocks"))
		for ordinal := range rapid.IntRange(1, 3).Draw(t, "replicas") {
			first = append(first, Demand{
				Replica: cluster.ReplicaID{Version: cluster.VersionID{Model: fmt.Sprintf("m%d", i), Number: 1}, Ordinal: ordinal},
				Profile: profile, Serving: shard.Serving{Slots: 1, Context: 16}, MaxStages: 4,
			})
		}
	}
	p.Demands = first
	if !rapid.Bool().Draw(t, "replacements") {
		return p
	}
	for _, placed := range Solve(p).Placed {
		i := slices.IndexFunc(p.Demands, func(d Demand) bool { return d.Replica == placed.Replica })
		p.Demands[i].Own = placed.Stages
		for _, st := range placed.Stages {
			j := slices.IndexFunc(p.Devices, func(d Device) bool { return d.ID == st.Device })
			p.Devices[j].Free -= st.Reserve
		}
	}
	p.Devices[0].Unusable = "its node is lost"
	return p
}

// TestSolve: memory is never taken twice, every demand is answered, a solution does not depend on the order of the problem's lists, and
// replacements with room keep what survived.
func TestSolve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		s := Solve(p)
		if err := check(p, s); err != nil {
			t.Fatal(err)
		}
		turned := Problem{Devices: slices.Clone(p.Devices), Demands: slices.Clone(p.Demands)}
		slices.Reverse(turned.Devices)
		slices.Reverse(turned.Demands)
		if got, want := fmt.Sprintf("%+v", Solve(turned)), fmt.Sprintf("%+v", s); got != want {
			t.Fatalf("the order of the lists matters:\n%s\n%s", got, want)
		}
	})
}

// TestSolveRenamed: names mean nothing but the order of ties, so renaming devices and nodes renames the solution.
func TestSolveRenamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		renamed := Problem{Demands: slices.Clone(p.Demands)}
		for _, d := range p.Devices {
			d.ID, d.Node = "x"+d.ID, "y"+d.Node
			renamed.Devices = append(renamed.Devices, d)
		}
		for i := range renamed.Demands {
			renamed.Demands[i].Own = rename(renamed.Demands[i].Own)
		}
		want := Solve(p).Placed
		got := Solve(renamed).Placed
		if len(got) != len(want) {
			t.Fatalf("%d placed, renamed %d", len(want), len(got))
		}
		for i := range want {
			if g, w := fmt.Sprint(got[i].Stages), fmt.Sprint(rename(want[i].Stages)); g != w {
				t.Fatalf("%s\n%s", g, w)
			}
		}
	})
}

func rename(stages []cluster.StagePlace) []cluster.StagePlace {
	out := slices.Clone(stages)
	for i := range out {
		out[i].Device, out[i].Node = "x"+out[i].Device, "y"+out[i].Node
	}
	return out
}

// TestSurvivorsStay: a replica of several stages loses one device of a fleet with room; only that stage moves.
func TestSurvivorsStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Demand{
			Replica: cluster.ReplicaID{Version: cluster.VersionID{Model: "m", Number: 1}}, Profile: drawProfile(t, 6),
			Serving: shard.Serving{Slots: 1, Context: 16}, MaxStages: 4,
		}
		var devices []Device
		for i := range 3 {
			devices = append(devices, Device{ID: gpu.DeviceID(fmt.Sprintf("d%d", i)), Node: cluster.NodeID(fmt.Sprintf("n%d", i)), Kind: gpu.Host,
				Free: gpu.Bytes(rapid.Int64Range(80, 100).Draw(t, "free")) * gpu.MiB})
		}
		before := Solve(Problem{Devices: devices, Demands: []Demand{d}})
		if len(before.Placed) == 0 {
			return
		}
		lost := rapid.IntRange(0, len(before.Placed[0].Stages)-1).Draw(t, "lost")
		d.Own = before.Placed[0].Stages
		for i := range devices {
			for _, st := range d.Own {
				if st.Device == devices[i].ID {
					devices[i].Free -= st.Reserve
				}
			}
			if devices[i].ID == d.Own[lost].Device {
				devices[i].Unusable = "lost"
			}
		}
		devices = append(devices, Device{ID: "spare", Node: "n9", Kind: gpu.Host, Free: gpu.GiB})
		after := Solve(Problem{Devices: devices, Demands: []Demand{d}})
		if len(d.Own) > 1 && (len(after.Placed) == 0 || after.Placed[0].Kept != len(d.Own)-1) {
			t.Fatalf("before %+v\nafter %+v", before, after)
		}
	})
}

// BenchmarkSolve places replicas of four models on 1,000 devices of 125 nodes and reports placements per second.
func BenchmarkSolve(b *testing.B) {
	var p Problem
	for i := range 1000 {
		p.Devices = append(p.Devices, Device{
			ID: gpu.DeviceID(fmt.Sprintf("gpu-%04d", i)), Node: cluster.NodeID(fmt.Sprintf("node-%03d", i/8)), Zone: fmt.Sprintf("rack-%d", i/64),
			Kind: gpu.CUDA, Capacity: 80 * gpu.GiB, Free: 80 * gpu.GiB,
		})
	}
	for m, blocks := range []int{12, 32, 48, 80} {
		profile := shard.Profile{Decoder: true, Hidden: 4096, Vocab: 32000, Heads: 32, Inner: 16384, Expand: 100, Embed: gpu.GiB, Tail: gpu.GiB, KVToken: 8192, BlockCost: 200, TailCost: 130}
		for range blocks {
			profile.Blocks = append(profile.Blocks, gpu.Bytes(400*(m+1))*gpu.MiB)
		}
		for ordinal := range 250 {
			p.Demands = append(p.Demands, Demand{
				Replica: cluster.ReplicaID{Version: cluster.VersionID{Model: fmt.Sprintf("m%d", m), Number: 1}, Ordinal: ordinal},
				Profile: profile, Serving: shard.Serving{Slots: 8, Context: 4096}, MaxStages: 8,
			})
		}
	}
	for b.Loop() {
		s := Solve(p)
		if len(s.Placed) < 500 {
			b.Fatalf("%d placed, first refusal %+v", len(s.Placed), s.Refused[0])
		}
		b.ReportMetric(float64(len(s.Placed)), "placed")
	}
	b.ReportMetric(float64(len(p.Demands))*float64(b.N)/b.Elapsed().Seconds(), "demands/s")
}
