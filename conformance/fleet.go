package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/internal/scripted"
)

// offered is a model that the fleet serves: its name, its folder, and room in tokens.
type offered struct {
	name    string
	dir     string
	context int32
	cut     bool // over both nodes
}

// offers are the models that the clients ask. tools is one that says what it is told, calls of functions included.
func offers() []offered {
	return []offered{
		{"calc", "examples/calc", 256, true},
		{"triage", "examples/triage", 64, false},
		{"segment", "examples/segment", 128, false},
		{"embed", "testdata/models/bert-embed", 128, true},
		{"fill", "testdata/models/bert-fill", 128, false},
		{"answer", "testdata/models/bert-answer", 128, false},
		{"rank", "testdata/models/bert-rank", 128, false},
		{"tools", "", 2048, false},
	}
}

// slots is how many sequences each model answers at once.
const slots = 4

// raise starts two nodes, a coordinator and a gateway, and serves the models.
func raise(ctx context.Context, bin, library, dir string, say func(string)) (*devfleet.Fleet, error) {
	f, err := devfleet.Start(ctx, devfleet.Config{Bin: bin, Dir: dir, Library: library, Coordinators: 1, Nodes: 2, Gateway: true, Devices: []string{"host:1GiB"}, More: more}, say)
	if err != nil {
		return nil, err
	}
	if err := serve(ctx, f, dir, say); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

// page is the origin of the page in which a browser runs.
const page = "http://page.example"

// more lets the gateway answer that page.
func more(name string) (args, env []string) {
	if name == "gateway-1" {
		args = []string{"--cors-origins", page}
	}
	return args, nil
}

func serve(ctx context.Context, f *devfleet.Fleet, dir string, say func(string)) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	nodes, err := c.Nodes.ListNodes(ctx, connect.NewRequest(&adminv1.ListNodesRequest{}))
	if err != nil {
		return err
	}
	versions := map[string]string{}
	for _, o := range offers() {
		if o.dir == "" {
			o.dir = filepath.Join(dir, o.name)
			if err := errors.Join(os.Mkdir(o.dir, 0o700), scripted.Forms()["tagged"].Write(o.dir)); err != nil {
				return err
			}
		}
		v, err := publish(ctx, c, o)
		if err != nil {
			return fmt.Errorf("publish %s: %w", o.name, err)
		}
		versions[o.name] = v
		if _, err := c.Deployments.Serve(ctx, connect.NewRequest(&adminv1.ServeRequest{Model: v, Slots: slots, Context: o.context})); err != nil {
			return fmt.Errorf("serve %s: %w", v, err)
		}
		for i, n := range nodes.Msg.Nodes {
			if !o.cut {
				break
			}
			pin := &adminv1.PinRequest{Model: v, Stage: int32(i), Device: n.Devices[0].Id}
			if _, err := c.Deployments.Pin(ctx, connect.NewRequest(pin)); err != nil {
				return fmt.Errorf("cut %s: %w", v, err)
			}
		}
	}
	for name, v := range versions {
		if err := ready(ctx, c, v); err != nil {
			return fmt.Errorf("wait for %s: %w", v, err)
		}
		if _, err := c.Models.SetAlias(ctx, connect.NewRequest(&adminv1.SetAliasRequest{Name: name, Version: v})); err != nil {
			return fmt.Errorf("name %s: %w", v, err)
		}
	}
	say(fmt.Sprintf("%d models answer at %s", len(versions), f.URL()))
	return nil
}

func publish(ctx context.Context, c *client.Client, o offered) (string, error) {
	files, err := client.Folder(o.dir, func(string) {})
	if err != nil {
		return "", err
	}
	blobs, err := c.Upload(ctx, files, func(client.File, int64, int64) {})
	if err != nil {
		return "", err
	}
	return c.Publish(ctx, o.name, blobs, false, func(string) {})
}

// ready waits until a version answers.
func ready(ctx context.Context, c *client.Client, version string) error {
	for {
		res, err := c.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
		if err != nil {
			return err
		}
		for _, d := range res.Msg.Deployments {
			if d.Version == version && d.Ready > 0 {
				return nil
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
