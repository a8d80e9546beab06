package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/series"
)

// Limits of a step.
const (
	MaxEvaluations = 100_000 // of conditions in a step: the rest waits for the next
	MaxTransitions = 256     // in a step
	MaxSends       = 64      // notifications under way
)

// DefaultEvery is how often rules are evaluated.
const DefaultEvery = 15 * time.Second

// Config holds the loop's times. A field that is 0 has its default.
type Config struct {
	Every     time.Duration `json:"every"`      // between two evaluations (default 15 s)
	CommitFor time.Duration `json:"commit_for"` // that a transition may take to be committed before it is decided again (default 10 s)
	SendFor   time.Duration `json:"send_for"`   // that a notification may take before it counts as failed (default 1 min)
	Backoff   time.Duration `json:"backoff"`    // after a notification failed, doubled with each further failure (default 10 s)
	MaxSilent time.Duration `json:"max_silent"` // between two attempts (default 10 min)
	Attempts  int           `json:"attempts"`   // of a notification before it is given up (default 12: more than an hour)
	ReopenFor time.Duration `json:"reopen_for"` // after its end that an incident opens again instead of a new one (default 10 min)
	MaxHold   time.Duration `json:"max_hold"`   // that a flapping incident is held open at most after its condition ended (default 30 min)
}

func (c Config) withDefaults() Config {
	return Config{
		Every:     cmp.Or(c.Every, DefaultEvery),
		CommitFor: cmp.Or(c.CommitFor, 10*time.Second),
		SendFor:   cmp.Or(c.SendFor, time.Minute),
		Backoff:   cmp.Or(c.Backoff, 10*time.Second),
		MaxSilent: cmp.Or(c.MaxSilent, 10*time.Minute),
		Attempts:  cmp.Or(c.Attempts, 12),
		ReopenFor: cmp.Or(c.ReopenFor, 10*time.Minute),
		MaxHold:   cmp.Or(c.MaxHold, 30*time.Minute),
	}
}

// Input is the newest documents, and what arrived since the last step.
type Input struct {
	Term      uint64 // of this coordinator's leadership; 0 = it does not lead
	Rules     []Rule // by id, as all lists
	Silences  []Silence
	Receivers []Receiver
	Incidents []Incident // committed ones, open or kept, with their Rev
	Series    *series.Store
	Sent      []Sent
	Failed    []Failure
}

// Failure says that an Act was rejected, and why.
type Failure struct {
	Incident string
	Why      string
}

// Act is what is to be done with a transition, in one transaction with it.
type Act struct {
	Kind    ActionKind    `json:"kind"`
	Subject series.Labels `json:"subject"`
	By      int           `json:"by,omitempty"` // replicas, of Scale
	Rule    string        `json:"rule"`
}

// Transition is a change of an incident, to be committed if its revision is still Rev.
type Transition struct {
	Incident Incident // as it is to be
	Why      string   // "opens", "ends", "told", …
	Act      *Act
}

// Note is a reason, in words, for something that people should know.
type Note struct {
	Subject string `json:"subject"` // kind and id, for example "rule high-latency"
	Why     string `json:"why"`
}

// Output is everything a step wants done.
type Output struct {
	Transitions   []Transition // by incident
	Notifications []Notification
	Forget        []Incident // committed ones that are to be deleted
	Notes         []Note     // by subject: all that stand now
	NextWake      time.Time  // step at the latest then; zero = only when it leads
}

// Loop is the decider. It is owned by one goroutine.
type Loop struct {
	config   Config
	compiler *Compiler
	term     uint64
	since    time.Time // it leads
	last     time.Time // it stepped
	due      time.Time // of the next evaluation
	next     int       // rule that the evaluation goes on with, if it did not end
	watches  map[watched]*watch
	asked    map[string]asked     // by incident: transitions that are not committed yet
	sends    map[string]*sending  // by the ID of a notification: under way, or waiting to be tried again
	told     map[string][]Told    // by incident: outcomes that are not committed yet
	fresh    map[toldTo]time.Time // when an Alertmanager was last reminded: that is not committed
	failed   map[string]string    // by incident: acts that were rejected
	notes    []Note               // of the last evaluation
}

// watched is a rule and a subject of it.
type watched struct{ rule, subject string }

// asked is a transition under way.
type asked struct {
	rev uint64
	at  time.Time
}

// sending is a notification under way.
type sending struct {
	receiver string
	group    string
	items    []item
	reminds  bool // the receiver is reminded again and again
	attempt  int
	at       time.Time // of the last attempt
	again    time.Time // it may be tried again; zero = it is under way
	why      string
}

