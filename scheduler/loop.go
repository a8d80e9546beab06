// Package scheduler is the leader's loop: it compares what the cluster should serve with what it holds, and says which commands close the gap.
//
// The caller, a coordinator, has these duties:
//
//  1. Call Step with whatever arrived, and at Output.NextWake at the latest. Term is 0 unless this coordinator leads and has applied every
//     entry of earlier terms.
//  2. Propose Output.Txns as one log entry and hand the outcome back in Input.Commits with the same Proposal number.
//  3. Have every coordinator, itself included, probe the nodes of Output.Probes, and hand each answer (or its absence after a timeout) back.
//  4. Answer each report of a node with Loop.Desired of the newest state, and send it to the nodes of Output.Refresh without being asked.
//  5. Show Output.Notes: they are the whole list of reasons that stand now.
package scheduler

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Config holds the loop's limits. A field that is 0 has its default.
type Config struct {
	LostAfter       time.Duration `json:"lost_after"`       // without a report, before failed probes count (default 3 s)
	ProbeEvery      time.Duration `json:"probe_every"`      // between probes of one silent node (default 1 s)
	SettleFor       time.Duration `json:"settle_for"`       // that a new leader waits for reports at most before it places anything (default 3 s)
	SettleShare     int           `json:"settle_share"`     // percent of the nodes not lost that must have reported to end that wait early: more than this (default 90)
	MaxStages       int           `json:"max_stages"`       // stages of a replica (default 16)
	Backoff         time.Duration `json:"backoff"`          // after a failed load, doubled with each further one (default 1 s)
	MaxBackoff      time.Duration `json:"max_backoff"`      // (default 60 s)
	FailureKept     time.Duration `json:"failure_kept"`     // that a replica avoids a device where it failed to load, if it can (default 5 min)
	Patience        time.Duration `json:"patience"`         // that a replica without a place keeps what is left of it (default 30 s)
	ProposalTimeout time.Duration `json:"proposal_timeout"` // that the loop waits for the outcome of a proposal (default 10 s)
	Record          int           `json:"record"`           // steps kept for replay at least (default 64)

	Hold     time.Duration `json:"hold"`      // of demand that is looked back at, and that a step down waits after any change; at least 6 s (default 60 s)
	Idle     time.Duration `json:"idle"`      // without a request, before a deployment with a minimum of 0 has no replica (default 5 min)
	Band     int           `json:"band"`      // percent more than the demand of the window that must still be served after a step down (default 25)
	LoadTime time.Duration `json:"load_time"` // that a load is believed to take until one was seen (default 15 s)
}

func (c Config) withDefaults() Config {
	return Config{
		LostAfter:       cmp.Or(c.LostAfter, 3*time.Second),
		ProbeEvery:      cmp.Or(c.ProbeEvery, time.Second),
		SettleFor:       cmp.Or(c.SettleFor, 3*time.Second),
		SettleShare:     cmp.Or(c.SettleShare, 90),
		MaxStages:       min(cmp.Or(c.MaxStages, 16), cluster.MaxStages),
		Backoff:         cmp.Or(c.Backoff, time.Second),
		MaxBackoff:      cmp.Or(c.MaxBackoff, time.Minute),
		FailureKept:     cmp.Or(c.FailureKept, 5*time.Minute),
		Patience:        cmp.Or(c.Patience, 30*time.Second),
		ProposalTimeout: cmp.Or(c.ProposalTimeout, 10*time.Second),
		Record:          cmp.Or(c.Record, 64),
		Hold:            max(cmp.Or(c.Hold, time.Minute), minHold),
		Idle:            cmp.Or(c.Idle, 5*time.Minute),
		Band:            cmp.Or(c.Band, 25),
		LoadTime:        cmp.Or(c.LoadTime, 15*time.Second),
	}
}

// minHold is the shortest Config.Hold: reports of gateways, one a second, must leave a trace in it.
const minHold = 6 * time.Second

// Input is what arrived since the last step, and the newest state.
type Input struct {
	State    cluster.State
	Term     uint64 // of this coordinator's leadership; 0 = it does not lead
	Reports  []cluster.Report
	Probes   []ProbeResult
	Suspects []cluster.NodeID // nodes that gossip misses: a hint to probe them now
	Commits  []Commit
	Demand   []cluster.Demand // of all gateways, in the order of their reports; a row without a version says only that its gateway is there
}

// ProbeRequest asks every coordinator to probe a node.
type ProbeRequest struct {
	Node  cluster.NodeID `json:"node"`
	Addr  string         `json:"addr"`
	Round uint64         `json:"round"` // to be returned with the result
}

// ProbeResult is what one coordinator found.
type ProbeResult struct {
	Node  cluster.NodeID `json:"node"`
	By    cluster.NodeID `json:"by"`
	Round uint64         `json:"round"`
	Alive bool           `json:"alive"`
}

