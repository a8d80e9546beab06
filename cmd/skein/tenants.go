package main

import (
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

// with makes the run function of a command that calls the cluster.
func (a *app) with(f func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return f(cmd, c, args)
	}
}

func (a *app) tenants() *cobra.Command {
	c := &cobra.Command{Use: "tenants", Short: "Business systems and their applications"}
	c.AddCommand(a.listTenants(), a.putTenant(), a.putApp(),
		&cobra.Command{Use: "delete TENANT[/APPLICATION]", Short: "Delete a tenant or application with its keys and limits", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			tenant, app, ok := strings.Cut(args[0], "/")
			if ok {
				_, err := c.Tenants.DeleteApplication(cmd.Context(), connect.NewRequest(&adminv1.DeleteApplicationRequest{Tenant: tenant, Id: app}))
				return err
			}
			_, err := c.Tenants.DeleteTenant(cmd.Context(), connect.NewRequest(&adminv1.DeleteTenantRequest{Id: tenant}))
			return err
		})})
	return c
}

func (a *app) listTenants() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List tenants and applications", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Tenants.ListTenants(cmd.Context(), connect.NewRequest(&adminv1.ListTenantsRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "TENANT NAME WEIGHT MAY-CALL FROM ENDS STATUS", func(row func(...any)) {
			for _, t := range res.Msg.Tenants {
				row(t.Id, t.Name, t.Weight, strings.Join(t.Models, ","), "", "", status(t.Disabled))
				for _, p := range res.Msg.Applications {
					if p.Tenant == t.Id {
						row(p.Tenant+"/"+p.Id, p.Name, "", strings.Join(p.Models, ","), strings.Join(p.Sources, ","), when(p.ExpiresMs), status(p.Disabled))
					}
				}
			}
		})
	})}
}

func status(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func (a *app) putTenant() *cobra.Command {
	t := &adminv1.Tenant{}
	c := &cobra.Command{Use: "put TENANT", Short: "Create or change a tenant", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		t.Id = args[0]
		res, err := c.Tenants.PutTenant(cmd.Context(), connect.NewRequest(&adminv1.PutTenantRequest{Tenant: t}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "", func(row func(...any)) { row(res.Msg.Tenant.Id) })
	})}
	c.Flags().StringVar(&t.Name, "name", "", "name for people")
	c.Flags().Int32Var(&t.Weight, "weight", 0, "of its fair share when the fleet is full, 1 to 1000 (default 100)")
	c.Flags().Int32Var(&t.Replicas, "replicas", 0, "most that its deployments may want together (0 = no bound)")
	c.Flags().StringSliceVar(&t.Models, "models", []string{"*"}, "what it may call: names, team/*, or *")
	c.Flags().BoolVar(&t.Disabled, "disabled", false, "refuse its calls")
	return c
}

func (a *app) putApp() *cobra.Command {
	p, life := &adminv1.Application{}, time.Duration(0)
	c := &cobra.Command{Use: "app TENANT/APPLICATION", Short: "Create or change a third party's application inside a tenant", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		var ok bool
		if p.Tenant, p.Id, ok = strings.Cut(args[0], "/"); !ok {
			return usage("%q: want TENANT/APPLICATION", args[0])
		}
		if life > 0 {
			p.ExpiresMs = time.Now().Add(life).UnixMilli()
		}
		res, err := c.Tenants.PutApplication(cmd.Context(), connect.NewRequest(&adminv1.PutApplicationRequest{Application: p}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "", func(row func(...any)) { row(args[0]) })
	})}
	c.Flags().StringVar(&p.Name, "name", "", "name for people")
	c.Flags().StringSliceVar(&p.Models, "models", []string{"*"}, "what it may call, of what its tenant may: names, team/*, or *")
	c.Flags().StringSliceVar(&p.Sources, "sources", nil, "networks that it may call from, as 10.1.0.0/16 (default: anywhere)")
	c.Flags().DurationVar(&life, "ttl", 0, "how long it may call (default: no end)")
	c.Flags().BoolVar(&p.Disabled, "disabled", false, "refuse its calls")
	return c
}

func (a *app) limits() *cobra.Command {
	c := &cobra.Command{Use: "limits", Short: "Limits of tenants, applications, keys, and of all together",
		Long: "Limits of a subject: total, tenant/ID, app/TENANT/ID or key/ID.\nA limit is written [MODEL:]METER[/WINDOW]=AMOUNT with a meter of requests, tokens, gpu_ms or concurrent,\nand a window of second, minute, day, month or life (concurrent has none)."}
	c.AddCommand(
		&cobra.Command{Use: "list [SUBJECT]", Short: "Show limits, and how far they are used", Args: cobra.MaximumNArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			res, err := c.Tenants.ListLimits(cmd.Context(), connect.NewRequest(&adminv1.ListLimitsRequest{Subject: append(args, "")[0]}))
			if err != nil {
				return err
			}
			return a.show(cmd, res.Msg, "SUBJECT MODEL METER WINDOW LIMIT SPENT HELD-BY-GATEWAYS", func(row func(...any)) {
				for _, l := range res.Msg.Limits {
					row(l.Subject, l.Limit.Model, l.Limit.Meter, l.Limit.Window, l.Limit.Amount, l.Spent, l.Leased)
				}
			})
		})},
		&cobra.Command{Use: "set SUBJECT [LIMIT…]", Short: "Set all limits of a subject; none removes them", Args: cobra.MinimumNArgs(1),
			Example: "  skein limits set tenant/acme requests/minute=600 tokens/day=5000000 concurrent=16 calc:requests/life=1000",
			RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
				req := &adminv1.SetLimitsRequest{Subject: args[0]}
				for _, text := range args[1:] {
					l, err := limitOf(text)
					if err != nil {
						return err
					}
					req.Limits = append(req.Limits, l)
				}
				_, err := c.Tenants.SetLimits(cmd.Context(), connect.NewRequest(req))
				return err
			})})
	return c
}

// limitOf reads [MODEL:]METER[/WINDOW]=AMOUNT.
func limitOf(text string) (*adminv1.Limit, error) {
	what, amount, ok := strings.Cut(text, "=")
	n, err := strconv.ParseInt(amount, 10, 64)
	if !ok || err != nil {
		return nil, usage("%q is no limit: want [MODEL:]METER[/WINDOW]=AMOUNT", text)
	}
	l := &adminv1.Limit{Amount: n}
	if i := strings.LastIndexByte(what, ':'); i >= 0 {
		l.Model, what = what[:i], what[i+1:]
	}
	l.Meter, l.Window, _ = strings.Cut(what, "/")
	return l, nil
}
