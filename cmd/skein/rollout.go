package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
)

// modelsUpdate changes what is written about a model: what no flag names stays as it is.
func (a *app) modelsUpdate() *cobra.Command {
	m := &adminv1.ModelRecord{}
	var temperature, topP float64
	var topK, maxTokens int32
	c := &cobra.Command{Use: "update MODEL", Short: "Change what is written about a model, and its defaults", Args: cobra.ExactArgs(1)}
	f := c.Flags()
	f.StringVar(&m.Description, "description", "", "what it is for")
	f.StringVar(&m.Owner, "owner", "", "tenant whose publishers may change it")
	f.StringSliceVar(&m.Tags, "tag", nil, "a tag (repeatable; the whole new list)")
	f.StringToStringVar(&m.Labels, "label", nil, "a label name=value (repeatable; the whole new list)")
	f.Float64Var(&temperature, "temperature", 0, "default of requests that say nothing")
	f.Int32Var(&topK, "top-k", 0, "default of requests that say nothing")
	f.Float64Var(&topP, "top-p", 1, "default of requests that say nothing")
	f.Int32Var(&maxTokens, "max-tokens", 0, "default of requests that say nothing")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		m.Name, m.Defaults = args[0], &adminv1.Defaults{}
		mask := &fieldmaskpb.FieldMask{}
		for flag, path := range map[string]string{"description": "description", "owner": "owner", "tag": "tags", "label": "labels"} {
			if f.Changed(flag) {
				mask.Paths = append(mask.Paths, path)
			}
		}
		set := map[string]func(){"temperature": func() { m.Defaults.Temperature = &temperature }, "top-k": func() { m.Defaults.TopK = &topK },
			"top-p": func() { m.Defaults.TopP = &topP }, "max-tokens": func() { m.Defaults.MaxTokens = &maxTokens }}
		changed := false
		for flag, take := range set {
			if f.Changed(flag) {
				take()
				changed = true
			}
		}
		if changed {
			mask.Paths = append(mask.Paths, "defaults")
		}
		if len(mask.Paths) == 0 {
			return usage("nothing to change: name at least one flag")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Rollouts.UpdateModel(cmd.Context(), connect.NewRequest(&adminv1.UpdateModelRequest{Model: m, UpdateMask: mask}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg.Model, "", func(row func(...any)) { showModel(res.Msg.Model, row) })
	}
	return c
}

func showModel(m *adminv1.ModelRecord, row func(...any)) {
	row("model", m.Name)
	row("description", m.Description)
	row("owner", m.Owner)
	row("tags", strings.Join(m.Tags, ","))
	row("labels", pairs(m.Labels))
	row("defaults", defaults(m.Defaults))
}

// defaults puts a model's defaults in words.
func defaults(d *adminv1.Defaults) string {
	if d == nil {
		return ""
	}
	var out []string
	if d.Temperature != nil {
		out = append(out, fmt.Sprintf("temperature %g", *d.Temperature))
	}
	if d.TopK != nil {
		out = append(out, fmt.Sprintf("top-k %d", *d.TopK))
	}
	if d.TopP != nil {
		out = append(out, fmt.Sprintf("top-p %g", *d.TopP))
	}
	if d.MaxTokens != nil {
		out = append(out, fmt.Sprintf("max-tokens %d", *d.MaxTokens))
	}
	return strings.Join(out, ", ")
}

func (a *app) modelsDelete() *cobra.Command {
	return &cobra.Command{Use: "delete MODEL[@NUMBER]", Short: "Delete a version, or a model with all of its versions; refused while served", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		gone := &adminv1.DeleteModelResponse{Versions: []string{args[0]}}
		if strings.Contains(args[0], "@") {
			_, err = c.Models.DeleteVersion(cmd.Context(), connect.NewRequest(&adminv1.DeleteVersionRequest{Version: args[0]}))
		} else {
			var res *connect.Response[adminv1.DeleteModelResponse]
			if res, err = c.Rollouts.DeleteModel(cmd.Context(), connect.NewRequest(&adminv1.DeleteModelRequest{Name: args[0]})); err == nil {
				gone = res.Msg
			}
		}
		if err != nil {
			return err
		}
		return a.show(cmd, gone, "", func(row func(...any)) { row("deleted: " + strings.Join(gone.Versions, " ")) })
	}}
}

