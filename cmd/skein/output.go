package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/terminal"
)

// show prints an answer: as JSON, or as a table with a header, one row at a time.
func (a *app) show(cmd *cobra.Command, answer proto.Message, header string, rows func(row func(cells ...any))) error {
	if a.output == "json" {
		text, err := protojson.MarshalOptions{Multiline: true, Indent: "  ", UseProtoNames: true, EmitDefaultValues: true}.Marshal(answer)
		if err == nil {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(text))
		}
		return err
	}
	return table(cmd.OutOrStdout(), header, rows)
}

func table(w io.Writer, header string, rows func(row func(cells ...any))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if header != "" {
		fmt.Fprintln(t, strings.Join(strings.Fields(header), "\t"))
	}
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			if s := fmt.Sprint(c); s == "" {
				fmt.Fprint(t, "-")
			} else {
				fmt.Fprint(t, s)
			}
		}
		fmt.Fprintln(t)
	})
	return t.Flush()
}

func size[N int64 | int32](n N) string { return gpu.Bytes(n).String() }

func when(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05")
}

func blocks(from, to int32) string {
	if to-from == 1 {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to-1)
}

// bar is a progress bar on standard error. Where nobody looks it prints a line when something is finished.
type bar struct {
	mu    sync.Mutex
	quiet bool // says nothing
	tty   bool
	last  string
	done  bool
}

func newBar() *bar { return &bar{tty: terminal.Is(os.Stderr)} }

// set shows how far something is.
func (b *bar) set(what string, here, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.quiet {
		return
	}
	if b.last != what {
		b.last, b.done = what, false
	}
	if b.done {
		return
	}
	b.done = here >= total
	if !b.tty {
		if b.done {
			fmt.Fprintf(os.Stderr, "%s: %s\n", what, size(total))
		}
		return
	}
	const width = 24
	full := width
	if total > 0 {
		full = int(width * here / total)
	}
	fmt.Fprintf(os.Stderr, "\r\x1b[K%-28.28s [%s%s] %s", what, strings.Repeat("=", full), strings.Repeat(" ", width-full), amount(here, total))
	if b.done {
		fmt.Fprintln(os.Stderr)
	}
}

func amount(here, total int64) string {
	if here >= total {
		return size(total)
	}
	return size(here) + " of " + size(total)
}

// say prints a step, or replaces the one before on a terminal while nothing else was printed.
func (b *bar) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.quiet || b.last == text {
		return
	}
	b.last, b.done = text, true
	fmt.Fprintln(os.Stderr, text)
}
