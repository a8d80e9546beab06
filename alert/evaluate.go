package alert

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/skein-project/skein/series"
)

// watch is what the loop remembers of a rule and a subject of it.
type watch struct {
	since time.Time // the condition holds; zero = it does not
	clear time.Time // it does not hold any more while an incident is open; zero = it does
}

func (w *watch) restart(now time.Time) {
	if !w.since.IsZero() {
		w.since = now
	}
	if !w.clear.IsZero() {
		w.clear = now
	}
}

// turn takes a truth in and says whether an incident is to be open.
func (w *watch) turn(now time.Time, t Truth, open bool, wait, hold time.Duration) bool {
	if t == True {
		w.clear = time.Time{}
		if w.since.IsZero() {
			w.since = now
		}
		return open || now.Sub(w.since) >= wait
	}
	w.since = time.Time{}
	if !open {
		return false
	}
	if w.clear.IsZero() {
		w.clear = now
	}
	return now.Sub(w.clear) < hold
}

// hold is how long an incident stays open after its condition ended: longer with each time that it opened again.
func hold(r *Rule, flaps int, most time.Duration) time.Duration {
	d := r.keep() << min(flaps, 10)
	return max(r.keep(), min(d, most))
}

// evaluation is one round over the rules.
type evaluation struct {
	*step
	subjects map[grouped][]subject
	numbers  map[string]int // of subjects, by their labels
	answers  map[question]answer
	count    int
}

// grouped names a list of subjects.
type grouped struct{ families, where string }

type subject struct {
	labels series.Labels
	text   string
	match  series.Match
	number int // of labels and where
}

type question struct {
	query   *query
	subject int
}

// evaluate decides all rules, or as many as fit in a step.
func (s *step) evaluate() {
	e := &evaluation{step: s, subjects: map[grouped][]subject{}, numbers: map[string]int{}, answers: map[question]answer{}}
	if s.next == 0 {
		s.notes = nil
		s.compiler.keep(s.in.Rules)
	}
	rules := s.in.Rules[:min(len(s.in.Rules), MaxRules)]
	for ; s.next < len(rules); s.next++ {
		if e.count >= MaxEvaluations {
			s.wakeAt(s.now)
			return
		}
		if r := &rules[s.next]; !r.Disabled {
			e.rule(r)
		}
	}
	s.next = 0
	s.orphans()
	s.due = s.now.Add(s.config.Every)
}

func (s *step) note(subject, why string) { s.notes = append(s.notes, Note{subject, why}) }

// rule decides a rule for all its subjects.
func (e *evaluation) rule(r *Rule) {
	p, err := e.compiler.Compile(r.Expr, r.Over)
	if err != nil {
		e.note("rule "+r.ID, err.Error())
		return
	}
	for _, x := range e.of(p, r.Where) {
		e.count++
		v := p.root.decide(func(q *query) answer {
			k := question{q, x.number}
			a, ok := e.answers[k]
			if !ok {
				a = q.ask(e.in.Series, e.now, x.match)
				e.answers[k] = a
			}
			return a
		})
		e.turn(r, x, v)
	}
}

// of lists the subjects of a rule.
func (e *evaluation) of(p *Program, where series.Match) []subject {
	k := grouped{families: p.families}
	if len(where) > 0 {
		k.where = fmt.Sprintf("%q", where)
	}
	list, ok := e.subjects[k]
	if ok {
		return list
	}
	for _, l := range p.Subjects(e.in.Series, where) {
		x := subject{labels: l, text: l.String(), match: within(l, where)}
		name := x.text
		if len(x.match) > len(l) {
			name += k.where
		}
		if x.number, ok = e.numbers[name]; !ok {
			x.number = len(e.numbers)
			e.numbers[name] = x.number
		}
		list = append(list, x)
	}
	e.subjects[k] = list
	return list
}

// turn brings the incident of a rule for a subject to what the verdict says.
func (e *evaluation) turn(r *Rule, x subject, v Verdict) {
	k := watched{r.ID, x.text}
	i := e.open[k]
	open := i != nil && i.Phase == Open
	w := e.watches[k]
	if w == nil {
		if v.Truth != True && !open {
			return
		}
		w = &watch{}
		e.watches[k] = w
	}
	if open && v.Truth == Unknown && e.now.Sub(e.since) < settle {
		return // a new leader has no history yet
	}
	flaps := 0
	if i != nil {
		flaps = i.Flaps
	}
	want := w.turn(e.now, v.Truth, open, time.Duration(r.For), hold(r, flaps, e.config.MaxHold))
	switch {
	case want && !open:
		e.begin(r, x, v, w.since, i)
	case !want && open:
		e.end(i, "")
	case v.Truth != True && !open:
		delete(e.watches, k)
	}
}