// Commit is the outcome of a proposal.
type Commit struct {
	Proposal uint64        `json:"proposal"`
	Index    cluster.Index `json:"index"`            // of the entry; 0 if it was not committed, or nobody knows
	Rejected []string      `json:"rejected"`         // reasons of the transactions that Apply rejected
	Failed   string        `json:"failed,omitempty"` // why it was not committed
}

// Output is everything a step wants done.
type Output struct {
	Txns     []cluster.Txn // one log entry
	Proposal uint64        // number of that entry, to be returned in Commit
	Probes   []ProbeRequest
	Refresh  []cluster.NodeID // nodes whose Desired changed
	Notes    []Note           // by subject
	NextWake time.Time        // step at the latest then; zero = only when something arrives
}

// Note is a reason, in words, for something that is not as it was wished.
type Note struct {
	Subject string `json:"subject"` // kind and id, for example "deployment calc@1"
	Why     string `json:"why"`
}

// Loop is the decider. It is owned by one goroutine.
type Loop struct {
	config Config
	soft   soft
	tape   tape
}

// New makes a loop that knows nothing yet.
func New(c Config) *Loop {
	l := &Loop{config: c.withDefaults(), soft: newSoft()}
	l.tape.start(l.soft)
	return l
}

// Step decides. The same loop with the same inputs decides the same.
func (l *Loop) Step(now time.Time, in Input) Output {
	l.tape.add(l.config.Record, l.soft, Taken{Now: now, Input: in})
	return l.step(now, in)
}

func (l *Loop) step(now time.Time, in Input) Output {
	l.soft.follow(now, in.Term)
	if in.Term == 0 {
		return Output{}
	}
	d := &decision{Config: l.config, soft: &l.soft, now: now, was: in.State, state: in.State}
	d.absorb(in)
	if !d.pending() {
		d.nodes()
		d.quarantines()
		d.rollouts()
		if d.settled() {
			d.scale()
			d.replicas()
		}
	}
	d.watch()
	d.refresh()
	return d.output()
}

// Desired is what a node should hold, from the newest state and the endpoints that its peers reported.
func (l *Loop) Desired(s cluster.State, node cluster.NodeID) cluster.Desired {
	out := s.Desired(node, func(id cluster.ReplicaID, epoch cluster.Epoch, stage int) string {
		r, ok := s.Replica(id)
		if !ok || stage >= len(r.Stages) {
			return ""
		}
		h, _ := l.soft.held(r, stage)
		return h.Endpoint
	})
	out.Term = l.soft.Term
	return out
}

// decision is one step under way.
type decision struct {
	Config
	soft   *soft
	now    time.Time
	was    cluster.State // the newest state: revisions of records are its
	state  cluster.State // that state with the transactions so far: what the rest of the step builds on
	txns   []cluster.Txn
	probes []ProbeRequest
	fresh  []cluster.NodeID
	notes  []Note
	wake   time.Time
}

// do adds a transaction, unless Apply would reject it now: then the reason is noted.
func (d *decision) do(subject string, commands ...cluster.Command) bool {
	return d.propose(subject, cluster.Txn{Do: commands})
}

func (d *decision) propose(subject string, txn cluster.Txn) bool {
	if len(d.txns) == cluster.MaxTxns {
		d.wakeAt(d.now) // the rest comes with the next entry
		return false
	}
	next, errs := cluster.Apply(d.state, d.state.Index()+1, cluster.Envelope{V: 1, At: d.state.At(), Txns: []cluster.Txn{txn}})
	if errs[0] != nil {
		d.note(subject, errs[0].Error())
		return false
	}
	d.state = next
	d.txns = append(d.txns, txn)
	return true
}

func (d *decision) note(subject, why string) {
	d.notes = append(d.notes, Note{Subject: subject, Why: why})
}

func (d *decision) wakeAt(t time.Time) {
	if d.wake.IsZero() || t.Before(d.wake) {
		d.wake = t
	}
}

func (d *decision) output() Output {
	out := Output{Txns: d.txns, Probes: d.probes, Refresh: d.fresh, Notes: d.notes, NextWake: d.wake}
	if d.pending() {
		out.Notes = d.soft.Notes // nothing was decided: the reasons of the last decision stand
		return out
	}
	slices.SortStableFunc(out.Notes, func(a, b Note) int { return strings.Compare(a.Subject, b.Subject) })
	d.soft.Notes = out.Notes
	if len(out.Txns) > 0 {
		d.soft.Proposal++
		d.soft.Pending = d.soft.Proposal
		d.soft.PendingSince = d.now
		d.soft.PendingIndex = 0
		out.Proposal = d.soft.Proposal
		d.wakeAt(d.now.Add(d.ProposalTimeout))
		out.NextWake = d.wake
	}
	return out
}
