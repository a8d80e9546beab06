package main

import (
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

func (a *app) keys() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "API keys"}
	c.AddCommand(a.listKeys(), a.createKey(), a.rotateKey(), a.resumeKeys(),
		&cobra.Command{Use: "revoke ID", Short: "Make a key invalid, for good", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.Cluster.RevokeKey(cmd.Context(), connect.NewRequest(&adminv1.RevokeKeyRequest{Id: args[0]}))
			return err
		})})
	return c
}

func (a *app) listKeys() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the keys", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Cluster.ListKeys(cmd.Context(), connect.NewRequest(&adminv1.ListKeysRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "ID NAME OF ROLES MAY-CALL STATUS CREATED ENDS REPLACES", func(row func(...any)) {
			for _, k := range res.Msg.Keys {
				of, status := k.Tenant, "valid"
				if k.Application != "" {
					of += "/" + k.Application
				}
				switch {
				case k.Revoked:
					status = "revoked"
				case k.Suspended:
					status = "suspended"
				case k.ExpiresMs != 0 && k.ExpiresMs <= time.Now().UnixMilli():
					status = "expired"
				}
				row(k.Id, k.Name, of, strings.Join(k.Roles, ","), strings.Join(k.Models, ","), status, when(k.CreatedMs), when(k.ExpiresMs), k.Replaces)
			}
		})
	})}
}

func (a *app) createKey() *cobra.Command {
	req, life := &adminv1.CreateKeyRequest{}, time.Duration(0)
	c := &cobra.Command{Use: "create NAME", Short: "Make a key; it is shown once", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		req.Name, req.TtlSeconds = args[0], int64(life/time.Second)
		res, err := c.Cluster.CreateKey(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "", func(row func(...any)) { row(res.Msg.Key) })
	})}
	c.Flags().BoolVar(&req.Admin, "admin", false, "the key may do everything")
	c.Flags().StringSliceVar(&req.Roles, "roles", nil, "viewer, caller, publisher, operator, admin (default caller)")
	c.Flags().StringVar(&req.Tenant, "tenant", "", "tenant that it belongs to (default: default)")
	c.Flags().StringVar(&req.Application, "app", "", "application of the tenant that it is for")
	c.Flags().StringSliceVar(&req.Models, "models", nil, "narrows what it may call: names, team/*, or *")
	c.Flags().DurationVar(&life, "ttl", 0, "how long it is valid (default: no end)")
	return c
}

func (a *app) rotateKey() *cobra.Command {
	var overlap time.Duration
	c := &cobra.Command{Use: "rotate ID", Short: "Make a key that follows another one; it is shown once", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		res, err := c.Cluster.RotateKey(cmd.Context(), connect.NewRequest(&adminv1.RotateKeyRequest{Id: args[0], OverlapSeconds: int64(overlap / time.Second)}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "", func(row func(...any)) { row(res.Msg.Key) })
	})}
	c.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old key still works")
	return c
}
