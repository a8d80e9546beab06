package e2e

import (
	"path/filepath"
	"testing"

	"github.com/skein-project/skein/bench/oip"
	"github.com/skein-project/skein/internal/devfleet"
)

// BenchmarkOpenInference is the throughput of the Open Inference Protocol with tensors of 1 MiB, in percent of the native call's on the same
// gateway and model, and the native call's own in megabytes per second. One operation is a comparison.
func BenchmarkOpenInference(b *testing.B) {
	s := serving(b, devfleet.Config{Coordinators: 1}, map[string]offer{
		"half": {dir: filepath.Join("convert", "savedmodel", "testdata", "models", "half_plus_two"), slots: 1, context: 1, whole: true}})
	for b.Loop() {
		figures, err := oip.Compare(b.Context(), oip.Setup{URL: s.URL(), Key: s.Key, Model: "half", Input: "x", Output: "y", Bytes: 1 << 20, Calls: 40, Rounds: 5, Workers: 2})
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range figures {
			b.Log(f)
			if f.Way == oip.NativePlain {
				b.ReportMetric(f.Median/1e6, "native-MB/s")
			}
		}
		b.ReportMetric(100*oip.Ratio(figures, oip.Binary, oip.NativePlain), "http-%")
		b.ReportMetric(100*oip.Ratio(figures, oip.RPC, oip.NativePlain), "grpc-%")
	}
}
