package raftstore

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// loopback is a plain TCP StreamLayer for measurements.
type loopback struct{ net.Listener }

func (loopback) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(to), timeout)
}

// counter is the cheapest machine.
type counter struct{ n int }

func (c *counter) Apply(uint64, []byte) any        { c.n++; return c.n }
func (c *counter) Snapshot() func(io.Writer) error { return func(io.Writer) error { return nil } }
func (c *counter) Restore(io.Reader) error         { return nil }

// realCluster is three servers in this process, on the disk of b.TempDir and on loopback.
func realCluster(t testing.TB) []*Store {
	var members []Server
	var layers []loopback
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, loopback{l})
		members = append(members, Server{ID: fmt.Sprint("id", i), Addr: l.Addr().String()})
	}
	var stores []*Store
	for i, m := range members {
		s, err := Open(Config{ID: m.ID, Dir: t.TempDir(), FS: vfs.Default, StreamLayer: layers[i], Bootstrap: members,
			HeartbeatTimeout: time.Second, ReserveBytes: 1 << 20, OnFatal: func(err error) { t.Error(err) }}, &counter{}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		stores = append(stores, s)
	}
	return stores
}

func leaderOf(t testing.TB, stores []*Store) *Store {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		for _, s := range stores {
			if s.IsLeader() && s.Barrier(context.Background()) == nil {
				return s
			}
		}
		<-tick.C
	}
	t.Fatal("no leader")
	return nil
}

// BenchmarkCommits is the rate of commits of 256-byte entries by 1, 16 and 256 proposers, with the median and the 99th
// percentile of the time to commit.
func BenchmarkCommits(b *testing.B) {
	for _, proposers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("proposers=", proposers), func(b *testing.B) {
			leader := leaderOf(b, realCluster(b))
			entry := make([]byte, 256)
			times := make([][]time.Duration, proposers)
			b.ResetTimer()
			var wait sync.WaitGroup
			for p := range proposers {
				n := b.N / proposers
				if p < b.N%proposers {
					n++
				}
				wait.Go(func() {
					for range n {
						start := time.Now()
						if _, _, err := leader.Propose(context.Background(), entry); err != nil {
							b.Error(err)
							return
						}
						times[p] = append(times[p], time.Since(start))
					}
				})
			}
			wait.Wait()
			b.StopTimer()
			all := slices.Sorted(slices.Values(slices.Concat(times...)))
			if len(all) == 0 {
				return
			}
			b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
		})
	}
}

// TestRealDiskAndLoopback is the smoke test outside a bubble: real files, TCP, time.
func TestRealDiskAndLoopback(t *testing.T) {
	stores := realCluster(t)
	leader := leaderOf(t, stores)
	for i := range 20 {
		result, _, err := leader.Propose(context.Background(), []byte("x"))
		if err != nil || result != i+1 {
			t.Fatalf("%v, %v", result, err)
		}
	}
	if err := leader.Snapshot(); err != nil {
		t.Fatal(err)
	}
	if st := leader.Stats(); st.SnapshotIndex == 0 || st.State != "Leader" || !st.Reserve {
		t.Errorf("%+v", st)
	}
}
