//go:build !linux || !cgo

package nvml

import (
	"context"
	"errors"
	"io"
)

// Serve says that this build cannot read GPUs.
func Serve(_ context.Context, _ io.Reader, out io.Writer, _ string) error {
	f := fault{Sort: "build", Text: "nothing is read"}
	return errors.Join(f, newWriter(out).write(line{Fault: &f}))
}
