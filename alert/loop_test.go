package alert

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/series"
)

func TestLife(t *testing.T) {
	r := newRig(t)
	r.value["m@1"], r.value["m@2"] = 1, 1
	r.run(60)
	r.want()
	r.value["m@1"] = 0
	r.run(20) // shorter than for
	r.value["m@1"] = 1
	r.run(40)
	r.want()
	r.value["m@1"] = 0
	r.run(60) // seen at 121, 136, …
	r.want("151: opens few m@1", "161: hook is told: few m@1 open: arrived")
	i := r.only()
	if i.Summary != "m@1 has 0" || i.Links.Why != "skein why m@1" || i.Links.Runbook != "docs/few.md" || i.Severity != Critical || i.Labels.String() != `{version="m@1"}` {
		t.Errorf("%+v", i)
	}
	r.run(4*3600 + 5)
	r.want("14562: hook is told: few m@1 open: arrived")
	r.value["m@1"] = 1
	r.run(120)
	r.want("14656: ends few m@1", "14657: hook is told: few m@1 resolved: arrived")
	for range 31 * 24 * 12 {
		r.now = r.now.Add(5 * time.Minute)
		r.step()
	}
	if r.want(fmt.Sprintf("%d: forgets few m@1", lastSecond(r))); len(r.incidents) != 0 {
		t.Error("it is kept for ever")
	}
}

func lastSecond(r *rig) (n int) {
	if len(r.log) > 0 {
		fmt.Sscanf(r.log[len(r.log)-1], "%d:", &n)
	}
	return n
}

func TestAcknowledged(t *testing.T) {
	r := newRig(t)
	r.value["m@1"] = 0
	r.run(60)
	i := r.only()
	r.rev++
	i.Rev, i.Ack = r.rev, &Ack{By: "ann", At: millis(r.now)}
	r.incidents[i.ID] = i
	r.log = nil
	r.run(5 * 3600)
	r.want()
	r.value["m@1"] = 1
	r.run(100)
	if len(r.log) != 2 || !strings.Contains(r.log[1], "resolved: arrived") {
		t.Errorf("%v", r.log)
	}
}

func TestSilence(t *testing.T) {
	r := newRig(t)
	r.silences = []Silence{{ID: "s", Match: series.Match{{Name: "rule", Values: []string{"few"}}, {Name: "version", Values: []string{"m@1"}}}, From: millis(r.now), Until: millis(r.now.Add(10 * time.Minute)), By: "ann"}}
	if err := r.silences[0].Validate(); err != nil {
		t.Fatal(err)
	}
	r.value["m@1"] = 0
	r.run(590)
	r.want("31: opens few m@1")
	r.run(20)
	r.want("600: hook is told: few m@1 open: arrived")
	for _, bad := range []Silence{{ID: "s", From: 1, Until: 2}, {ID: "s", Match: r.silences[0].Match, From: 2, Until: 1}, {ID: "S", Match: r.silences[0].Match, From: 1, Until: 2}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is not refused", bad)
		}
	}
}

// Incidents of a group come together; receivers that match less are told less.
func TestGroups(t *testing.T) {
	r := newRig(t)
	r.receivers = []Receiver{
		{ID: "all", Protocol: Webhook, URL: "https://example.com/", Wait: Duration(20 * time.Second), Quiet: true},
		{ID: "one", Protocol: Webhook, URL: "https://example.com/", Match: series.Match{{Name: "version", Values: []string{"m@2"}}}},
		{ID: "split", Protocol: Webhook, URL: "https://example.com/", GroupBy: []string{"version"}},
		{ID: "zero", Protocol: Webhook, URL: "https://example.com/", Disabled: true},
	}
	r.value["m@1"], r.value["m@2"] = 0, 0
	r.run(60)
	r.want("31: opens few m@1", "31: opens few m@2",
		"41: one is told: few m@2 open: arrived", "41: split is told: few m@1 open: arrived", "41: split is told: few m@2 open: arrived",
		"51: all is told: few m@1 open, few m@2 open: arrived")
	r.value["m@1"], r.value["m@2"] = 1, 1
	r.run(100)
	r.want("121: ends few m@1", "121: ends few m@2",
		"122: one is told: few m@2 resolved: arrived", "122: split is told: few m@1 resolved: arrived", "122: split is told: few m@2 resolved: arrived")
}

