// Package devfleet runs a small fleet of real processes on this machine, for development and for tests.
package devfleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/gpu"
)

// Config of a fleet.
type Config struct {
	Bin          string        // folder of the programs; no default
	Dir          string        // folder of data and logs; no default. A fleet that was there before is started again
	Library      string        // path of libonnxruntime; default: the node looks for it
	Coordinators int           // default 3
	Nodes        int           // default 2
	Gateway      bool          // also a stand-alone gateway
	Devices      []string      // of each node, for example "host:2GiB"; no default
	LogLevel     string        // of the processes; default info
	Within       time.Duration // how long the fleet may take to be ready; default 2 min

	More func(name string) (args, env []string) // what a process gets beside, by its name; default nothing
}

// Fleet is a running fleet.
type Fleet struct {
	Key string // the first admin key

	cfg       Config
	ports     ports
	spawn     *spawner
	processes []*Process
	say       func(string)
}

// Start starts the fleet and waits until every member is there. say is told what happens. A fleet that does not come up is stopped again.
func Start(ctx context.Context, cfg Config, say func(string)) (*Fleet, error) {
	f := &Fleet{cfg: cfg, spawn: newSpawner(), say: say}
	if f.cfg.Coordinators == 0 {
		f.cfg.Coordinators = 3
	}
	if f.cfg.Nodes == 0 {
		f.cfg.Nodes = 2
	}
	if f.cfg.Within == 0 {
		f.cfg.Within = 2 * time.Minute
	}
	if f.cfg.LogLevel == "" {
		f.cfg.LogLevel = "info"
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Within)
	defer cancel()
	if err := f.up(ctx); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func (f *Fleet) up(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Join(f.cfg.Dir, "logs"), 0o700); err != nil {
		return err
	}
	if f.ports, err = loadPorts(f.cfg.Dir, f.cfg.Coordinators, f.cfg.Nodes); err != nil {
		return err
	}
	began := time.Now()
	if err := f.coordinators(ctx); err != nil {
		return err
	}
	f.say(fmt.Sprintf("%s up after %.1f s", count(f.cfg.Coordinators, "coordinator"), time.Since(began).Seconds()))
	if err := f.nodes(ctx); err != nil {
		return err
	}
	if f.cfg.Gateway {
		if err := f.gateway(ctx); err != nil {
			return err
		}
	}
	also := ""
	if f.cfg.Gateway {
		also = " and a gateway"
	}
	f.say(fmt.Sprintf("%s%s up after %.1f s", count(f.cfg.Nodes, "node"), also, time.Since(began).Seconds()))
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// add makes a process with what all programs have in common. token is "" where the member is there already.
func (f *Fleet) add(program, name, api, token string, args ...string) (*Process, error) {
	args = append([]string{"--dir", filepath.Join(f.cfg.Dir, name), "--name", name, "--log-format", "text", "--log-level", f.cfg.LogLevel}, args...)
	p := &Process{Name: name, Log: filepath.Join(f.cfg.Dir, "logs", name+".log"), API: api, program: filepath.Join(f.cfg.Bin, program), spawn: f.spawn}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SKEIN_") { // what is set for the client must not reach the servers
			p.env = append(p.env, e)
		}
	}
	if api != "" {
		args = append(args, "--api", api)
	}
	if token != "" {
		args = append(args, "--join", f.ports.Coordinators[0].Listen)
		p.env = append(p.env, "SKEIN_TOKEN="+token) // not on the command line, which everybody can read
	}
	if f.cfg.More != nil {
		more, env := f.cfg.More(name)
		args, p.env = append(args, more...), append(p.env, env...)
	}
	p.args = args
	if err := p.Start(); err != nil {
		return nil, err
	}
	f.processes = append(f.processes, p)
	return p, nil
}

// coordinators starts the first one, and then those that join it.
func (f *Fleet) coordinators(ctx context.Context) error {
	for i, at := range f.ports.Coordinators {
		name := fmt.Sprintf("coordinator-%d", i+1)
		args := []string{"--listen", at.Listen, "--gossip", at.Gossip}
		if f.cfg.Library != "" {
			args = append(args, "--ort-lib", f.cfg.Library)
		}
		token := ""
		if i == 0 {
			args = append(args, "--found", "--results", "sqlite") // nothing is kept before there is a policy
		} else {
			var err error
			if token, err = f.token(ctx, name, cluster.RoleCoordinator); err != nil {
				return err
			}
		}
		p, err := f.add("skein-coordinator", name, at.API, token, args...)
		if err != nil {
			return err
		}
		if i == 0 && !f.joined("coordinator-2") {
			if err := f.founded(ctx, p); err != nil {
				return err
			}
		}
	}
	if err := f.founded(ctx, f.processes[0]); err != nil {
		return err
	}
	for _, p := range f.processes {
		if err := f.ready(ctx, p); err != nil {
			return err
		}
	}
	return f.until(ctx, "the coordinators to know each other", func(ctx context.Context, c *client.Client) error {
		res, err := c.Cluster.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
		if err == nil && len(res.Msg.Members) < f.cfg.Coordinators {
			err = fmt.Errorf("%d of %d are there", len(res.Msg.Members), f.cfg.Coordinators)
		}
		return err
	})
}

