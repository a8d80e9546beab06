package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

func (a *app) serve() *cobra.Command {
	var req adminv1.ServeRequest
	var wait bool
	var within time.Duration
	var need adminv1.Need
	var first, latency time.Duration
	c := &cobra.Command{Use: "serve MODEL", Short: "Serve a version on the fleet, and show where its blocks go and why", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		req.Model = args[0]
		if follows(cmd) {
			if req.Replicas != 0 {
				return usage("replicas are either fixed (--replicas) or follow demand (--min, --max and the others)")
			}
			if need.Max == 0 {
				return usage("how many replicas may there be at most? --max N")
			}
			need.FirstTokenMs, need.LatencyMs, req.Need = first.Milliseconds(), latency.Milliseconds(), &need
		}
		res, err := c.Deployments.Serve(cmd.Context(), connect.NewRequest(&req))
		if err != nil {
			return err
		}
		if a.output == "json" {
			err = a.show(cmd, res.Msg, "", nil)
		} else {
			err = showPlan(cmd.OutOrStdout(), "", res.Msg)
		}
		if err == nil && len(res.Msg.Refused) > 0 && req.ValidateOnly {
			err = connect.NewError(connect.CodeFailedPrecondition, errors.New("not every replica has a place (see above)"))
		}
		if err != nil || req.ValidateOnly || !wait {
			return err
		}
		return waitReady(cmd.Context(), c, res.Msg.Version, within, newBar())
	}}
	c.Flags().Int32Var(&req.Replicas, "replicas", 0, "replicas (default: as now, or 1)")
	c.Flags().Int32Var(&need.Min, "min", 0, "replicas at least, where they follow demand; 0 = none when nobody calls")
	c.Flags().Int32Var(&need.Max, "max", 0, "replicas at most: they follow demand")
	c.Flags().DurationVar(&first, "ttft", 0, "time to the first token that the replicas are to keep")
	c.Flags().DurationVar(&latency, "latency", 0, "time of an answer that the replicas are to keep")
	c.Flags().Int32Var(&need.Percent, "percent", 0, "of the requests that are to be within these times (default 95)")
	c.Flags().Int32Var(&need.Priority, "priority", 0, "who gets room where there is not enough: higher first, -100 to 100")
	c.Flags().StringVar(&req.Tenant, "tenant", "", "tenant that it is billed to, and whose weight counts (default: as now)")
	c.Flags().Int32Var(&req.Slots, "slots", 0, "sequences at once per replica (default: as now, or 8)")
	c.Flags().Int32Var(&req.Context, "context", 0, "tokens of the longest sequence (default: as now, or 4096, or what the model supports)")
	c.Flags().BoolVar(&req.ValidateOnly, "plan", false, "only show the plan, change nothing")
	c.Flags().BoolVar(&wait, "wait", false, "wait until every replica is ready")
	c.Flags().DurationVar(&within, "timeout", 30*time.Minute, "how long --wait waits")
	return c
}

// follows says that a flag asks for replicas that follow demand.
func follows(cmd *cobra.Command) bool {
	return slices.ContainsFunc([]string{"min", "max", "ttft", "latency", "percent", "priority"}, cmd.Flags().Changed)
}

// showPlan prints where the stages of each replica go, and why.
func showPlan(w io.Writer, indent string, plan *adminv1.ServeResponse) error {
	for _, r := range plan.Replicas {
		err := table(w, "", func(row func(...any)) {
			for i, s := range r.Stages {
				row(fmt.Sprintf("%s%s stage %d", indent, r.Id, i), "blocks "+blocks(s.From, s.To), "on "+s.Node, s.Device, "needs "+size(s.Reserve))
			}
		})
		if err != nil {
			return err
		}
		if r.Why != "" {
			fmt.Fprintf(w, "%swhy: %s\n", indent, r.Why)
		}
	}
	if plan.Scaling != "" {
		fmt.Fprintf(w, "%s%s\n", indent, plan.Scaling)
	}
	for _, why := range plan.Refused {
		fmt.Fprintf(w, "%sno place: %s\n", indent, strings.ReplaceAll(why, "\n", "\n"+indent))
	}
	return nil
}