// A leader that takes over tells nobody twice, and tells what was not told, by the same name.
func TestFailover(t *testing.T) {
	r := newRig(t)
	var ids []string
	r.receive = func(n Notification) *Sent {
		ids = append(ids, n.ID)
		return &Sent{ID: n.ID}
	}
	r.value["m@1"] = 0
	r.run(45)
	r.want("31: opens few m@1", "41: hook is told: few m@1 open: arrived")
	r.restart()
	r.run(600)
	r.want()
	r.value["m@2"] = 0
	r.receive = func(n Notification) *Sent {
		ids = append(ids, n.ID)
		return nil // it dies before it hears
	}
	r.run(45)
	r.want("676: opens few m@2", "686: hook is told: few m@2 open: no outcome")
	r.restart()
	r.receive = func(n Notification) *Sent {
		ids = append(ids, n.ID)
		return &Sent{ID: n.ID}
	}
	r.run(30)
	r.want("691: hook is told: few m@2 open: arrived")
	if len(ids) != 3 || ids[1] != ids[2] || ids[0] == ids[1] {
		t.Errorf("the notifications are %v", ids)
	}
	// A leader without history does not end what it knows nothing of.
	r.store = series.New(0, 0)
	clear(r.value)
	r.restart()
	r.run(800)
	r.want()
	r.run(300)
	if !slices.ContainsFunc(r.log, func(s string) bool { return strings.Contains(s, "ends few m@1") }) {
		t.Errorf("what is gone stays open: %v", r.log)
	}
}

// A condition that a new leader cannot know yet ends nothing.
func TestUnknownEndsNothing(t *testing.T) {
	r := newRig(t)
	r.receivers = nil
	r.rules[0].Expr = `last("skein_replicas_wanted", "1m") > last("skein_replicas_ready", "1m")`
	r.value["m@1"] = 1
	want := func(seconds int) {
		for range seconds {
			r.store.Put(r.now.Add(time.Second), "skein_replicas_wanted", series.Of("version", "m@1"), 2)
			r.run(1)
		}
	}
	want(60)
	r.want("31: opens few m@1")
	clear(r.value)
	r.store = series.New(0, 0)
	r.restart()
	want(600)
	r.want()
	want(600)
	if i := r.only(); i.Phase != Resolved {
		t.Errorf("%+v", i)
	}
}

func TestRetries(t *testing.T) {
	r := newRig(t)
	tries := 0
	r.receive = func(n Notification) *Sent {
		if tries++; n.Attempt != tries {
			t.Errorf("attempt %d is numbered %d", tries, n.Attempt)
		}
		switch tries {
		case 1:
			return &Sent{ID: n.ID, Failed: "500"}
		case 2:
			return nil
		case 3:
			return &Sent{ID: n.ID, Failed: "429", After: 90 * time.Second}
		}
		return &Sent{ID: n.ID}
	}
	r.value["m@1"] = 0
	r.run(400)
	r.want("31: opens few m@1", "41: hook is told: few m@1 open: 500", "52: hook is told: few m@1 open: no outcome",
		"132: hook is told: few m@1 open: 429", "223: hook is told: few m@1 open: arrived")
	// One that would fail again is given up, and the incident says so.
	r = newRig(t)
	r.receive = func(n Notification) *Sent { return &Sent{ID: n.ID, Failed: "404", Permanent: true} }
	r.value["m@1"] = 0
	r.run(3600)
	r.want("31: opens few m@1", "41: hook is told: few m@1 open: 404")
	if told := r.only().Told; len(told) != 1 || told[0].Failed != "404" {
		t.Errorf("%+v", told)
	}
	// One that always fails is given up after Attempts, and while it fails a note says so.
	r = newRig(t)
	tries = 0
	r.receive = func(n Notification) *Sent { tries++; return &Sent{ID: n.ID, Failed: "refused"} }
	r.value["m@1"] = 0
	r.run(100)
	if out := r.step(); len(out.Notes) != 1 || out.Notes[0].Subject != "receiver hook" || !strings.Contains(out.Notes[0].Why, "refused") {
		t.Errorf("%+v", out.Notes)
	}
	r.run(2 * 3600)
	if tries != 12 {
		t.Errorf("tried %d times", tries)
	}
}

