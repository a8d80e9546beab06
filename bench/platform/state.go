package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/wire"
)

// applyGoal is how many commands a second a coordinator should apply.
const applyGoal = 20_000

// entries of a run of commands: each kind is applied to the same state in turn with the small one.
const (
	entriesOf = 64
	timesOf   = 8 // that those entries are applied at once
	turnsOf   = 7 // in a round
)

// command is a kind whose speed is measured. make gives the n-th command for a state that n of them were applied to.
type command struct {
	name string
	goal float64 // commands a second; 0 = none: it is many changes in one
	make func(z size, s cluster.State, n int) cluster.Command
}

func commands() []command {
	return []command{
		{"place", applyGoal, func(_ size, s cluster.State, n int) cluster.Command {
			id := cluster.ReplicaID{Version: versionName(0, 1)}
			r, _ := s.Replica(id)
			return placement(id, r.Epoch+1, nodeName(0), 0)
		}},
		{"key", applyGoal, func(z size, _ cluster.State, n int) cluster.Command {
			name := fmt.Sprintf("sk-new-%d", n)
			return cluster.PutKey{Key: cluster.Key{ID: name, Tenant: tenantName(spread(n, z.tenants)), Hash: wire.SecretHash(name), Name: "rotated"}}
		}},
		{"alias", applyGoal, func(z size, s cluster.State, n int) cluster.Command {
			a, _ := s.Alias(modelName(spread(n, z.models)))
			return cluster.PutAlias{Name: a.Name, Target: cluster.VersionID{Model: a.Target.Model, Number: 3 - a.Target.Number}, Was: a.Rev}
		}},
		{"settle", 0, func(z size, s cluster.State, n int) cluster.Command {
			last, _ := s.LastSettled(gatewayName(0))
			c := cluster.Settle{Gateway: gatewayName(0), Session: last.Session, Seq: last.Seq + 1}
			for i := range askedTenants {
				c.Asks = append(c.Asks, asks(spread(n*askedTenants+i, z.tenants))[i%2])
			}
			return c
		}},
		{"settle-and-bill", 0, func(z size, s cluster.State, n int) cluster.Command {
			last, _ := s.LastSettled(gatewayName(0))
			c := cluster.Settle{Gateway: gatewayName(0), Session: last.Session, Seq: last.Seq + 1}
			for i := range askedTenants {
				t := spread(n*askedTenants+i, z.tenants)
				c.Asks, c.Usage = append(c.Asks, asks(t)[i%2]), append(c.Usage, z.used(t, i%modelsOf))
			}
			return c
		}},
	}
}

// spread takes numbers to places of a table that are far apart.
func spread(n, among int) int { return n * 7919 % among }

// script is encoded entries of one command each, and the state that they are for.
type script struct {
	from    cluster.State
	entries [][]byte
}

func (z size) script(s cluster.State, c command) (script, error) {
	r := script{from: s}
	for n := range entriesOf {
		e := cluster.Envelope{V: cluster.EnvelopeFormat, At: start, Txns: []cluster.Txn{{Do: []cluster.Command{c.make(z, s, n)}, Asker: cluster.Asker{By: askedBy}}}}
		b, err := cluster.Encode(e)
		if err != nil {
			return r, err
		}
		r.entries = append(r.entries, b)
		var errs []error
		if s, errs = cluster.Apply(s, s.Index()+1, e); errs[0] != nil {
			return r, fmt.Errorf("%s: %w", c.name, errs[0])
		}
	}
	return r, nil
}

// apply decodes and applies the entries some times over. It gives commands per second of processor time.
func (r script) apply(times int) (float64, error) {
	took, err := busy(func() error {
		for range times {
			s := r.from
			for _, b := range r.entries {
				e, err := cluster.Decode(b)
				if err != nil {
					return err
				}
				var errs []error
				if s, errs = cluster.Apply(s, s.Index()+1, e); errs[0] != nil {
					return errs[0]
				}
			}
		}
		return nil
	})
	return float64(times*len(r.entries)) / took.Seconds(), err
}

// state measures a large state beside a small one.
func (b *bench) state(ctx context.Context) (benchfile.Section, error) {
	s := benchfile.Section{Title: "A state of many tenants and models", How: []string{
		"Times are of the processor, all threads, garbage collection included, but for picks, which are by the clock.",
		fmt.Sprintf("%d tenants, each with grants, %d limits, %d keys, %d rows of the bill and leases at %d gateways; %d models with two versions, each with",
			b.size.tenants, len(limits()), keysOf, modelsOf, callersOf, b.size.models),
		"a ready replica on a node, and an alias with a canary. Commands are decoded and applied one per entry, with their audit record, in turn with",
		fmt.Sprintf("the same in a state of %d tenants and one model. A settlement asks about %d limits; with the bill it has as many rows of usage.", askedTenants, askedTenants),
		"A route table is derived only after a change of aliases, versions, deployments, replicas or nodes; \"unchanged\" is what any other entry costs.",
		"\"follow\" is what one gateway spends where it holds leases of all tenants: at once on its own settlements and on written limits, and on the",
		"settlements of other gateways so seldom that it takes a tenth of a processor at most."}}
	small := size{askedTenants, 1}
	many, err := b.size.build()
	if err != nil {
		return s, err
	}
	few, err := small.build()
	if err != nil {
		return s, err
	}
	for _, c := range commands() {
		large, err := b.size.script(many, c)
		if err != nil {
			return s, err
		}
		tiny, err := small.script(few, c)
		if err != nil {
			return s, err
		}
		var rates benchfile.Series
		for range b.rounds {
			if err := ctx.Err(); err != nil {
				return s, err
			}
			var at [2][]float64
			for range turnsOf {
				for side, r := range []script{large, tiny} {
					v, err := r.apply(timesOf)
					if err != nil {
						return s, err
					}
					at[side] = append(at[side], v)
				}
			}
			rates.AddPair(benchfile.Median(at[0]), benchfile.Median(at[1]))
		}
		record := rates.Record("apply/"+c.name, "commands/s", benchfile.Higher, "a small state")
		if c.goal > 0 {
			record = record.WithGoal(c.goal)
		}
		s.Records = append(s.Records, record)
	}
	snapshots, err := b.snapshots(many)
	if err != nil {
		return s, err
	}
	routes, err := b.routes(many)
	if err != nil {
		return s, err
	}
	follow, err := b.follow(many)
	s.Records = append(append(append(s.Records, snapshots...), routes...), follow)
	return s, err
}

