package disk

import (
	"syscall"
	"testing"
)

// allocated is the space a file takes on the disk, in bytes.
func allocated(t testing.TB, path string) int64 {
	var st syscall.Stat_t
	must(t, syscall.Stat(path, &st))
	return st.Blocks * 512
}
