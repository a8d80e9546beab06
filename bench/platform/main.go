// Command platform measures what sharing a fleet costs: admission, a large state, alert rules, settlements, the audit log, and how soon a
// rollback or a revoked key is known everywhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/skein-project/skein/internal/benchfile"
)

// bench is a run.
type bench struct {
	dir    string // for data, on a real disk
	rounds int
	size   size
	note   string // of whoever runs it, for the reader
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "platform:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	b := &bench{}
	flags := flag.NewFlagSet("platform", flag.ContinueOnError)
	out := flags.String("out", "docs/bench", "folder of the results")
	flags.StringVar(&b.dir, "dir", "build/_platform", "folder for data, on a real disk; emptied")
	flags.StringVar(&b.note, "note", "", "a line about the conditions, for the reader")
	flags.IntVar(&b.rounds, "rounds", 3, "rounds of each figure")
	flags.IntVar(&b.size.tenants, "tenants", 10_000, "tenants in the large state")
	flags.IntVar(&b.size.models, "models", 1_000, "models in the large state")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.rounds < 1 || b.size.tenants < askedTenants || b.size.models < 1 {
		return fmt.Errorf("want at least 1 round, %d tenants and 1 model", askedTenants)
	}
	return b.all(ctx, *out)
}

// all runs every section and writes the report.
func (b *bench) all(ctx context.Context, out string) error {
	var err error
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(b.dir), os.MkdirAll(b.dir, 0o700)); err != nil {
		return err
	}
	report := benchfile.Report{Title: "Skein: the platform"}
	if report.Commit, err = benchfile.Commit(ctx); err != nil {
		return err
	}
	if report.Machine, err = benchfile.Here(""); err != nil {
		return err
	}
	for _, section := range []func(context.Context) (benchfile.Section, error){b.admission, b.state, b.alerts, b.fleet, b.audit} {
		s, err := section(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, s.Title)
		for _, r := range s.Records {
			fmt.Fprintf(os.Stderr, "  %-40s %g %s\n", r.Name, r.Value, r.Unit)
		}
		report.Sections = append(report.Sections, s)
	}
	if b.note != "" {
		report.Sections[0].How = append([]string{b.note}, report.Sections[0].How...)
	}
	if err := report.Machine.End(); err != nil {
		return err
	}
	if err := report.Write(out, "platform"); err != nil {
		return err
	}
	return os.RemoveAll(b.dir)
}
