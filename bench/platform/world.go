package main

import (
	"fmt"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/wire"
)

// askedBy is whose changes are on record.
const askedBy = "key sk-admin of default"

// size is how much a state holds.
type size struct{ tenants, models int }

// What a state holds beside tenants and models.
const (
	gateways     = 10
	keysOf       = 2   // of a tenant
	modelsOf     = 10  // that a tenant calls: rows of its bill
	callersOf    = 2   // gateways that hold something of a tenant's limits
	askedTenants = 16  // that one settlement of the benchmarks asks about
	perEntry     = 256 // commands
)

// start is the time of every entry: 2026-03-01.
const start cluster.Millis = 1_772_323_200_000

// world is a state in the making.
type world struct {
	state  cluster.State
	queued []cluster.Command
	err    error
}

// do applies commands, many in an entry.
func (w *world) do(list ...cluster.Command) {
	w.queued = append(w.queued, list...)
	if len(w.queued) >= perEntry {
		w.flush()
	}
}

func (w *world) flush() {
	if w.err != nil || len(w.queued) == 0 {
		return
	}
	e := cluster.Envelope{V: cluster.EnvelopeFormat, At: start}
	for _, c := range w.queued {
		e.Txns = append(e.Txns, cluster.Txn{Do: []cluster.Command{c}, Asker: cluster.Asker{By: askedBy}})
	}
	var errs []error
	w.state, errs = cluster.Apply(w.state, w.state.Index()+1, e)
	for i, err := range errs {
		if err != nil && w.err == nil {
			w.err = fmt.Errorf("%+v: %w", w.queued[i], err)
		}
	}
	w.queued = w.queued[:0]
}

// Names of what a state holds.
func tenantName(i int) string      { return fmt.Sprintf("tenant-%05d", i) }
func keyName(tenant, i int) string { return fmt.Sprintf("sk-%05d-%d", tenant, i) }
func modelName(i int) string       { return fmt.Sprintf("team-%d/model-%04d", i%10, i) }
func versionName(model, number int) cluster.VersionID {
	return cluster.VersionID{Model: modelName(model), Number: number}
}
func gatewayName(i int) cluster.NodeID { return cluster.NodeID(fmt.Sprintf("gateway-%02d", i)) }
func nodeName(i int) cluster.NodeID    { return cluster.NodeID(fmt.Sprintf("node-%04d", i)) }

// What versions are, and how they are served.
func profile() shard.Profile { return shard.Profile{Positions: 4096, Blocks: make([]gpu.Bytes, 32)} }
func serving() shard.Serving { return shard.Serving{Slots: 16, Context: 4096} }

// build makes a state in which every tenant has grants, limits, keys and a bill, and every model two versions that answer, an alias with a
// canary, and a description.
func (z size) build() (cluster.State, error) {
	w := &world{}
	w.do(cluster.Init{ID: "bench", Feature: cluster.Feature},
		cluster.PutMember{Member: cluster.Member{ID: "c1", Role: cluster.RoleCoordinator, Addr: "c1:1"}})
	for i := range gateways {
		w.do(cluster.PutMember{Member: cluster.Member{ID: gatewayName(i), Role: cluster.RoleGateway, Addr: "g:1"}})
	}
	w.do(cluster.PutLimits{Set: cluster.LimitSet{Subject: cluster.TotalSubject, Limits: limits()[:1]}})
	for i := range z.tenants {
		z.tenant(w, i)
	}
	for i := range z.models {
		z.model(w, i)
	}
	w.flush()
	for i := range z.models {
		a, _ := w.state.Alias(modelName(i))
		w.do(cluster.SetRollout{Name: a.Name, Was: a.Rev, Rollout: &cluster.Rollout{Canary: &cluster.Canary{
			Version: versionName(i, 2), Percent: 10, Tenants: []string{tenantName(1), tenantName(2), tenantName(3)}}}})
	}
	z.settle(w)
	w.flush()
	return w.state, w.err
}

func limits() []cluster.Limited {
	return []cluster.Limited{
		{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Second, Amount: 1000}},
		{Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Minute, Amount: 10_000_000}},
		{Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Month, Amount: 1 << 40}},
		{Limit: quota.Limit{Meter: quota.Concurrent, Amount: 100}},
	}
}

