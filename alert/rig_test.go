package alert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/series"
)

// rig is a leader with a log that commits at once, and receivers that take everything, unless a test says otherwise.
type rig struct {
	t         reporter
	loop      *Loop
	now       time.Time
	store     *series.Store
	value     map[string]float64 // of skein_replicas_ready, by version; put every second
	rules     []Rule
	silences  []Silence
	receivers []Receiver
	incidents map[string]Incident
	rev, term uint64
	refuse    func(Transition) string  // why a transition is not committed
	receive   func(Notification) *Sent // the outcome; nil = none comes
	sent      []Sent                   // for the next step
	failed    []Failure                // for the next step
	log       []string                 // "seconds: what"
	acts      []Act
	arrived   map[string]int // by notification
	start     time.Time
}

// reporter is a testing.TB or a rapid.T.
type reporter interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func newRig(t reporter) *rig {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	r := &rig{
		t: t, now: start, start: start, store: series.New(0, 0), value: map[string]float64{}, incidents: map[string]Incident{}, term: 1, arrived: map[string]int{},
		refuse:  func(Transition) string { return "" },
		receive: func(n Notification) *Sent { return &Sent{ID: n.ID} },
		rules: []Rule{{
			ID: "few", Expr: `last("skein_replicas_ready", "5s") < 1.0`, Over: OverVersion, For: Duration(30 * time.Second), Severity: Critical,
			Annotations: Annotations{Summary: "{version} has {value}", Runbook: "docs/few.md"},
		}},
		receivers: []Receiver{{ID: "hook", Protocol: Webhook, URL: "https://example.com/"}},
	}
	r.restart()
	return r
}

// restart puts another leader in the place of this one.
func (r *rig) restart() {
	l, err := NewLoop(Config{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.loop, r.sent, r.failed = l, nil, nil
	r.term++
}

func (r *rig) input() Input {
	in := Input{Term: r.term, Rules: r.rules, Silences: r.silences, Receivers: r.receivers, Series: r.store, Sent: r.sent, Failed: r.failed}
	for _, i := range r.incidents {
		in.Incidents = append(in.Incidents, i)
	}
	slices.SortFunc(in.Incidents, func(a, b Incident) int { return cmp.Compare(a.ID, b.ID) })
	r.sent, r.failed = nil, nil
	return in
}

func (r *rig) say(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf("%d: ", int(r.now.Sub(r.start).Seconds()))+fmt.Sprintf(format, args...))
}

// run lets seconds pass.
func (r *rig) run(seconds int) {
	for range seconds {
		r.now = r.now.Add(time.Second)
		for _, v := range sortedKeys(r.value) {
			if err := r.store.Put(r.now, "skein_replicas_ready", series.Of("version", v), r.value[v]); err != nil {
				r.t.Fatal(err)
			}
		}
		r.step()
	}
}

func sortedKeys(m map[string]float64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (r *rig) step() Output {
	out := r.loop.Step(r.now, r.input())
	for _, t := range out.Transitions {
		if why := r.refuse(t); why != "" {
			r.say("%s %s: refused: %s", t.Why, subjectOf(t.Incident), why)
			if t.Act != nil {
				r.failed = append(r.failed, Failure{t.Incident.ID, why})
			}
			continue
		}
		if known, ok := r.incidents[t.Incident.ID]; ok && known.Rev != t.Incident.Rev || !ok && t.Incident.Rev != 0 {
			continue // based on an old revision
		}
		r.rev++
		t.Incident.Rev = r.rev
		r.incidents[t.Incident.ID] = t.Incident
		if t.Why != "told" {
			r.say("%s %s", t.Why, subjectOf(t.Incident))
		}
		if t.Act != nil {
			r.acts = append(r.acts, *t.Act)
		}
	}
	for _, n := range out.Notifications {
		sent := r.receive(n)
		var what []string
		for _, i := range n.Incidents {
			what = append(what, subjectOf(i)+" "+string(i.Phase))
		}
		outcome := "no outcome"
		if sent != nil {
			r.sent = append(r.sent, *sent)
			if outcome = "arrived"; sent.Failed != "" {
				outcome = sent.Failed
			} else {
				r.arrived[n.ID]++
			}
		}
		r.say("%s is told: %s: %s", n.Receiver.ID, strings.Join(what, ", "), outcome)
	}
	for _, i := range out.Forget {
		delete(r.incidents, i.ID)
		r.say("forgets %s", subjectOf(i))
	}
	if out.NextWake.IsZero() || out.NextWake.After(r.now.Add(DefaultEvery)) {
		r.t.Errorf("at %s the next step is at %s", r.now, out.NextWake)
	}
	return out
}

func subjectOf(i Incident) string {
	by, _ := i.Over.Labels()
	var v []string
	for _, l := range by {
		v = append(v, i.Labels.Get(l))
	}
	return i.Rule + " " + strings.Join(v, ",")
}

// want compares what happened since the last call.
func (r *rig) want(lines ...string) {
	r.t.Helper()
	if !slices.Equal(r.log, lines) {
		r.t.Errorf("what happened:\n  %s\nwanted:\n  %s", strings.Join(r.log, "\n  "), strings.Join(lines, "\n  "))
	}
	r.log = nil
}

func (r *rig) only() Incident {
	r.t.Helper()
	if len(r.incidents) != 1 {
		r.t.Fatalf("%d incidents", len(r.incidents))
	}
	for _, i := range r.incidents {
		return i
	}
	panic("unreachable")
}