// toldTo is a receiver and an incident.
type toldTo struct{ receiver, incident string }

// item is what a notification says of an incident.
type item struct {
	incident string
	phase    Phase
	times    int
	flaps    int
}

// NewLoop makes a loop that knows nothing yet. It fails as NewCompiler does.
func NewLoop(c Config) (*Loop, error) {
	compiler, err := NewCompiler()
	if err != nil {
		return nil, err
	}
	l := &Loop{config: c.withDefaults(), compiler: compiler}
	l.forget()
	return l, nil
}

// Compiler is the loop's own, to be used by whoever owns the loop.
func (l *Loop) Compiler() *Compiler { return l.compiler }

func (l *Loop) forget() {
	l.watches, l.asked, l.sends = map[watched]*watch{}, map[string]asked{}, map[string]*sending{}
	l.told, l.failed, l.fresh = map[string][]Told{}, map[string]string{}, map[toldTo]time.Time{}
	l.due, l.next, l.notes = time.Time{}, 0, nil
}

// Step decides. The same loop with the same inputs decides the same.
func (l *Loop) Step(now time.Time, in Input) Output {
	if in.Term == 0 || in.Term != l.term {
		l.forget()
		l.term, l.since, l.last = in.Term, now, now
	}
	if in.Term == 0 {
		return Output{}
	}
	l.clock(now)
	s := &step{Loop: l, in: in, now: now, open: map[watched]*Incident{}, by: map[string]*Incident{}}
	s.absorb()
	if !now.Before(l.due) {
		s.evaluate()
	}
	s.act()
	s.record()
	s.send()
	s.prune()
	return s.output()
}

// jump is how long a step may lie behind the last before the clock is taken to have been set, or the process to have slept.
const jump = 5 * time.Minute

// clock starts what waits anew after a jump of the clock, so that no condition counts as holding through time that nobody saw.
func (l *Loop) clock(now time.Time) {
	if d := now.Sub(l.last); d < 0 || d > jump+l.config.Every {
		for _, k := range slices.SortedFunc(maps.Keys(l.watches), watched.compare) {
			l.watches[k].restart(now)
		}
		l.due, l.since = now, now
		for _, id := range slices.Sorted(maps.Keys(l.asked)) {
			l.asked[id] = asked{l.asked[id].rev, now}
		}
		for _, id := range slices.Sorted(maps.Keys(l.sends)) {
			s := l.sends[id]
			s.at = now
			if !s.again.IsZero() {
				s.again = now
			}
		}
	}
	l.last = now
}

func (a watched) compare(b watched) int {
	return cmp.Or(strings.Compare(a.rule, b.rule), strings.Compare(a.subject, b.subject))
}

// step is one step under way.
type step struct {
	*Loop
	in          Input
	now         time.Time
	open        map[watched]*Incident // open or ended a short while ago
	by          map[string]*Incident  // by id: as they are to be
	transitions []Transition
	sendings    []Notification
	wake        time.Time
}

