// Package monitor is the shell of the watching loop: it measures what a coordinator knows, and, where that leads, carries out what the loop decides.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/alert/act"
	"github.com/skein-project/skein/alert/kept"
	"github.com/skein-project/skein/alert/measure"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/notify"
	"github.com/skein-project/skein/series"
)

const (
	measureEvery = time.Second
	commitWait   = 10 * time.Second
	flowFor      = 5 * time.Second // that a gateway's word about requests under way counts
)

// Coordinator is what the monitor needs of the process that it runs in.
type Coordinator interface {
	// Facts are what is known now; of what is counted, since the last call.
	Facts() measure.Facts
	Live() *live.State
	// Term is that of its leadership, 0 while it does not lead.
	Term() uint64
	Propose(ctx context.Context, txns ...cluster.Txn) ([]*cluster.Rejected, error)
}

// Monitor measures and watches.
type Monitor struct {
	c      Coordinator
	loop   *alert.Loop
	sender *notify.Sender
	log    *slog.Logger

	store     *series.Store   // owned by Run
	measure   *measure.Sheets // owned by Run
	shelves   *shelves        // owned by Run
	known     map[subject]bool
	flows     map[flowKey]flowSeen
	news      chan alert.Input // what came of transitions and notifications
	questions chan func(*Monitor)
	trying    chan struct{} // capacity 1

	mu    sync.Mutex
	notes []alert.Note
}

type flowKey struct {
	gateway cluster.NodeID
	version cluster.VersionID
}

type flowSeen struct {
	running, waiting int
	at               time.Time
}

// New makes a monitor that knows nothing yet.
func New(c Coordinator, cfg alert.Config, sender *notify.Sender, log *slog.Logger) (*Monitor, error) {
	loop, err := alert.NewLoop(cfg)
	if err != nil {
		return nil, fmt.Errorf("make the watching loop: %w", err)
	}
	store := series.New(0, 0)
	return &Monitor{c: c, loop: loop, sender: sender, log: log, store: store, measure: measure.New(store), shelves: newShelves(), flows: map[flowKey]flowSeen{},
		news: make(chan alert.Input, 64), questions: make(chan func(*Monitor)), trying: make(chan struct{}, 1)}, nil
}

// Run measures once a second and steps the loop until ctx ends; then it waits for what is under way.
func (m *Monitor) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer m.sender.Wait()
	defer running.Wait()
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		var in alert.Input
		select {
		case <-ctx.Done():
			return
		case q := <-m.questions:
			q(m)
			continue
		case in = <-m.news:
		case now := <-tick.C:
			facts := m.c.Facts()
			facts.Flows = m.under(now, facts.Demand)
			if err := m.measure.Put(now, facts); err != nil {
				m.log.Debug("some measurements were not taken", "err", err)
			}
			m.forget(facts.State)
		}
		for more := true; more; {
			select {
			case n := <-m.news:
				in.Sent, in.Failed = append(in.Sent, n.Sent...), append(in.Failed, n.Failed...)
			default:
				more = false
			}
		}
		m.step(ctx, &running, in)
	}
}

// under sums up the requests that are under way at each gateway, whoever's they are.
func (m *Monitor) under(now time.Time, demand []cluster.Demand) (out []measure.Flow) {
	fresh := map[flowKey]flowSeen{}
	for _, d := range demand {
		if d.Version.Model != "" {
			k := flowKey{d.Gateway, d.Version}
			f := fresh[k]
			fresh[k] = flowSeen{f.running + d.Running, f.waiting + d.Waiting, now}
		}
	}
	maps.Copy(m.flows, fresh)
	for k, seen := range m.flows {
		if now.Sub(seen.at) > flowFor {
			seen.running, seen.waiting = 0, 0 // said once more as nothing, then forgotten
			delete(m.flows, k)
		}
		out = append(out, measure.Flow{Gateway: k.gateway, Version: k.version, Running: seen.running, Waiting: seen.waiting})
	}
	return out
}

