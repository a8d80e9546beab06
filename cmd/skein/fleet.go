package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

func (a *app) status() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show the coordinators and gateways", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Cluster.GetStatus(cmd.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
		if err != nil {
			return err
		}
		if a.output == "table" {
			fmt.Fprintf(cmd.OutOrStdout(), "cluster %s, entry %d, software %s, %s\n\n", res.Msg.Cluster, res.Msg.Index, res.Msg.Software, backedUp(res.Msg.BackupMs))
		}
		return a.show(cmd, res.Msg, "NAME ROLE LEADS VOTER BEHIND HEARD-LEADER ADDRESS API ID", func(row func(...any)) {
			for _, m := range res.Msg.Members {
				leads := ""
				if m.Leader {
					leads = "yes"
				}
				voter, behind, heard := "", "", ""
				if m.Role == "coordinator" {
					voter, behind, heard = "no", "no answer", "no answer"
					if m.Voter {
						voter = "yes"
					}
					if m.Lag >= 0 {
						behind, heard = fmt.Sprint(m.Lag), "never"
					}
					if m.ContactMs >= 0 {
						heard = (time.Duration(m.ContactMs) * time.Millisecond).String() + " ago"
					}
				}
				row(m.Name, m.Role, leads, voter, behind, heard, m.Addr, m.Api, m.Id)
			}
		})
	}}
}

// backedUp says how old the newest backup is.
func backedUp(ms int64) string {
	if ms == 0 {
		return "never backed up"
	}
	return "backed up " + time.Since(time.UnixMilli(ms)).Round(time.Second).String() + " ago"
}

func (a *app) nodes() *cobra.Command {
	return &cobra.Command{Use: "nodes", Short: "List machines and their devices", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Nodes.ListNodes(cmd.Context(), connect.NewRequest(&adminv1.ListNodesRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "NODE STATUS DEVICE KIND MEMORY RESERVED USED BUSY HEALTH STAGES REPORTED SOFTWARE", func(row func(...any)) {
			shown := map[string]bool{}
			for _, n := range res.Msg.Nodes {
				reported := "never"
				if n.ReportAgeMs >= 0 {
					reported = (time.Duration(n.ReportAgeMs) * time.Millisecond).Round(100 * time.Millisecond).String()
				}
				status := n.Status
				if n.Why != "" {
					status += ": " + oneLine(n.Why)
				}
				if n.Quarantine != nil {
					status += "; " + barred(n.Quarantine)
				}
				if len(n.Devices) == 0 {
					row(n.Name, status, "", "", "", "", "", "", "", n.Stages, reported, n.Software)
				}
				for _, d := range n.Devices {
					health := strings.TrimSuffix(d.Health+": "+d.Why, ": ")
					if d.Quarantine.GetDevice() != "" {
						health += "; " + barred(d.Quarantine)
					}
					shown[d.Id] = true
					row(n.Name, status, d.Id, d.Kind, size(d.Memory), size(d.Reserved), size(d.Used), fmt.Sprintf("%d %%", d.Percent), health, n.Stages, reported, n.Software)
				}
			}
			for _, q := range res.Msg.Quarantines {
				if q.Device != "" && !shown[q.Device] {
					row("none", "", q.Device, "", "", "", "", "", barred(q))
				}
			}
		})
	}}
}

// barred says of a quarantine who, when and why.
func barred(q *adminv1.QuarantineView) string {
	text := "under quarantine by " + oneLine(q.By) + " since " + when(q.SinceMs)
	if q.UntilMs != 0 {
		text += " until " + when(q.UntilMs)
	}
	if q.Why != "" {
		text += ": " + oneLine(q.Why)
	}
	return text
}

// roles are what can join, with the program that does.
var roles = map[string]string{"node": "skein-node", "coordinator": "skein-coordinator", "gateway": "skein-gateway"}

