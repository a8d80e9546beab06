package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/skein-project/skein/alert"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/series"
)

func (a *app) alerts() *cobra.Command {
	c := &cobra.Command{Use: "alerts", Short: "What is wrong, and who is told"}
	c.AddCommand(a.alertList(), a.alertRules(), a.alertPut(), a.alertDelete(), a.alertTry(), a.alertAck(), a.alertSilence(), a.alertReceivers(), a.alertExport())
	return c
}

// each reads JSON objects.
func each[T any](list []string, do func(T)) error {
	for _, text := range list {
		var v T
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		do(v)
	}
	return nil
}

func (a *app) showIncidents(cmd *cobra.Command, answer *adminv1.ListIncidentsResponse) error {
	var failed error
	err := a.show(cmd, answer, "INCIDENT SEVERITY PHASE SINCE ENDED SUMMARY LOOK-AT RUNBOOK", func(row func(...any)) {
		failed = each(answer.Incidents, func(i alert.Incident) {
			phase := string(i.Phase)
			if i.Ack != nil {
				phase += ", taken on by " + i.Ack.By
			}
			row(i.ID, i.Severity, phase, when(int64(i.Opened)), when(int64(i.Ended)), i.Summary, strings.Join(append([]string{i.Links.Why}, i.Links.Requests...), " "), i.Links.Runbook)
		})
	})
	if err == nil {
		err = failed
	}
	return err
}

func (a *app) alertList() *cobra.Command {
	req := &adminv1.ListIncidentsRequest{}
	c := &cobra.Command{Use: "list", Short: "Show what is wrong now", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Alerts.ListIncidents(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.showIncidents(cmd, res.Msg)
	})}
	c.Flags().BoolVar(&req.All, "all", false, "and what has ended")
	return c
}

func (a *app) alertRules() *cobra.Command {
	return &cobra.Command{Use: "rules", Short: "Show the rules in force", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Alerts.ListRules(cmd.Context(), connect.NewRequest(&adminv1.ListRulesRequest{}))
		if err != nil {
			return err
		}
		var failed error
		err = a.show(cmd, res.Msg, "RULE SEVERITY OF FOR STATUS CONDITION", func(row func(...any)) {
			failed = each(res.Msg.Rules, func(r alert.Rule) { row(r.ID, r.Severity, r.Over, r.For, status(r.Disabled), r.Expr) })
		})
		for _, n := range res.Msg.Notes {
			fmt.Fprintln(cmd.ErrOrStderr(), n)
		}
		if err == nil {
			err = failed
		}
		return err
	})}
}

const maxObjectFile = 64 << 10 // bytes

// objectFile reads a rule, or another object of the API, from a YAML or JSON file ("-" = standard input), as JSON.
func objectFile(path string) (string, error) {
	in := io.Reader(os.Stdin)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxObjectFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxObjectFile {
		return "", usage("%s is larger than %d bytes", path, maxObjectFile)
	}
	var v map[string]any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return "", usage("%s: %v", path, err)
	}
	text, err := json.Marshal(v)
	return string(text), err
}

func (a *app) alertPut() *cobra.Command {
	req := &adminv1.PutRuleRequest{}
	c := &cobra.Command{Use: "put FILE", Short: "Create or change a rule from a YAML or JSON file", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) (err error) {
		if req.Rule, err = objectFile(args[0]); err != nil {
			return err
		}
		_, err = c.Alerts.PutRule(cmd.Context(), connect.NewRequest(req))
		return err
	})}
	c.Flags().BoolVar(&req.ValidateOnly, "check", false, "only check it")
	return c
}

func (a *app) alertDelete() *cobra.Command {
	return &cobra.Command{Use: "delete RULE", Short: "Delete a rule; a default rule that was changed is again what it was", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		_, err := c.Alerts.DeleteRule(cmd.Context(), connect.NewRequest(&adminv1.DeleteRuleRequest{Id: args[0]}))
		return err
	})}
}

