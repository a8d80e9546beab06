// Package main calls a real fleet with the clients that people have, and writes what works into docs/conformance.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
	if err != nil || failed > 0 {
		stop()
		os.Exit(1) //nolint:gocritic // what was deferred is done
	}
}

// startWithin bounds how long the fleet takes to serve its models.
const startWithin = 5 * time.Minute

func run(ctx context.Context) (failed int, err error) {
	bin := flag.String("bin", "bin", "folder of the programs")
	library := flag.String("ort-lib", os.Getenv("SKEIN_ORT_LIB"), "path of libonnxruntime.so.1 (SKEIN_ORT_LIB)")
	only := flag.String("only", "", "run only clients whose names contain this; then no table is written")
	keep := flag.Bool("keep", false, "start the fleet, say where it is, and keep it until Ctrl-C")
	out := flag.String("out", "docs/conformance.md", "where the table goes")
	flag.Parse()
	root, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "skein-conformance-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	programs, err := filepath.Abs(*bin)
	if err != nil {
		return 0, err
	}
	start, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	f, err := raise(start, programs, *library, dir, func(text string) { fmt.Println(text) })
	if err != nil {
		return 0, err
	}
	defer f.Stop()
	if *keep {
		fmt.Printf("export SKEIN_URL=%s SKEIN_KEY=%s\n", f.URL(), f.Key)
		<-ctx.Done()
		return 0, nil
	}
	var all []outcome
	for _, s := range subjects() {
		if !strings.Contains(s.name, *only) {
			continue
		}
		o := ask(ctx, root, f.URL(), f.Key, s)
		failed += o.say()
		all = append(all, o)
	}
	if *only != "" || ctx.Err() != nil {
		return failed, ctx.Err()
	}
	return failed, os.WriteFile(*out, []byte(table(all)), 0o644)
}

// say prints what became of a client, and counts what failed.
func (o outcome) say() (failed int) {
	if o.notRun != "" {
		fmt.Printf("%-28s not run: %s\n", o.subject.name, o.notRun)
		return 0
	}
	passed := 0
	for _, c := range o.checks {
		switch {
		case c.Skipped:
		case c.OK:
			passed++
		default:
			failed++
			fmt.Printf("%-28s %s: %s\n", o.subject.name, c.Check, c.Why)
		}
	}
	fmt.Printf("%-28s %s: %d passed, %d failed\n", o.subject.name, o.version, passed, failed)
	return failed
}