func (a *app) join() *cobra.Command {
	var req adminv1.CreateJoinTokenRequest
	var life time.Duration
	c := &cobra.Command{Use: "join", Short: "Make a one-time token, and print the command line that adds a member", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		program, ok := roles[req.Role]
		if !ok {
			return usage("--role %.40q: want node, coordinator or gateway", req.Role)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		status, err := c.Cluster.GetStatus(cmd.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(status.Msg.Members, func(m *adminv1.MemberView) bool { return m.Leader })
		if i < 0 {
			return connect.NewError(connect.CodeUnavailable, fmt.Errorf("there is no leader at the moment"))
		}
		req.TtlSeconds = int32(life / time.Second)
		res, err := c.Nodes.CreateJoinToken(cmd.Context(), connect.NewRequest(&req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "", func(row func(...any)) {
			row("The token admits one " + req.Role + " until " + when(res.Msg.ExpiresMs) + ". Run on the new machine, with its own address:")
			row()
			row("  " + joinLine(program, status.Msg.Members[i].Addr, res.Msg.Token))
		})
	}}
	c.Flags().StringVar(&req.Role, "role", "node", "node, coordinator or gateway")
	c.Flags().DurationVar(&life, "ttl", 15*time.Minute, "how long the token is valid, at most 15m")
	return c
}

// joinLine is the command line of a new member.
func joinLine(program, leader, token string) string {
	line := program + " --dir /var/lib/skein/" + strings.TrimPrefix(program, "skein-")
	switch program {
	case roles["node"]:
		line += " --listen ADDRESS:7400 --gossip ADDRESS:7401 --device host:2GiB"
	case roles["coordinator"]:
		line += " --listen ADDRESS:7400 --gossip ADDRESS:7401 --api 127.0.0.1:8080"
	default:
		line += " --api 127.0.0.1:8080"
	}
	return line + " --join " + leader + " --token " + token
}

func (a *app) drain() *cobra.Command {
	var why string
	c := &cobra.Command{Use: "drain NODE", Short: "Move everything off a node; others take over first", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		_, err = c.Nodes.Drain(cmd.Context(), connect.NewRequest(&adminv1.DrainRequest{Node: args[0], Why: why}))
		return err
	}}
	c.Flags().StringVar(&why, "why", "", "the reason, for others")
	return c
}

func (a *app) resume() *cobra.Command {
	return &cobra.Command{Use: "resume NODE", Short: "Let a drained node take work again", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		_, err = c.Nodes.Resume(cmd.Context(), connect.NewRequest(&adminv1.ResumeRequest{Node: args[0]}))
		return err
	}}
}

func (a *app) quarantine() *cobra.Command {
	var req adminv1.QuarantineRequest
	var lasts time.Duration
	c := &cobra.Command{Use: "quarantine DEVICE|NODE", Short: "Keep new work off a device or a node that is not trusted; what it serves moves elsewhere",
		Long: "Keep new work off a device, or a node with all its devices, that is not trusted. What it serves moves elsewhere as soon as others serve instead.\n\n" +
			"It stays so over restarts, and a device on whichever node it is, until somebody lifts it or its time is over. Alerts do the same by their action quarantine.",
		Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if req.Subject, req.TtlSeconds = args[0], int64(lasts/time.Second); lasts != 0 && req.TtlSeconds < 1 {
				return usage("--for %s: want at least 1s", lasts)
			}
			_, err := c.Nodes.Quarantine(cmd.Context(), connect.NewRequest(&req))
			return err
		})}
	c.Flags().StringVar(&req.Why, "why", "", "the reason, for others")
	c.Flags().DurationVar(&lasts, "for", 0, "how long it lasts; 0 = until it is lifted")
	return c
}

func (a *app) lift() *cobra.Command {
	return &cobra.Command{Use: "lift DEVICE|NODE", Short: "End the quarantine of a device or a node", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		_, err := c.Nodes.Lift(cmd.Context(), connect.NewRequest(&adminv1.LiftRequest{Subject: args[0]}))
		return err
	})}
}

func (a *app) remove() *cobra.Command {
	return &cobra.Command{Use: "remove MEMBER", Short: "End the membership of a node that holds nothing, of a coordinator, or of a gateway",
		Long: "End the membership of a node that holds nothing, of a coordinator, or of a gateway. Its certificate counts for nothing within seconds; to come back it has to join anew.\n\n" +
			"What a coordinator holds is copied to others first. Its disk has the cluster's keys: wipe it.",
		Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.Nodes.RemoveNode(cmd.Context(), connect.NewRequest(&adminv1.RemoveNodeRequest{Node: args[0]}))
			if connect.CodeOf(err) != connect.CodeNotFound {
				return err
			}
			_, err = c.Members.RemoveMember(cmd.Context(), connect.NewRequest(&adminv1.RemoveMemberRequest{Member: args[0]}))
			return err
		})}
}
