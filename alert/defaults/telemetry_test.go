package defaults

import (
	"slices"
	"testing"

	"github.com/skein-project/skein/series"
	"github.com/skein-project/skein/telemetry"
)

// A family that telemetry scrapes has the kind and the labels there that the exported rules ask for. The label instance is
// Prometheus's own.
func TestTelemetry(t *testing.T) {
	both := 0
	for _, f := range series.Families {
		i := slices.IndexFunc(telemetry.Metrics, func(m telemetry.Metric) bool { return string(m.Name) == f.Name })
		if i < 0 {
			t.Logf("%s is not scraped (yet): rules that ask for it fire only inside", f.Name)
			continue
		}
		both++
		m := telemetry.Metrics[i]
		if string(m.Kind) != f.Kind.String() {
			t.Errorf("%s is a %s, and a %s when it is scraped", f.Name, f.Kind, m.Kind)
		}
		for _, l := range f.Labels {
			if l.Exported() != "instance" && !slices.Contains(m.Labels, l.Exported()) {
				t.Errorf("%s has no label %s when it is scraped, but %v", f.Name, l.Exported(), m.Labels)
			}
		}
	}
	if both < 10 {
		t.Errorf("only %d families are scraped", both)
	}
}
