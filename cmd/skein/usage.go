package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
)

// sumBy are the fields that usage can be summed by.
var sumBy = []struct {
	name  string
	field adminv1.UsageField
	cell  func(*adminv1.UsageRow) string
}{
	{"day", adminv1.UsageField_USAGE_FIELD_DAY, func(r *adminv1.UsageRow) string {
		if r.Month {
			return time.UnixMilli(r.DayMs).UTC().Format("2006-01")
		}
		return time.UnixMilli(r.DayMs).UTC().Format(time.DateOnly)
	}},
	{"tenant", adminv1.UsageField_USAGE_FIELD_TENANT, (*adminv1.UsageRow).GetTenant},
	{"app", adminv1.UsageField_USAGE_FIELD_APPLICATION, (*adminv1.UsageRow).GetApplication},
	{"key", adminv1.UsageField_USAGE_FIELD_KEY, (*adminv1.UsageRow).GetKey},
	{"model", adminv1.UsageField_USAGE_FIELD_MODEL, (*adminv1.UsageRow).GetModel},
	{"version", adminv1.UsageField_USAGE_FIELD_VERSION, (*adminv1.UsageRow).GetVersion},
}

func (a *app) usageCommand() *cobra.Command {
	var by []string
	var from, until, month, tenant string
	var asCSV bool
	c := &cobra.Command{Use: "usage", Aliases: []string{"bill"}, Short: "What was used, and what it costs", Args: cobra.NoArgs,
		Example: "  skein usage --month 2026-11 --by tenant,model --csv",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			req := &adminv1.GetUsageRequest{Tenant: tenant}
			var err error
			if req.FromMs, req.UntilMs, err = days(from, until, month); err != nil {
				return err
			}
			var cells []func(*adminv1.UsageRow) string
			for _, f := range sumBy {
				if slices.Contains(by, f.name) {
					req.By, cells = append(req.By, f.field), append(cells, f.cell)
				}
			}
			if len(cells) != len(by) {
				return usage("--by %s: want some of day, tenant, app, key, model, version", strings.Join(by, ","))
			}
			res, err := c.Usage.GetUsage(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			var header []string
			for _, f := range sumBy {
				if slices.Contains(by, f.name) {
					header = append(header, strings.ToUpper(f.name))
				}
			}
			header = append(header, "CALLS", "FAILED", "PROMPT-TOKENS", "ANSWER-TOKENS", "DEVICE-SECONDS", "RESERVED-SECONDS", strings.TrimSuffix("COST-"+res.Msg.Currency, "-"))
			if asCSV {
				return writeCSV(cmd.OutOrStdout(), header, res.Msg.Rows, cells)
			}
			return a.show(cmd, res.Msg, strings.Join(header, " "), func(row func(...any)) {
				for _, r := range res.Msg.Rows {
					var out []any
					for _, text := range usageCells(r, cells) {
						out = append(out, text)
					}
					row(out...)
				}
			})
		})}
	c.Flags().StringSliceVar(&by, "by", []string{"tenant", "model"}, "sum by day, tenant, app, key, model, version")
	c.Flags().StringVar(&from, "from", "", "first day (UTC), as 2026-11-01")
	c.Flags().StringVar(&until, "until", "", "last day")
	c.Flags().StringVar(&month, "month", "", "one month, as 2026-11")
	c.Flags().StringVar(&tenant, "tenant", "", "of one tenant")
	c.Flags().BoolVar(&asCSV, "csv", false, "print comma-separated values (RFC 4180)")
	return c
}

// days reads the time that is asked about, in Unix milliseconds; 0 where it is open.
func days(from, until, month string) (first, end int64, err error) {
	if month != "" {
		t, err := time.Parse("2006-01", month)
		if err != nil || from != "" || until != "" {
			return 0, 0, usage("--month %q: want a month as 2026-11, and no --from or --until", month)
		}
		return t.UnixMilli(), t.AddDate(0, 1, 0).UnixMilli(), nil
	}
	if from != "" {
		t, err := time.Parse(time.DateOnly, from)
		if err != nil {
			return 0, 0, usage("--from %q: want a day as 2026-11-01", from)
		}
		first = t.UnixMilli()
	}
	if until != "" {
		t, err := time.Parse(time.DateOnly, until)
		if err != nil {
			return 0, 0, usage("--until %q: want a day as 2026-11-30", until)
		}
		end = t.AddDate(0, 0, 1).UnixMilli()
	}
	return first, end, nil
}

