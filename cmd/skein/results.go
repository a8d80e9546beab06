package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

// whereHelp describes conditions.
const whereHelp = "condition on records, repeatable, as model=team/spam, version=8, label=spam, status!=ok, 'latency>=250ms', text~refund, 'at>=2026-11-26'; two of one field with = are alternatives"

func (a *app) results() *cobra.Command {
	c := &cobra.Command{Use: "results", Short: "What is kept of answered requests: policies, questions, files, re-runs"}
	c.AddCommand(a.resultsPolicy(), a.resultsQuery(), a.resultsSummary(), a.resultsCompare(), a.resultsExport(), a.resultsForget(), a.resultsRerun(), a.resultsPairs())
	return c
}

func (a *app) resultsPolicy() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "What is kept, by tenant and model; without a policy nothing is"}
	p := &adminv1.ResultPolicy{}
	var redact, fields []string
	set := &cobra.Command{Use: "set TENANT MODEL", Short: "Say what is kept of a tenant's requests to a model (* = all of them)", Args: cobra.ExactArgs(2),
		Example: "  skein results policy set '*' '*' --keep metadata --days 30\n  skein results policy set shop team/spam --keep all --days 7 --redact '[\\w.]+@[\\w.]+' --redact-field request.user",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			p.Tenant, p.Model = args[0], args[1]
			for _, text := range redact {
				p.Redact = append(p.Redact, &adminv1.Redaction{Pattern: text})
			}
			for _, f := range fields {
				field, pattern, _ := strings.Cut(f, "=")
				p.Redact = append(p.Redact, &adminv1.Redaction{Field: field, Pattern: pattern})
			}
			_, err := c.Results.PutPolicy(cmd.Context(), connect.NewRequest(&adminv1.PutPolicyRequest{Policy: p}))
			return err
		})}
	f := set.Flags()
	f.StringVar(&p.Keep, "keep", "metadata", "none, metadata, answers or all")
	f.Int32Var(&p.Days, "days", 30, "days that records are kept")
	f.StringArrayVar(&redact, "redact", nil, "pattern (RE2) that is taken out of every text, repeatable")
	f.StringArrayVar(&fields, "redact-field", nil, "field that is taken out, as request.messages.*.content, or FIELD=PATTERN, repeatable")
	f.StringVar(&p.To, "to", "database", "database, bucket or none")
	f.StringVar(&p.Comment, "comment", "", "for people")
	c.AddCommand(set,
		&cobra.Command{Use: "list", Short: "Show policies", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Results.ListPolicies(cmd.Context(), connect.NewRequest(&adminv1.ListPoliciesRequest{}))
			if err != nil {
				return err
			}
			return a.show(cmd, res.Msg, "TENANT MODEL KEEP DAYS TO REDACTIONS COMMENT", func(row func(...any)) {
				for _, p := range res.Msg.Policies {
					row(p.Tenant, p.Model, p.Keep, p.Days, p.To, len(p.Redact), p.Comment)
				}
			})
		})},
		&cobra.Command{Use: "delete TENANT MODEL", Short: "Delete a policy; what was kept stays as long as it said", Args: cobra.ExactArgs(2), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.Results.DeletePolicy(cmd.Context(), connect.NewRequest(&adminv1.DeletePolicyRequest{Tenant: args[0], Model: args[1]}))
			return err
		})})
	return c
}

func (a *app) resultsQuery() *cobra.Command {
	req := &adminv1.QueryResultsRequest{}
	var full bool
	c := &cobra.Command{Use: "query", Short: "Show records, the newest first", Args: cobra.NoArgs,
		Example: "  skein results query --where model=calc --where 'latency>=100ms' --limit 20",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			req.Brief = !full && a.output != "json"
			res, err := c.Results.QueryResults(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			header := "AT ID TENANT MODEL OPERATION STATUS LATENCY TOKENS LABELS"
			if full {
				header += " REQUEST ANSWER"
			}
			err = a.show(cmd, res.Msg, header, func(row func(...any)) {
				for _, r := range res.Msg.Results {
					cells := []any{when(r.AtMs), r.Id, r.Tenant, fmt.Sprintf("%s@%d", r.Model, r.Version), r.Operation, r.Status, micros(r.LatencyUs), fmt.Sprintf("%d+%d", r.PromptTokens, r.AnswerTokens), labelNames(r.Labels)}
					if full {
						cells = append(cells, r.Request, r.Answer)
					}
					row(cells...)
				}
			})
			if err == nil && res.Msg.NextPage != "" && a.output != "json" {
				fmt.Fprintf(cmd.ErrOrStderr(), "more: --page %s\n", res.Msg.NextPage)
			}
			return err
		})}
	f := c.Flags()
	f.StringArrayVar(&req.Where, "where", nil, whereHelp)
	f.Int32Var(&req.Limit, "limit", 50, "records, at most 1000")
	f.StringVar(&req.Page, "page", "", "where the page before ended")
	f.BoolVar(&full, "full", false, "also the requests and answers that were kept")
	return c
}

