// Command core measures Skein's core on this machine: decoding whole and cut, the hop between stages, the gateway, the log, and what decides.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/internal/benchfile"
)

// bench is a run.
type bench struct {
	bin     string // folder of the programs
	library string // path of libonnxruntime
	python  string // with torch and transformers, for a peer; "" = no such peer
	dir     string // for data, on a real disk
	rounds  int
	tokens  int // that a measured stream decodes
}

// atLeast is how many rounds a section makes even when its time is over.
const atLeast = 3

// each runs the rounds of a section, fewer of them where the next one would take more than the section's share of time.
func (b *bench) each(ctx context.Context, share time.Duration, round func(n int) error) error {
	began := time.Now()
	for n := range b.rounds {
		if n >= atLeast && time.Since(began)*time.Duration(n+1)/time.Duration(n) > share {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := round(n); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "core:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == echoCommand {
		return echo(ctx, os.Stdin, os.Stdout)
	}
	b := &bench{}
	flags := flag.NewFlagSet("core", flag.ContinueOnError)
	out := flags.String("out", "docs/bench", "folder of the results")
	within := flags.Duration("within", 10*time.Minute, "the longest that all may take")
	flags.StringVar(&b.bin, "bin", "bin", "folder of Skein's programs")
	flags.StringVar(&b.library, "ort-lib", os.Getenv(ort.Variable), "path of libonnxruntime.so.1")
	flags.StringVar(&b.python, "python", os.Getenv("SKEIN_PYTHON"), "Python with torch and transformers, measured as a peer; empty = none")
	flags.StringVar(&b.dir, "dir", "build/_bench", "folder for data, on a real disk; emptied")
	flags.IntVar(&b.rounds, "rounds", 7, "rounds of each figure, at most")
	flags.IntVar(&b.tokens, "tokens", 64, "tokens that each measured stream decodes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.rounds < 1 || b.tokens < 8 || b.library == "" {
		return errors.New("want at least 1 round, at least 8 tokens, and the path of libonnxruntime")
	}
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	return b.all(ctx, *out)
}

// all runs every section and writes the report.
func (b *bench) all(ctx context.Context, out string) error {
	var err error
	for _, path := range []*string{&b.bin, &b.library, &b.dir} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	runtime, err := ort.Open(b.library)
	if err != nil {
		return err
	}
	report := benchfile.Report{Title: "Skein: the core"}
	if report.Commit, err = benchfile.Commit(ctx); err != nil {
		return err
	}
	if report.Machine, err = benchfile.Here(runtime.Version()); err != nil {
		return err
	}
	for _, section := range []func(context.Context) ([]benchfile.Section, error){b.decoding, b.hops, b.gateway, b.commits, b.deciders} {
		began := time.Now()
		sections, err := section(ctx)
		if err != nil {
			return err
		}
		for _, s := range sections {
			say("%s: %.0f s", s.Title, time.Since(began).Seconds())
			for _, r := range s.Records {
				say("  %-40s %g %s", r.Name, r.Value, r.Unit)
			}
		}
		report.Sections = append(report.Sections, sections...)
	}
	if err := report.Machine.End(); err != nil {
		return err
	}
	if err := report.Write(out, "core"); err != nil {
		return err
	}
	return os.RemoveAll(b.dir)
}

// say tells whoever waits.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
