package node

import (
	"testing"

	"github.com/skein-project/skein/gpu"
)

// A worker sees its own GPU and no other.
func TestVisible(t *testing.T) {
	if got := visible(gpu.Device{ID: "GPU-1", Kind: gpu.CUDA}); len(got) != 1 || got[0] != "CUDA_VISIBLE_DEVICES=GPU-1" {
		t.Errorf("%q", got)
	}
	if got := visible(gpu.Device{ID: "host-1", Kind: gpu.Host}); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
