package fleettest

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gateway/follower"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// Gateway is a gateway with its listener: on a coordinator, or alone.
type Gateway struct {
	*gateway.Server
	URL string
	ID  cluster.NodeID
	Dir string // of usage that could not be settled

	fleet   *Fleet
	name    string
	member  wire.Membership // of one that is alone
	http    *httptest.Server
	crashed atomic.Bool
	running sync.WaitGroup
	stops   []func() // first what ends first
	live    *live.State
}

// Gateway starts a stand-alone gateway, and waits until it is a member.
func (f *Fleet) Gateway(name string, cfg gateway.Config) *Gateway {
	f.t.Helper()
	g := &Gateway{fleet: f, name: name, Dir: filepath.Join(f.dir, name), member: f.Enrol(cluster.RoleGateway, name)}
	g.ID = g.member.ID
	g.Start(cfg)
	return g
}

// Start starts a stand-alone gateway, for the first time or again.
func (g *Gateway) Start(cfg gateway.Config) {
	f := g.fleet
	f.t.Helper()
	d := f.Dialer(g.member)
	fol := follower.New(d, g.member.Coordinators, Log())
	following, stop := context.WithCancel(context.Background())
	g.running.Go(func() { fol.Run(following) })
	creds, err := wire.NewCredentials(g.member.Papers)
	if err != nil {
		f.t.Fatal(err)
	}
	upkeep := func() cluster.Upkeep { return telemetry.Upkeep(f.dir, creds.Ends()) }
	g.serve(cfg, fol.Live(), fol, d, gateway.Account{Settler: fol, Upkeep: upkeep})
	g.running.Go(func() { fol.Enlist(following, g.ID, g.name, g.http.Listener.Addr().String()) })
	g.stops = append(g.stops, stop)
	Within(f.t, g.name+" is a member", func() bool { _, ok := fol.Live().Now().Member(g.ID); return ok })
}

// GatewayOn starts the gateway of a coordinator.
func (f *Fleet) GatewayOn(c *Coordinator, cfg gateway.Config) *Gateway {
	f.t.Helper()
	g := &Gateway{fleet: f, name: c.Config.Name, Dir: filepath.Join(c.Config.Dir, "usage"), ID: c.ID()}
	g.serve(cfg, c.Live(), c.Server, c.Dialer(), gateway.Account{Settler: c.Server})
	return g
}

// mortal settles until its gateway has crashed.
type mortal struct {
	gateway.Settler
	crashed *atomic.Bool
}

var errCrashed = errors.New("fleettest: the gateway has crashed")

func (m mortal) Settle(ctx context.Context, r *wire.SettleRequest) error {
	if m.crashed.Load() {
		return errCrashed
	}
	return m.Settler.Settle(ctx, r)
}

// mortalDepot takes what comes until its gateway has crashed.
type mortalDepot struct {
	gateway.Depot
	crashed *atomic.Bool
}

func (m mortalDepot) Commit(ctx context.Context, r *wire.CommitRequest) (*wire.CommitResponse, error) {
	if m.crashed.Load() {
		return nil, errCrashed
	}
	return m.Depot.Commit(ctx, r)
}