// forget drops the series of what was deleted, so that nobody waits for it.
func (m *Monitor) forget(state cluster.State) {
	now := subjects(state)
	for s := range m.known {
		if !now[s] {
			m.store.Forget(series.Match{{Name: s.label, Values: []string{s.value}}})
		}
	}
	m.known = now
}

// subject is what series are of.
type subject struct{ label, value string }

// subjects are the tenants, versions, nodes, gateways and coordinators of a state. A node's, or any member's, disk is called a node.
func subjects(state cluster.State) map[subject]bool {
	out := map[subject]bool{{"tenant", cluster.DefaultTenant}: true}
	for t := range state.Tenants() {
		out[subject{"tenant", t.ID}] = true
	}
	for v := range state.Versions() {
		out[subject{"version", v.VersionID.String()}] = true
	}
	for n := range state.Nodes() {
		out[subject{"node", n.Name}], out[subject{"Hostname", n.Name}], out[subject{"member", n.Name}] = true, true, true
	}
	for x := range state.Members() {
		out[subject{"gateway", x.Name}], out[subject{"member", x.Name}], out[subject{"node", x.Name}] = true, true, true
		if x.Role == cluster.RoleCoordinator {
			out[subject{"coordinator", x.Name}] = true
		}
	}
	return out
}

// step lets the loop decide, and carries out what it says.
func (m *Monitor) step(ctx context.Context, running *sync.WaitGroup, news alert.Input) {
	state := m.c.Live().Now()
	in, bad := m.shelves.input(state)
	in.Term, in.Series, in.Sent, in.Failed = m.c.Term(), m.store, news.Sent, news.Failed
	out := m.loop.Step(time.Now(), in)
	notes := out.Notes
	for _, err := range bad {
		notes = append(notes, alert.Note{Subject: "alert documents", Why: err.Error()})
	}
	m.mu.Lock()
	m.notes = notes
	m.mu.Unlock()
	if len(out.Transitions) > 0 || len(out.Forget) > 0 {
		running.Go(func() { m.commit(ctx, state, out) })
	}
	m.sender.Go(ctx, out.Notifications, func(s alert.Sent) { m.tell(ctx, alert.Input{Sent: []alert.Sent{s}}) })
}

func (m *Monitor) tell(ctx context.Context, in alert.Input) {
	select {
	case m.news <- in:
	case <-ctx.Done():
	}
}

// commit proposes what changed of the incidents, each with what it has done.
func (m *Monitor) commit(ctx context.Context, state cluster.State, out alert.Output) {
	ctx, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	var txns []cluster.Txn
	var of []alert.Transition
	var failed []alert.Failure
	for _, t := range out.Transitions {
		txn, err := transition(state, t)
		if err != nil {
			failed = append(failed, alert.Failure{Incident: t.Incident.ID, Why: err.Error()})
			continue
		}
		txns, of = append(txns, txn), append(of, t)
	}
	for _, i := range out.Forget {
		id := cluster.DocumentID{Kind: cluster.Incident, ID: i.ID}
		txns = append(txns, cluster.Txn{Do: []cluster.Command{cluster.DeleteDocument{ID: id, Was: cluster.Index(i.Rev)}}})
	}
	for from := 0; from < len(txns); from += cluster.MaxTxns {
		rejected, err := m.c.Propose(ctx, txns[from:min(len(txns), from+cluster.MaxTxns)]...)
		if err != nil {
			m.log.Warn("incidents are not committed", "err", err)
			break // they come again
		}
		for i, r := range rejected {
			if at := from + i; r != nil && at < len(of) && of[at].Act != nil && r.Reason != cluster.ReasonStale {
				failed = append(failed, alert.Failure{Incident: of[at].Incident.ID, Why: r.Error()})
			}
		}
	}
	if len(failed) > 0 {
		m.tell(ctx, alert.Input{Failed: failed})
	}
}

