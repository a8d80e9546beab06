package alert

import (
	"fmt"
	"time"

	"github.com/skein-project/skein/series"
)

// Limits of trying a rule on history.
const (
	MaxTries    = 2_000_000 // evaluations
	MaxTriedFor = 200       // incidents of the answer
)

// Trial says which incidents a rule would have had from one time until another, from what is left of the series. Steps are
// Config.Every long, or longer where that would be more than MaxTries evaluations, and finer steps than those of the tier that is left
// tell nothing new. It is evaluated a little at a time, since whoever owns the series has other things to do.
type Trial struct {
	rule     *Rule
	program  *Program
	series   *series.Store
	subjects []series.Labels // those that are left, the first being under way
	from, to time.Time
	at       time.Time // of the first subject's next evaluation
	every    time.Duration
	state    watch
	open     bool // the newest incident is the first subject's, and open
	out      []Incident
}

// Try prepares a trial.
func (c *Compiler) Try(r *Rule, s *series.Store, from, to time.Time) (*Trial, error) {
	if err := c.Check(r); err != nil {
		return nil, err
	}
	p, err := c.Compile(r.Expr, r.Over)
	if err != nil {
		return nil, err
	}
	if !from.Before(to) || to.Sub(from) > series.Longest {
		return nil, &Invalid{What: "history", Why: fmt.Sprintf("from comes before to, and they lie at most %s apart", Duration(series.Longest))}
	}
	t := &Trial{rule: r, program: p, series: s, subjects: p.Subjects(s, r.Where), from: from, to: to, at: from, every: DefaultEvery}
	for len(t.subjects)*int(to.Sub(from)/t.every) > MaxTries {
		t.every *= 2
	}
	return t, nil
}

// Go makes so many evaluations at most, and says whether the trial is over.
func (t *Trial) Go(evaluations int) (over bool) {
	for ; evaluations > 0 && len(t.subjects) > 0; evaluations-- {
		if len(t.out) == MaxTriedFor && !t.open {
			t.subjects = nil
			break
		}
		t.evaluate()
		if t.at = t.at.Add(t.every); t.at.After(t.to) {
			t.subjects, t.at, t.state, t.open = t.subjects[1:], t.from, watch{}, false
		}
	}
	return len(t.subjects) == 0
}

func (t *Trial) evaluate() {
	v := t.program.Eval(t.series, t.at, t.subjects[0], t.rule.Where)
	want := t.state.turn(t.at, v.Truth, t.open, time.Duration(t.rule.For), hold(t.rule, 0, Config{}.withDefaults().MaxHold))
	switch {
	case want && !t.open:
		t.out = append(t.out, newIncident(t.rule, t.subjects[0], v.Value, t.state.since, t.at))
		t.open = true
	case !want && t.open:
		last := &t.out[len(t.out)-1]
		last.Phase, last.Ended = Resolved, millis(t.at)
		t.open, t.state = false, watch{}
	}
}

// Incidents are those that were found so far. One that would still be open has no end.
func (t *Trial) Incidents() []Incident { return t.out }
