package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/skein-project/skein/bench/oip"
	"github.com/skein-project/skein/internal/devfleet"
)

// Binary tensors of 1 MiB come through the Open Inference Protocol at 80 % of the native call's throughput at least. It is measured with SKEIN_FULL.
func TestOpenInferenceThroughput(t *testing.T) {
	if os.Getenv("SKEIN_FULL") == "" {
		t.Skip("a measurement: set SKEIN_FULL=1")
	}
	s := serving(t, devfleet.Config{Coordinators: 1}, map[string]offer{
		"half": {dir: filepath.Join("convert", "savedmodel", "testdata", "models", "half_plus_two"), slots: 1, context: 1, whole: true}})
	figures, err := oip.Compare(t.Context(), oip.Setup{URL: s.URL(), Key: s.Key, Model: "half", Input: "x", Output: "y", Bytes: 1 << 20, Calls: 40, Rounds: 5, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		t.Log(f)
	}
	if r := oip.Ratio(figures, oip.Binary, oip.NativePlain); r < 0.8 {
		t.Errorf("%.2f of the native call", r)
	}
}