// rollout tries a version out, or shows how an alias does.
func (a *app) rollout() *cobra.Command {
	var o rolloutFlags
	c := &cobra.Command{Use: "rollout MODEL@N", Short: "Try a version out beside the one that a name means: canary, shadow, guard",
		Long: "Try a version out beside the one that a name means.\n\n" +
			"  skein rollout calc@2 --canary 5% --guard errors=5%,p95=2s      a twentieth of the requests; taken back by itself if it is worse\n" +
			"  skein rollout calc@2 --tenants acme,globex                     all requests of two tenants\n" +
			"  skein rollout calc@2 --shadow 10%                              copies of a tenth; the answers are compared and thrown away\n" +
			"  skein promote calc                                             the name means the canary from now on\n" +
			"  skein rollback calc                                            the canary gets no requests any more",
		Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			req, err := o.request(cmd.Flags().Changed, args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			res, err := c.Rollouts.SetRollout(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.show(cmd, res.Msg, "", func(row func(...any)) { row(req.Alias + " -> " + res.Msg.Target + rolloutWords(res.Msg.Rollout)) })
		}}
	f := c.Flags()
	f.StringVar(&o.alias, "alias", "", "the name that clients call (default: the model's)")
	f.StringVar(&o.canary, "canary", "", "part of the requests that the version answers, for example 5%")
	f.StringSliceVar(&o.tenants, "tenants", nil, "tenants all of whose requests it answers")
	f.StringVar(&o.shadow, "shadow", "", "part of the requests of which it gets copies, for example 10%; 0% ends it")
	f.StringVar(&o.guard, "guard", "", "when it is taken back by itself: errors=5%,p95=2s,parity=95%,requests=50,window=60s; none ends it")
	f.DurationVar(&o.retire, "retire-after", 0, "after a promotion, how long the version before stays served; 0 = until somebody ends it")
	f.BoolVar(&o.force, "force", false, "also when the version has no ready replica and the present one has")
	f.BoolVar(&o.accept, "accept", false, "also when the version differs in what clients rely on")
	return c
}

// rolloutFlags are what is said about a rollout on the command line.
type rolloutFlags struct {
	alias, canary, shadow, guard string
	tenants                      []string
	retire                       time.Duration
	force, accept                bool
}

// request makes a request of the flags that were given.
func (o *rolloutFlags) request(given func(string) bool, version string) (*adminv1.SetRolloutRequest, error) {
	name, _, ok := strings.Cut(version, "@")
	if !ok {
		return nil, usage("%.80q is no version: want MODEL@N", version)
	}
	req := &adminv1.SetRolloutRequest{Alias: name, Rollout: &adminv1.Rollout{}, UpdateMask: &fieldmaskpb.FieldMask{}, Force: o.force, Accept: o.accept}
	if o.alias != "" {
		req.Alias = o.alias
	}
	change := func(path string) { req.UpdateMask.Paths = append(req.UpdateMask.Paths, path) }
	if given("canary") || given("tenants") {
		percent, err := percentage("canary", o.canary)
		if err != nil {
			return nil, err
		}
		req.Rollout.Canary = &adminv1.Canary{Version: version, Percent: percent, Tenants: o.tenants}
		change("canary")
	}
	if given("shadow") {
		percent, err := percentage("shadow", o.shadow)
		if err != nil {
			return nil, err
		}
		if percent > 0 {
			req.Rollout.Shadow = &adminv1.Shadow{Version: version, Percent: percent}
		}
		change("shadow")
	}
	if given("guard") {
		guard, err := parseGuard(o.guard)
		if err != nil {
			return nil, err
		}
		req.Rollout.Guard = guard
		change("guard")
	}
	if given("retire-after") {
		req.Rollout.RetireAfterS = int32(o.retire / time.Second)
		change("retire_after_s")
	}
	if len(req.UpdateMask.Paths) == 0 {
		return nil, usage("say how: --canary, --tenants, --shadow, --guard or --retire-after")
	}
	return req, nil
}

// percentage reads "5%" or "5"; "" is 0.
func percentage(what, s string) (int32, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(s, "%"), 10, 32)
	if err != nil || n < 0 || n > 100 {
		return 0, usage("%s %.20q: want whole percent, for example 5%%", what, s)
	}
	return int32(n), nil
}