// What flaps opens again instead of anew, is held open for longer, and says less.
func TestFlapping(t *testing.T) {
	r := newRig(t)
	for range 40 {
		r.value["m@1"] = 0
		r.run(120)
		r.value["m@1"] = 1
		r.run(120)
	}
	i := r.only()
	told := len(r.log)
	if i.Flaps < 1 || i.Flaps > 3 || told > 12 {
		t.Errorf("%d flaps; in 160 min of flapping:\n%s", i.Flaps, strings.Join(r.log, "\n"))
	}
	if len(r.arrived) != slices.Max(append(valuesOf(r.arrived), 0))*len(r.arrived) {
		t.Errorf("some arrived twice: %v", r.arrived)
	}
}

func valuesOf(m map[string]int) (out []int) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func TestActions(t *testing.T) {
	r := newRig(t)
	r.rules[0].Action = Action{Kind: Scale, By: 2, Every: Duration(2 * time.Hour)}
	r.receivers = nil
	r.value["m@1"] = 0
	r.run(600)
	r.want("31: opens few m@1", "32: acts few m@1")
	if len(r.acts) != 1 || r.acts[0].Kind != Scale || r.acts[0].By != 2 || r.acts[0].Subject.Get("version") != "m@1" {
		t.Errorf("%+v", r.acts)
	}
	r.restart() // nobody acts twice
	r.run(600)
	r.want()
	r.value["m@1"] = 1
	r.run(1000)
	r.value["m@1"] = 0
	r.log = nil
	r.run(100)
	r.want("2236: opens few m@1", "2237: no action: the last was less than 2h ago few m@1")
	// An action that is rejected is recorded as such, and not tried again.
	r = newRig(t)
	r.rules[0].Action = Action{Kind: Rollback}
	r.receivers = nil
	r.refuse = func(x Transition) string {
		if x.Act != nil {
			return "there is no version before"
		}
		return ""
	}
	r.value["m@1"] = 0
	r.run(600)
	r.want("31: opens few m@1", "32: acts few m@1: refused: there is no version before", "33: its action was rejected few m@1")
	if d := r.only().Deed; d == nil || d.Failed != "there is no version before" {
		t.Errorf("%+v", d)
	}
}

// What is not committed is decided again, and opens once.
func TestLostCommits(t *testing.T) {
	r := newRig(t)
	lost := 0
	r.refuse = func(x Transition) string {
		if lost++; lost <= 3 {
			return "leadership lost"
		}
		return ""
	}
	r.value["m@1"] = 0
	r.run(200)
	i := r.only()
	if i.Phase != Open || lost < 4 {
		t.Errorf("%+v after %d losses", i, lost)
	}
}

func TestRuleIsGone(t *testing.T) {
	r := newRig(t)
	r.receivers = nil
	r.value["m@1"] = 0
	r.run(60)
	r.rules[0].Disabled = true
	r.run(60)
	if i := r.only(); i.Phase != Resolved || !strings.Contains(i.Why, "gone or disabled") {
		t.Errorf("%+v", i)
	}
}

// A clock that jumps opens nothing by itself, and repeats nothing for ever.
func TestClock(t *testing.T) {
	r := newRig(t)
	r.rules[0].For = Duration(10 * time.Minute)
	r.value["m@1"] = 0
	r.run(60)
	r.now = r.now.Add(24 * time.Hour)
	r.run(60)
	r.want()
	r.now = r.now.Add(-24 * time.Hour)
	r.run(60)
	r.want()
	r.run(600)
	if len(r.incidents) != 1 || len(r.log) != 2 {
		t.Errorf("%v", r.log)
	}
	// An incident and its notification from a clock that was a year ahead.
	r = newRig(t)
	r.now = r.now.Add(365 * 24 * time.Hour)
	r.value["m@1"] = 0
	r.run(60)
	r.now = r.now.Add(-365 * 24 * time.Hour)
	r.log = nil
	r.run(5 * 3600)
	n := 0
	for _, line := range r.log {
		n += strings.Count(line, "is told: few m@1 open")
	}
	if n < 1 || n > 3 {
		t.Errorf("told %d times in 5 h: %v", n, r.log)
	}
}

// Alertmanager is reminded once a minute, and that is not committed.
func TestAlertmanagerIsReminded(t *testing.T) {
	r := newRig(t)
	r.receivers[0].Protocol = Alertmanager
	r.value["m@1"] = 0
	r.run(60)
	rev := r.rev
	r.log = nil
	r.run(600)
	if len(r.log) < 9 || len(r.log) > 10 || r.rev != rev {
		t.Errorf("%d commits: %v", r.rev-rev, r.log)
	}
}

