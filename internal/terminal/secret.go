package terminal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNone says that there is no terminal to ask at.
var ErrNone = errors.New("terminal: there is none to ask at")

// maxSecret bounds what somebody may type, in bytes.
const maxSecret = 4096

// Secret asks for a line at a terminal and does not show what is typed. A second ask must give the same where twice is set.
func Secret(f *os.File, prompt string, twice bool) ([]byte, error) {
	if !Is(f) {
		return nil, ErrNone
	}
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	quiet := *old
	quiet.Lflag = quiet.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
		return nil, err
	}
	defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }() // there is nothing else to try
	in := bufio.NewReader(io.LimitReader(f, 2*maxSecret))
	ask := func(prompt string) (string, error) {
		fmt.Fprint(f, prompt)
		line, err := in.ReadString('\n')
		fmt.Fprintln(f)
		return line, err
	}
	first, err := ask(prompt + ": ")
	if err != nil || !twice {
		return []byte(first), err
	}
	again, err := ask("the same again: ")
	if err == nil && again != first {
		err = errors.New("terminal: the two differ")
	}
	return []byte(first), err
}