func micros(us int64) string {
	if us == 0 {
		return ""
	}
	return (time.Duration(us) * time.Microsecond).Round(10 * time.Microsecond).String()
}

func labelNames(list []*adminv1.ResultLabel) string {
	var out []string
	for _, l := range list {
		out = append(out, fmt.Sprintf("%s:%.3f", l.Name, l.Score))
	}
	return strings.Join(out, " ")
}

func (a *app) resultsSummary() *cobra.Command {
	req := &adminv1.SummarizeResultsRequest{}
	c := &cobra.Command{Use: "summary", Short: "Count records, with percentiles of their times", Args: cobra.NoArgs,
		Example: "  skein results summary --by model,version --where 'at>=2026-11-26'",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Results.SummarizeResults(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			header := strings.ToUpper(strings.Join(req.By, " ")) + " COUNT FAILED PROMPT-TOKENS ANSWER-TOKENS P50 P90 P99 FIRST-P50 FIRST-P99"
			return a.show(cmd, res.Msg, header, func(row func(...any)) {
				for _, r := range res.Msg.Rows {
					var cells []any
					for _, g := range r.Group {
						cells = append(cells, g)
					}
					row(append(cells, r.Count, r.Failed, r.PromptTokens, r.AnswerTokens, micros(r.LatencyP50Us), micros(r.LatencyP90Us), micros(r.LatencyP99Us), micros(r.FirstP50Us), micros(r.FirstP99Us))...)
				}
			})
		})}
	c.Flags().StringArrayVar(&req.Where, "where", nil, whereHelp)
	c.Flags().StringSliceVar(&req.By, "by", []string{"model", "version"}, "some of day, hour, tenant, app, model, version, operation, status, label")
	return c
}

func (a *app) resultsCompare() *cobra.Command {
	req := &adminv1.CompareResultsRequest{}
	c := &cobra.Command{Use: "compare", Short: "Compare two sets of records: how far their labels and times have moved", Args: cobra.NoArgs,
		Example: "  skein results compare --where model=team/spam --base version=7 --now version=8\n  skein results compare --where model=team/spam --base 'at<2026-11-20' --now 'at>=2026-11-20'",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Results.CompareResults(cmd.Context(), connect.NewRequest(req))
			if err != nil || a.output == "json" {
				return errors.Join(err, a.jsonOnly(cmd, res))
			}
			out := cmd.OutOrStdout()
			m := res.Msg
			err = table(out, "SET COUNT FAILED P50 P90 P99", func(row func(...any)) {
				row("base", m.Base.Count, m.Base.Failed, micros(m.Base.LatencyP50Us), micros(m.Base.LatencyP90Us), micros(m.Base.LatencyP99Us))
				row("now", m.Now.Count, m.Now.Failed, micros(m.Now.LatencyP50Us), micros(m.Now.LatencyP90Us), micros(m.Now.LatencyP99Us))
			})
			if err != nil || len(m.Labels) == 0 {
				return err
			}
			if m.NotComparable {
				fmt.Fprintf(out, "\nlabels: not comparable, since one set has none\n")
			} else {
				fmt.Fprintf(out, "\nlabels: population stability index %.4f, total variation %.4f\n", m.Psi, m.TotalVariation)
			}
			return table(out, "LABEL BASE NOW BASE-SHARE NOW-SHARE", func(row func(...any)) {
				for _, l := range m.Labels {
					row(l.Label, l.Base, l.Now, fmt.Sprintf("%.2f%%", 100*l.BaseShare), fmt.Sprintf("%.2f%%", 100*l.NowShare))
				}
			})
		})}
	f := c.Flags()
	f.StringArrayVar(&req.Where, "where", nil, whereHelp)
	f.StringArrayVar(&req.Base, "base", nil, "condition on the first set, repeatable")
	f.StringArrayVar(&req.Now, "now", nil, "condition on the second set, repeatable")
	return c
}

// jsonOnly prints an answer where JSON is asked for.
func (a *app) jsonOnly(cmd *cobra.Command, res *connect.Response[adminv1.CompareResultsResponse]) error {
	if res == nil {
		return nil
	}
	return a.show(cmd, res.Msg, "", func(func(...any)) {})
}

func (a *app) resultsExport() *cobra.Command {
	req := &adminv1.ExportResultsRequest{}
	var file string
	c := &cobra.Command{Use: "export", Short: "Write records to a file: Parquet, CSV or JSON lines", Args: cobra.NoArgs,
		Example: "  skein results export --format parquet --file day.parquet --where 'at>=2026-11-26' --where 'at<2026-11-27'",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			stream, err := c.Results.ExportResults(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			defer stream.Close()
			if file == "" || file == "-" {
				return receive(stream, cmd.OutOrStdout())
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // it holds what people asked
			if err != nil {
				return err
			}
			if err := errors.Join(receive(stream, f), f.Close()); err != nil {
				return errors.Join(err, os.Remove(file)) // half a file looks like a whole one
			}
			return nil
		})}
	f := c.Flags()
	f.StringArrayVar(&req.Where, "where", nil, whereHelp)
	f.StringVar(&req.Format, "format", "csv", "parquet, csv or ndjson")
	f.StringVarP(&file, "file", "f", "", "file to write, which must not exist (default: standard output)")
	return c
}

