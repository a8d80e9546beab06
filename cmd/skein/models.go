package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/model"
)

func (a *app) push() *cobra.Command {
	var name string
	var accept bool
	c := &cobra.Command{Use: "push DIR", Short: "Upload a model's folder and publish it as a new version", Args: cobra.ExactArgs(1),
		Long: "Upload a model's folder (safetensors in the layout of Hugging Face, a SavedModel of TensorFlow, or ONNX) and publish it as a new version.\nAn upload that was cut goes on where it stopped; content that is there already is not sent again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if client.IsSource(args[0]) {
				return a.pulled(cmd, args[0], name)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if name == "" {
				dir, err := filepath.Abs(args[0])
				if err != nil {
					return err
				}
				name = strings.ToLower(filepath.Base(dir))
			}
			v, err := push(cmd.Context(), c, args[0], name, accept, newBar())
			if err != nil {
				return err
			}
			return a.show(cmd, &adminv1.PublishResponse{Version: v, Step: "published"}, "", func(row func(...any)) {
				row(v)
				row("next: skein serve " + v + " --wait && skein alias " + name + " " + v)
			})
		}}
	c.Flags().StringVar(&name, "name", "", "name of the model (default: the folder's name)")
	c.Flags().BoolVar(&accept, "accept", false, "also where trying it finds no numbers, or others than in golden.safetensors")
	return c
}

// push uploads and publishes. Where the leader changes in between, what was uploaded is elsewhere, so it is made sure of again.
func push(ctx context.Context, c *client.Client, dir, name string, accept bool, b *bar) (version string, err error) {
	files, err := client.Folder(dir, func(string) {})
	if err != nil {
		return "", err
	}
	for range 3 {
		var blobs map[string]string
		blobs, err = c.Upload(ctx, files, func(f client.File, here, size int64) { b.set(f.Name, here, size) })
		if err != nil {
			return "", err
		}
		version, err = c.Publish(ctx, name, blobs, accept, func(step string) { b.say(step) })
		if code := connect.CodeOf(err); err == nil || code != connect.CodeNotFound && code != connect.CodeUnavailable {
			return version, err
		}
	}
	return "", err
}

func (a *app) models() *cobra.Command {
	c := &cobra.Command{Use: "models", Short: "List versions and aliases; describe and delete models", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Models.ListModels(cmd.Context(), connect.NewRequest(&adminv1.ListModelsRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "VERSION ALIASES READY FORMAT TASKS BLOCKS SIZE PUBLISHED PROOF HELD-BY", func(row func(...any)) {
			for _, v := range res.Msg.Versions {
				var names []string
				for _, alias := range res.Msg.Aliases {
					if alias.Target == v.Version {
						names = append(names, alias.Name)
					}
					if c := alias.GetRollout().GetCanary(); c.GetVersion() == v.Version {
						names = append(names, fmt.Sprintf("%s(canary %d%%)", alias.Name, c.Percent))
					}
					if s := alias.GetRollout().GetShadow(); s.GetVersion() == v.Version {
						names = append(names, fmt.Sprintf("%s(shadow %d%%)", alias.Name, s.Percent))
					}
				}
				row(v.Version, strings.Join(names, ","), v.ReadyReplicas, v.Format, taskWords(v.Tasks), v.Layers, size(v.Bytes), when(v.CreatedMs), proofWords(v.Proof), strings.Join(v.Holders, ","))
			}
		})
	}}
	c.AddCommand(a.modelsUpdate(), a.modelsDelete())
	return c
}

// taskWords is what a version can be asked: of one that takes no text, that it takes tensors only.
func taskWords(tasks []string) string {
	if len(tasks) == 1 && tasks[0] == string(model.Infer) {
		return "tensors-only"
	}
	return strings.Join(tasks, ",")
}

// proofWords is what trying a version found, in short.
func proofWords(p *adminv1.Proof) string {
	switch {
	case p == nil:
		return "-"
	case p.Why != "":
		return "not-tried"
	case !p.Finite:
		return "no-numbers"
	case p.Golden != nil:
		return fmt.Sprintf("golden±%.2g", p.Golden.Relative)
	case p.Cut != nil:
		return fmt.Sprintf("cut±%.2g", p.Cut.Relative)
	}
	return "numbers"
}

func (a *app) alias() *cobra.Command {
	var force, accept, follow bool
	c := &cobra.Command{Use: "alias NAME VERSION", Short: "Point a name that clients call at a version", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Models.SetAlias(cmd.Context(), connect.NewRequest(&adminv1.SetAliasRequest{Name: args[0], Version: args[1], Force: force, Accept: accept}))
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("follow") {
			set, err := a.setFollow(cmd.Context(), args[0], follow)
			if err != nil {
				return err
			}
			res.Msg.Alias.Rollout = set
		}
		return a.showAlias(cmd, res.Msg.Alias)
	}}
	c.Flags().BoolVar(&force, "force", false, "also when the version has no ready replica and the present one has")
	c.Flags().BoolVar(&accept, "accept", false, "also when the version differs in what clients of the present one rely on")
	c.Flags().BoolVar(&follow, "follow", false, "from then on, follow the newest version of the model that answers and breaks nothing (--follow=false ends it)")
	return c
}

func (a *app) rollback() *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "rollback NAME", Short: "End a name's canary, or point it back at its version before", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Models.RollbackAlias(cmd.Context(), connect.NewRequest(&adminv1.RollbackAliasRequest{Name: args[0], Force: force}))
		if err != nil {
			return err
		}
		return a.showAlias(cmd, res.Msg.Alias)
	}}
	c.Flags().BoolVar(&force, "force", false, "also when the earlier version has no ready replica and the present one has")
	return c
}

func (a *app) showAlias(cmd *cobra.Command, alias *adminv1.Alias) error {
	return a.show(cmd, alias, "", func(row func(...any)) {
		text := alias.Name + " -> " + alias.Target
		if n := len(alias.History); n > 0 {
			text += fmt.Sprintf(" (before: %s)", alias.History[n-1])
		}
		row(text + rolloutWords(alias.Rollout))
	})
}
