package gateway_test

import (
	"net/http"
	"slices"
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
