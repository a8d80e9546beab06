package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/skein-project/skein/admin"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/shard"
)

// development is what skein dev was asked for.
type development struct {
	fleet devfleet.Config
	model string
	ask   bool
	exit  bool
	out   io.Writer
}

func (a *app) dev() *cobra.Command {
	d := &development{}
	c := &cobra.Command{Use: "dev", Short: "Start a small fleet on this machine, serve a model cut over its nodes, and stay up", Args: cobra.NoArgs}
	f := c.Flags()
	f.StringVar(&d.fleet.Dir, "dir", "", "folder for data and logs, which stays and is used again (default: a temporary one)")
	f.IntVar(&d.fleet.Coordinators, "coordinators", 3, "coordinators")
	f.IntVar(&d.fleet.Nodes, "nodes", 2, "nodes")
	f.StringArrayVar(&d.fleet.Devices, "device", nil, "device of each node, repeatable (default: a share of memory so small that the model must be cut in two)")
	f.BoolVar(&d.fleet.Gateway, "gateway", false, "also start a stand-alone gateway")
	f.StringVar(&d.fleet.Library, "ort-lib", os.Getenv("SKEIN_ORT_LIB"), "path of libonnxruntime.so.1 (SKEIN_ORT_LIB)")
	f.StringVar(&d.fleet.LogLevel, "log-level", "info", "log level of the processes")
	f.StringVar(&d.model, "model", "", "folder of the model (default: examples/calc)")
	f.BoolVar(&d.ask, "ask", false, "ask three questions whose answers are known")
	f.BoolVar(&d.exit, "exit", false, "stop when everything was done")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		d.out = cmd.OutOrStdout()
		if d.fleet.Coordinators < 1 || d.fleet.Nodes < 1 {
			return usage("--coordinators %d, --nodes %d: at least one of each", d.fleet.Coordinators, d.fleet.Nodes)
		}
		if d.ask && d.model != "" {
			return usage("--ask asks sums, which only the model of this project answers: leave --model out")
		}
		return d.run(cmd.Context())
	}
	return c
}

// run brings everything up, and down again whatever happens.
func (d *development) run(ctx context.Context) error {
	m, err := d.prepare()
	if err != nil {
		return err
	}
	if d.fleet.Dir == "" {
		if d.fleet.Dir, err = os.MkdirTemp("", "skein-dev-"); err != nil {
			return err
		}
		defer os.RemoveAll(d.fleet.Dir)
	} else if d.fleet.Dir, err = filepath.Abs(d.fleet.Dir); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "Skein: %d coordinators and %d nodes on this machine; data and logs in %s\n\n", d.fleet.Coordinators, d.fleet.Nodes, d.fleet.Dir)
	began := time.Now()
	fleet, err := devfleet.Start(ctx, d.fleet, func(text string) { d.say("fleet", "%s", text) })
	if err != nil {
		return stopped(ctx, d.fleet.Dir, err)
	}
	defer func() {
		fmt.Fprintln(d.out, "\nStopping.")
		fleet.Stop()
	}()
	if err := d.serve(ctx, fleet, m); err != nil {
		return stopped(ctx, d.fleet.Dir, err)
	}
	if d.ask {
		if err := d.questions(ctx, fleet, m.name); err != nil {
			return stopped(ctx, d.fleet.Dir, err)
		}
	}
	d.say("done", "after %.1f s", time.Since(began).Seconds())
	if d.exit {
		return nil
	}
	return d.stay(ctx, fleet, m.name)
}

// stopped makes Ctrl-C no failure, and keeps the logs of what failed.
func stopped(ctx context.Context, dir string, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	kept, copyErr := os.MkdirTemp("", "skein-logs-")
	if copyErr == nil {
		copyErr = os.CopyFS(kept, os.DirFS(filepath.Join(dir, "logs")))
	}
	if copyErr != nil {
		return err
	}
	return fmt.Errorf("%w\n(the logs of the fleet are kept in %s)", err, kept)
}

// say prints one aligned line.
func (d *development) say(what, format string, args ...any) {
	fmt.Fprintf(d.out, "  %-8s %s\n", what, fmt.Sprintf(format, args...))
}

