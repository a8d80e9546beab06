package gateway_test

import (
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/results"
)

// BenchmarkRecorded asks in turn in the name of a tenant of whose requests everything is kept, and of one of whose nothing is: the medians of both, and how
// much the first is above the second. The machine answers with 8 tokens, one each millisecond.
func BenchmarkRecorded(b *testing.B) {
	f, machine := recorded(b, 1, "sqlite")
	machine.Work(fleettest.Work{Pace: time.Millisecond})
	g := f.Gateway("g", gateway.Config{})
	keys := [2]string{tenant(f, "all", 100, "*"), tenant(f, "none", 100, "*")}
	policy(b, f, g, results.Policy{Tenant: "all", Model: "*", Keep: results.All, Days: 3, Redact: []results.Redaction{{Pattern: `\d{6,}`}}})
	for _, key := range keys {
		fleettest.Within(b, "an answer", func() bool { return complete(b, g, key, 8).status == http.StatusOK })
	}
	var took [2][]time.Duration
	b.ResetTimer()
	for i := range b.N {
		for j := range keys {
			which := (i + j) % 2
			began := time.Now()
			if r := complete(b, g, keys[which], 8); r.status != http.StatusOK {
				b.Fatalf("%+v", r)
			}
			took[which] = append(took[which], time.Since(began))
		}
	}
	b.StopTimer()
	var p50 [2]float64
	for i, list := range took {
		slices.Sort(list)
		p50[i] = float64(list[len(list)/2].Microseconds())
	}
	b.ReportMetric(p50[0], "kept-p50-us")
	b.ReportMetric(p50[1], "p50-us")
	b.ReportMetric(100*(p50[0]-p50[1])/p50[1], "added-%")
}

// BenchmarkRecordedLoad has eight callers ask as fast as they are answered, in turn in the name of the two tenants, 500 requests at a time: what a request
// costs of processors in the whole process, until its record is in the database where one is kept.
func BenchmarkRecordedLoad(b *testing.B) {
	const callers, each = 8, 500
	f, machine := recorded(b, 1, "sqlite")
	machine.Work(fleettest.Work{})
	g := f.Gateway("g", gateway.Config{})
	keys := [2]string{tenant(f, "all", 100, "*"), tenant(f, "none", 100, "*")}
	policy(b, f, g, results.Policy{Tenant: "all", Model: "*", Keep: results.All, Days: 3, Redact: []results.Redaction{{Pattern: `\d{6,}`}}})
	for _, key := range keys {
		fleettest.Within(b, "an answer", func() bool { return complete(b, g, key, 8).status == http.StatusOK })
	}
	fleettest.Within(b, "all is stored", func() bool { return g.Records().Waiting == 0 })
	var cpu [2][]float64
	b.ResetTimer()
	for i := range b.N {
		for j := range keys {
			which := (i + j) % 2
			before, kept := spent(b), g.Records().Kept
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for range each / callers {
						if r := complete(b, g, keys[which], 8); r.status != http.StatusOK {
							b.Errorf("%+v", r)
						}
					}
				})
			}
			all.Wait()
			if which == 0 {
				fleettest.Within(b, "all is stored", func() bool { n := g.Records(); return n.Kept >= kept+each/callers*callers && n.Waiting == 0 })
			}
			cpu[which] = append(cpu[which], float64((spent(b)-before).Microseconds())/float64(each/callers*callers))
		}
	}
	b.StopTimer()
	for _, list := range cpu {
		slices.Sort(list)
	}
	b.ReportMetric(cpu[1][b.N/2], "cpu-us")
	b.ReportMetric(cpu[0][b.N/2]-cpu[1][b.N/2], "added-cpu-us")
}

// spent is the processor time of this process.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