func (z size) tenant(w *world, i int) {
	id := tenantName(i)
	w.do(cluster.PutTenant{Tenant: cluster.Tenant{ID: id, Name: "Business system", Weight: 100, Models: []string{"team-1/*", "team-2/*", modelName(i % z.models)}}},
		cluster.PutLimits{Set: cluster.LimitSet{Subject: cluster.TenantSubject(id), Limits: limits()}})
	for k := range keysOf {
		name := keyName(i, k)
		w.do(cluster.PutKey{Key: cluster.Key{ID: name, Tenant: id, Hash: wire.SecretHash(name), Name: "production"}})
	}
}

// model puts two versions of a model and a ready replica of each on a node of its own.
func (z size) model(w *world, i int) {
	node := nodeName(i)
	n := cluster.Node{ID: node, Addr: "n:1"}
	for d := range 2 {
		n.Devices = append(n.Devices, gpu.Device{ID: gpu.DeviceID(fmt.Sprintf("%s-%d", node, d)), Kind: gpu.Host, Memory: gpu.GiB})
	}
	w.do(cluster.PutNode{Node: n})
	for number := 1; number <= 2; number++ {
		v := versionName(i, number)
		w.do(cluster.PutVersion{Version: cluster.Version{VersionID: v, Manifest: blob.Digest{1}, Holders: []cluster.NodeID{"c1"}, Profile: profile()}},
			cluster.PutDeployment{Deployment: cluster.Deployment{Version: v, Replicas: 1, Serving: serving()}},
			placement(cluster.ReplicaID{Version: v}, 1, node, number-1),
			cluster.MarkReplica{ID: cluster.ReplicaID{Version: v}, Epoch: 1, Status: cluster.Ready, Endpoints: []string{"w:1"}})
	}
	w.do(cluster.PutModel{Model: cluster.Model{Name: modelName(i), Description: "Sorts letters by what they ask for.", Tags: []string{"text"}}})
}

func placement(id cluster.ReplicaID, epoch cluster.Epoch, node cluster.NodeID, device int) cluster.PlaceReplica {
	return cluster.PlaceReplica{Was: epoch - 1, Replica: cluster.Replica{ReplicaID: id, Epoch: epoch, Status: cluster.Loading, Serving: serving(),
		Stages: []cluster.StagePlace{{Span: shard.Span{To: len(profile().Blocks)}, Node: node, Device: gpu.DeviceID(fmt.Sprintf("%s-%d", node, device)), Reserve: gpu.MiB}}}}
}

// settle lets every tenant have called some models, at some gateways that hold a part of its limits.
func (z size) settle(w *world) {
	const atOnce = 100 // tenants of a settlement
	seqs := map[int]uint64{}
	for from := 0; from < z.tenants; from += atOnce {
		for caller := range callersOf {
			g := (from/atOnce + caller) % gateways
			seqs[g]++
			c := cluster.Settle{Gateway: gatewayName(g), Session: 1, Seq: seqs[g]}
			for i := from; i < min(from+atOnce, z.tenants); i++ {
				c.Asks = append(c.Asks, asks(i)...)
				for m := range modelsOf {
					c.Usage = append(c.Usage, z.used(i, m))
				}
			}
			w.do(c)
		}
	}
}

// asks is what a gateway wants to hold of a tenant's limits.
func asks(tenant int) (list []quota.Ask) {
	for _, l := range limits() {
		list = append(list, quota.Ask{ID: l.ID(cluster.TenantSubject(tenantName(tenant))), Start: l.Window.Start(int64(start)), Want: 10, Least: 1})
	}
	return list
}

// used is a row of what a tenant used of the m-th of its models.
func (z size) used(tenant, m int) cluster.Used {
	return cluster.Used{At: start, Tenant: tenantName(tenant), Key: keyName(tenant, 0), Version: versionName((tenant+m)%z.models, 1),
		Amounts: cluster.Amounts{Calls: 12, Prompt: 3400, Answer: 900, DeviceMs: 2100}}
}
