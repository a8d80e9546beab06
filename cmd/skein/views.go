package main

import (
	"fmt"
	"os"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

func (a *app) views() *cobra.Command {
	c := &cobra.Command{Use: "views", Short: "The forms that business systems want answers in"}
	c.AddCommand(a.listViews(), a.putView(), a.deleteView(), a.tryView())
	return c
}

func (a *app) listViews() *cobra.Command {
	req := &adminv1.ListViewsRequest{}
	c := &cobra.Command{Use: "list", Short: "List views", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Views.ListViews(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "TENANT VIEW CHANGED MODELS OPERATIONS DEFINITION", func(row func(...any)) {
			for _, v := range res.Msg.Views {
				row(v.Tenant, fmt.Sprintf("%s@%d", v.Name, v.Version), when(v.AtMs), strings.Join(v.Models, ","), strings.Join(v.Operations, ","), v.Definition)
			}
		})
	})}
	c.Flags().StringVar(&req.Tenant, "tenant", "", "of one tenant")
	c.Flags().BoolVar(&req.AllVersions, "all", false, "also the versions before the newest")
	return c
}

func (a *app) putView() *cobra.Command {
	req := &adminv1.PutViewRequest{}
	c := &cobra.Command{Use: "put VIEW FILE", Short: "Make a view, or the next version of one, from a YAML or JSON file", Args: cobra.ExactArgs(2), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) (err error) {
		req.Name = args[0]
		if req.Definition, err = objectFile(args[1]); err != nil {
			return err
		}
		res, err := c.Views.PutView(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "TENANT VIEW", func(row func(...any)) {
			row(res.Msg.View.GetTenant(), fmt.Sprintf("%s@%d", res.Msg.View.GetName(), res.Msg.View.GetVersion()))
		})
	})}
	c.Flags().StringVar(&req.Tenant, "tenant", "", "whose (default: the key's)")
	c.Flags().StringSliceVar(&req.Models, "model", nil, "models whose answers take this form by themselves: a name, team/* or *")
	c.Flags().StringSliceVar(&req.Operations, "operation", nil, "of these operations only, such as classify")
	return c
}

func (a *app) deleteView() *cobra.Command {
	req := &adminv1.DeleteViewRequest{}
	c := &cobra.Command{Use: "delete VIEW", Short: "Delete a view with its versions", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		req.Name = args[0]
		_, err := c.Views.DeleteView(cmd.Context(), connect.NewRequest(req))
		return err
	})}
	c.Flags().StringVar(&req.Tenant, "tenant", "", "whose (default: the key's)")
	return c
}

func (a *app) tryView() *cobra.Command {
	var answer string
	c := &cobra.Command{Use: "try FILE", Short: "Show what a view makes of an answer", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		definition, err := objectFile(args[0])
		if err != nil {
			return err
		}
		text, err := os.ReadFile(answer)
		if err != nil {
			return err
		}
		res, err := c.Views.TryView(cmd.Context(), connect.NewRequest(&adminv1.TryViewRequest{Definition: definition, Answer: string(text)}))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSuffix(res.Msg.Text, "\n"))
		return err
	})}
	c.Flags().StringVar(&answer, "answer", "", "file with the answer, as the API gave it")
	_ = c.MarkFlagRequired("answer")
	return c
}