func usageCells(r *adminv1.UsageRow, by []func(*adminv1.UsageRow) string) (out []string) {
	for _, cell := range by {
		out = append(out, cell(r))
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return append(out, n(r.Calls), n(r.Failed), n(r.PromptTokens), n(r.AnswerTokens), thousandths(r.DeviceMs), thousandths(r.ReservedMs), money(r.CostMicros))
}

func thousandths(ms int64) string { return fmt.Sprintf("%d.%03d", ms/1000, ms%1000) }

func money(micros int64) string { return fmt.Sprintf("%d.%06d", micros/1_000_000, micros%1_000_000) }

func writeCSV(w io.Writer, header []string, rows []*adminv1.UsageRow, by []func(*adminv1.UsageRow) string) error {
	out := csv.NewWriter(w)
	if err := out.Write(header); err != nil {
		return err
	}
	for _, r := range rows {
		if err := out.Write(usageCells(r, by)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func (a *app) prices() *cobra.Command {
	var currency string
	c := &cobra.Command{Use: "prices", Short: "The price list"}
	set := &cobra.Command{Use: "set MODEL=PROMPT/ANSWER/CALLS/DEVICE-HOUR/RESERVED-HOUR…", Short: "Replace the price list", Args: cobra.ArbitraryArgs,
		Long:    "Replace the price list. A price names a model (or team/*, or *; of those that match, the longest counts) and what is asked for\na million prompt tokens, a million answer tokens, a thousand calls, and an hour of one device used and reserved.",
		Example: "  skein prices set --currency EUR '*=0.50/1.50/0/0/0' 'team/*=0/0/0/2.40/1.20'",
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) error {
			req := &adminv1.SetPricesRequest{Currency: currency}
			for _, text := range args {
				p, err := priceOf(text)
				if err != nil {
					return err
				}
				req.Prices = append(req.Prices, p)
			}
			_, err := c.Usage.SetPrices(cmd.Context(), connect.NewRequest(req))
			return err
		})}
	set.Flags().StringVar(&currency, "currency", "EUR", "what the amounts are in")
	c.AddCommand(set, &cobra.Command{Use: "list", Short: "Show the price list", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Usage.GetPrices(cmd.Context(), connect.NewRequest(&adminv1.GetPricesRequest{}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "MODEL CURRENCY PER-MILLION-PROMPT-TOKENS PER-MILLION-ANSWER-TOKENS PER-THOUSAND-CALLS PER-DEVICE-HOUR PER-RESERVED-HOUR", func(row func(...any)) {
			for _, p := range res.Msg.Prices {
				row(p.Model, res.Msg.Currency, money(p.PromptMillionTokens), money(p.AnswerMillionTokens), money(p.ThousandCalls), money(p.DeviceHour), money(p.ReservedHour))
			}
		})
	})})
	return c
}

// priceOf reads MODEL=PROMPT/ANSWER/CALLS/DEVICE-HOUR/RESERVED-HOUR.
func priceOf(text string) (*adminv1.Price, error) {
	model, amounts, ok := strings.Cut(text, "=")
	parts := strings.Split(amounts, "/")
	if !ok || len(parts) != 5 {
		return nil, usage("%q is no price: want MODEL=PROMPT/ANSWER/CALLS/DEVICE-HOUR/RESERVED-HOUR", text)
	}
	var micros [5]int64
	for i, p := range parts {
		whole, fraction, _ := strings.Cut(p, ".")
		n, err := strconv.ParseInt(whole+(fraction + "000000")[:6], 10, 64)
		if err != nil || len(fraction) > 6 || n < 0 {
			return nil, usage("%q is no amount: want a number with at most six digits behind the point", p)
		}
		micros[i] = n
	}
	return &adminv1.Price{Model: model, PromptMillionTokens: micros[0], AnswerMillionTokens: micros[1], ThousandCalls: micros[2], DeviceHour: micros[3], ReservedHour: micros[4]}, nil
}
