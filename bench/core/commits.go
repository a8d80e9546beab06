package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/gobench"
)

const (
	commitsShare = 80 * time.Second
	entryBytes   = 256
	syncTimes    = 200 // per round
	stallsMost   = 5   // rounds that are made again because the disk stalled
)

var proposers = []int{1, 16, 256}

// commits measures the replicated log with the Go benchmark of its package, beside what the disk alone can do.
func (b *bench) commits(ctx context.Context) ([]benchfile.Section, error) {
	rate, p50, p99 := map[int]*benchfile.Series{}, map[int]*benchfile.Series{}, map[int]*benchfile.Series{}
	for _, n := range proposers {
		rate[n], p50[n], p99[n] = &benchfile.Series{}, &benchfile.Series{}, &benchfile.Series{}
	}
	g := gobench.Benchmark{Package: "raftstore", Match: "^BenchmarkCommits$", Time: "0.5s"}
	for _, n := range proposers {
		for _, metric := range []string{"commits/s", "p50-us", "p99-us"} {
			g.Take = append(g.Take, gobench.Figure{Benchmark: fmt.Sprintf("Commits/proposers=%d", n), Metric: metric})
		}
	}
	stalls := 0
	err := b.each(ctx, commitsShare, func(int) error {
		syncs, err := syncRate(b.dir)
		if err != nil {
			return err
		}
		got, err := g.Run(ctx, b.dir)
		for ; stalled(err) && stalls < stallsMost; stalls++ {
			got, err = g.Run(ctx, b.dir)
		}
		if err != nil {
			return err
		}
		for _, n := range proposers {
			name := fmt.Sprintf("Commits/proposers=%d ", n)
			rate[n].AddPair(got[name+"commits/s"], syncs)
			p50[n].Add(got[name+"p50-us"] / 1e3)
			p99[n].Add(got[name+"p99-us"] / 1e3)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := benchfile.Section{Title: "Commits of the replicated log", How: []string{
		fmt.Sprintf("Three stores in one process, on a real disk, over TCP on loopback without TLS; entries of %d bytes; every commit is synced by two of three.", entryBytes),
		"Not comparable to a database behind an RPC. The peer is one file on the same disk: append as many bytes, fdatasync, again."}}
	if stalls > 0 {
		s.How = append(s.How, fmt.Sprintf("%d rounds were made again: the disk was busy for longer than a store waits for it before it halts.", stalls))
	}
	for _, n := range proposers {
		s.Records = append(s.Records, rate[n].Record(fmt.Sprintf("log/commits/%d", n), "commits/s", benchfile.Higher, "append and fdatasync"))
	}
	for _, n := range proposers {
		s.Records = append(s.Records, p50[n].Record(fmt.Sprintf("log/latency/%d/p50", n), "ms", benchfile.Lower, ""),
			p99[n].Record(fmt.Sprintf("log/latency/%d/p99", n), "ms", benchfile.Lower, ""))
	}
	return []benchfile.Section{s}, nil
}

// stallText begins what a raftstore.Stalled says; here it comes out of another process.
const stallText = "disk stalled: "

// stalled says that a store halted because the disk kept it waiting, which a machine with other users may do.
func stalled(err error) bool { return err != nil && strings.Contains(err.Error(), stallText) }

// syncRate is how often per second the disk of dir takes an entry for good, one after the other.
func syncRate(dir string) (perSecond float64, err error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	entry := make([]byte, entryBytes)
	began := time.Now()
	for range syncTimes {
		if _, err := f.Write(entry); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("sync %s: %w", f.Name(), err)
		}
	}
	return syncTimes / time.Since(began).Seconds(), nil
}