func receive(s *connect.ServerStreamForClient[adminv1.ExportResultsResponse], w io.Writer) error {
	for s.Receive() {
		if _, err := w.Write(s.Msg().Piece); err != nil {
			return err
		}
	}
	return s.Err()
}

func (a *app) resultsForget() *cobra.Command {
	req := &adminv1.ForgetResultsRequest{}
	c := &cobra.Command{Use: "forget", Short: "Delete records before their time", Args: cobra.NoArgs,
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Results.ForgetResults(cmd.Context(), connect.NewRequest(req))
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%d records are deleted\n", res.Msg.Forgotten)
			}
			return err
		})}
	c.Flags().StringArrayVar(&req.Where, "where", nil, whereHelp)
	return c
}

func (a *app) resultsRerun() *cobra.Command {
	req := &adminv1.RerunResultsRequest{}
	var all bool
	c := &cobra.Command{Use: "rerun --version VERSION", Short: "Ask kept requests again of another version, and show what differs", Args: cobra.NoArgs,
		Example: "  skein results rerun --version v8 --where model=team/spam --where 'at>=2026-11-26'",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			stream, err := c.Results.RerunResults(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			defer stream.Close()
			return a.follow(cmd, stream, all)
		})}
	f := c.Flags()
	f.StringArrayVar(&req.Where, "where", nil, whereHelp)
	f.StringVar(&req.Version, "version", "", "team/spam@8, or 8 for that version of each record's model")
	f.Int32Var(&req.Limit, "limit", 1000, "records at most, the newest first")
	f.Int32Var(&req.Parallel, "parallel", 4, "requests at once")
	f.BoolVar(&all, "all", false, "also show what does not differ")
	return c
}

// follow shows what a re-run finds, and then its sum.
func (a *app) follow(cmd *cobra.Command, s *connect.ServerStreamForClient[adminv1.RerunResultsResponse], all bool) error {
	var run string
	count := &adminv1.RerunCount{}
	var found []*adminv1.ResultPair
	for s.Receive() {
		if a.output == "json" { // one object after the other, as they come
			if err := a.show(cmd, s.Msg(), "", func(func(...any)) {}); err != nil {
				return err
			}
			continue
		}
		run = s.Msg().Run
		if p := s.Msg().Pair; p != nil && (all || p.Differs || p.Status != "ok") {
			found = append(found, p)
		}
		if c := s.Msg().Count; c != nil {
			count = c
		}
	}
	if err := s.Err(); err != nil || a.output == "json" {
		return err
	}
	if err := showPairs(cmd.OutOrStdout(), found); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "\n%s: %d asked again, %d the same, %d differ (labels %d, text %d, scores %d), %d not comparable; no request kept %d, no such version %d, failed %d\n",
		run, count.Asked, count.Same, count.Differ, count.LabelsMove, count.TextMoves, count.ScoresMove, count.NotComparable, count.NoRequest, count.NoModel, count.Failed)
	return err
}

func showPairs(w io.Writer, list []*adminv1.ResultPair) error {
	return table(w, "RECORD FROM TO STATUS DIFFERS SCORE LATENCY LABELS WHY", func(row func(...any)) {
		for _, p := range list {
			row(p.Id, fmt.Sprintf("%s@%d", p.Model, p.Version), fmt.Sprintf("%s@%d", p.ToModel, p.ToVersion), p.Status, moves(p), fmt.Sprintf("%.4f", max(p.ScoreDelta, p.NumberDelta)), micros(p.LatencyUs), labelNames(p.Labels), p.Error)
		}
	})
}

func moves(p *adminv1.ResultPair) string {
	var out []string
	for _, m := range []struct {
		yes  bool
		name string
	}{{p.LabelsMove > 0, "label"}, {p.TextMoves, "text"}, {p.FormMoves, "form"}} {
		if m.yes {
			out = append(out, m.name)
		}
	}
	if p.Differs && len(out) == 0 {
		out = append(out, "score")
	}
	return strings.Join(out, ",")
}

func (a *app) resultsPairs() *cobra.Command {
	req := &adminv1.ListPairsRequest{Limit: 1000}
	c := &cobra.Command{Use: "pairs RERUN", Short: "Show what a re-run found", Args: cobra.ExactArgs(1),
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			req.Run = args[0]
			all, err := allPairs(cmd.Context(), c, req)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.show(cmd, all, "", func(func(...any)) {})
			}
			return showPairs(cmd.OutOrStdout(), all.Pairs)
		})}
	c.Flags().BoolVar(&req.Differing, "differing", false, "those that differ alone")
	return c
}

func allPairs(ctx context.Context, c *client.Client, req *adminv1.ListPairsRequest) (*adminv1.ListPairsResponse, error) {
	all := &adminv1.ListPairsResponse{}
	for {
		res, err := c.Results.ListPairs(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		all.Pairs = append(all.Pairs, res.Msg.Pairs...)
		if req.After = res.Msg.After; req.After == "" {
			return all, nil
		}
	}
}