// founded waits until the first coordinator answers with its first key.
func (f *Fleet) founded(ctx context.Context, p *Process) error {
	if err := f.ready(ctx, p); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(f.cfg.Dir, p.Name, coordinator.AdminKeyFile))
	if err != nil {
		return err
	}
	f.Key = strings.TrimSpace(string(key))
	return f.until(ctx, "the cluster to be founded", func(ctx context.Context, c *client.Client) error {
		_, err := c.Cluster.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
		return err
	})
}

// nodes starts the nodes and waits until the cluster has them.
func (f *Fleet) nodes(ctx context.Context) error {
	for i, at := range f.ports.Nodes {
		name := fmt.Sprintf("node-%d", i+1)
		args := []string{"--listen", at.Listen, "--gossip", at.Gossip}
		for _, d := range f.cfg.Devices {
			args = append(args, "--device", d)
		}
		if f.cfg.Library != "" {
			args = append(args, "--ort-lib", f.cfg.Library)
		}
		token, err := f.token(ctx, name, cluster.RoleNode)
		if err != nil {
			return err
		}
		if _, err := f.add("skein-node", name, "", token, args...); err != nil {
			return err
		}
	}
	return f.until(ctx, "the nodes", func(ctx context.Context, c *client.Client) error {
		res, err := c.Nodes.ListNodes(ctx, connect.NewRequest(&adminv1.ListNodesRequest{}))
		if err != nil {
			return err
		}
		here := 0
		for _, n := range res.Msg.Nodes {
			// Before a reading of every device nothing can be placed there.
			unread := slices.ContainsFunc(n.Devices, func(d *adminv1.DeviceView) bool { return d.Health == string(gpu.Unknown) })
			if n.Status == string(cluster.NodeReady) && n.ReportAgeMs >= 0 && len(n.Devices) > 0 && !unread {
				here++
			}
		}
		if here < f.cfg.Nodes {
			return fmt.Errorf("%d of %d are there", here, f.cfg.Nodes)
		}
		return nil
	})
}

func (f *Fleet) gateway(ctx context.Context) error {
	token, err := f.token(ctx, "gateway-1", cluster.RoleGateway)
	if err != nil {
		return err
	}
	p, err := f.add("skein-gateway", "gateway-1", f.ports.Gateway, token)
	if err != nil {
		return err
	}
	return f.ready(ctx, p)
}

// joined says whether a member is there from an earlier start.
func (f *Fleet) joined(name string) bool {
	_, err := os.Stat(filepath.Join(f.cfg.Dir, name, "membership.json"))
	return err == nil
}

// token makes a join token for a member that is not there yet.
func (f *Fleet) token(ctx context.Context, name string, role cluster.Role) (token string, err error) {
	if f.joined(name) {
		return "", nil
	}
	err = f.until(ctx, "a join token", func(ctx context.Context, c *client.Client) error {
		res, err := c.Nodes.CreateJoinToken(ctx, connect.NewRequest(&adminv1.CreateJoinTokenRequest{Role: string(role)}))
		if err == nil {
			token = res.Msg.Token
		}
		return err
	})
	return token, err
}

// poll is the pace of asking whether something is there.
const poll = 100 * time.Millisecond

// ready waits until a program says that it takes requests.
func (f *Fleet) ready(ctx context.Context, p *Process) error {
	return f.until(ctx, p.Name+" to be ready", func(ctx context.Context, _ *client.Client) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.API+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
}

// until asks again and again until there is no error. A process that ends, ends it.
func (f *Fleet) until(ctx context.Context, what string, ask func(context.Context, *client.Client) error) error {
	var c *client.Client
	if f.Key != "" {
		var err error
		if c, err = f.Client(); err != nil {
			return err
		}
	}
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := ask(one, c)
		cancel()
		if err == nil {
			return nil
		}
		for _, p := range f.processes {
			select {
			case <-p.Ended():
				return p.failure()
			default:
			}
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w; logs are in %s", what, ctx.Err(), err, filepath.Join(f.cfg.Dir, "logs"))
		}
	}
}

// URL is where the client API is: the gateway's if there is one, else the first coordinator's.
func (f *Fleet) URL() string {
	if f.cfg.Gateway {
		return "http://" + f.ports.Gateway
	}
	return f.AdminURL()
}

// AdminURL is where the operator's API is: the first coordinator that lives.
func (f *Fleet) AdminURL() string {
	for _, p := range f.processes[:min(f.cfg.Coordinators, len(f.processes))] {
		select {
		case <-p.Ended():
		default:
			return "http://" + p.API
		}
	}
	return "http://" + f.ports.Coordinators[0].API
}

// Client calls the operator's API with the first admin key.
func (f *Fleet) Client() (*client.Client, error) {
	return client.New(client.Profile{URL: f.AdminURL(), Key: f.Key})
}

// Process finds a process by its name: coordinator-1, node-2, gateway-1.
func (f *Fleet) Process(name string) *Process {
	for _, p := range f.processes {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Processes are all of them, in the order in which they were started.
func (f *Fleet) Processes() []*Process { return f.processes }

// Stop ends every process: nodes and gateways first, then coordinators.
func (f *Fleet) Stop() {
	for _, coordinators := range []bool{false, true} {
		var wg sync.WaitGroup
		for _, p := range f.processes {
			if strings.HasPrefix(p.Name, "coordinator-") == coordinators {
				wg.Go(p.Stop)
			}
		}
		wg.Wait()
	}
	f.spawn.close()
}
