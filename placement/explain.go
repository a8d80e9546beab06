package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

func whyPin(p cluster.Pin, format string, args ...any) string {
	return fmt.Sprintf("stage %d is pinned to device %s: ", p.Stage, p.Device) + fmt.Sprintf(format, args...)
}

// explain says in words why a choice was made.
func (f *fleet) explain(o *order, c choice) string {
	var b strings.Builder
	kept := 0
	for stage, i := range c.device {
		if stage < len(o.Own) && o.Own[stage].Span == c.plan.Stages[stage].Span && o.Own[stage].Device == f.devices[i].ID {
			kept++
		}
	}
	kind := f.devices[c.device[0]].Kind
	switch n := len(c.device); {
	case kept > 0:
		fmt.Fprintf(&b, "%d of %d stages stay", kept, n)
	case n == 1:
		b.WriteString("1 stage")
	case c.shaped:
		fmt.Fprintf(&b, "%d stages in the shape of the devices: %s", n, f.whyMore(o, n, kind))
	default:
		fmt.Fprintf(&b, "%d stages of equal cost: %s", n, f.whyMore(o, n, kind))
	}
	for stage, i := range c.device {
		st := c.plan.Stages[stage]
		fmt.Fprintf(&b, "; %s %s on %s of %s, %s left", st.Span, st.Footprint.Total(), f.devices[i].ID, f.nodeName(i), o.avail[i]-st.Footprint.Total())
		if stage < len(o.pins) && o.pins[stage] == i {
			b.WriteString(" (pinned)")
		}
	}
	return b.String()
}

func (f *fleet) nodeName(i int) string {
	return cmp.Or(f.devices[i].Name, string(f.devices[i].Node))
}

// whyMore says why one stage less was not enough.
func (f *fleet) whyMore(o *order, n int, kind gpu.Kind) string {
	if n == len(o.pins) {
		return fmt.Sprintf("stage %d is pinned", n-1)
	}
	plan, err := f.uniform(o, n-1, kind)
	if err != nil {
		return err.Error()
	}
	var need, have gpu.Bytes
	for _, st := range plan.Stages {
		need = max(need, st.Footprint.Total())
	}
	for i := range f.devices {
		if o.barred[i] == "" && f.devices[i].Kind == kind {
			have = max(have, o.avail[i])
		}
	}
	if n == 2 {
		return fmt.Sprintf("the whole needs %s, the most free is %s", need, have)
	}
	return fmt.Sprintf("with %d the largest needs %s, the most free is %s", n-1, need, have)
}

// refuse says why a demand has no place: why, if a reason is known already, else the best that could be tried.
func (f *fleet) refuse(o *order, why string) *Refusal {
	r := &Refusal{Replica: o.Replica, Why: why}
	kind := f.kindFor(o)
	r.Need = shard.Foot(o.Profile, shard.Span{To: len(o.Profile.Blocks)}, o.Serving, kind).Total()
	if why == "" {
		r.Why = f.whyNot(o, kind)
	}
	byFree := make([]int, len(f.devices))
	for i := range byFree {
		byFree[i] = i
	}
	slices.SortStableFunc(byFree, func(a, b int) int { return cmp.Compare(o.avail[b], o.avail[a]) })
	needs := map[gpu.Kind]gpu.Bytes{}
	for _, kind := range f.kinds {
		needs[kind] = f.finest(o, kind)
	}
	for _, i := range byFree[:min(len(byFree), MaxShortages)] {
		d := f.devices[i]
		s := Shortage{Device: d.ID, Node: d.Node, Free: o.avail[i], Need: needs[d.Kind], Why: o.barred[i]}
		switch {
		case s.Why != "":
		case s.Need > s.Free:
			s.Why = fmt.Sprintf("the largest stage of the finest cut needs %s", s.Need)
		case why != "":
			s.Why = "a stage fits here"
		default:
			s.Why = "one stage fits here, the others find no device"
		}
		r.PerDevice = append(r.PerDevice, s)
	}
	r.Left = len(byFree) - len(r.PerDevice)
	return r
}

// kindFor is the preferred kind of which a demand may use devices.
func (f *fleet) kindFor(o *order) gpu.Kind {
	for _, kind := range f.kinds {
		if f.count(o, kind) > 0 {
			return kind
		}
	}
	return gpu.Host
}

// finest is the largest stage of the uniform cut into as many stages as are allowed and have devices.
func (f *fleet) finest(o *order, kind gpu.Kind) gpu.Bytes {
	k := max(1, min(o.MaxStages, len(o.Profile.Blocks), len(f.usable(o, kind))))
	plan, err := f.uniform(o, k, kind)
	if err != nil {
		return 0
	}
	var need gpu.Bytes
	for _, st := range plan.Stages {
		need = max(need, st.Footprint.Total())
	}
	return need
}

func (f *fleet) whyNot(o *order, kind gpu.Kind) string {
	usable := f.usable(o, kind)
	if len(usable) == 0 {
		return fmt.Sprintf("none of %d devices is usable", len(f.devices))
	}
	k := min(o.MaxStages, len(o.Profile.Blocks), len(usable))
	if n := len(o.pins); n > k {
		return fmt.Sprintf("stage %d is pinned, so there are %d stages at least, and only %d devices are usable", n-1, n, len(usable))
	}
	var free gpu.Bytes
	capacities := make([]gpu.Bytes, 0, k)
	for _, i := range usable {
		free += o.avail[i]
		if len(capacities) < k {
			capacities = append(capacities, o.avail[i])
		}
	}
	why := fmt.Sprintf("needs %s as a whole; %d usable devices have %s free, the most on one is %s",
		shard.Foot(o.Profile, shard.Span{To: len(o.Profile.Blocks)}, o.Serving, kind).Total(), len(usable), free, o.avail[usable[0]])
	_, _, err := shard.Arrange(o.Profile, o.Serving, capacities, nil, kind)
	var misfit *shard.DoesNotFit
	if errors.As(err, &misfit) {
		why += fmt.Sprintf("; in %d stages blocks %s need %s and have %s", k, misfit.Span, misfit.Need, misfit.Have)
	}
	return why
}
