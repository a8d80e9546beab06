package main

import (
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

func (a *app) people() *cobra.Command {
	c := &cobra.Command{Use: "people", Short: "Which people have which roles, and who vouches for them"}
	c.AddCommand(a.listPeople(), a.grantPeople(), a.listProviders(), a.putProvider(),
		&cobra.Command{Use: "revoke BINDING", Short: "Take back what people were granted", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.People.DeleteBinding(cmd.Context(), connect.NewRequest(&adminv1.DeleteBindingRequest{Id: args[0]}))
			return err
		})},
		&cobra.Command{Use: "distrust PROVIDER", Short: "Take nobody's word from a provider any more", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.People.DeleteProvider(cmd.Context(), connect.NewRequest(&adminv1.DeleteProviderRequest{Id: args[0]}))
			return err
		})})
	return c
}

func (a *app) listPeople() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List who has which roles", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.People.ListBindings(cmd.Context(), connect.NewRequest(&adminv1.ListBindingsRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "BINDING WHO ROLES TENANT ISSUER", func(row func(...any)) {
			for _, b := range res.Msg.Bindings {
				who := "subject " + b.Subject
				switch {
				case b.Email != "":
					who = "email " + b.Email
				case b.Group != "":
					who = "group " + b.Group
				}
				row(b.Id, who, strings.Join(b.Roles, ","), b.Tenant, b.Issuer)
			}
		})
	})}
}

func (a *app) grantPeople() *cobra.Command {
	b := &adminv1.Binding{}
	c := &cobra.Command{Use: "grant BINDING", Short: "Give roles to the people with a subject, an email or a group; again with the same name: change it", Args: cobra.ExactArgs(1),
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			b.Id = args[0]
			_, err := c.People.PutBinding(cmd.Context(), connect.NewRequest(&adminv1.PutBindingRequest{Binding: b}))
			return err
		})}
	c.Flags().StringVar(&b.Issuer, "issuer", "", "URL of the provider that vouches for them")
	c.Flags().StringVar(&b.Subject, "subject", "", "the provider's own name of one person")
	c.Flags().StringVar(&b.Email, "email", "", "address of one person, verified by the provider")
	c.Flags().StringVar(&b.Group, "group", "", "group at the provider")
	c.Flags().StringSliceVar(&b.Roles, "roles", nil, "viewer, caller, publisher, operator, admin")
	c.Flags().StringVar(&b.Tenant, "tenant", "", "in whose name; callers and publishers need one")
	return c
}

func (a *app) listProviders() *cobra.Command {
	return &cobra.Command{Use: "providers", Short: "List who vouches for people", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.People.ListProviders(cmd.Context(), connect.NewRequest(&adminv1.ListProvidersRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "PROVIDER ISSUER CLIENT-ID AUDIENCE GROUPS", func(row func(...any)) {
			for _, p := range res.Msg.Providers {
				row(p.Id, p.Issuer, p.ClientId, p.Audience, p.Groups)
			}
		})
	})}
}

func (a *app) putProvider() *cobra.Command {
	p := &adminv1.Provider{}
	c := &cobra.Command{Use: "trust PROVIDER", Short: "Take the word of an OpenID Connect provider; again with the same name: change it", Args: cobra.ExactArgs(1),
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			p.Id = args[0]
			_, err := c.People.PutProvider(cmd.Context(), connect.NewRequest(&adminv1.PutProviderRequest{Provider: p}))
			return err
		})}
	c.Flags().StringVar(&p.Issuer, "issuer", "", "its URL")
	c.Flags().StringVar(&p.ClientId, "client-id", "", "that it knows skein by")
	c.Flags().StringVar(&p.Audience, "audience", "", "that tokens must be for (default: the client id)")
	c.Flags().StringVar(&p.Groups, "groups", "", "claim that lists a person's groups (default: groups)")
	return c
}