// transition is a change of an incident with what it has done, as one transaction.
func transition(state cluster.State, t alert.Transition) (cluster.Txn, error) {
	doc, err := kept.Document(cluster.Incident, t.Incident.ID, t.Incident)
	if err != nil {
		return cluster.Txn{}, err
	}
	txn := cluster.Txn{Do: []cluster.Command{cluster.PutDocument{Document: doc, Was: cluster.Index(t.Incident.Rev)}}}
	if t.Act == nil {
		return txn, nil
	}
	commands, err := act.Commands(state, *t.Act)
	if err != nil {
		return txn, err
	}
	txn.Do = append(txn.Do, commands...)
	txn.By = "alert " + t.Act.Rule
	return txn, nil
}

// Notes are the reasons that the loop gives now.
func (m *Monitor) Notes() []alert.Note {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.notes
}

// ErrStopped says that the monitor does not run.
var ErrStopped = errors.New("monitor: it is stopping")

// ask puts a question to the goroutine that owns the series.
func ask[T any](ctx context.Context, m *Monitor, question func(*Monitor) T) (answer T, err error) {
	got := make(chan T, 1)
	select {
	case m.questions <- func(m *Monitor) { got <- question(m) }:
		return <-got, nil
	case <-ctx.Done():
		return answer, errors.Join(ErrStopped, ctx.Err())
	}
}

// tried is an answer with its error.
type tried[T any] struct {
	value T
	err   error
}

// Check says with *alert.Invalid why a rule is refused.
func (m *Monitor) Check(ctx context.Context, r alert.Rule) error {
	err, stopped := ask(ctx, m, func(m *Monitor) error { return m.loop.Compiler().Check(&r) })
	return errors.Join(err, stopped)
}

// Limits of trying a rule.
const (
	tryFor   = 30 * time.Second
	trySlice = 64 // evaluations, between which everything else goes on
)

// ErrTried says that trying a rule took too long.
var ErrTried = errors.New("monitor: trying the rule takes too long: ask about less time, or fewer subjects")

// Try says which incidents a rule would have had. One rule is tried at a time.
func (m *Monitor) Try(ctx context.Context, r alert.Rule, from, until time.Time) ([]alert.Incident, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tryFor, ErrTried)
	defer cancel()
	select {
	case m.trying <- struct{}{}:
		defer func() { <-m.trying }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	begun, err := ask(ctx, m, func(m *Monitor) tried[*alert.Trial] {
		t, err := m.loop.Compiler().Try(&r, m.store, from, until)
		return tried[*alert.Trial]{t, err}
	})
	if err := errors.Join(begun.err, err); err != nil {
		return nil, err
	}
	for over := false; !over; {
		if over, err = ask(ctx, m, func(*Monitor) bool { return begun.value.Go(trySlice) }); err != nil {
			return nil, context.Cause(ctx)
		}
	}
	return begun.value.Incidents(), nil
}

// Prometheus writes rules as a Prometheus rule file.
func (m *Monitor) Prometheus(ctx context.Context, rules []alert.Rule) ([]byte, error) {
	out, stopped := ask(ctx, m, func(m *Monitor) tried[[]byte] {
		text, err := m.loop.Compiler().Prometheus(rules)
		return tried[[]byte]{text, err}
	})
	return out.value, errors.Join(out.err, stopped)
}

// Range gives curves of a family.
func (m *Monitor) Range(ctx context.Context, family string, match series.Match, from, until time.Time, step time.Duration) ([]series.Curve, error) {
	out, stopped := ask(ctx, m, func(m *Monitor) tried[[]series.Curve] {
		list, err := m.store.Range(family, match, from, until, step)
		return tried[[]series.Curve]{list, err}
	})
	return out.value, errors.Join(out.err, stopped)
}

// Test sends a receiver a notification that is only a test, and waits for what comes of it.
func (m *Monitor) Test(ctx context.Context, r alert.Receiver) alert.Sent {
	now := time.Now()
	incident := alert.Incident{ID: "test-" + now.UTC().Format("20060102T150405"), Rule: "test", Severity: alert.Info, Labels: series.Of("alertname", "test"),
		Phase: alert.Open, Opened: alert.Millis(now.UnixMilli()), Summary: "This is a test of the receiver " + r.ID}
	return m.sender.Send(ctx, alert.Notification{ID: incident.ID, Receiver: r, Attempt: 1, Incidents: []alert.Incident{incident}})
}