func (a *app) alertTry() *cobra.Command {
	var back time.Duration
	c := &cobra.Command{Use: "try FILE", Short: "Say which incidents a rule would have had", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		rule, err := objectFile(args[0])
		if err != nil {
			return err
		}
		res, err := c.Alerts.TryRule(cmd.Context(), connect.NewRequest(&adminv1.TryRuleRequest{Rule: rule, FromMs: time.Now().Add(-back).UnixMilli()}))
		if err != nil {
			return err
		}
		return a.showIncidents(cmd, &adminv1.ListIncidentsResponse{Incidents: res.Msg.Incidents})
	})}
	c.Flags().DurationVar(&back, "last", 24*time.Hour, "how far to look back")
	return c
}

func (a *app) alertAck() *cobra.Command {
	req := &adminv1.AcknowledgeRequest{}
	c := &cobra.Command{Use: "ack INCIDENT", Short: "Take an incident on: nobody is told of it again until it ends", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
		req.Id = args[0]
		_, err := c.Alerts.Acknowledge(cmd.Context(), connect.NewRequest(req))
		return err
	})}
	c.Flags().StringVar(&req.Comment, "comment", "", "what others should know")
	return c
}

func (a *app) alertSilence() *cobra.Command {
	var life time.Duration
	var end string
	s := alert.Silence{}
	c := &cobra.Command{Use: "silence [LABEL=VALUE[,VALUE…]…]", Short: "Keep incidents from being told for a while; without labels, list the silences",
		Example: "  skein alerts silence rule=node-lost node=n3,n4 --for 2h --comment 'rack 7 moves'", RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			switch {
			case end != "":
				_, err := c.Alerts.DeleteSilence(cmd.Context(), connect.NewRequest(&adminv1.DeleteSilenceRequest{Id: end}))
				return err
			case len(args) == 0:
				return a.listSilences(cmd, c)
			}
			for _, text := range args {
				name, values, ok := strings.Cut(text, "=")
				if !ok {
					return usage("%q: want LABEL=VALUE", text)
				}
				s.Match = append(s.Match, series.Matcher{Name: name, Values: strings.Split(values, ",")})
			}
			s.Until = alert.Millis(time.Now().Add(life).UnixMilli())
			text, err := json.Marshal(s)
			if err != nil {
				return err
			}
			res, err := c.Alerts.PutSilence(cmd.Context(), connect.NewRequest(&adminv1.PutSilenceRequest{Silence: string(text)}))
			if err != nil {
				return err
			}
			return a.show(cmd, res.Msg, "", func(row func(...any)) { row(res.Msg.Id) })
		})}
	c.Flags().DurationVar(&life, "for", 2*time.Hour, "how long")
	c.Flags().StringVar(&s.Comment, "comment", "", "why")
	c.Flags().StringVar(&end, "end", "", "id of a silence to end")
	return c
}

func (a *app) listSilences(cmd *cobra.Command, c *client.Client) error {
	res, err := c.Alerts.ListSilences(cmd.Context(), connect.NewRequest(&adminv1.ListSilencesRequest{}))
	if err != nil {
		return err
	}
	var failed error
	err = a.show(cmd, res.Msg, "SILENCE OF FROM UNTIL BY COMMENT", func(row func(...any)) {
		failed = each(res.Msg.Silences, func(s alert.Silence) {
			var of []string
			for _, m := range s.Match {
				of = append(of, m.Name+"="+strings.Join(m.Values, ","))
			}
			row(s.ID, strings.Join(of, " "), when(int64(s.From)), when(int64(s.Until)), s.By, s.Comment)
		})
	})
	if err == nil {
		err = failed
	}
	return err
}