// serve publishes the model, shows the plan, and waits until it answers.
func (d *development) serve(ctx context.Context, fleet *devfleet.Fleet, m *prepared) error {
	c, err := fleet.Client()
	if err != nil {
		return err
	}
	version, err := push(ctx, c, m.dir, m.name, false, &bar{quiet: true})
	if err != nil {
		return fmt.Errorf("publish %s: %w", m.dir, err)
	}
	d.say("model", "%s published as %s: %d blocks, %s", m.shown, version, len(m.profile.Blocks), gpu.Bytes(m.bytes))
	whole := shard.Foot(m.profile, shard.Span{To: len(m.profile.Blocks)}, m.serving, gpu.Host).Total()
	d.say("memory", "served for %d sequences of %d tokens it needs %s on one device; each node has %s", m.serving.Slots, m.serving.Context, whole, strings.Join(d.fleet.Devices, " and "))
	req := &adminv1.ServeRequest{Model: version, Replicas: 1, Slots: int32(m.serving.Slots), Context: int32(m.serving.Context), ValidateOnly: true}
	if err := d.makeRoom(ctx, c, version); err != nil {
		return err
	}
	plan, err := c.Deployments.Serve(ctx, connect.NewRequest(req))
	if err != nil {
		return fmt.Errorf("ask for the plan: %w", err)
	}
	if err := d.plan(plan.Msg); err != nil {
		return err
	}
	req.ValidateOnly = false
	began := time.Now()
	if _, err := c.Deployments.Serve(ctx, connect.NewRequest(req)); err != nil {
		return fmt.Errorf("serve %s: %w", version, err)
	}
	if err := waitReady(ctx, c, version, 3*time.Minute, &bar{quiet: true}); err != nil {
		return err
	}
	if _, err := c.Models.SetAlias(ctx, connect.NewRequest(&adminv1.SetAliasRequest{Name: m.name, Version: version})); err != nil {
		return fmt.Errorf("alias %s: %w", m.name, err)
	}
	d.say("ready", "%s -> %s, %.1f s after it was asked for", m.name, version, time.Since(began).Seconds())
	return nil
}

// makeRoom ends what an earlier run in the same folder served of the model: its memory is there for one version only.
func (d *development) makeRoom(ctx context.Context, c *client.Client, version string) error {
	model, _, _ := strings.Cut(version, "@")
	for {
		res, err := c.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(res.Msg.Deployments, func(o *adminv1.DeploymentView) bool {
			return o.Version == version || !strings.HasPrefix(o.Version, model+"@")
		})
		if len(left) == 0 {
			return nil
		}
		for _, o := range left {
			if o.Wanted > 0 {
				d.say("model", "%s is served no longer", o.Version)
				if _, err := c.Deployments.Unserve(ctx, connect.NewRequest(&adminv1.UnserveRequest{Model: o.Version})); err != nil {
					return err
				}
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// plan shows which blocks go where, and why.
func (d *development) plan(p *adminv1.ServeResponse) error {
	for _, why := range p.Refused {
		return fmt.Errorf("the model has no place: %s", why)
	}
	for _, r := range p.Replicas {
		for i, s := range r.Stages {
			what := ""
			if i == 0 {
				what = "plan"
			}
			d.say(what, "blocks %-5s on %s, %s reserved (%s)", blocks(s.From, s.To), s.Node, size(s.Reserve), s.Device)
		}
		d.say("why", "%s", r.Why)
	}
	return nil
}

// stay prints how to talk to the fleet, and waits for Ctrl-C or for a process that ends.
func (d *development) stay(ctx context.Context, fleet *devfleet.Fleet, name string) error {
	profile := client.Profile{URL: fleet.AdminURL(), Key: fleet.Key, Dev: true}
	remove := keepProfile(profile, func(why error) { d.say("profile", "not written: %v", why) })
	defer remove()
	fmt.Fprintf(d.out, "\n  URL  %s/v1\n  Key  %s\n\n  curl %s/v1/completions -H 'Authorization: Bearer %s' \\\n    -H 'Content-Type: application/json' -d '{\"model\": \"%s\", \"prompt\": \"sum 17 25 =\", \"temperature\": 0}'\n\n  skein chat %s, skein ps and the others find it too. Ctrl-C stops it.\n",
		fleet.URL(), fleet.Key, fleet.URL(), fleet.Key, name, name)
	ended := make(chan *devfleet.Process, len(fleet.Processes()))
	for _, p := range fleet.Processes() {
		go func() {
			<-p.Ended()
			ended <- p
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-ended: // the others go on: that is what they are for
			fmt.Fprintf(d.out, "  %s has ended; its log is %s\n", p.Name, p.Log)
		}
	}
}

// keepProfile writes the profile of the commands, unless there is one that somebody else wrote, and gives what takes it away again.
func keepProfile(p client.Profile, failed func(error)) (remove func()) {
	path, err := client.DefaultPath()
	if err == nil {
		var old client.Profile
		if old, err = client.LoadProfile(path); err == nil && old.URL != "" && !old.Dev {
			err = fmt.Errorf("%s is the profile of %s; use --url and SKEIN_KEY", path, old.URL)
		}
	}
	if err == nil {
		err = p.Save(path)
	}
	if err != nil {
		failed(err)
		return func() {}
	}
	return func() {
		if now, err := client.LoadProfile(path); err == nil && now.Dev && now.URL == p.URL {
			os.Remove(path)
		}
	}
}

// serving is what the model is prepared for: what the cluster takes by default.
func servingOf(p shard.Profile) shard.Serving {
	return shard.Serving{Slots: admin.DefaultSlots, Context: min(admin.DefaultContext, p.Positions)}
}
