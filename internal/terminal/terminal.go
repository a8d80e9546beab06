// Package terminal tells whether somebody looks at a file, and how wide their window is.
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

// Width is the number of columns of a terminal, 80 where it is not known.
func Width(f *os.File) int {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 {
		return 80
	}
	return int(w.Col)
}
