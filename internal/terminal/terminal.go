// Package terminal tells whether somebody looks at a file.
package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// Is says whether a file is a terminal.
func Is(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
