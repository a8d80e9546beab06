package worker

import (
	"strings"
	"testing"
)

// A caller is told what its inputs do, in the runtime's words, and not where in the runtime's source.
func TestPlainWords(t *testing.T) {
	for said, want := range map[string]string{
		"engine: run failed: Non-zero status code returned while running Add node. Name:'Add.5' Status Message: /onnxruntime_src/onnxruntime/core/x.h:583 void " +
			"onnxruntime::BroadcastIterator::Append(ptrdiff_t, ptrdiff_t) axis == 1 || axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 2 by 3": "ptrdiff_t) axis == 1 || axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 2 by 3",
		"Status Message: indices element out of data bounds, idx=99 must be within the inclusive range [-16,15]": "indices element out of data bounds, idx=99 must be within the inclusive range [-16,15]",
		"something else at /opt/secret":                "the runtime does not say why",
		"Status Message: " + strings.Repeat("x", 1000): strings.Repeat("x", maxWords),
	} {
		if got := plainWords(said); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
