package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/alert/defaults"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/series"
)

// What is watched.
const (
	rulesOf       = 10_000
	alertGoal     = 200 // milliseconds of an evaluation
	evaluations   = 5   // in a round
	historyFor    = 320 // seconds
	requestFamily = "skein_gateway_requests_total"
	timeFamily    = "gen_ai_server_request_duration_seconds"
)

// watched is the history that rules look at.
type watched struct {
	store *series.Store
	now   time.Time
	size  size
}

func (b *bench) watched() (*watched, error) {
	w := &watched{store: series.New(0, 0), now: time.UnixMilli(int64(start)).UTC(), size: b.size}
	for range historyFor {
		if err := w.second(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// second lets every tenant and every model do something.
func (w *watched) second() error {
	w.now = w.now.Add(time.Second)
	var errs []error
	for i := range w.size.tenants {
		errs = append(errs, w.store.Add(w.now, requestFamily, series.Of("tenant", tenantName(i), "version", versionName(i%w.size.models, 1).String(), "outcome", "ok"), 3))
	}
	for i := range w.size.models {
		var h series.Histogram
		for k := range 8 {
			h.Add(int64(50 * k * k))
		}
		errs = append(errs, w.store.Observe(w.now, timeFamily, series.Of("version", versionName(i, 1).String()), &h))
	}
	return errors.Join(errs...)
}

// rules are of the kinds that tenants and owners of models write.
func (w *watched) rules() (list []alert.Rule) {
	for i := range rulesOf {
		r := alert.Rule{ID: fmt.Sprintf("r%05d", i), Severity: alert.Info, Annotations: alert.Annotations{Summary: "{value}"}}
		tenant := series.Match{{Name: "tenant", Values: []string{tenantName(i % w.size.tenants)}}}
		version := series.Match{{Name: "version", Values: []string{versionName(i%w.size.models, 1).String()}}}
		switch i % 4 {
		case 0:
			r.Over, r.Where, r.Expr = alert.OverTenant, tenant, fmt.Sprintf(`rate("%s", "5m") > %d.5`, requestFamily, 100+i/4%20)
		case 1:
			r.Over, r.Where, r.Expr = alert.OverTenant, tenant, fmt.Sprintf(`increase("%s", "5m", {"outcome": "failed"}) >= %d`, requestFamily, 10+i/4%20)
		case 2:
			r.Over, r.Where, r.Expr = alert.OverVersion, version, fmt.Sprintf(`p("%s", 0.95, "5m") > %d.0`, timeFamily, 60+i/4%20)
		case 3:
			r.Over, r.Where, r.Expr = alert.OverVersion, version, fmt.Sprintf(`rate("%s", "5m", {"outcome": "failed"}) / rate("%s", "5m") > 0.%02d`, requestFamily, requestFamily, 10+i/4%20)
		}
		list = append(list, r)
	}
	return list
}

// alerts measures the evaluation of rules over a fleet's history.
func (b *bench) alerts(ctx context.Context) (benchfile.Section, error) {
	s := benchfile.Section{Title: "Alert rules", How: []string{
		fmt.Sprintf("%d rules over %d s of history of %d tenants and %d models, a value a second each: request rates and failures of a tenant,", rulesOf, historyFor, b.size.tenants, b.size.models),
		"the 95th percentile of a version's times and its share of failures, with 80 thresholds. 15 s of new values come before each evaluation.",
		"Times are of the processor.",
		"\"first\" also compiles the expressions. \"default\" is the rules that every cluster begins with, each over all that it matches."}}
	w, err := b.watched()
	if err != nil {
		return s, err
	}
	var first, again, standard benchfile.Series
	for range b.rounds {
		one, rest, err := w.evaluate(ctx, w.rules())
		if err != nil {
			return s, err
		}
		first.Add(one)
		again.Add(rest)
		if _, rest, err = w.evaluate(ctx, defaults.Rules()); err != nil {
			return s, err
		}
		standard.Add(rest)
	}
	s.Records = []benchfile.Record{again.Record("alert/evaluate", "ms", benchfile.Lower, "").WithGoal(alertGoal),
		first.Record("alert/evaluate-first", "ms", benchfile.Lower, ""), standard.Record("alert/evaluate-default", "ms", benchfile.Lower, "")}
	return s, nil
}

// evaluate steps a new loop. It gives milliseconds of the first evaluation, and the median of those after it.
func (w *watched) evaluate(ctx context.Context, rules []alert.Rule) (first, again float64, err error) {
	loop, err := alert.NewLoop(alert.Config{})
	if err != nil {
		return 0, 0, err
	}
	var all []float64
	for n := range 1 + evaluations {
		for range int(alert.DefaultEvery / time.Second) {
			if err := errors.Join(w.second(), ctx.Err()); err != nil {
				return 0, 0, err
			}
		}
		took := time.Duration(0)
		for whole := false; !whole; { // an evaluation that takes long is cut into steps
			var out alert.Output
			spent, err := busy(func() error {
				out = loop.Step(w.now, alert.Input{Term: 1, Rules: rules, Series: w.store})
				return nil
			})
			if err != nil {
				return 0, 0, err
			}
			took += spent
			if len(out.Transitions) > 0 {
				return 0, 0, fmt.Errorf("a rule fires: %+v", out.Transitions[0])
			}
			whole = !out.NextWake.Equal(w.now)
		}
		if ms := took.Seconds() * 1e3; n == 0 {
			first = ms
		} else {
			all = append(all, ms)
		}
	}
	return first, benchfile.Median(all), nil
}
