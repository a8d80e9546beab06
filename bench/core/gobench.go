package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/skein-project/skein/internal/benchfile"
)

// goBench is a Go benchmark of a package of this repository, with the figures that are taken from it.
type goBench struct {
	pkg   string // folder
	match string // go test -bench
	time  string // go test -benchtime
	take  []figure
}

// figure is one metric of one benchmark.
type figure struct {
	benchmark string // without "Benchmark" and the suffix of processors
	metric    string // its unit as Go prints it
	name      string // of the record
	unit      string // of the record
	scale     float64
	better    benchfile.Better
	goal      float64 // 0 = none
}

// run measures one round.
func (g goBench) run(ctx context.Context, tmp string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+g.match, "-benchtime="+g.time, "./"+g.pkg)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp) // what it writes goes to a real disk
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("benchmark %s of %s: %w\n%s%s", g.match, g.pkg, err, out, errs.String())
	}
	metrics := parseGoBench(out)
	for _, f := range g.take {
		if _, ok := metrics[f.benchmark+" "+f.metric]; !ok {
			return nil, fmt.Errorf("benchmark %s of %s prints no %s:\n%s", f.benchmark, g.pkg, f.metric, out)
		}
	}
	return metrics, nil
}

// parseGoBench reads the lines of results, by "BENCHMARK METRIC" (golang.org/design/14313-benchmark-format).
func parseGoBench(out []byte) map[string]float64 {
	metrics := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			if _, err := strconv.Atoi(name[at+1:]); err == nil {
				name = name[:at]
			}
		}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				metrics[name+" "+f[i+1]] = v
			}
		}
	}
	return metrics
}

// records makes the figures of one benchmark from all rounds.
func (g goBench) records(rounds []map[string]float64) (out []benchfile.Record) {
	for _, f := range g.take {
		var s benchfile.Series
		for _, r := range rounds {
			s.Add(r[f.benchmark+" "+f.metric] * f.scale)
		}
		rec := s.Record(f.name, f.unit, f.better, "")
		if f.goal != 0 {
			rec = rec.WithGoal(f.goal)
		}
		out = append(out, rec)
	}
	return out
}