// settle is how long nothing ends for want of values after somebody began to lead.
const settle = 15 * time.Minute

// begin opens an incident, or opens again one that ended a short while ago.
func (e *evaluation) begin(r *Rule, x subject, v Verdict, since time.Time, was *Incident) {
	next := newIncident(r, x.labels, v.Value, since, e.now)
	why := "opens"
	if was != nil && was.fingerprint() == next.fingerprint() && e.now.Sub(was.Ended.At()) < e.config.ReopenFor {
		again := *was
		again.Phase, again.Ended, again.Why, again.Value = Open, 0, "", next.Value
		again.Flaps++
		again.Ack = nil
		again.describe(r)
		next, why = again, "opens again"
	} else if known := e.by[next.ID]; known != nil {
		return // it ended within the second that it began in
	}
	if len(e.in.Incidents) >= MaxAll {
		e.note("rule "+r.ID, fmt.Sprintf("an incident does not open: there are %d", len(e.in.Incidents)))
		return
	}
	next.Links.Requests = e.requests(r, x.match)
	e.change(next, why, nil)
}

// requests names requests that failed within the last minutes.
func (e *evaluation) requests(r *Rule, m series.Match) []string {
	p, err := e.compiler.Compile(r.Expr, r.Over)
	if err != nil {
		return nil
	}
	family, _ := series.FamilyOf(sampled)
	for _, x := range m {
		if _, ok := family.Column(x.Name); !ok {
			return nil
		}
	}
	if !slices.ContainsFunc(p.queries, func(q *query) bool { return q.family.Kind != series.Gauge }) {
		return nil
	}
	return e.in.Series.Samples(sampled, m, e.now.Add(-settle))
}

// sampled is the family whose series have examples of failing requests.
const sampled = "skein_gateway_requests_total"

// end ends an incident.
func (s *step) end(i *Incident, why string) {
	next := *i
	next.Phase, next.Ended, next.Why = Resolved, millis(s.now), why
	if s.change(next, "ends", nil) {
		delete(s.watches, watched{i.Rule, i.subject().String()})
	}
}

// orphans ends the incidents of rules that are gone or disabled, and those whose subject is gone.
func (s *step) orphans() {
	maps.DeleteFunc(s.watches, func(k watched, _ *watch) bool { return s.rule(k.rule) == nil })
	for i := range s.in.Incidents {
		x := &s.in.Incidents[i]
		if x.Phase != Open {
			continue
		}
		if s.open[watched{x.Rule, x.subject().String()}] != x {
			s.end(x, "another incident says the same")
			continue
		}
		r := s.rule(x.Rule)
		if r == nil {
			s.end(x, "the rule is gone or disabled")
			continue
		}
		if p, err := s.compiler.Compile(r.Expr, r.Over); err == nil && (r.Over != x.Over || !p.has(s.in.Series, x.subject(), r.Where)) && s.now.Sub(s.since) >= settle {
			s.end(x, "the rule no longer watches this")
		}
	}
}

// has says whether a subject is among those of a rule.
func (p *Program) has(s *series.Store, subject series.Labels, where series.Match) bool {
	for _, m := range where {
		if v := subject.Get(m.Name); v != "" && !slices.Contains(m.Values, v) {
			return false
		}
	}
	if p.over == OverCluster {
		return true
	}
	return slices.ContainsFunc(p.queries, func(q *query) bool { return len(s.Subjects(q.family.Name, p.by, within(subject, where))) > 0 })
}

// keep drops the programs that no rule uses, once there are many.
func (c *Compiler) keep(rules []Rule) {
	if len(c.programs) <= len(rules)+1024 {
		return
	}
	used := make(map[compiled]*Program, len(rules))
	queries := map[string]*query{}
	for i := range rules {
		k := compiled{rules[i].Expr, rules[i].Over}
		if p := c.programs[k]; p != nil {
			used[k] = p
			for _, q := range p.queries {
				queries[q.String()] = q
			}
		}
	}
	c.programs, c.queries = used, queries
}
