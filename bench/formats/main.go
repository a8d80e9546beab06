// Command formats measures what goes in and what comes out: the conversion of a SavedModel, the Open Inference Protocol beside the native call, and
// what it costs to keep results.
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
	"github.com/skein-project/skein/internal/gobench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "formats:", err)
		os.Exit(1)
	}
}

// section is a part of the report: Go benchmarks whose figures stand as they are.
type section struct {
	title string
	how   []string
	of    []gobench.Benchmark
}

// sections are all of them. Their goals are those of the project.
func sections() []section {
	return []section{
		{"Conversion", []string{"A SavedModel of 419 MB in 100 variables becomes a graph. The bytes are in the system's cache; \"read\" is a plain copy of them to nowhere.",
			"The goal is twice that and a second: the benchmark fails above it."},
			[]gobench.Benchmark{{Package: "convert/savedmodel", Match: "^BenchmarkConversion$", Time: "3x", Take: []gobench.Figure{
				{Benchmark: "Conversion", Metric: "convert-s", Name: "conversion", Unit: "s", Scale: 1, Better: benchfile.Lower},
				{Benchmark: "Conversion", Metric: "read-s", Name: "conversion/read", Unit: "s", Scale: 1, Better: benchfile.Lower}}}}},
		{"Open Inference Protocol", []string{"Tensors of 1 MiB in and out through a gateway and a node, real processes over loopback; two callers; in turn with Connect's Infer",
			"without compression, which gives the same bytes. Throughput in percent of Connect's."},
			[]gobench.Benchmark{{Package: "internal/e2e", Match: "^BenchmarkOpenInference$", Time: "1x", Take: []gobench.Figure{
				{Benchmark: "OpenInference", Metric: "http-%", Name: "oip/http", Unit: "percent", Scale: 1, Better: benchfile.Higher, Goal: 80},
				{Benchmark: "OpenInference", Metric: "grpc-%", Name: "oip/grpc", Unit: "percent", Scale: 1, Better: benchfile.Higher},
				{Benchmark: "OpenInference", Metric: "native-MB/s", Name: "oip/connect", Unit: "MB/s", Scale: 1, Better: benchfile.Higher}}}}},
		{"Results", []string{"\"append\" stores records of about 800 bytes in batches of 1000 until the database says that they are safe; one writer on SQLite, four on PostgreSQL.",
			"\"added\" is what keeping everything of a request adds to its median: a completion of 8 tokens of a millisecond each, in turn for a tenant of whose",
			"requests everything is kept and one of whose nothing is; one process holds the client, the gateway, the coordinator with the database and the machine.",
			"That machine is mostly idle. \"cpu\" is what a request costs of processors where eight callers leave none idle, client and all, and \"added/cpu\" what",
			"keeping everything adds to it until the record is in the database."},
			[]gobench.Benchmark{{Package: "results/sqlstore", Match: "^BenchmarkAppend$", Time: "30x", Take: []gobench.Figure{
				{Benchmark: "Append/sqlite", Metric: "records/s", Name: "results/append/sqlite", Unit: "records/s", Scale: 1, Better: benchfile.Higher, Goal: 5000},
				{Benchmark: "Append/postgres", Metric: "records/s", Name: "results/append/postgres", Unit: "records/s", Scale: 1, Better: benchfile.Higher, Goal: 15000}}},
				{Package: "gateway", Match: "^BenchmarkRecorded$", Time: "1000x", Take: []gobench.Figure{
					{Benchmark: "Recorded", Metric: "added-%", Name: "results/added/p50", Unit: "percent", Scale: 1, Better: benchfile.Lower, Goal: 1},
					{Benchmark: "Recorded", Metric: "p50-us", Name: "results/request/p50", Unit: "us", Scale: 1, Better: benchfile.Lower}}},
				{Package: "gateway", Match: "^BenchmarkRecordedLoad$", Time: "10x", Take: []gobench.Figure{
					{Benchmark: "RecordedLoad", Metric: "cpu-us", Name: "results/request/cpu", Unit: "us", Scale: 1, Better: benchfile.Lower},
					{Benchmark: "RecordedLoad", Metric: "added-cpu-us", Name: "results/added/cpu", Unit: "us", Scale: 1, Better: benchfile.Lower}}}}},
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("formats", flag.ContinueOnError)
	out := flags.String("out", "docs/bench", "folder of the results")
	dir := flags.String("dir", "build/_formats", "folder for data, on a real disk; emptied")
	rounds := flags.Int("rounds", 3, "rounds of each figure")
	note := flags.String("note", "", "a line about the conditions, for the reader")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 {
		return errors.New("want at least 1 round")
	}
	tmp, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return err
	}
	report := benchfile.Report{Title: "Skein: formats, protocols, results"}
	if report.Commit, err = benchfile.Commit(ctx); err != nil {
		return err
	}
	if report.Machine, err = benchfile.Here(""); err != nil {
		return err
	}
	for _, s := range sections() {
		made, err := s.measure(ctx, tmp, *rounds)
		if err != nil {
			return err
		}
		report.Sections = append(report.Sections, made)
	}
	if *note != "" {
		report.Sections[0].How = append([]string{*note}, report.Sections[0].How...)
	}
	if err := report.Machine.End(); err != nil {
		return err
	}
	return errors.Join(report.Write(*out, "formats"), os.RemoveAll(tmp))
}

// measure runs the benchmarks of a section.
func (s section) measure(ctx context.Context, tmp string, rounds int) (benchfile.Section, error) {
	made := benchfile.Section{Title: s.title, How: s.how}
	for _, b := range s.of {
		var all []gobench.Metrics
		for range rounds {
			m, err := b.Run(ctx, tmp)
			if err != nil {
				return made, err
			}
			all = append(all, m)
		}
		made.Records = append(made.Records, b.Records(all)...)
	}
	fmt.Fprintln(os.Stderr, s.title)
	for _, r := range made.Records {
		fmt.Fprintf(os.Stderr, "  %-40s %g %s\n", r.Name, r.Value, r.Unit)
	}
	return made, nil
}