// A step looks at so many conditions at most, and the next goes on.
func TestManyEvaluations(t *testing.T) {
	r := newRig(t)
	r.receivers, r.rules = nil, nil
	for i := range 120 {
		r.rules = append(r.rules, Rule{ID: fmt.Sprintf("r%03d", i), Expr: fmt.Sprintf(`last("skein_replicas_ready", "1m") < %d.0`, i), Over: OverVersion, Severity: Info, Annotations: Annotations{Summary: "x"}})
	}
	for i := range 1000 {
		r.store.Put(r.now, "skein_replicas_ready", series.Of("version", fmt.Sprintf("m@%d", i)), 118.5)
	}
	out := r.loop.Step(r.now, r.input())
	if len(out.Transitions) != 0 || !out.NextWake.Equal(r.now) {
		t.Errorf("%d transitions, next at %s", len(out.Transitions), out.NextWake)
	}
	out = r.loop.Step(r.now, r.input())
	if len(out.Transitions) != MaxTransitions {
		t.Errorf("%d transitions", len(out.Transitions))
	}
}

// Whatever happens: the same inputs give the same outputs, at most one incident of a subject is open, and what has arrived does not
// arrive again unless a leader died before it could say so.
func TestChaos(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		r.receivers = append(r.receivers, Receiver{ID: "quick", Protocol: Webhook, URL: "https://example.com/", Wait: Duration(time.Second), Repeat: Duration(5 * time.Minute), GroupBy: []string{"version"}})
		twin, err := NewLoop(Config{})
		if err != nil {
			t.Fatal(err)
		}
		died, lossy := false, rapid.IntRange(0, 3).Draw(t, "loss")
		dice := uint64(rapid.IntRange(1, 1<<30).Draw(t, "dice"))
		roll := func(n uint64) uint64 {
			dice = dice*6364136223846793005 + 1442695040888963407
			return dice >> 33 % n
		}
		r.refuse = func(Transition) string {
			if lossy > 0 && roll(5) == 0 {
				return "lost"
			}
			return ""
		}
		r.receive = func(n Notification) *Sent {
			switch k := roll(6); {
			case lossy > 1 && k == 0:
				return &Sent{ID: n.ID, Failed: "500"}
			case lossy > 2 && k == 1:
				died = true
				r.arrived[n.ID]++
				return nil
			}
			return &Sent{ID: n.ID}
		}
		for range rapid.IntRange(1, 12).Draw(t, "acts") {
			switch rapid.IntRange(0, 5).Draw(t, "act") {
			case 0, 1, 2:
				r.value[fmt.Sprintf("m@%d", roll(3))] = float64(roll(2))
			case 3:
				if lossy > 0 {
					r.restart()
					died = true
					if twin, err = NewLoop(Config{}); err != nil {
						t.Fatal(err)
					}
				}
			case 4:
				r.rules[0].Disabled = !r.rules[0].Disabled
			case 5:
				r.now = r.now.Add(time.Duration(roll(1000)) * time.Second)
			}
			for range rapid.IntRange(1, 200).Draw(t, "seconds") {
				r.now = r.now.Add(time.Second)
				for _, v := range sortedKeys(r.value) {
					r.store.Put(r.now, "skein_replicas_ready", series.Of("version", v), r.value[v])
				}
				sent, failed := r.sent, r.failed
				in := r.input()
				want := twin.Step(r.now, in)
				r.sent, r.failed = sent, failed
				if got := r.step(); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("two loops differ:\n%+v\n%+v", got, want)
				}
				open := map[string]int{}
				for _, i := range r.incidents {
					if i.Phase == Open {
						if open[i.fingerprint()]++; open[i.fingerprint()] > 1 && lossy == 0 {
							t.Fatalf("%s is open twice", subjectOf(i))
						}
					}
				}
			}
		}
		for id, n := range r.arrived {
			if n > 1 && !died {
				t.Fatalf("%s arrived %d times:\n%s", id, n, strings.Join(r.log, "\n"))
			}
		}
	})
}