// snapshots measures writing and reading the state.
func (b *bench) snapshots(s cluster.State) ([]benchfile.Record, error) {
	var size, write, read benchfile.Series
	for range b.rounds {
		var text bytes.Buffer
		took, err := busy(func() error { _, err := s.WriteTo(io.Discard); return err })
		if err != nil {
			return nil, err
		}
		write.Add(took.Seconds())
		n, err := s.WriteTo(&text)
		if err != nil {
			return nil, err
		}
		size.Add(float64(n) / (1 << 20))
		if took, err = busy(func() error { _, err := cluster.Read(&text); return err }); err != nil {
			return nil, err
		}
		read.Add(took.Seconds())
	}
	return []benchfile.Record{size.Record("snapshot/size", "MiB", benchfile.Lower, ""), write.Record("snapshot/write", "s", benchfile.Lower, ""),
		read.Record("snapshot/read", "s", benchfile.Lower, "")}, nil
}

// routes measures what a request looks up, and what a change of the routes costs a gateway.
func (b *bench) routes(s cluster.State) ([]benchfile.Record, error) {
	const picks, looks = 100, 1_000_000 // timed together: a clock takes as long as a pick
	table := router.TableOf(s)
	var names []string
	for i := range b.size.models {
		names = append(names, modelName(i))
	}
	load := func(p router.Placed) int { return p.Replica.Ordinal }
	var pick, derive, unchanged benchfile.Series
	draw := uint64(0)
	for range b.rounds {
		var all []float64
		for range 1000 {
			began := time.Now()
			for range picks {
				draw += 0x9E3779B97F4A7C15
				v, _, ok := table.Choose(names[draw%uint64(len(names))], "tenant-00007", draw)
				if !ok {
					return nil, fmt.Errorf("no model %s", names[draw%uint64(len(names))])
				}
				if _, err := table.Pick(v, load, nil, draw); err != nil {
					return nil, err
				}
			}
			all = append(all, float64(time.Since(began).Nanoseconds())/picks)
		}
		pick.Add(benchfile.Quantile(all, 0.5))
		took, err := busy(func() error { return kept(router.TableOf(s), s) })
		if err != nil {
			return nil, err
		}
		derive.Add(took.Seconds() * 1e3)
		took, err = busy(func() (err error) {
			for range looks {
				err = errors.Join(err, kept(table, s))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		unchanged.Add(float64(took.Nanoseconds()) / looks)
	}
	return []benchfile.Record{pick.Record("router/choose-and-pick/p50", "ns", benchfile.Lower, "").WithGoal(1000),
		derive.Record("router/table", "ms", benchfile.Lower, ""), unchanged.Record("router/table-unchanged", "ns", benchfile.Lower, "")}, nil
}

// kept fails if a gateway would derive a table anew.
func kept(t *router.Table, s cluster.State) error {
	if !t.Shows(s) {
		return errors.New("the table of the same state is old")
	}
	return nil
}

// follow measures what a gateway spends on the entry of another one: its purses take over the state.
func (b *bench) follow(s cluster.State) (benchfile.Record, error) {
	books := func(id quota.ID) (quota.Balance, quota.Limit, bool) {
		limit, ok := s.Limit(id)
		return s.Balance(id), limit, ok
	}
	till := quota.NewTill("gateway-99", math.MaxUint32)
	now := quota.Moment{Mono: time.Second, Wall: int64(start)}
	for i := range b.size.tenants {
		subject := cluster.TenantSubject(tenantName(i))
		var ids []quota.ID
		for _, l := range limits() {
			ids = append(ids, l.ID(subject))
		}
		if _, refused := till.Wallet(ids, books).Take(now, quota.Cost{Requests: 1, Tokens: 1, Concurrent: 1}); refused == nil {
			return benchfile.Record{}, fmt.Errorf("a purse that holds nothing pays for %s", subject)
		}
	}
	var took benchfile.Series
	for range b.rounds {
		spent, err := busy(func() error { till.Follow(quota.Mark{}, books); return nil })
		if err != nil {
			return benchfile.Record{}, err
		}
		took.Add(spent.Seconds() * 1e3)
	}
	return took.Record("gateway/follow", "ms", benchfile.Lower, ""), nil
}
