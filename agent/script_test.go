package agent

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/golden"
	"github.com/skein-project/skein/shard"
)

// TestScripts runs testdata/*.txt. A script is a list of blocks with an empty line between them: input lines, "----", output lines. A
// block is one step; "+2s" lets time pass before it. The output is what the loop says to do, its report if there is one, and when it
// wants to wake. The node has devices g1 and g2 of 10 GiB.
func TestScripts(t *testing.T) { golden.Scripts(t, runScript) }

func twoDevices() Config {
	return Config{Node: "n1", Session: 7, Addr: "n1:1", Devices: gpu.Inventory{{ID: "g1", Kind: gpu.Host, Memory: 10 * gpu.GiB}, {ID: "g2", Kind: gpu.Host, Memory: 10 * gpu.GiB}}}
}

var start = time.Unix(1000, 0)

func runScript(t *testing.T, script string) string {
	l, now := New(twoDevices()), start
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		text, _, _ := strings.Cut(block+"\n", "----\n")
		in, step := Input{}, false
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
				step = true
				now = read(t, f, now, &in)
			}
		}
		text = strings.TrimSpace(text)
		if step {
			text += "\n----\n" + show(l.Step(now, in), now)
		}
		out = append(out, strings.TrimRight(text, "\n"))
	}
	return strings.Join(out, "\n\n") + "\n"
}

// read takes in one input line.
func read(t *testing.T, f []string, now time.Time, in *Input) time.Time {
	switch f[0] {
	case "desired": // desired 5.2: index 5, term 2
		index, term, _ := strings.Cut(f[1], ".")
		in.Desired = &cluster.Desired{Index: cluster.Index(number(t, index)), Term: uint64(number(t, term+"0")) / 10}
	case "hold": // hold calc@1/0 epoch=1 stage=0 g1 0-2 4GiB [drain] [chain=a,b]
		a := cluster.Assignment{Replica: replica(t, f[1]), Epoch: cluster.Epoch(number(t, strings.TrimPrefix(f[2], "epoch="))),
			Stage: number(t, strings.TrimPrefix(f[3], "stage=")), Device: gpu.DeviceID(f[4]), Key: key(t, f[1], f[5]), Sources: []string{"c1:1"}}
		var err error
		if a.Reserve, err = gpu.ParseBytes(f[6]); err != nil {
			t.Fatal(err)
		}
		for _, w := range f[7:] {
			if chain, ok := strings.CutPrefix(w, "chain="); ok {
				a.Chain = strings.Split(chain, ",")
			}
			a.Drain = a.Drain || w == "drain"
		}
		in.Desired.Assignments = append(in.Desired.Assignments, a)
	case "worker": // worker g1 n1:9001; worker g1 - why
		w := Worker{Device: gpu.DeviceID(f[1]), Endpoint: strings.TrimPrefix(f[2], "-"), Why: strings.Join(f[3:], " ")}
		in.Workers = append(in.Workers, w)
	case "fetching": // fetching calc@1 0-2 10/100
		have, total, _ := strings.Cut(f[3], "/")
		in.Fetched = append(in.Fetched, Fetched{Key: key(t, f[1], f[2]), Bytes: int64(number(t, have)), Total: int64(number(t, total))})
	case "fetched": // fetched calc@1 0-2 [error]
		in.Fetched = append(in.Fetched, Fetched{Key: key(t, f[1], f[2]), Bytes: 100, Total: 100, Done: true, Err: strings.Join(f[3:], " ")})
	case "loaded": // loaded g1 calc@1 0-2 copy [error]
		s := Slot{gpu.DeviceID(f[1]), key(t, f[2], f[3]), number(t, f[4])}
		in.Loaded = append(in.Loaded, Loaded{Slot: s, Used: gpu.GiB, Err: strings.Join(f[5:], " ")})
	case "unloaded": // unloaded g1 calc@1 0-2 copy
		in.Unloaded = append(in.Unloaded, Slot{gpu.DeviceID(f[1]), key(t, f[2], f[3]), number(t, f[4])})
	case "active": // active g1 calc@1/0 epoch=1 3
		in.Active = append(in.Active, Active{gpu.DeviceID(f[1]), []Count{{replica(t, f[2]), cluster.Epoch(number(t, strings.TrimPrefix(f[3], "epoch="))), number(t, f[4])}}})
	case "reading": // reading g1 failed why
		in.Readings = append(in.Readings, gpu.Reading{ID: gpu.DeviceID(f[1]), Health: gpu.Health(f[2]), Why: strings.Join(f[3:], " ")})
	default:
		d, err := time.ParseDuration(f[0])
		if err != nil {
			t.Fatal(err)
		}
		return now.Add(d)
	}
	return now
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

func replica(t *testing.T, s string) cluster.ReplicaID {
	v, ordinal, _ := strings.Cut(s, "/")
	id, ok := cluster.ParseVersionID(v)
	if !ok {
		t.Fatalf("%q is no version", v)
	}
	return cluster.ReplicaID{Version: id, Ordinal: number(t, ordinal)}
}

// key is the stage of a version (the part of a replica's name before "/") with these blocks.
func key(t *testing.T, version, blocks string) cluster.StageKey {
	version, _, _ = strings.Cut(version, "/")
	from, to, _ := strings.Cut(blocks, "-")
	return cluster.StageKey{Manifest: blob.Of([]byte(version)).Digest(), Span: shard.Span{From: number(t, from), To: number(t, to)}, Serving: shard.Serving{Slots: 4, Context: 64}}
}

func show(out Output, now time.Time) string {
	var b strings.Builder
	stage := func(k cluster.StageKey) string {
		return fmt.Sprintf("%.6s blocks %d-%d", k.Manifest, k.Span.From, k.Span.To)
	}
	at := func(s Slot) string { return fmt.Sprintf("%s %s copy %d", s.Device, stage(s.Key), s.Copy) }
	for _, a := range out.Actions {
		switch a := a.(type) {
		case Fetch:
			fmt.Fprintf(&b, "fetch %s from %s\n", stage(a.Key), a.Sources)
		case StopFetch:
			fmt.Fprintf(&b, "stop fetch %s\n", stage(a.Key))
		case Load:
			fmt.Fprintf(&b, "load %s reserve %v\n", at(a.Slot), a.Reserve)
		case Unload:
			fmt.Fprintf(&b, "unload %s\n", at(a.Slot))
		case Serve:
			fmt.Fprintf(&b, "serve %s\n", a.Device)
			for _, d := range a.Duties {
				fmt.Fprintf(&b, "  %v epoch %d stage %d: %s chain %q drain %v\n", d.Replica, d.Epoch, d.Stage, at(d.Slot), d.Chain, d.Drain)
			}
		}
	}
	for _, n := range out.Notes {
		fmt.Fprintf(&b, "note %s: %s\n", n.Subject, n.Why)
	}
	if r := out.Report; r != nil {
		fmt.Fprintf(&b, "report %d seen %d\n", r.Seq, r.Seen)
		for _, h := range r.Held {
			fmt.Fprintf(&b, "  %v epoch %d stage %d on %s: %s why %q endpoint %q %d/%d active %d\n", h.Replica, h.Epoch, h.Stage, h.Device, h.Status, h.Why,
				h.Endpoint, h.Fetched, h.Fetch, h.Active)
		}
	}
	fmt.Fprintf(&b, "wake in %v\n", out.Wake.Sub(now))
	return b.String()
}