// absorb takes in what is committed, and the outcomes of what was asked for.
func (s *step) absorb() {
	s.in.Incidents = slices.Clone(s.in.Incidents)
	for i := range s.in.Incidents {
		x := &s.in.Incidents[i]
		s.by[x.ID] = x
		k := watched{x.Rule, x.subject().String()}
		if old := s.open[k]; old == nil || x.newer(old) {
			s.open[k] = x
		}
		if a, ok := s.asked[x.ID]; ok && x.Rev != a.rev {
			delete(s.asked, x.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.asked)) {
		if s.now.Sub(s.asked[id].at) >= s.config.CommitFor {
			delete(s.asked, id)
		}
	}
	for _, f := range s.in.Failed {
		s.failed[f.Incident] = f.Why
		delete(s.asked, f.Incident)
	}
	s.answers()
}

// newer says that an incident says more about its subject than another one: it is open, or it ended later.
func (i *Incident) newer(o *Incident) bool {
	if (i.Phase == Open) != (o.Phase == Open) {
		return i.Phase == Open
	}
	return cmp.Or(cmp.Compare(i.Opened, o.Opened), strings.Compare(i.ID, o.ID)) > 0
}

// subject is the labels that the scope tells apart.
func (i *Incident) subject() series.Labels {
	by, _ := i.Over.Labels()
	return i.Labels.Only(by...)
}

// waits says that a transition of an incident is under way.
func (s *step) waits(id string) bool {
	_, ok := s.asked[id]
	return ok
}

// change asks for a transition, unless one is under way or there is no room; then it is decided again in a later step.
func (s *step) change(i Incident, why string, act *Act) bool {
	if s.waits(i.ID) {
		return false
	}
	if len(s.transitions) == MaxTransitions {
		s.wakeAt(s.now)
		return false
	}
	s.asked[i.ID] = asked{i.Rev, s.now}
	s.transitions = append(s.transitions, Transition{Incident: i, Why: why, Act: act})
	return true
}

func (s *step) wakeAt(t time.Time) {
	if s.wake.IsZero() || t.Before(s.wake) {
		s.wake = t
	}
}

// act has the actions of incidents done.
func (s *step) act() {
	for i := range s.in.Incidents {
		x := &s.in.Incidents[i]
		r := s.rule(x.Rule)
		if x.Phase != Open || x.Deed != nil || r == nil || r.Action.Kind == None {
			continue
		}
		next := *x
		next.Deed = &Deed{Kind: r.Action.Kind, At: millis(s.now)}
		if why, ok := s.failed[x.ID]; ok {
			next.Deed.Failed = why
			s.change(next, "its action was rejected", nil)
			continue
		}
		if why := s.cools(r, x); why != "" {
			next.Deed.Failed = why
			s.change(next, "no action: "+why, nil)
			continue
		}
		act := Act{Kind: r.Action.Kind, Subject: x.subject(), Rule: r.ID}
		if act.Kind == Scale {
			act.By = cmp.Or(r.Action.By, 1)
		}
		s.change(next, "acts", &act)
	}
}

const defaultActEvery = time.Hour

// cools says that the same was done a short while ago.
func (s *step) cools(r *Rule, x *Incident) string {
	every := cmp.Or(time.Duration(r.Action.Every), defaultActEvery)
	for i := range s.in.Incidents {
		o := &s.in.Incidents[i]
		if o.ID != x.ID && o.fingerprint() == x.fingerprint() && o.Deed != nil && o.Deed.Failed == "" && s.now.Sub(o.Deed.At.At()) < every {
			return fmt.Sprintf("the last was less than %s ago", Duration(every))
		}
	}
	return ""
}

func (s *step) rule(id string) *Rule {
	i, ok := slices.BinarySearchFunc(s.in.Rules, id, func(r Rule, id string) int { return strings.Compare(r.ID, id) })
	if !ok || s.in.Rules[i].Disabled {
		return nil
	}
	return &s.in.Rules[i]
}

// prune drops what was remembered of incidents that do not need it any more.
func (s *step) prune() {
	for _, id := range slices.Sorted(maps.Keys(s.failed)) {
		if x := s.by[id]; x == nil || x.Deed != nil {
			delete(s.failed, id)
		}
	}
	maps.DeleteFunc(s.fresh, func(k toldTo, _ time.Time) bool { return s.by[k.incident] == nil || s.by[k.incident].Phase != Open })
}

// forgotten says which incidents are to be forgotten: those that ended long ago, and the oldest of them beyond the limit.
func (s *step) forgotten() []Incident {
	var out, ended []Incident
	for _, x := range s.in.Incidents {
		switch {
		case x.Phase != Resolved || s.waits(x.ID) || s.now.Sub(s.since) < settle: // of a clock that jumped ahead
		case s.now.Sub(x.Ended.At()) > KeptFor:
			out = append(out, x)
		default:
			ended = append(ended, x)
		}
	}
	if more := len(s.in.Incidents) - len(out) - MaxIncidents; more > 0 {
		slices.SortFunc(ended, func(a, b Incident) int { return cmp.Or(cmp.Compare(a.Ended, b.Ended), strings.Compare(a.ID, b.ID)) })
		out = append(out, ended[:min(more, len(ended))]...)
	}
	return out[:min(len(out), MaxTransitions)]
}

func (s *step) output() Output {
	if s.due.After(s.now) {
		s.wakeAt(s.due)
	}
	for _, id := range slices.Sorted(maps.Keys(s.asked)) {
		s.wakeAt(s.asked[id].at.Add(s.config.CommitFor))
	}
	slices.SortFunc(s.transitions, func(a, b Transition) int { return strings.Compare(a.Incident.ID, b.Incident.ID) })
	notes := slices.Clone(s.notes)
	for _, id := range slices.Sorted(maps.Keys(s.sends)) {
		if x := s.sends[id]; x.why != "" {
			notes = append(notes, Note{"receiver " + x.receiver, "attempt " + strconv.Itoa(x.attempt) + ": " + x.why})
		}
	}
	slices.SortStableFunc(notes, func(a, b Note) int {
		return cmp.Or(strings.Compare(a.Subject, b.Subject), strings.Compare(a.Why, b.Why))
	})
	return Output{Transitions: s.transitions, Notifications: s.sendings, Forget: s.forgotten(), Notes: notes, NextWake: s.wake}
}
