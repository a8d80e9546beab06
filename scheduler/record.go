package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Taken is one step as it was taken.
type Taken struct {
	Now   time.Time
	Input Input
}

// Recording is what is needed to take the last steps of a loop again: what the loop knew before them, and their inputs.
type Recording struct {
	config Config
	soft   soft
	Steps  []Taken
}

// tape keeps the last steps in two segments, so that what the loop knew is copied once a segment and not once a step.
type tape struct {
	old, cur segment
}

type segment struct {
	soft  soft
	taken []Taken
}

func (t *tape) start(s soft) { t.cur = segment{soft: s.clone()} }

func (t *tape) add(limit int, s soft, step Taken) {
	if len(t.cur.taken) >= limit {
		t.old, t.cur = t.cur, segment{soft: s.clone()}
	}
	t.cur.taken = append(t.cur.taken, step)
}

// Recording returns the last Config.Record steps at least, and twice as many at most.
func (l *Loop) Recording() Recording {
	r := Recording{config: l.config, soft: l.tape.cur.soft.clone(), Steps: append([]Taken(nil), l.tape.cur.taken...)}
	if len(l.tape.old.taken) > 0 {
		r.soft = l.tape.old.soft.clone()
		r.Steps = append(append([]Taken(nil), l.tape.old.taken...), l.tape.cur.taken...)
	}
	return r
}

// Replay takes the steps again and returns what each of them decides.
func Replay(r Recording) []Output {
	l := &Loop{config: r.config, soft: r.soft.clone()}
	outs := make([]Output, len(r.Steps))
	for i, s := range r.Steps {
		outs[i] = l.step(s.Now, s.Input)
	}
	return outs
}

// file is a recording as JSON: states, which are large and mostly the same, are kept once each as their snapshots.
type file struct {
	Format int      `json:"format"`
	Config Config   `json:"config"`
	Soft   soft     `json:"soft"`
	States []string `json:"states"`
	Steps  []step   `json:"steps"`
}

type step struct {
	Now      time.Time        `json:"now"`
	State    int              `json:"state"` // position in States
	Term     uint64           `json:"term"`
	Reports  []cluster.Report `json:"reports,omitempty"`
	Probes   []ProbeResult    `json:"probes,omitempty"`
	Suspects []cluster.NodeID `json:"suspects,omitempty"`
	Commits  []Commit         `json:"commits,omitempty"`
	Demand   []cluster.Demand `json:"demand,omitempty"`
}

// MaxRecording bounds an encoded recording in bytes.
const MaxRecording = 256 << 20

const recordingFormat = 1

// WriteTo writes the recording as JSON.
func (r Recording) WriteTo(w io.Writer) (int64, error) {
	f := file{Format: recordingFormat, Config: r.config, Soft: r.soft}
	var last cluster.Index
	for _, s := range r.Steps {
		if index := s.Input.State.Index(); len(f.States) == 0 || index != last {
			var b strings.Builder
			if _, err := s.Input.State.WriteTo(&b); err != nil {
				return 0, fmt.Errorf("scheduler: writing state %d of a recording: %w", index, err)
			}
			f.States, last = append(f.States, b.String()), index
		}
		f.Steps = append(f.Steps, step{
			Now: s.Now, State: len(f.States) - 1, Term: s.Input.Term, Reports: s.Input.Reports,
			Probes: s.Input.Probes, Suspects: s.Input.Suspects, Commits: s.Input.Commits, Demand: s.Input.Demand,
		})
	}
	b, err := json.Marshal(f)
	if err != nil {
		return 0, fmt.Errorf("scheduler: encoding a recording: %w", err)
	}
	n, err := w.Write(b)
	return int64(n), err
}

// ReadRecording reads what WriteTo wrote.
func ReadRecording(in io.Reader) (Recording, error) {
	var f file
	if err := json.NewDecoder(io.LimitReader(in, MaxRecording)).Decode(&f); err != nil {
		return Recording{}, fmt.Errorf("scheduler: decoding a recording: %w", err)
	}
	if f.Format != recordingFormat {
		return Recording{}, fmt.Errorf("scheduler: recording of format %d, this program reads %d", f.Format, recordingFormat)
	}
	r := Recording{config: f.Config.withDefaults(), soft: newSoft()}
	states := make([]cluster.State, len(f.States))
	for i, text := range f.States {
		s, err := cluster.Read(bytes.NewReader([]byte(text)))
		if err != nil {
			return Recording{}, fmt.Errorf("scheduler: state %d of a recording: %w", i, err)
		}
		states[i] = s
	}
	empty := r.soft
	r.soft = f.Soft.clone()
	if r.soft.Nodes == nil {
		r.soft.Nodes = empty.Nodes
	}
	if r.soft.Failures == nil {
		r.soft.Failures = empty.Failures
	}
	if r.soft.Gateways == nil {
		r.soft.Gateways = empty.Gateways
	}
	if r.soft.Flows == nil {
		r.soft.Flows = empty.Flows
	}
	if r.soft.Watches == nil {
		r.soft.Watches = empty.Watches
	}
	if r.soft.Refused == nil {
		r.soft.Refused = empty.Refused
	}
	for _, s := range f.Steps {
		if s.State < 0 || s.State >= len(states) {
			return Recording{}, fmt.Errorf("scheduler: a step of a recording names state %d of %d", s.State, len(states))
		}
		r.Steps = append(r.Steps, Taken{Now: s.Now, Input: Input{
			State: states[s.State], Term: s.Term, Reports: s.Reports, Probes: s.Probes, Suspects: s.Suspects, Commits: s.Commits, Demand: s.Demand,
		}})
	}
	return r, nil
}
