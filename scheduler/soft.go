package scheduler

import (
	"maps"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// soft is what a leader knows beside the state. It is lost with the leadership: the next leader hears it again from the nodes.
type soft struct {
	Term         uint64                   `json:"term"`
	Since        time.Time                `json:"since"` // when this coordinator began to lead
	Settled      bool                     `json:"settled"`
	Nodes        map[cluster.NodeID]sight `json:"nodes"`
	Failures     map[string]failure       `json:"failures"`      // by replica
	Refused      map[string]time.Time     `json:"refused"`       // by replica that lost its place: since when it finds no other
	Seats        map[string]seats         `json:"seats"`         // by replica: what its nodes were told last
	Notes        []Note                   `json:"notes"`         // of the last decision
	Proposal     uint64                   `json:"proposal"`      // number of the last one
	Pending      uint64                   `json:"pending"`       // number of the one under way, 0 = none
	PendingSince time.Time                `json:"pending_since"` // when it was made
	PendingIndex cluster.Index            `json:"pending_index"` // its entry, once known: the state must have reached it
	Hold         time.Time                `json:"hold"`          // no proposal before: the last one was rejected or lost
	Rounds       uint64                   `json:"rounds"`        // of probes so far

	Gateways map[cluster.NodeID]time.Time `json:"gateways"` // when each was last heard
	Flows    map[string]flow              `json:"flows"`    // by version whose replicas follow demand
	Watches  map[string][]side            `json:"watches"`  // by alias with a guard: what became of the requests for the versions that it looks at
	Looked   time.Time                    `json:"looked"`   // when demand was last looked at
}

// sight is what is known of one node.
type sight struct {
	Report   cluster.Report   `json:"report"`
	Heard    time.Time        `json:"heard"` // when the report came; zero = never in this term
	Old      []uint64         `json:"old"`   // sessions that a newer one has replaced, newest last
	Suspect  time.Time        `json:"suspect"`
	First    uint64           `json:"first"`     // round of probes since which nobody reached it
	Round    uint64           `json:"round"`     // the newest
	Asked    time.Time        `json:"asked"`     // when
	FailedBy []cluster.NodeID `json:"failed_by"` // coordinators that did not reach it since First
}

// failure remembers loads that failed.
type failure struct {
	Epoch   cluster.Epoch  `json:"epoch"` // of the placement that failed last
	Count   int            `json:"count"`
	Until   time.Time      `json:"until"` // no new placement before
	Last    time.Time      `json:"last"`
	Devices []gpu.DeviceID `json:"devices"` // where, newest last, at most maxFailedDevices
	Why     string         `json:"why"`
}

type seats struct {
	Rev   cluster.Index    `json:"rev"`
	Nodes []cluster.NodeID `json:"nodes"`
	Chain []string         `json:"chain"`
}

const (
	maxFailedDevices = 8 // devices of a failure that are remembered
	maxOldSessions   = 4 // sessions of a node whose late reports are known as such
)

func newSoft() soft {
	return soft{Nodes: map[cluster.NodeID]sight{}, Failures: map[string]failure{}, Refused: map[string]time.Time{}, Seats: map[string]seats{},
		Gateways: map[cluster.NodeID]time.Time{}, Flows: map[string]flow{}, Watches: map[string][]side{}}
}

// clone copies what a step may change.
func (s soft) clone() soft {
	s.Nodes, s.Failures, s.Refused, s.Seats = maps.Clone(s.Nodes), maps.Clone(s.Failures), maps.Clone(s.Refused), maps.Clone(s.Seats)
	s.Gateways, s.Flows, s.Watches = maps.Clone(s.Gateways), maps.Clone(s.Flows), maps.Clone(s.Watches)
	return s
}

// follow forgets everything when the leadership changes.
func (s *soft) follow(now time.Time, term uint64) {
	if term == s.Term {
		return
	}
	proposal, rounds := s.Proposal, s.Rounds
	*s = newSoft()
	s.Term, s.Since, s.Proposal, s.Rounds = term, now, proposal, rounds // numbers are not used twice, so late answers are known as such
}

// ids lists the nodes that were heard of, sorted.
func (s *soft) ids() []cluster.NodeID { return slices.Sorted(maps.Keys(s.Nodes)) }

// held finds a stage of a replica's placement in the newest report of its node. known is false if the node has not reported.
func (s *soft) held(r cluster.Replica, stage int) (h cluster.Held, known bool) {
	g := s.Nodes[r.Stages[stage].Node]
	if g.Heard.IsZero() {
		return cluster.Held{}, false
	}
	for _, h := range g.Report.Held {
		if h.Replica == r.ReplicaID && h.Epoch == r.Epoch && h.Stage == stage && h.Device == r.Stages[stage].Device {
			return h, true
		}
	}
	return cluster.Held{}, true
}

// absorb takes in what arrived.
func (d *decision) absorb(in Input) {
	s := d.soft
	for _, r := range in.Reports {
		s.hear(d.now, r)
	}
	for _, id := range in.Suspects {
		g := s.Nodes[id]
		g.Suspect = d.now
		s.Nodes[id] = g
	}
	for _, p := range in.Probes {
		g := s.Nodes[p.Node]
		if p.Round < g.First || p.Round > g.Round || g.Round == 0 {
			continue // an answer to a question of before
		}
		if p.Alive {
			g.First, g.FailedBy = g.Round+1, nil
		} else if !slices.Contains(g.FailedBy, p.By) {
			g.FailedBy = append(slices.Clone(g.FailedBy), p.By)
		}
		s.Nodes[p.Node] = g
	}
	d.demand(in.Demand)
	d.heed(in.Demand)
	for _, c := range in.Commits {
		if c.Proposal != s.Pending || c.Proposal == 0 {
			continue
		}
		if c.Index == 0 {
			s.Pending, s.Hold = 0, d.now.Add(d.Backoff)
			continue
		}
		s.PendingIndex = c.Index
		if len(c.Rejected) > 0 {
			s.Hold = d.now.Add(d.Backoff)
		}
	}
}

// hear keeps a report unless a newer one is known.
func (s *soft) hear(now time.Time, r cluster.Report) {
	g := s.Nodes[r.Node]
	if !g.Heard.IsZero() {
		if slices.Contains(g.Old, r.Session) || r.Session == g.Report.Session && r.Seq <= g.Report.Seq {
			return
		}
		if r.Session != g.Report.Session {
			g.Old = append(slices.Clone(g.Old), g.Report.Session)
			if len(g.Old) > maxOldSessions {
				g.Old = g.Old[1:]
			}
		}
	}
	g.Report, g.Heard, g.Suspect = r, now, time.Time{}
	g.First, g.Round, g.FailedBy = 0, 0, nil
	s.Nodes[r.Node] = g
}

// pending says that a proposal is under way, or that the loop must wait after one.
func (d *decision) pending() bool {
	s := d.soft
	if s.Pending != 0 && s.Pending == s.Proposal && s.PendingIndex != 0 && d.was.Index() >= s.PendingIndex {
		s.Pending = 0
	}
	if s.Pending != 0 {
		if end := s.PendingSince.Add(d.ProposalTimeout); d.now.Before(end) {
			d.wakeAt(end)
			return true
		}
		s.Pending = 0 // nobody knows: deciding again is safe, since Apply compares and sets
	}
	if d.now.Before(s.Hold) {
		d.wakeAt(s.Hold)
		return true
	}
	return false
}
