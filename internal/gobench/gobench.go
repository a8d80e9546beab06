// Package gobench runs Go benchmarks of this repository and takes figures from what they print.
package gobench

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

// Benchmark is a Go benchmark of a package, with the figures that are taken from it.
type Benchmark struct {
	Package string // folder
	Match   string // go test -bench
	Time    string // go test -benchtime
	Take    []Figure
}

// Figure is one metric of one benchmark.
type Figure struct {
	Benchmark string // without "Benchmark" and the suffix of processors
	Metric    string // its unit as Go prints it
	Name      string // of the record
	Unit      string // of the record
	Scale     float64
	Better    benchfile.Better
	Goal      float64 // 0 = none
}

// Metrics are what one round printed, by "BENCHMARK METRIC".
type Metrics map[string]float64

// Run measures one round, in the working directory's repository. What is written goes to tmp. A benchmark that prints less than is taken
// is an error.
func (g Benchmark) Run(ctx context.Context, tmp string) (Metrics, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+g.Match, "-benchtime="+g.Time, "-benchmem", "./"+g.Package)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("benchmark %s of %s: %w\n%s%s", g.Match, g.Package, err, out, errs.String())
	}
	metrics := parse(out)
	for _, f := range g.Take {
		if _, ok := metrics[f.Benchmark+" "+f.Metric]; !ok {
			return nil, fmt.Errorf("benchmark %s of %s prints no %s:\n%s", f.Benchmark, g.Package, f.Metric, out)
		}
	}
	return metrics, nil
}

// parse reads the lines of results (golang.org/design/14313-benchmark-format).
func parse(out []byte) Metrics {
	metrics := Metrics{}
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

// Records makes the figures from all rounds.
func (g Benchmark) Records(rounds []Metrics) (out []benchfile.Record) {
	for _, f := range g.Take {
		var s benchfile.Series
		for _, r := range rounds {
			s.Add(r[f.Benchmark+" "+f.Metric] * f.Scale)
		}
		rec := s.Record(f.Name, f.Unit, f.Better, "")
		if f.Goal != 0 {
			rec = rec.WithGoal(f.Goal)
		}
		out = append(out, rec)
	}
	return out
}