func TestTry(t *testing.T) {
	s := series.New(0, 0)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 7200 {
		v := 1.0
		if i >= 3600 && i < 4500 || i >= 6600 {
			v = 0
		}
		s.Put(start.Add(time.Duration(i)*time.Second), "skein_replicas_ready", series.Of("version", "m@1"), v)
	}
	r := newRig(t).rules[0]
	r.Expr = `max("skein_replicas_ready", "1m") < 1.0`
	got, err := try(t, &r, s, start, start.Add(2*time.Hour))
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []struct{ opened, ended int }{{3690, 4560}, {6690, 0}} {
		opened, ended := int(got[i].Opened.At().Sub(start).Seconds()), 0
		if got[i].Ended > 0 {
			ended = int(got[i].Ended.At().Sub(start).Seconds())
		}
		if abs(opened-want.opened) > 60 || abs(ended-want.ended) > 60 {
			t.Errorf("incident %d from %d to %d, want %+v", i, opened, ended, want)
		}
	}
	if _, err := try(t, &r, s, start, start); err == nil {
		t.Error("an empty time is taken")
	}
}

// try runs a trial a little at a time; the slices make no difference.
func try(t *testing.T, r *Rule, s *series.Store, from, to time.Time) (out []Incident, err error) {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	for i, slice := range []int{1 << 30, 7, 1} {
		trial, err := c.Try(r, s, from, to)
		if err != nil {
			return nil, err
		}
		for !trial.Go(slice) {
		}
		if got := trial.Incidents(); i > 0 && !reflect.DeepEqual(got, out) {
			t.Errorf("in slices of %d: %+v, not %+v", slice, got, out)
		}
		out = trial.Incidents()
	}
	return out, nil
}

func abs(n int) int { return max(n, -n) }

func TestReceivers(t *testing.T) {
	good := Receiver{ID: "a", Protocol: Webhook, URL: "https://example.com/"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, break_ := range []func(*Receiver){
		func(r *Receiver) { r.ID = "A b" }, func(r *Receiver) { r.Protocol = "pigeon" }, func(r *Receiver) { r.URL = "file:///etc/passwd" },
		func(r *Receiver) { r.URL = "https://a b/" }, func(r *Receiver) { r.GroupBy = []string{"a-b"} }, func(r *Receiver) { r.Repeat = Duration(time.Second) },
		func(r *Receiver) { r.Wait = Duration(2 * time.Hour) },
	} {
		r := good
		if break_(&r); r.Validate() == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

// benchmarkRules evaluates n rules once, with programs compiled and windows of five minutes at one point a second.
func BenchmarkRules(b *testing.B) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	store := series.New(0, 0)
	const tenants, versions = 2000, 10
	for range 320 {
		now = now.Add(time.Second)
		for i := range tenants {
			store.Add(now, requests, series.Of("tenant", fmt.Sprintf("t%d", i), "version", fmt.Sprintf("m@%d", i%versions), "outcome", "ok"), 3)
		}
		for i := range versions {
			var h series.Histogram
			for k := range 8 {
				h.Add(int64(50 * k * k))
			}
			store.Observe(now, "gen_ai_server_request_duration_seconds", series.Of("version", fmt.Sprintf("m@%d", i)), &h)
		}
	}
	for _, x := range []struct {
		name string
		rule func(i int) Rule
	}{
		{"each its own tenant", func(i int) Rule {
			return Rule{Over: OverTenant, Expr: fmt.Sprintf(`rate("skein_gateway_requests_total", "5m") > %d.5`, 100+i/2000), Where: series.Match{{Name: "tenant", Values: []string{fmt.Sprintf("t%d", i%tenants)}}}}
		}},
		{"each over ten versions", func(i int) Rule {
			return Rule{Over: OverVersion, Expr: fmt.Sprintf(`p("gen_ai_server_request_duration_seconds", 0.%02d, "5m") > 99.0`, 1+i%99)}
		}},
	} {
		b.Run(x.name, func(b *testing.B) {
			loop, err := NewLoop(Config{})
			if err != nil {
				b.Fatal(err)
			}
			in := Input{Term: 1, Series: store}
			for i := range 10_000 {
				r := x.rule(i)
				r.ID, r.Severity, r.Annotations = fmt.Sprintf("r%05d", i), Info, Annotations{Summary: "x"}
				in.Rules = append(in.Rules, r)
			}
			at := now
			for b.Loop() {
				at = at.Add(15 * time.Second)
				if out := loop.Step(at, in); len(out.Transitions) > 0 || len(out.Notes) > 0 || !out.NextWake.Equal(at.Add(15*time.Second)) {
					b.Fatalf("%+v", out)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/10000rules")
		})
	}
}