// find gives the deployment of a version, nil if there is none.
func find(ctx context.Context, c *client.Client, version string) (*adminv1.DeploymentView, error) {
	res, err := c.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(res.Msg.Deployments, func(d *adminv1.DeploymentView) bool { return d.Version == version })
	if i < 0 {
		return nil, nil
	}
	return res.Msg.Deployments[i], nil
}

// waitReady waits until every wanted replica answers, and shows how far the fetches are.
func waitReady(ctx context.Context, c *client.Client, version string, within time.Duration, b *bar) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last string
	for {
		d, err := find(ctx, c, version)
		switch {
		case err != nil && connect.CodeOf(err) != connect.CodeUnavailable && ctx.Err() == nil:
			return err
		case err == nil && d == nil:
			return fmt.Errorf("%s is not served any more", version)
		case err == nil:
			if d.Ready >= d.Wanted {
				b.say(fmt.Sprintf("%s: %d of %d replicas ready", version, d.Ready, d.Wanted))
				return nil
			}
			last = showProgress(b, d)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w%s (skein why %s)", version, ctx.Err(), last, version)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// showProgress shows what the stages are doing, and gives what is wrong with them.
func showProgress(b *bar, d *adminv1.DeploymentView) (wrong string) {
	var here, total int64
	for _, r := range d.Replicas {
		for i, s := range r.Stages {
			here, total = here+s.Fetched, total+s.Fetch
			if s.Why != "" {
				wrong += fmt.Sprintf("; stage %d of %s on %s: %s", i, r.Id, s.Node, s.Why)
			}
		}
	}
	if total > 0 && here < total && b.tty {
		b.set("fetching "+d.Version, here, total)
	}
	for _, why := range d.Refused {
		wrong += "; " + why
	}
	return wrong
}

func (a *app) unserve() *cobra.Command {
	return &cobra.Command{Use: "unserve MODEL", Short: "Serve a version no longer", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		_, err = c.Deployments.Unserve(cmd.Context(), connect.NewRequest(&adminv1.UnserveRequest{Model: args[0]}))
		return err
	}}
}

func (a *app) ps() *cobra.Command {
	return &cobra.Command{Use: "ps", Short: "List what is served, stage by stage", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Deployments.List(cmd.Context(), connect.NewRequest(&adminv1.ListRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "REPLICA STATUS STAGE BLOCKS NODE DEVICE RESERVED STATE ACTIVE EPOCH", func(row func(...any)) {
			for _, d := range res.Msg.Deployments {
				for _, r := range d.Replicas {
					for i, s := range r.Stages {
						row(r.Id, r.Status, fmt.Sprintf("%d of %d", i+1, len(r.Stages)), blocks(s.From, s.To), s.Node, s.Device, size(s.Reserve), state(s), s.Active, r.Epoch)
					}
				}
				if d.Need != nil {
					row(d.Version, fmt.Sprintf("%d of %d", d.Ready, d.Wanted), "", "", "", "", "", wish(d.Need), "", "")
				}
				if missing := int(d.Wanted) - len(d.Replicas); missing > 0 {
					row(d.Version, "no place", "", "", "", "", "", fmt.Sprintf("%d more wanted: skein why %s", missing, d.Version), "", "")
				}
			}
		})
	}}
}

// wish is a need in words.
func wish(n *adminv1.Need) string {
	text := fmt.Sprintf("wants %d to %d", n.Min, n.Max)
	percent := n.Percent
	if percent == 0 {
		percent = 95
	}
	if n.FirstTokenMs > 0 {
		text += fmt.Sprintf(", first token of %d %% in %s", percent, time.Duration(n.FirstTokenMs)*time.Millisecond)
	}
	if n.LatencyMs > 0 {
		text += fmt.Sprintf(", %d %% in %s", percent, time.Duration(n.LatencyMs)*time.Millisecond)
	}
	if n.Priority != 0 {
		text += fmt.Sprintf(", priority %d", n.Priority)
	}
	return text
}

// state is what a stage is doing, in words.
func state(s *adminv1.StageView) string {
	text := s.Status
	if s.Status == "fetching" && s.Fetch > 0 {
		text += " " + amount(s.Fetched, s.Fetch)
	}
	if s.Why != "" {
		text += ": " + oneLine(s.Why)
	}
	return text
}

func (a *app) placement() *cobra.Command {
	c := &cobra.Command{Use: "placement", Short: "Look at and steer where stages run"}
	get := &cobra.Command{Use: "get [MODEL]", Short: "Show pins and what is avoided", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Deployments.List(cmd.Context(), connect.NewRequest(&adminv1.ListRequest{}))
		if err != nil {
			return err
		}
		if len(args) == 1 {
			res.Msg.Deployments = slices.DeleteFunc(res.Msg.Deployments, func(d *adminv1.DeploymentView) bool {
				return d.Version != args[0] && !strings.HasPrefix(d.Version, args[0]+"@")
			})
		}
		return a.show(cmd, res.Msg, "VERSION REPLICA STAGE PINNED-TO AVOIDS", func(row func(...any)) {
			for _, d := range res.Msg.Deployments {
				avoids := strings.Join(append(slices.Clone(d.AvoidDevices), d.AvoidNodes...), ",")
				if len(d.Pins) == 0 {
					row(d.Version, "", "", "", avoids)
				}
				for _, p := range d.Pins {
					row(d.Version, p.Replica, p.Stage, p.Device, avoids)
				}
			}
		})
	}}
	var req adminv1.PinRequest
	var remove bool
	pin := &cobra.Command{Use: "pin MODEL [DEVICE]", Short: "Fix the device of a stage; a pin that breaks a limit is refused", Args: cobra.RangeArgs(1, 2), RunE: func(cmd *cobra.Command, args []string) error {
		if remove == (len(args) == 2) {
			return usage("name a device, or take the pin away with --remove")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		req.Model = args[0]
		if len(args) == 2 {
			req.Device = args[1]
		}
		res, err := c.Deployments.Pin(cmd.Context(), connect.NewRequest(&req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "REPLICA STAGE DEVICE", func(row func(...any)) {
			for _, p := range res.Msg.Pins {
				row(p.Replica, p.Stage, p.Device)
			}
		})
	}}
	pin.Flags().Int32Var(&req.Replica, "replica", 0, "replica, from 0")
	pin.Flags().Int32Var(&req.Stage, "stage", 0, "stage, from 0")
	pin.Flags().BoolVar(&remove, "remove", false, "take the pin away")
	var avoided adminv1.AvoidRequest
	avoid := &cobra.Command{Use: "avoid MODEL", Short: "Keep a deployment off devices and nodes (the whole new lists; none = nothing is avoided)", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		avoided.Model = args[0]
		_, err = c.Deployments.Avoid(cmd.Context(), connect.NewRequest(&avoided))
		return err
	}}
	avoid.Flags().StringSliceVar(&avoided.Devices, "device", nil, "a device (repeatable)")
	avoid.Flags().StringSliceVar(&avoided.Nodes, "node", nil, "a node, by name or id (repeatable)")
	c.AddCommand(get, pin, avoid)
	return c
}

func (a *app) why() *cobra.Command {
	var record string
	c := &cobra.Command{Use: "why [KIND] [SUBJECT]", Short: "Say why things are as they are: a deployment, a replica, a node, or all", Args: cobra.MaximumNArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		if record != "" {
			return saveRecording(cmd, c, record)
		}
		req := &adminv1.WhyRequest{}
		req.Subject = strings.Join(args, " ")
		res, err := c.Deployments.Why(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "AT SUBJECT WHY", func(row func(...any)) {
			for _, n := range res.Msg.Notes {
				row(when(n.AtMs), n.Subject, n.Why)
			}
		})
	}}
	c.Flags().StringVar(&record, "record", "", "save the scheduler's last steps with their inputs to this file, for skein replay")
	return c
}
