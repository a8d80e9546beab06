package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

func (a *app) pull() *cobra.Command {
	var name string
	c := &cobra.Command{Use: "pull SOURCE", Short: "Fetch a model from elsewhere and publish it as a new version", Args: cobra.ExactArgs(1),
		Long: "Let the cluster fetch a model and publish it as a new version. A SOURCE is\n  hf:ORG/NAME[@REVISION]            a Hugging Face hub, or a mirror of one (setting hub_url)\n" +
			"  s3://BUCKET/PREFIX                a folder in a bucket (hub_s3_url, hub_s3_keys)\n  oci:REGISTRY/REPOSITORY:TAG       a ModelPack artifact in a registry (hub_oci_auth)\n" +
			"  folder:NAME                       a folder on the coordinators (hub_folder)\nTokens and passwords are settings of the coordinators. A pull that was cut goes on where it stopped when it is asked for again.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.pulled(cmd, args[0], name) }}
	c.Flags().StringVar(&name, "name", "", "name of the model (default: the last part of the source's name)")
	return c
}

// pulled lets the cluster pull a model, and shows what came of it.
func (a *app) pulled(cmd *cobra.Command, source, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	res, err := pull(cmd.Context(), c, source, name, newBar())
	if err != nil {
		return err
	}
	model, _, _ := strings.Cut(res.Version, "@")
	return a.show(cmd, res, "", func(row func(...any)) {
		row(res.Version + " from " + res.Source)
		row("next: skein serve " + res.Version + " --wait && skein alias " + model + " " + res.Version)
	})
}

func pull(ctx context.Context, c *client.Client, source, name string, b *bar) (*adminv1.PullResponse, error) {
	return c.Pull(ctx, source, name, func(p *adminv1.PullResponse) {
		if p.File != "" {
			b.set(p.File, p.Here, p.Size)
		} else if p.Step != "" {
			b.say(p.Step)
		}
	})
}

func (a *app) download() *cobra.Command {
	return &cobra.Command{Use: "download MODEL DIR", Short: "Get the files of a version as they were uploaded", Args: cobra.ExactArgs(2),
		Long: "Get the files of a version (or of what an alias points at), byte for byte as they were uploaded or pulled. Every chunk is checked.\nWhat is in the folder already is not fetched again: a download that was cut goes on where it stopped.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b := newBar()
			version, files, err := c.Download(cmd.Context(), args[0], args[1], func(file string, here, size int64) { b.set(file, here, size) })
			if err != nil {
				return err
			}
			res := &adminv1.ListFilesResponse{Version: version}
			for _, name := range files {
				res.Files = append(res.Files, &adminv1.FileView{Name: name})
			}
			return a.show(cmd, res, "", func(row func(...any)) { row(version + " is in " + args[1]) })
		}}
}