// parseGuard reads "errors=5%,p95=2s,parity=95%,requests=50,window=60s"; "none" is none.
func parseGuard(s string) (*adminv1.Guard, error) {
	if s == "none" {
		return nil, nil
	}
	g := &adminv1.Guard{}
	for _, part := range strings.Split(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var err error
		switch name {
		case "errors":
			g.ErrorPercent, err = percentage("guard: errors", value)
		case "parity":
			g.ParityPercent, err = percentage("guard: parity", value)
		case "p95":
			var d time.Duration
			if d, err = time.ParseDuration(value); err == nil {
				g.P95Ms = d.Milliseconds()
			}
		case "window":
			var d time.Duration
			if d, err = time.ParseDuration(value); err == nil {
				g.WindowS = int32(d / time.Second)
			}
		case "requests":
			var n int64
			if n, err = strconv.ParseInt(value, 10, 32); err == nil {
				g.Requests = int32(n)
			}
		default:
			return nil, usage("guard: %.40q is none of errors, p95, parity, requests, window", name)
		}
		if err != nil {
			return nil, usage("guard: %.80q: %v", part, err)
		}
	}
	return g, nil
}

// rolloutWords puts a rollout in words.
func rolloutWords(r *adminv1.Rollout) string {
	if r == nil {
		return ""
	}
	var out string
	if c := r.Canary; c != nil {
		out += fmt.Sprintf(", canary %s %d%%", c.Version, c.Percent)
		if len(c.Tenants) > 0 {
			out += " and all of " + strings.Join(c.Tenants, ",")
		}
	}
	if s := r.Shadow; s != nil {
		out += fmt.Sprintf(", shadow %s %d%%", s.Version, s.Percent)
	}
	if g := r.Guard; g != nil {
		out += ", guard"
		for _, limit := range []struct {
			set  bool
			text string
		}{{g.ErrorPercent > 0, fmt.Sprintf(" errors=%d%%", g.ErrorPercent)}, {g.P95Ms > 0, fmt.Sprintf(" p95=%s", time.Duration(g.P95Ms)*time.Millisecond)},
			{g.ParityPercent > 0, fmt.Sprintf(" parity=%d%%", g.ParityPercent)}, {true, fmt.Sprintf(" of %d in %d s", g.Requests, g.WindowS)}} {
			if limit.set {
				out += limit.text
			}
		}
	}
	if r.Follow {
		out += ", follows the newest version that answers"
	}
	if r.RetireAfterS > 0 {
		out += fmt.Sprintf(", the version before is retired after %s", time.Duration(r.RetireAfterS)*time.Second)
	}
	return out
}

func (a *app) promote() *cobra.Command {
	var req adminv1.PromoteRequest
	c := &cobra.Command{Use: "promote NAME", Short: "Point a name at its canary", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		req.Alias = args[0]
		res, err := c.Rollouts.Promote(cmd.Context(), connect.NewRequest(&req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "", func(row func(...any)) {
			row(fmt.Sprintf("%s -> %s (before: %s)", req.Alias, res.Msg.Target, res.Msg.Before))
		})
	}}
	c.Flags().BoolVar(&req.Force, "force", false, "also when the canary has no ready replica and the present version has")
	c.Flags().BoolVar(&req.Accept, "accept", false, "also when the canary differs in what clients rely on")
	return c
}

// setFollow says whether an alias follows the newest version.
func (a *app) setFollow(ctx context.Context, alias string, follow bool) (*adminv1.Rollout, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	res, err := c.Rollouts.SetRollout(ctx, connect.NewRequest(&adminv1.SetRolloutRequest{Alias: alias, Rollout: &adminv1.Rollout{Follow: follow},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"follow"}}}))
	if err != nil {
		return nil, err
	}
	return res.Msg.Rollout, nil
}

// pairs puts labels in words, by name.
func pairs(labels map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, name+"="+labels[name])
	}
	return strings.Join(out, ",")
}