func (g *Gateway) serve(cfg gateway.Config, state *live.State, library gateway.Library, d *wire.Dialer, account gateway.Account) {
	f := g.fleet
	f.t.Helper()
	var err error
	if g.Server, err = gateway.New(cfg, state, library, d, Log()); err != nil {
		f.t.Fatal(err)
	}
	g.live = state
	g.crashed.Store(false)
	mux := http.NewServeMux()
	g.Server.Register(mux)
	g.http = httptest.NewServer(mux)
	g.URL = g.http.URL
	keeper := account.Settler.(gateway.Keeper) // a coordinator, or the way to one
	account.Gateway, account.Settler, account.Dir = g.ID, mortal{account.Settler, &g.crashed}, g.Dir
	settling, last := context.WithCancel(context.Background())
	settled := make(chan struct{})
	g.running.Go(func() {
		defer close(settled)
		if err := g.Server.Settle(settling, account); err != nil && !g.crashed.Load() {
			f.t.Errorf("%s: %v", g.name, err)
		}
	})
	g.running.Go(func() { g.Server.Guard(settling) })
	g.running.Go(func() {
		g.Server.RunBatches(settling, gateway.Works{Gateway: g.ID, Depot: mortalDepot{library.(gateway.Depot), &g.crashed}})
	})
	g.running.Go(func() {
		archive := gateway.Archive{Gateway: g.ID, Keeper: keeper, Dir: g.Dir + "-records"}
		if err := g.Server.KeepRecords(settling, archive); err != nil {
			f.t.Errorf("%s: %v", g.name, err)
		}
	})
	g.stops = []func(){func() { last(); <-settled }}
	f.t.Cleanup(g.Stop)
}

// State is the newest state as this gateway knows it.
func (g *Gateway) State() cluster.State { return g.live.Now() }

// Live is where the newest state comes to.
func (g *Gateway) Live() *live.State { return g.live }

// Stop stops the gateway as a program does: requests end, then it settles, then it follows the state no more.
func (g *Gateway) Stop() {
	if g.stops == nil {
		return
	}
	g.http.CloseClientConnections()
	g.http.Close()
	for _, stop := range g.stops {
		stop()
	}
	g.stops = nil
	g.running.Wait()
}

// Crash stops the gateway without a word: nobody hears what it had not settled, and its disk is gone.
func (g *Gateway) Crash() {
	g.crashed.Store(true)
	g.Stop()
	if err := os.RemoveAll(g.Dir); err != nil {
		g.fleet.t.Error(err)
	}
}

// Publish puts the example model into the library, and a deployment of a number of replicas.
func (f *Fleet) Publish(name string, replicas int) cluster.VersionID {
	f.t.Helper()
	_, file, _, _ := runtime.Caller(0)
	folder := filepath.Join(filepath.Dir(file), "..", "..", "examples", "calc")
	leader := f.Leader()
	var holders []cluster.NodeID
	keepers := f.Running()[:min(2, len(f.Running()))]
	for _, c := range keepers {
		holders = append(holders, c.ID())
	}
	put := func(b []byte) blob.Digest {
		x := blob.Of(b)
		for _, c := range keepers {
			missing, err := c.BeginBlob(x)
			for _, chunk := range missing {
				if err == nil {
					err = c.WriteChunk(x.Digest(), chunk, b[chunk*blob.ChunkSize:min(len(b), (chunk+1)*blob.ChunkSize)])
				}
			}
			if err != nil {
				f.t.Fatal(err)
			}
		}
		return x.Digest()
	}
	sources := map[string]convert.Source{}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			f.t.Fatal(err)
		}
		sources[name] = convert.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: put(b)}
	}
	made, err := convert.Folder(sources)
	if err != nil {
		f.t.Fatal(err)
	}
	m := made.Manifest
	for _, b := range made.Derived {
		put(b)
	}
	v := cluster.VersionID{Model: name, Number: 1}
	tasks := make([]string, len(m.Tasks))
	for i, task := range m.Tasks {
		tasks[i] = string(task)
	}
	f.Do(leader, cluster.PutVersion{Version: cluster.Version{VersionID: v, Manifest: put(model.Encode(m)), Profile: shard.ProfileOf(m), Holders: holders, Tasks: tasks}}) // the first version takes the alias too
	if replicas > 0 {
		f.Do(leader, cluster.PutDeployment{Deployment: cluster.Deployment{Version: v, Replicas: replicas, Serving: shard.Serving{Slots: 8, Context: 32}}})
		Within(f.t, name+" is served", func() bool {
			ready := 0
			for r := range leader.Live().Now().ReplicasOf(v) {
				if r.Status == cluster.Ready {
					ready++
				}
			}
			return ready == replicas
		})
	}
	return v
}