func (a *app) alertReceivers() *cobra.Command {
	c := &cobra.Command{Use: "receivers", Short: "Who is told", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Alerts.ListReceivers(cmd.Context(), connect.NewRequest(&adminv1.ListReceiversRequest{}))
		if err != nil {
			return err
		}
		var failed error
		err = a.show(cmd, res.Msg, "RECEIVER PROTOCOL URL REPEAT STATUS", func(row func(...any)) {
			failed = each(res.Msg.Receivers, func(r alert.Receiver) { row(r.ID, r.Protocol, r.URL, r.Repeat, status(r.Disabled)) })
		})
		if err == nil {
			err = failed
		}
		return err
	})}
	r := alert.Receiver{}
	var protocol, severity string
	put := &cobra.Command{Use: "put ID URL", Short: "Create or change a receiver", Args: cobra.ExactArgs(2),
		Long: "Create or change a receiver: a webhook, or an Alertmanager by its URL. The secret that a webhook is signed with is a file of\nits name in the folder alert_keys of every coordinator; a receiver inside of the network must be in alert_allow.",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			r.ID, r.URL, r.Protocol = args[0], args[1], alert.Protocol(protocol)
			if severity != "" {
				r.Match = series.Match{{Name: "severity", Values: strings.Split(severity, ",")}}
			}
			text, err := json.Marshal(r)
			if err != nil {
				return err
			}
			_, err = c.Alerts.PutReceiver(cmd.Context(), connect.NewRequest(&adminv1.PutReceiverRequest{Receiver: string(text)}))
			return err
		})}
	put.Flags().StringVar(&protocol, "protocol", "webhook", "webhook or alertmanager")
	put.Flags().StringVar(&severity, "severity", "", "of incidents that it is told of: info, warning, critical (default all)")
	put.Flags().BoolVar(&r.Quiet, "quiet", false, "do not tell it when incidents end")
	c.AddCommand(put,
		&cobra.Command{Use: "delete ID", Short: "Delete a receiver", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.Alerts.DeleteReceiver(cmd.Context(), connect.NewRequest(&adminv1.DeleteReceiverRequest{Id: args[0]}))
			return err
		})},
		&cobra.Command{Use: "test ID", Short: "Tell a receiver a test", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			res, err := c.Alerts.TestReceiver(cmd.Context(), connect.NewRequest(&adminv1.TestReceiverRequest{Id: args[0]}))
			if err == nil && res.Msg.Failed != "" {
				err = fmt.Errorf("it did not arrive: %s", res.Msg.Failed)
			}
			return err
		})})
	return c
}

func (a *app) alertExport() *cobra.Command {
	return &cobra.Command{Use: "export", Short: "Print the rules as a Prometheus rule file", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Alerts.ExportRules(cmd.Context(), connect.NewRequest(&adminv1.ExportRulesRequest{}))
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(res.Msg.File)
		return err
	})}
}

func (a *app) series() *cobra.Command {
	req, back := &adminv1.GetSeriesRequest{}, time.Duration(0)
	c := &cobra.Command{Use: "series FAMILY [LABEL=VALUE…]", Short: "What was measured lately, as the leader keeps it", Args: cobra.MinimumNArgs(1),
		Example: "  skein series skein_gateway_requests_total tenant=acme --last 1h", RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			req.Family, req.Labels = args[0], map[string]string{}
			for _, text := range args[1:] {
				name, value, ok := strings.Cut(text, "=")
				if !ok {
					return usage("%q: want LABEL=VALUE", text)
				}
				req.Labels[name] = value
			}
			req.FromMs = time.Now().Add(-back).UnixMilli()
			res, err := c.Alerts.GetSeries(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.show(cmd, res.Msg, "SERIES TIME MIN AVG MAX EVENTS", func(row func(...any)) {
				n := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
				for _, curve := range res.Msg.Curves {
					var labels []string
					for k, v := range curve.Labels {
						labels = append(labels, k+"="+v)
					}
					for _, p := range curve.Points {
						row(strings.Join(labels, ","), when(p.At*1000), n(p.Min), n(p.Avg), n(p.Max), p.Sum)
					}
				}
			})
		})}
	c.Flags().DurationVar(&back, "last", 15*time.Minute, "how far to look back")
	c.Flags().Int64Var(&req.StepMs, "step-ms", 15000, "milliseconds of a step")
	return c
}
