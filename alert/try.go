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

// Try says which incidents a rule would have had from one time until another, from what is left of the series. Steps are Config.Every
// long, or longer where that would be more than MaxTries evaluations, and finer steps than those of the tier that is left tell nothing
// new. An incident that would still be open has no end.
func (c *Compiler) Try(r *Rule, s *series.Store, from, to time.Time) ([]Incident, error) {
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
	subjects := p.Subjects(s, r.Where)
	every := DefaultEvery
	for len(subjects)*int(to.Sub(from)/every) > MaxTries {
		every *= 2
	}
	var out []Incident
	for _, l := range subjects {
		var w watch
		var open *Incident
		flaps := 0
		for at := from; !at.After(to); at = at.Add(every) {
			v := p.Eval(s, at, l, r.Where)
			want := w.turn(at, v.Truth, open != nil, time.Duration(r.For), hold(r, flaps, Config{}.withDefaults().MaxHold))
			switch {
			case want && open == nil && len(out) == MaxTriedFor:
				return out, nil
			case want && open == nil:
				out = append(out, newIncident(r, l, v.Value, w.since, at))
				open = &out[len(out)-1]
			case !want && open != nil:
				open.Phase, open.Ended = Resolved, millis(at)
				open, w = nil, watch{}
			}
		}
	}
	return out, nil
}

// Try is Compiler.Try with a compiler of its own.
func Try(r *Rule, s *series.Store, from, to time.Time) ([]Incident, error) {
	c, err := NewCompiler()
	if err != nil {
		return nil, err
	}
	return c.Try(r, s, from, to)
}
